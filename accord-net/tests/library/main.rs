//! The client library against servers in this process, over real sockets.

mod names;
mod sessions;
