//! Accord: the core's own client machine over plain sockets.
//!
//! The machine numbers, keeps and acknowledges requests exactly as in the client library, which
//! adds handles, futures and a task to it. Here it stays with one server: a lost connection ends a
//! measurement.

use super::{Connection, Exchange};
use crate::failure::{During, Failure, Result, wrong};
use crate::workload::{Answer, Ask};
use accord_core::client::{Client, ClientConfig, ClientEvent, ClientInput, ClientOutput};
use accord_core::ids::NodeId;
use accord_core::protocol::{
    ClientMessage, Consistency, EventMask, MESSAGE_BYTES_MAX, PROTOCOL_VERSION, WatchFilter,
    decode_server, encode_client_into,
};
use accord_core::state::{Flags, Outcome, ReadQuery, ReadResult, Step, StepError, Txn, TxnOutcome};
use accord_core::stream::{FrameReader, Kind, PREFACE_BYTES, Preface, write_message};
use accord_core::time::Instant;
use accord_core::wire::Writer;
use bytes::Bytes;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

const PREFACE: Preface = Preface { kind: Kind::Client, version: PROTOCOL_VERSION };

/// One client of Accord.
#[derive(Debug)]
pub struct AccordConnection {
    client: Client,
    /// The transaction that is being made.
    txn: Txn,
    frames: FrameReader,
    /// The beginning of the server's preface, until it is whole.
    preface: Vec<u8>,
    requests: Tags,
    reads: Tags,
    watches: Tags,
    /// Keys that may exist already.
    ensuring: Vec<u64>,
    closing: bool,
}

/// Tags by numbers that ascend without gaps, and are settled in nearly the same order.
#[derive(Debug)]
struct Tags {
    first: u64,
    tags: VecDeque<Option<u64>>,
}

impl Tags {
    const fn new() -> Self {
        Self { first: 1, tags: VecDeque::new() }
    }

    fn push(&mut self, number: u64, tag: u64) {
        assert_eq!(number, self.first + self.tags.len() as u64, "numbers ascend without gaps");
        self.tags.push_back(Some(tag));
    }

    fn take(&mut self, number: u64) -> Result<u64> {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let slot = at.and_then(|at| self.tags.get_mut(at)).and_then(Option::take);
        while let Some(None) = self.tags.front() {
            self.tags.pop_front();
            self.first += 1;
        }
        slot.ok_or_else(|| wrong(format!("number {number} was answered twice, or never asked")))
    }
}

impl AccordConnection {
    /// A client that is about to connect; what it says first goes to `out`.
    pub fn new(now: u64, window: usize, out: &mut Vec<u8>) -> Self {
        let mut config = ClientConfig::new(vec![NodeId(0)]);
        config.requests_max = window * 2 + 64;
        config.reads_max = window + 1;
        config.attach_timeout = accord_core::time::Duration::from_secs(60);
        config.session_timeout_ms = 30_000;
        let client = Client::new(config, 1, Instant::from_nanos(now));
        out.extend_from_slice(&PREFACE.to_bytes());
        Self {
            client,
            txn: Txn::default(),
            frames: FrameReader::new(MESSAGE_BYTES_MAX),
            preface: Vec::new(),
            requests: Tags::new(),
            reads: Tags::new(),
            watches: Tags::new(),
            ensuring: Vec::new(),
            closing: false,
        }
    }

    fn take_preface<'a>(&mut self, now: u64, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let missing = (PREFACE_BYTES - self.preface.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(missing);
        self.preface.extend_from_slice(head);
        if missing > 0
            && let Ok(preface) = self.preface.as_slice().try_into()
        {
            Preface::from_bytes(preface).and_then(|found| found.expect(PREFACE)).map_err(wrong)?;
            while self.client.poll_output().is_some() {}
            self.client.handle(Instant::from_nanos(now), ClientInput::Connected);
        }
        Ok(rest)
    }

    fn pump(&mut self, out: &mut Vec<u8>, io: &mut Option<&mut Exchange>) -> Result<()> {
        while let Some(output) = self.client.poll_output() {
            match output {
                ClientOutput::Send(message) => send(&message, out),
                ClientOutput::Event(event) => self.on_event(event, io)?,
                ClientOutput::Connect { .. } => {}
                ClientOutput::Disconnect if self.closing => {}
                ClientOutput::Disconnect => {
                    let what = "a session could not go on at its server";
                    return Err(Failure::Refused(what.to_owned()));
                }
            }
        }
        Ok(())
    }

    fn on_event(&mut self, event: ClientEvent, io: &mut Option<&mut Exchange>) -> Result<()> {
        let (tag, answer) = match event {
            ClientEvent::Done { request, outcome } => {
                let tag = self.requests.take(request.0)?;
                self.check_outcome(tag, &outcome)?;
                (tag, Answer::Written)
            }
            ClientEvent::ReadDone { read, result, .. } => match result {
                ReadResult::Value { value, .. } => (self.reads.take(read.0)?, Answer::Value(value)),
                other => return Err(wrong(format!("Accord: a read returned {other:?}"))),
            },
            ClientEvent::Watching { watch, .. } => (self.watches.take(watch.0)?, Answer::Watching),
            ClientEvent::Watch { .. } => {
                if let Some(io) = io {
                    io.events += 1;
                }
                return Ok(());
            }
            ClientEvent::SessionOpened { .. } | ClientEvent::Closed { .. } => return Ok(()),
            other => return Err(Failure::Refused(format!("{other:?}"))),
        };
        if let Some(io) = io {
            io.answers.push((tag, answer));
        }
        Ok(())
    }

    fn check_outcome(&mut self, tag: u64, outcome: &Outcome) -> Result<()> {
        let ensuring = self.ensuring.iter().position(|ensuring| *ensuring == tag);
        if let Some(at) = ensuring {
            self.ensuring.swap_remove(at);
        }
        match outcome {
            Outcome::Txn(TxnOutcome::Committed { .. }) => Ok(()),
            Outcome::Txn(TxnOutcome::Aborted { error: StepError::Exists, .. })
                if ensuring.is_some() =>
            {
                Ok(())
            }
            other => Err(wrong(format!("Accord: a write was answered with {other:?}"))),
        }
    }

    fn submit(
        &mut self,
        now: Instant,
        tag: u64,
        steps: impl IntoIterator<Item = Step>,
    ) -> Result<()> {
        self.txn.then.extend(steps);
        let submitted = self.client.submit(now, &self.txn);
        self.txn.clear();
        self.requests.push(submitted.map_err(wrong)?.0, tag);
        Ok(())
    }
}

