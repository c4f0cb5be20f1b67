//! Servers and their clients together, over a group that delivers at once.

mod again;
mod app;
mod chaos;
mod client;
mod cluster;
mod codec;
mod front_end;
mod leases;
mod numbers;
mod order;
mod pipelines;
mod read_and_watch;
mod server;
