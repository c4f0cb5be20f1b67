//! Exhaustive models.
#![forbid(unsafe_code)]
pub mod cases;
pub mod cli;
pub mod flaw;
pub mod kept;
pub mod planted;
pub mod replica;
pub mod ring;
pub mod run;
pub mod service;