fn send(message: &ClientMessage, out: &mut Vec<u8>) {
    write_message(out, |bytes| {
        let mut writer = Writer::from(std::mem::take(bytes));
        encode_client_into(message, &mut writer);
        *bytes = writer.into_vec();
    });
}

fn write(key: Bytes, value: Bytes, flags: Flags) -> Step {
    Step::Write { key, value, offset: 0, flags }
}

const FRESH: Flags = Flags::CREATE.with(Flags::EXCLUSIVE);

impl Connection for AccordConnection {
    const ORDERED: bool = true;

    fn is_ready(&self) -> bool {
        self.client.is_ready()
    }

    fn ask(&mut self, now: u64, tag: u64, ask: Ask, out: &mut Vec<u8>) -> Result<()> {
        let now = Instant::from_nanos(now);
        match ask {
            Ask::Ensure { key, value } => {
                self.ensuring.push(tag);
                self.submit(now, tag, [write(key, value, FRESH)])?;
            }
            Ask::Write { key, value } => {
                self.submit(now, tag, [write(key, value, Flags::REPLACE)])?;
            }
            Ask::Create { key, value } => self.submit(now, tag, [write(key, value, FRESH)])?,
            Ask::Remove { key } => self.submit(now, tag, [Step::Delete { key }])?,
            Ask::Transact { writes, fresh } => {
                let flags = if fresh { FRESH } else { Flags::REPLACE };
                let steps = writes.into_iter().map(|(key, value)| write(key, value, flags));
                self.submit(now, tag, steps)?;
            }
            Ask::Read { key, linearizable } => {
                let query = ReadQuery::Get { key, offset: 0, length_max: u64::MAX };
                let consistency = match linearizable {
                    true => Consistency::Linearizable,
                    false => Consistency::Local,
                };
                let read = self.client.read(now, query, consistency).map_err(wrong)?;
                self.reads.push(read.0, tag);
            }
            Ask::Watch { key } => {
                let filter = WatchFilter::Key(key);
                let watch = self.client.watch(now, filter, EventMask::ALL, true, None);
                self.watches.push(watch.map_err(wrong)?.0, tag);
            }
        }
        self.pump(out, &mut None)
    }

    fn receive(&mut self, now: u64, bytes: &[u8], io: &mut Exchange) -> Result<()> {
        let bytes = self.take_preface(now, bytes)?;
        self.frames.push(Bytes::copy_from_slice(bytes));
        let mut out = std::mem::take(&mut io.out);
        let mut io = Some(io);
        while let Some(payload) = self.frames.next_message().map_err(wrong)? {
            let message = decode_server(&payload).map_err(wrong)?;
            self.client.handle(Instant::from_nanos(now), ClientInput::Message(message));
            self.pump(&mut out, &mut io)?;
        }
        // The first message of all follows the preface, which is not a message.
        self.pump(&mut out, &mut io)?;
        if let Some(io) = io {
            io.out = out;
        }
        Ok(())
    }

    fn tick(&mut self, now: u64, out: &mut Vec<u8>) -> Result<()> {
        let now = Instant::from_nanos(now);
        if self.client.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.client.handle(now, ClientInput::Timer);
            self.pump(out, &mut None)?;
        }
        Ok(())
    }

    fn close(&mut self, now: u64, out: &mut Vec<u8>) {
        self.closing = true;
        self.client.close(Instant::from_nanos(now));
        // Whatever is said at the end changes nothing any more.
        let _ = self.pump(out, &mut None);
    }
}

/// The `accord` program.
///
/// # Errors
/// If it is not built.
pub fn program(given: Option<&Path>) -> Result<PathBuf> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("accord"));
    let path = given.map(Path::to_owned).or_else(beside).unwrap_or_else(|| "accord".into());
    match path.is_file() {
        true => path.canonicalize().during(path.display()),
        false => Err(Failure::Missing(format!(
            "there is no {}; build it: cargo build --profile dist -p accord-net --bin accord \
             (or say where it is with --accord)",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_taken_once_and_in_any_order() {
        let mut tags = Tags::new();
        (1..=3).for_each(|number| tags.push(number, number * 10));
        assert_eq!(tags.take(2).unwrap(), 20);
        assert_eq!(tags.take(1).unwrap(), 10);
        assert!(tags.take(2).is_err() && tags.take(9).is_err());
        assert_eq!((tags.take(3).unwrap(), tags.first), (30, 4));
    }

    #[test]
    fn a_missing_program_is_told_with_the_command_that_builds_it() {
        let error = program(Some(Path::new("/nowhere/accord"))).unwrap_err().to_string();
        assert!(error.contains("cargo build --profile dist -p accord-net"), "{error}");
    }
}
