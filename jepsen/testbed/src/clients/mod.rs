//! The protocols of other systems as machines without IO: bytes in, bytes out, replies.
//!
//! The comparison's generator moves the bytes of all systems in one loop; the harness moves them in
//! tasks. Neither has anything of a protocol in it. Read on in [`zookeeper`] and [`etcd`].
//!
//! Invariant: receiving any bytes ends in replies or in [`Broken`].

pub mod etcd;
pub mod jute;
pub mod zookeeper;

use std::fmt::Display;
use thiserror::Error;

/// Why a connection cannot go on: what came is not what the protocol allows, or the other end hung
/// up. What was asked and not answered may have been done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Broken(pub String);

impl Broken {
    /// Broken for a reason.
    pub fn because(why: impl Display) -> Self {
        Self(why.to_string())
    }
}

/// A protocol, as one client speaks it over one connection. Times are in nanoseconds, from any
/// fixed moment.
pub trait Machine: Send {
    /// What can be asked.
    type Request: Send;
    /// What is answered; a server's refusal is a reply as well.
    type Reply: Send;

    /// True once requests may be sent.
    fn is_ready(&self) -> bool;

    /// Sends a request. Its reply carries `tag`; without one it is dropped.
    ///
    /// # Errors
    /// [`Broken`].
    fn ask(
        &mut self,
        now_ns: u64,
        tag: Option<u64>,
        request: Self::Request,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken>;

    /// Takes bytes that arrived.
    ///
    /// # Errors
    /// [`Broken`].
    fn receive(&mut self, bytes: &[u8], received: &mut Received<Self::Reply>)
    -> Result<(), Broken>;

    /// Adds to `out` whatever is still kept inside. To be called before bytes are sent.
    ///
    /// # Errors
    /// [`Broken`].
    fn drain(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        let _ = out;
        Ok(())
    }

    /// Time has passed: keeps the session alive. To be called several times a second.
    fn tick(&mut self, now_ns: u64, out: &mut Vec<u8>) {
        let _ = (now_ns, out);
    }

    /// Ends the session. Nothing is asked any more.
    fn close(&mut self, out: &mut Vec<u8>);
}

/// What comes of bytes that arrived.
#[derive(Debug)]
pub struct Received<R> {
    /// Replies with the tags of their requests.
    pub replies: Vec<(u64, R)>,
    /// How many watches told of a change.
    pub events: usize,
}

impl<R> Default for Received<R> {
    fn default() -> Self {
        Self { replies: Vec::new(), events: 0 }
    }
}
