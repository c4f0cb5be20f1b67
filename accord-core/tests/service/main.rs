//! Servers and their clients together, over a group that delivers at once.

mod app;
mod client;
mod cluster;
mod server;
