//! The replicated state from outside: tables of outcomes, sessions, encodings, snapshots, and a
//! naive model that it must agree with.

mod codec;
mod model;
mod naive;
mod reseal;
mod sessions;
mod snapshots;
mod support;
mod table;
