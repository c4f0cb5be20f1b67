//! Servers and their clients together, over a group that delivers at once.

mod cluster;
mod server;
