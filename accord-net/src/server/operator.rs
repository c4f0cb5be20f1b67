//! Operators' connections: questions and answers as JSON, one message each.
//!
//! See `docs/protocol.md`. A question names an `op`; what this release does not know is answered
//! with what it does.

use super::conns::{READ_BYTES, Stream};
use super::driver::Driver;
use super::metrics::Reason;
use super::roster::{Roster, RosterChange};
use super::status::{StatusReport, snake_case};
use super::within;
use crate::backup::ImageHead;
use crate::env::Env;
use crate::frame::{FrameReader, write_message};
use accord_core::ids::{NodeId, StoreId};
use accord_core::pieces::Pieces;
use accord_core::replica::voters::VoterChange;
use accord_core::server::{AdminReply, AdminRequest};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The version of what operators and servers say to each other.
pub const OPERATOR_VERSION: u8 = 1;
/// The longest question or answer.
pub const OPERATOR_BYTES_MAX: usize = 1 << 20;
/// The bytes of a state in one message.
const CHUNK_BYTES: usize = 512 << 10;

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Asked {
    /// How the server is.
    Status,
    /// Start the cluster anew from what this server has, after the memory of a majority is lost for
    /// good. What only the lost servers held is lost.
    Recover,
    /// Make a server known as one of the cluster's, or as one that is elsewhere now. It does not
    /// vote. Asked of one server, it tells the others.
    AddServer {
        /// Its number.
        node: u32,
        /// Where the others reach it.
        address: SocketAddr,
    },
    /// Make it known that a server, which does not vote, is none of the cluster's any more.
    RemoveServer {
        /// Its number.
        node: u32,
    },
    /// Let a connected server that has caught up vote.
    Promote {
        /// Its number.
        node: u32,
    },
    /// Take the vote from a server; from one that lost its memory, the right to have it back.
    Demote {
        /// Its number.
        node: u32,
    },
    /// Hold the state as it is now, to be fetched in chunks over this connection.
    Image,
    /// A chunk of the held state. Behind the answer follows a message with its bytes; after the
    /// last one the state is not held any more.
    ImageChunk {
        /// Its first byte.
        offset: u64,
    },
}

/// What an operator is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// How the server is.
    Status(Box<StatusReport>),
    /// The cluster is being started anew.
    Recovering,
    /// The servers of the cluster, as they are now.
    Servers(Roster),
    /// The change is committed: who votes now.
    Voters {
        /// Their numbers.
        voters: Vec<u32>,
    },
    /// Who votes was not changed.
    VotersUnchanged {
        /// Why, in a word for programs.
        error: String,
        /// Why, for people.
        reason: String,
    },
    /// What is held.
    Image(Box<ImageHead>),
    /// A chunk follows.
    ImageChunk {
        /// Its first byte.
        offset: u64,
        /// Its length, in bytes.
        bytes: u64,
        /// Its checksum, CRC-32.
        crc32: u32,
    },
    /// It was not done, and why.
    Refused {
        /// Why.
        reason: String,
    },
}

/// A state that is held for an operator. One at a time: it may be large.
struct Held {
    state: Pieces,
    taken: Rc<Cell<bool>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.taken.set(false);
    }
}

/// Answers an operator until the connection ends.
pub(super) async fn serve<E: Env>(driver: Rc<Driver<E>>, mut stream: Stream<E>) {
    if let Err(error) = answer_all(&driver, &mut stream).await {
        let reason = match error.kind() {
            io::ErrorKind::TimedOut => "operator_silent",
            io::ErrorKind::InvalidData => "operator_malformed",
            _ => "operator_io",
        };
        driver.metrics.conn_ends.get_or_create(&Reason::of(reason)).inc();
        tracing::debug!(from = %stream.from, %error, "an operator's connection ended");
    }
}

async fn answer_all<E: Env>(driver: &Rc<Driver<E>>, stream: &mut Stream<E>) -> io::Result<()> {
    let patience = driver.options.net.operator_timeout;
    let mut frames = FrameReader::new(OPERATOR_BYTES_MAX);
    let mut buffer = vec![0; READ_BYTES];
    let mut out = Vec::new();
    let mut held = None;
    loop {
        let bytes = within(&driver.env, patience, stream.reader.read(&mut buffer)).await?;
        if bytes == 0 {
            return Ok(());
        }
        frames.push(Bytes::copy_from_slice(&buffer[..bytes]));
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        while let Some(question) = frames.next_message().map_err(invalid)? {
            let (answer, chunk) = match serde_json::from_slice(&question) {
                Ok(asked) => answer(driver, asked, &mut held).await,
                Err(error) => refused(format!("not understood: {error}")),
            };
            let answer = serde_json::to_vec(&answer).expect("an answer has a form in JSON");
            out.clear();
            write_message(&mut out, |out| out.extend_from_slice(&answer));
            if let Some(chunk) = chunk {
                write_message(&mut out, |out| out.extend_from_slice(&chunk));
            }
            let leaving = async {
                stream.writer.write_all(&out).await?;
                stream.writer.flush().await
            };
            within(&driver.env, patience, leaving).await?;
        }
    }
}

