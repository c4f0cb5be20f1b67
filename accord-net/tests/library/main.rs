//! The client library against servers in this process, over real sockets.

mod again;
mod names;
mod reads;
mod recipes;
mod sessions;
