//! A run as data: who did what when, every message from send to receipt, and what was wrong
//! meanwhile. A picture is drawn from it ([`crate::report::page`]).
//!
//! It is filled by the hooks that tell the story ([`crate::world::trace`]) and by those that send
//! ([`crate::world::env`]), only if it was asked for, and changes nothing that happens. Bounded: a
//! longer run loses the oldest, since a violation is at the end, and says how much.

use crate::plan::Fault;
use crate::world::clock::WorldTime;
use crate::world::who::Actor;
use std::collections::VecDeque;

/// The most events that are kept.
const EVENTS_MAX: usize = 100_000;
/// The most messages of clients and of servers beside the ring that are kept.
const MESSAGES_MAX: usize = 100_000;
/// The most datagrams of the ring that are kept: its tokens go around all the time.
const DATAGRAMS_MAX: usize = 40_000;
/// The longest text, in characters.
const TEXT_CHARS_MAX: usize = 240;

/// The sorts of events and messages, by which a reader chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sort {
    /// A property does not hold.
    Violation,
    /// Something goes wrong or ends going wrong.
    Fault,
    /// A process starts or dies, is paused or goes on.
    Process,
    /// A view of the group.
    View,
    /// A server is primary in an epoch, or no longer; voters change.
    Epoch,
    /// An entry is applied for the first time anywhere.
    Commit,
    /// A server gives the group a message to order.
    Submit,
    /// The group delivers a message to a server.
    Deliver,
    /// A server writes, or its disk has written.
    Disk,
    /// Anything else that a server does.
    Server,
    /// A client asks.
    Ask,
    /// A client is told.
    Told,
    /// A client's life and its connection.
    Life,
    /// A message between client and server.
    Client,
    /// A message between servers, beside the group.
    Peer,
    /// A datagram of the ring.
    Ring,
}

impl Sort {
    /// Every sort, in the order in which they are offered.
    pub const ALL: [Self; 16] = [
        Self::Violation,
        Self::Fault,
        Self::Process,
        Self::View,
        Self::Epoch,
        Self::Commit,
        Self::Submit,
        Self::Deliver,
        Self::Disk,
        Self::Server,
        Self::Ask,
        Self::Told,
        Self::Life,
        Self::Client,
        Self::Peer,
        Self::Ring,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Violation => "violation",
            Self::Fault => "fault",
            Self::Process => "process",
            Self::View => "view",
            Self::Epoch => "epoch",
            Self::Commit => "commit",
            Self::Submit => "submit",
            Self::Deliver => "deliver",
            Self::Disk => "disk",
            Self::Server => "server",
            Self::Ask => "client asks",
            Self::Told => "client is told",
            Self::Life => "client's life",
            Self::Client => "client messages",
            Self::Peer => "peer messages",
            Self::Ring => "ring datagrams",
        }
    }

    /// The sort of a line of the story. `None`: it speaks of a message, which is recorded as such.
    fn of(who: Actor, line: &str) -> Option<Self> {
        let begins = |starts: &[&str]| starts.iter().any(|start| line.starts_with(start));
        Some(match who {
            Actor::World if begins(&["VIOLATION"]) => Self::Violation,
            Actor::World if begins(&["voters"]) => Self::Epoch,
            Actor::World => Self::Fault,
            Actor::Client(_) if begins(&["<- "]) => return None,
            Actor::Client(_) if begins(&["is told"]) => Self::Told,
            Actor::Client(_) if begins(&["is ", "begins a", "closes"]) => Self::Life,
            Actor::Client(_) => Self::Ask,
            Actor::Server(_) if begins(&["starts", "dies", "is paused", "goes on", "finds"]) => {
                Self::Process
            }
            Actor::Server(_) if begins(&["view"]) => Self::View,
            Actor::Server(_) if begins(&["open", "is primary", "voters"]) => Self::Epoch,
            Actor::Server(_) if begins(&["commits"]) => Self::Commit,
            Actor::Server(_) if begins(&["<= view"]) => return None,
            Actor::Server(_) if begins(&["<= "]) => Self::Deliver,
            Actor::Server(_) if begins(&["=> "]) => Self::Submit,
            Actor::Server(_) if begins(&["-> Persist", "<- Stored", "<- StoreFailed"]) => {
                Self::Disk
            }
            Actor::Server(_) if names_an_end(line) => return None,
            Actor::Server(_) => Self::Server,
        })
    }
}

