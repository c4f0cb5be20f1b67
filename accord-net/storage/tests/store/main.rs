//! Tests of the storage engine: on a simulated disk that breaks in every way that it may, and on
//! real files.

mod errors;
mod files;
mod lives;
mod power;
mod scratch;
mod script;
