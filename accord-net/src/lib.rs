//! Accord on real networks and disks: servers, the client library and the `accord` command.

pub mod storage;
