//! From agreed order to durable, linearizable commits.
pub mod config;
pub mod io;
pub mod log;
pub mod message;
pub mod voters;
