//! What happened in a world: a digest over every event, and on request the story in text and as
//! data ([`crate::report::record`]).
//!
//! The digest is how determinism is tested: two runs of a plan must end with equal digests, in
//! every build, process and thread. [`crate::world::digest`] defines what goes into it. The story
//! is for people who look for the cause of a violation. Writing it changes nothing that happens, so
//! a silent run and a told one have equal digests.

use crate::report::record::Recording;
use crate::world::clock::WorldTime;
use crate::world::event_kind::EventKind;
use crate::world::who::Actor;
use std::fmt;
use std::io::Write;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Where the story goes.
pub type Story = Box<dyn Write + Send>;

/// The record of one run.
#[derive(Default)]
pub struct Trace {
    digest: u64,
    events: u64,
    story: Option<Story>,
    /// What a picture is drawn from.
    record: Option<Box<Recording>>,
    /// The first error in writing the story, after which nothing more is written.
    story_error: Option<std::io::Error>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({} events, {:016x})", self.events, self.digest)
    }
}

impl Trace {
    /// A record of nothing so far; the story goes to `story`, if it is told at all.
    pub fn new(story: Option<Story>) -> Self {
        Self { story, ..Self::default() }
    }

    /// From now on, what happens is recorded as well.
    pub fn begin_record(&mut self, record: Recording) {
        self.record = Some(Box::new(record));
    }

    /// The record, if there is one.
    pub const fn record_mut(&mut self) -> Option<&mut Recording> {
        match &mut self.record {
            Some(record) => Some(&mut **record),
            None => None,
        }
    }

    /// Takes the record, if there is one.
    pub fn take_record(&mut self) -> Option<Box<Recording>> {
        self.record.take()
    }

    /// The digest over all events.
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// How many events there were.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// True if the story is told or recorded, so that its words are worth making.
    pub const fn is_told(&self) -> bool {
        self.story.is_some() || self.record.is_some()
    }

    /// Takes an event into the digest. `what` tells the kinds of event apart; `bytes` is its
    /// content.
    pub fn event(&mut self, at: WorldTime, who: Actor, what: EventKind, bytes: &[u8]) {
        self.numbered(at, who, what, 0, bytes);
    }

    /// Takes an event into the digest that has a number besides: a sender, a connection, a ticket.
    pub fn numbered(
        &mut self,
        at: WorldTime,
        who: Actor,
        what: EventKind,
        with: u64,
        bytes: &[u8],
    ) {
        let (kind, number) = match who {
            Actor::World => (0, 0),
            Actor::Server(node) => (1, node),
            Actor::Client(client) => (2, client),
        };
        let mut head = [0; 30];
        head[..8].copy_from_slice(&at.as_nanos().to_le_bytes());
        head[8..12].copy_from_slice(&number.to_le_bytes());
        head[12] = kind;
        head[13] = what as u8;
        head[14..22].copy_from_slice(&with.to_le_bytes());
        head[22..].copy_from_slice(&xxh3_64(bytes).to_le_bytes());
        self.digest = xxh3_64_with_seed(&head, self.digest);
        self.events += 1;
    }

    /// Tells a line of the story, if it is told at all.
    pub fn tell(&mut self, at: WorldTime, who: Actor, line: impl FnOnce() -> String) {
        if !self.is_told() {
            return;
        }
        let line = line();
        if let Some(story) = &mut self.story
            && let Err(error) = writeln!(story, "{at} {who} {line}")
        {
            self.story = None;
            self.story_error = Some(error);
        }
        if let Some(record) = &mut self.record {
            record.tell(at, who, line);
        }
    }

    /// Ends the story.
    ///
    /// # Errors
    /// If some of it could not be written.
    pub fn finish(mut self) -> std::io::Result<()> {
        match (self.story_error, &mut self.story) {
            (Some(error), _) => Err(error),
            (None, Some(story)) => story.flush(),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(events: &[(u64, Actor, EventKind, &[u8])]) -> u64 {
        let mut trace = Trace::new(None);
        for (at, who, what, bytes) in events {
            trace.event(WorldTime::from_nanos(*at), *who, *what, bytes);
        }
        trace.digest()
    }

    #[test]
    fn whatever_differs_shows_in_the_digest() {
        let base = digest(&[
            (1, Actor::Server(1), EventKind::Input, b"a"),
            (2, Actor::Client(1), EventKind::Input, b"b"),
        ]);
        let others = [
            digest(&[
                (1, Actor::Server(1), EventKind::Input, b"a"),
                (3, Actor::Client(1), EventKind::Input, b"b"),
            ]),
            digest(&[
                (1, Actor::Server(1), EventKind::Input, b"a"),
                (2, Actor::Server(1), EventKind::Input, b"b"),
            ]),
            digest(&[
                (1, Actor::Server(1), EventKind::Output, b"a"),
                (2, Actor::Client(1), EventKind::Input, b"b"),
            ]),
            digest(&[
                (1, Actor::Server(1), EventKind::Input, b"c"),
                (2, Actor::Client(1), EventKind::Input, b"b"),
            ]),
            digest(&[
                (2, Actor::Client(1), EventKind::Input, b"b"),
                (1, Actor::Server(1), EventKind::Input, b"a"),
            ]),
            digest(&[(1, Actor::Server(1), EventKind::Input, b"a")]),
        ];
        assert!(others.iter().all(|other| *other != base));
    }
}