/// An answer, and the bytes that follow it.
type Answered = (Answer, Option<Bytes>);

fn refused(reason: impl Into<String>) -> Answered {
    (Answer::Refused { reason: reason.into() }, None)
}

async fn answer<E: Env>(driver: &Rc<Driver<E>>, asked: Asked, held: &mut Option<Held>) -> Answered {
    match asked {
        Asked::Status => (Answer::Status(Box::new(driver.status())), None),
        Asked::Recover => match driver.ask(AdminRequest::ForceRecovery).await {
            Some(AdminReply::Recovering(Ok(()))) => (Answer::Recovering, None),
            Some(AdminReply::Recovering(Err(why))) => refused(why),
            Some(_) | None => refused(STOPPED),
        },
        Asked::AddServer { node, address } => {
            change_roster(driver, RosterChange::Add(node, address)).await
        }
        Asked::RemoveServer { node } => change_roster(driver, RosterChange::Remove(node)).await,
        Asked::Promote { node } => change_voters(driver, NodeId(node), true).await,
        Asked::Demote { node } => change_voters(driver, NodeId(node), false).await,
        Asked::Image => image(driver, held).await,
        Asked::ImageChunk { offset } => chunk(held, offset),
    }
}

const STOPPED: &str = "the server stopped";

async fn change_roster<E: Env>(driver: &Rc<Driver<E>>, change: RosterChange) -> Answered {
    match driver.change_roster(change).await {
        Ok(roster) => (Answer::Servers(roster), None),
        Err(reason) => refused(reason),
    }
}

async fn change_voters<E: Env>(driver: &Rc<Driver<E>>, node: NodeId, promote: bool) -> Answered {
    let status = driver.inner.borrow().server.status().replica;
    let change = match promote {
        true => {
            // Without an incarnation, the core says that it is no member.
            let store = status.stores.get(&node).copied().unwrap_or(StoreId(0));
            VoterChange::Add { node, store }
        }
        false => {
            let store = status.voters.voters.get(&node).copied().unwrap_or(StoreId(0));
            VoterChange::Remove { node, store, returning: false }
        }
    };
    match driver.ask(AdminRequest::ChangeVoters(change)).await {
        Some(AdminReply::VotersChanged(Ok(()))) => {
            let voters = driver.status().voters;
            (Answer::Voters { voters }, None)
        }
        Some(AdminReply::VotersChanged(Err(error))) => {
            let (error, reason) = (snake_case(&format!("{error:?}")), error.to_string());
            (Answer::VotersUnchanged { error, reason }, None)
        }
        Some(_) | None => refused(STOPPED),
    }
}

async fn image<E: Env>(driver: &Rc<Driver<E>>, held: &mut Option<Held>) -> Answered {
    // Whoever asks again does not want what it had.
    *held = None;
    if driver.has_image.replace(true) {
        return refused("another backup is being taken from this server; try again later");
    }
    let mut image = Held { state: Pieces::default(), taken: driver.has_image.clone() };
    let Some(AdminReply::Image(taken)) = driver.ask(AdminRequest::Image).await else {
        return refused(STOPPED);
    };
    let head = ImageHead::new(&driver.options, &taken);
    image.state = taken.state;
    *held = Some(image);
    (Answer::Image(Box::new(head)), None)
}

fn chunk(held: &mut Option<Held>, offset: u64) -> Answered {
    let Some(image) = held.as_ref() else { return refused("no state is held: ask for `image`") };
    let whole = &image.state;
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    if from >= whole.len() {
        return refused(format!("the state has {} bytes", whole.len()));
    }
    let to = whole.len().min(from.saturating_add(CHUNK_BYTES));
    let (chunk, last) = (whole.slice(from..to), to == whole.len());
    if last {
        *held = None;
    }
    let (bytes, crc32) = (chunk.len() as u64, crc32fast::hash(&chunk));
    (Answer::ImageChunk { offset, bytes, crc32 }, Some(chunk))
}