/// True for `-> n2 ...` and `<- c17 ...`: something sent to or received from somebody.
fn names_an_end(line: &str) -> bool {
    let rest = line.strip_prefix("-> ").or_else(|| line.strip_prefix("<- "));
    let name = rest.and_then(|rest| rest.strip_prefix(['n', 'c']));
    name.is_some_and(|name| name.starts_with(|first: char| first.is_ascii_digit()))
}

/// Something that happened at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The time in the world.
    pub at: WorldTime,
    /// The server or client at which it happened.
    pub who: Actor,
    /// What sort it is.
    pub sort: Sort,
    /// What, in words.
    pub text: String,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When it was sent.
    pub sent: WorldTime,
    /// When it arrives; `None`: never.
    pub arrives: Option<WorldTime>,
    /// From whom.
    pub from: Actor,
    /// To whom.
    pub to: Actor,
    /// What sort it is.
    pub sort: Sort,
    /// What it says.
    pub text: String,
}

/// A fault of the plan in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spell {
    /// Its number in the plan.
    pub number: usize,
    /// When it began.
    pub from: WorldTime,
    /// When it ended; `None`: it was over at once or outlived the run.
    pub to: Option<WorldTime>,
    /// What it is.
    pub fault: Fault,
}

/// What was recorded of a run.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Events, in order.
    pub events: VecDeque<Told>,
    /// Messages of clients and between servers beside the ring, by when they were sent.
    pub messages: VecDeque<Message>,
    /// The ring's datagrams, by when they were sent.
    pub datagrams: VecDeque<Message>,
    /// Faults, by when they began.
    pub faults: Vec<Spell>,
    /// Events, messages and datagrams that were too many.
    pub left_out: u64,
}

impl Recording {
    /// A line of the story.
    pub fn tell(&mut self, at: WorldTime, who: Actor, line: String) {
        let Some(sort) = Sort::of(who, &line) else { return };
        let told = Told { at, who, sort, text: cut(line) };
        self.left_out += push(&mut self.events, told, EVENTS_MAX);
    }

    /// A message is sent from the first of `ends` to the second.
    pub fn message(
        &mut self,
        sort: Sort,
        sent: WorldTime,
        arrives: Option<WorldTime>,
        (from, to): (Actor, Actor),
        text: String,
    ) {
        let message = Message { sent, arrives, from, to, sort, text: cut(text) };
        self.left_out += match sort {
            Sort::Ring => push(&mut self.datagrams, message, DATAGRAMS_MAX),
            _ => push(&mut self.messages, message, MESSAGES_MAX),
        };
    }

    /// A fault of the plan begins.
    pub fn fault_begins(&mut self, now: WorldTime, number: usize, fault: &Fault) {
        self.faults.push(Spell { number, from: now, to: None, fault: fault.clone() });
    }

    /// A fault of the plan ends.
    pub fn fault_ends(&mut self, now: WorldTime, number: usize) {
        let open = self.faults.iter_mut().rfind(|spell| spell.number == number);
        if let Some(spell) = open {
            spell.to = Some(now);
        }
    }
}

/// Adds an item; returns how many old ones had to go.
fn push<T>(items: &mut VecDeque<T>, item: T, most: usize) -> u64 {
    let full = items.len() >= most;
    if full {
        items.pop_front();
    }
    items.push_back(item);
    u64::from(full)
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_and_received_is_no_event() {
        let server = Actor::Server(1);
        for line in ["-> n2 Ack", "<- c17 connects", "<= view v3 [n1]"] {
            assert_eq!(Sort::of(server, line), None, "{line}");
        }
        assert_eq!(Sort::of(server, "-> Persist { ticket: 1 }"), Some(Sort::Disk));
        assert_eq!(Sort::of(server, "<- Operator"), Some(Sort::Server));
        assert_eq!(Sort::of(Actor::Client(1), "is told Done"), Some(Sort::Told));
    }

    #[test]
    fn the_oldest_goes_when_there_is_too_much() {
        let mut items = VecDeque::new();
        assert_eq!((0..5).map(|item| push(&mut items, item, 3)).sum::<u64>(), 2);
        assert_eq!(items, [2, 3, 4]);
        assert_eq!(cut("x".repeat(1000)).len(), TEXT_CHARS_MAX + 3);
    }
}
