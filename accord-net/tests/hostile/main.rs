//! Clients and strangers that mean ill, or are broken, while sixteen good clients work.
//!
//! Each test besieges a cluster of three servers in this process, over real sockets. What is
//! demanded every time: no call of a good client fails and all go on during the attack; hostile
//! connections end within a bounded time; they are counted by reason; memory stays bounded.
//!
//! | module | who attacks |
//! |---|---|
//! | `strangers` | who never says properly what a connection is for |
//! | `speakers` | who speaks the protocol, wrongly or with ill intent |
//! | `readers` | who does not take what it is sent |
//! | `operators` | who claims to be an operator |
//! | `servers` | who claims to be a server |

mod operators;
mod raw;
mod readers;
mod servers;
mod siege;
mod speakers;
mod strangers;
