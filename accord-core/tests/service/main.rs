//! Servers and their clients together, over a group that delivers at once.

mod again;
mod app;
mod chaos;
mod client;
mod cluster;
mod codec;
mod leases;
mod server;
