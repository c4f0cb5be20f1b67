//! Servers and their clients together, over a group that delivers at once.

mod app;
mod chaos;
mod client;
mod cluster;
mod codec;
mod server;
