//! The client library against servers in this process, over real sockets.

mod cluster;
mod sessions;
