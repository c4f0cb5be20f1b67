//! Proposals: this server's commands, from acceptance to commitment.
//!
//! Commands are packed into the buffer that will be multicast, and kept until their batch is
//! committed. If the epoch ends first, the batch is sent again in the next one under the same
//! number, so it is applied at most once. Invariant: batches are sent in the order of their numbers
//! in every epoch, so a number that follows a committed one was not skipped.

use super::io::{Body, Entry, Origin};
use super::message::{FRAME_HEAD_BYTES, Frame, FrameBatch, new_buffer};
use super::{Phase, Replica};
use crate::ids::Stamp;
use crate::wire::Writer;
use alloc::collections::VecDeque;
use bytes::Bytes;

/// Why a command was not taken. Nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Too much waits already: try again when something was committed.
    #[error("too many commands wait to be committed; try again later")]
    Full,
    /// The command is larger than this server takes.
    #[error("a command of {bytes} bytes exceeds the limit of {bytes_max}")]
    TooLarge {
        /// Bytes of the command.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The server has stopped itself.
    #[error("this server has stopped")]
    Halted,
}

#[derive(Clone, Debug)]
struct Sent {
    number: u64,
    stamp: Stamp,
    commands: Bytes,
}

/// Own commands that are not committed.
#[derive(Clone, Debug, Default)]
pub(super) struct Proposals {
    /// Packed and never sent; the last one takes more commands.
    packed: VecDeque<Writer>,
    /// Sent, not committed, numbers rising by one.
    sent: VecDeque<Sent>,
    /// How many of `sent` were sent in the present epoch.
    sent_now: usize,
    /// The number of the last batch.
    number: u64,
    /// Bytes in both queues.
    bytes: usize,
}

impl Proposals {
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, command: &[u8], batch_bytes_max: usize) {
        let room = |buffer: &Writer| buffer.len() - FRAME_HEAD_BYTES + command.len();
        if self.packed.back().is_none_or(|buffer| room(buffer) > batch_bytes_max) {
            self.packed.push_back(new_buffer(command.len().max(1024)));
        }
        let buffer = self.packed.back_mut().expect("just made sure");
        let before = buffer.len();
        buffer.bytes(command);
        self.bytes += buffer.len() - before;
    }

    /// True if there is a batch to send in this epoch.
    pub(super) fn has_next(&self) -> bool {
        self.sent_now < self.sent.len() || !self.packed.is_empty()
    }

    /// The next batch to send in this epoch.
    ///
    /// One that is sent again keeps its time: its commands were proposed then.
    pub(super) fn next_batch(&mut self, salt: u64, clock: Stamp) -> Option<(FrameBatch, Writer)> {
        let (number, stamp, buffer) = match self.sent.get(self.sent_now) {
            Some(again) => {
                let mut buffer = new_buffer(again.commands.len());
                buffer.raw(&again.commands);
                (again.number, again.stamp, buffer)
            }
            None => (self.number + 1, clock, self.packed.pop_front()?),
        };
        Some((FrameBatch { salt, number, stamp, commands: Bytes::new() }, buffer))
    }

    /// Remembers what was just sent; the commands stay in the message's memory.
    pub(super) fn on_sent(&mut self, frame: &Frame, payload: &Bytes) {
        let Some(batch) = &frame.batch else { return };
        if batch.number > self.number {
            self.number = batch.number;
            let commands = Frame::commands_in(payload);
            self.sent.push_back(Sent { number: batch.number, stamp: batch.stamp, commands });
        }
        self.sent_now += 1;
    }

    /// A batch of this start of this server is committed, with all before it.
    pub(super) fn on_committed(&mut self, number: u64) {
        while self.sent.front().is_some_and(|sent| sent.number <= number) {
            let sent = self.sent.pop_front().expect("just seen");
            self.bytes -= sent.commands.len();
            self.sent_now = self.sent_now.saturating_sub(1);
        }
    }

    pub(super) fn on_epoch_end(&mut self) {
        self.sent_now = 0;
    }

    pub(super) fn check(&self) {
        assert!(self.sent_now <= self.sent.len(), "only what was sent is in flight");
        let ends = self.sent.front().zip(self.sent.back());
        assert!(
            ends.is_none_or(|(first, last)| {
                last.number == self.number
                    && last.number - first.number + 1 == self.sent.len() as u64
            }),
            "numbers of sent batches rise by one"
        );
        assert!(self.bytes > 0 || (self.sent.is_empty() && self.packed.is_empty()));
    }
}

impl Replica {
    /// Takes a command to be ordered and committed. It is kept until then, over any change of
    /// views, and goes out with others when the actions are polled.
    ///
    /// # Errors
    /// [`ProposeError`]; nothing was taken then.
    pub fn propose(&mut self, command: &[u8]) -> Result<(), ProposeError> {
        let limits = &self.config.limits;
        if self.halted {
            return Err(ProposeError::Halted);
        }
        let (bytes, bytes_max) = (command.len(), limits.command_bytes_max);
        if bytes > bytes_max {
            return Err(ProposeError::TooLarge { bytes, bytes_max });
        }
        let waiting = self.proposals.bytes();
        if waiting > 0 && waiting + bytes > limits.proposals_bytes_max {
            return Err(ProposeError::Full);
        }
        self.proposals.push(command, limits.batch_bytes_max);
        Ok(())
    }

    /// Notes what the server's clock shows: the time of the batches that are sent from now on.
    pub fn note_clock(&mut self, clock: Stamp) {
        self.clock = clock.min(Stamp::MAX);
    }

    /// Tells this start's batches from those of an earlier one.
    pub const fn salt(&self) -> u64 {
        self.salt
    }

    /// Notes that the entry is applied; empties a batch that was applied before.
    pub(super) fn skip_if_repeated(&mut self, entry: &mut Entry) {
        let Body::Batch { origin, salt, number, commands, .. } = &mut entry.body else { return };
        let last = self.origins.get(origin).copied();
        if last.is_some_and(|last| last.salt == *salt && last.number >= *number) {
            *commands = Bytes::new();
            return;
        }
        self.origins.insert(*origin, Origin { salt: *salt, number: *number });
        if *origin == self.config.node && *salt == self.salt {
            self.proposals.on_committed(*number);
        }
    }

    /// The state was replaced: own batches that it contains are settled.
    pub(super) fn settle_installed_batches(&mut self) {
        if let Some(origin) = self.origins.get(&self.config.node)
            && origin.salt == self.salt
        {
            self.proposals.on_committed(origin.number);
        }
        if let Phase::Open(epoch) = &self.phase {
            assert!(!epoch.is_synced(), "a state is installed only while older entries lack");
        }
    }
}
