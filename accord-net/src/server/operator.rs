//! Operators' connections: questions and answers as JSON, one message each.
//!
//! See `docs/protocol.md`. A question names an `op`; what this release does not know is answered
//! with what it does.

use super::driver::Driver;
use super::metrics::Reason;
use super::options::ServerOptions;
use super::roster::{self, RosterChange};
use super::slots::Slot;
use super::status;
use crate::env::Env;
use crate::operator::protocol::{Answer, ImageHead, OPERATOR_BYTES_MAX, Question};
use crate::operator::status::snake_case;
use crate::transport::{READ_BYTES, Transport, in_time};
use accord_core::ids::{NodeId, StoreId};
use accord_core::pieces::Pieces;
use accord_core::replica::voters::VoterChange;
use accord_core::server::{Image, OperatorReply, OperatorRequest};
use accord_core::stream::{FrameReader, write_message};
use bytes::Bytes;
use std::io;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The bytes of a state in one message.
const CHUNK_BYTES: usize = 512 << 10;

/// A state that is held for an operator. One at a time: it may be large.
struct Held {
    state: Pieces,
    _slot: Slot,
}

/// Answers an operator until the connection ends.
pub(super) async fn serve<E: Env>(driver: Rc<Driver<E>>, mut stream: Transport<E>) {
    if let Err(error) = answer_all(&driver, &mut stream).await {
        let reason = match error.kind() {
            io::ErrorKind::TimedOut => "operator_silent",
            io::ErrorKind::InvalidData => "operator_malformed",
            _ => "operator_io",
        };
        driver.metrics().conn_ends.get_or_create(&Reason::of(reason)).inc();
        tracing::debug!(from = %stream.remote(), %error, "an operator's connection ended");
    }
}

async fn answer_all<E: Env>(driver: &Rc<Driver<E>>, stream: &mut Transport<E>) -> io::Result<()> {
    let patience = driver.options().net.operator_timeout;
    let mut frames = FrameReader::new(OPERATOR_BYTES_MAX);
    let mut buffer = vec![0; READ_BYTES];
    let mut out = Vec::new();
    let mut held = None;
    loop {
        let bytes = in_time(driver.env(), patience, stream.read(&mut buffer)).await?;
        if bytes == 0 {
            return Ok(());
        }
        frames.push(Bytes::copy_from_slice(&buffer[..bytes]));
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        while let Some(question) = frames.next_message().map_err(invalid)? {
            let (answer, chunk) = match serde_json::from_slice(&question) {
                Ok(question) => answer(driver, question, &mut held).await,
                Err(error) => refused(format!("not understood: {error}")),
            };
            let answer = serde_json::to_vec(&answer).expect("an answer has a form in JSON");
            out.clear();
            write_message(&mut out, |out| out.extend_from_slice(&answer));
            if let Some(chunk) = chunk {
                write_message(&mut out, |out| out.extend_from_slice(&chunk));
            }
            let leaving = async {
                stream.write_all(&out).await?;
                stream.flush().await
            };
            in_time(driver.env(), patience, leaving).await?;
        }
    }
}

/// An answer, and the bytes that follow it.
type Answered = (Answer, Option<Bytes>);

fn refused(reason: impl Into<String>) -> Answered {
    (Answer::Refused { reason: reason.into() }, None)
}

async fn answer<E: Env>(
    driver: &Rc<Driver<E>>,
    question: Question,
    held: &mut Option<Held>,
) -> Answered {
    match question {
        Question::Status => (Answer::Status(Box::new(status::status(driver))), None),
        Question::Recover => match driver.ask(OperatorRequest::ForceRecovery).await {
            Some(OperatorReply::Recovering(Ok(()))) => (Answer::Recovering, None),
            Some(OperatorReply::Recovering(Err(why))) => refused(why),
            Some(_) | None => refused(STOPPED),
        },
        Question::AddServer { node, address } => {
            change_roster(driver, RosterChange::Add(node, address)).await
        }
        Question::RemoveServer { node } => change_roster(driver, RosterChange::Remove(node)).await,
        Question::Promote { node } => change_voters(driver, NodeId(node), true).await,
        Question::Demote { node } => change_voters(driver, NodeId(node), false).await,
        Question::Image => image(driver, held).await,
        Question::ImageChunk { offset } => chunk(held, offset),
    }
}

const STOPPED: &str = "the server stopped";

async fn change_roster<E: Env>(driver: &Rc<Driver<E>>, change: RosterChange) -> Answered {
    match roster::change(driver, change).await {
        Ok(roster) => (Answer::Servers(roster), None),
        Err(reason) => refused(reason),
    }
}

async fn change_voters<E: Env>(driver: &Rc<Driver<E>>, node: NodeId, promote: bool) -> Answered {
    let status = driver.replica_status();
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
    match driver.ask(OperatorRequest::ChangeVoters(change)).await {
        Some(OperatorReply::VotersChanged(Ok(()))) => {
            let voters = status::status(driver).voters;
            (Answer::Voters { voters }, None)
        }
        Some(OperatorReply::VotersChanged(Err(error))) => {
            let (error, reason) = (snake_case(&format!("{error:?}")), error.to_string());
            (Answer::VotersUnchanged { error, reason }, None)
        }
        Some(_) | None => refused(STOPPED),
    }
}

async fn image<E: Env>(driver: &Rc<Driver<E>>, held: &mut Option<Held>) -> Answered {
    // A new request replaces the image held so far.
    *held = None;
    let Some(slot) = driver.image_slot() else {
        return refused("another backup is being taken from this server; try again later");
    };
    let Some(OperatorReply::Image(taken)) = driver.ask(OperatorRequest::Image).await else {
        return refused(STOPPED);
    };
    let head = image_head(driver.options(), &taken);
    *held = Some(Held { state: taken.state, _slot: slot });
    (Answer::Image(Box::new(head)), None)
}

/// What is said of a state that a server hands out.
fn image_head(options: &ServerOptions, image: &Image) -> ImageHead {
    // The end of a snapshot is the digest of its contents.
    let end = image.state.len();
    let content = image.state.slice(end.saturating_sub(8)..end);
    let content = content.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    ImageHead {
        cluster: options.cluster.clone(),
        cluster_id: format!("{:016x}", image.voters.cluster.0),
        node: options.node.0,
        voters: image.voters.voters.keys().map(|node| node.0).collect(),
        epoch: image.last.epoch.0,
        index: image.last.index.0,
        revision: image.revision.0,
        digest: format!("{:016x}", image.digest),
        content: format!("{content:016x}"),
        bytes: image.state.len() as u64,
        limits: (&options.state).into(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        taken_unix_s: 0,
    }
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
