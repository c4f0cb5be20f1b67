//! How many inputs a server is handed before its outputs are polled.
//!
//! A driver in production hands in all that has arrived before it carries out what came of it. A
//! world draws how much that is, up to its option `inputs-per-poll`, and how long a server waits
//! for further inputs: so a view may come between a request and the poll that would have sent it.

use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use accord_core::time::Duration;

/// The longest that a server waits for further inputs, in microseconds.
const WAIT_MICROS_MAX: u64 = 2_000;
/// Tells the stream of turns from the others of a server's process.
const STREAM: u64 = 1 << 32;

/// The turns of one server: an input, perhaps further ones, then a poll.
#[derive(Debug)]
pub struct Turns {
    rng: Rng,
    inputs_max: u32,
    /// Inputs that are still to come before the next poll.
    left: u32,
    /// True while an event on the agenda will end the turn.
    armed: bool,
}

/// What follows an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The outputs are polled.
    Poll,
    /// Further inputs are awaited, until an event that is on the agenda.
    Wait,
    /// Further inputs are awaited: an event is to end that after so long.
    WaitFor(Duration),
}

impl Turns {
    /// The turns of server `id`.
    pub fn new(options: &Options, id: u32) -> Self {
        let rng = Rng::of(options.seed, Concern::Process, STREAM + u64::from(id));
        Self { rng, inputs_max: options.inputs_per_poll, left: 0, armed: false }
    }

    /// What comes next, now that an input was handed in.
    pub fn after_input(&mut self) -> Next {
        if self.inputs_max == 1 {
            return Next::Poll;
        }
        match self.left {
            0 => self.left = self.inputs() - 1,
            _ => self.left -= 1,
        }
        match (self.left, self.armed) {
            (0, _) => Next::Poll,
            (_, true) => Next::Wait,
            (_, false) => {
                self.armed = true;
                let micros = self.rng.log_uniform(1, WAIT_MICROS_MAX);
                Next::WaitFor(Duration::from_micros(micros))
            }
        }
    }

    /// How many inputs come before the next poll: often one.
    pub fn inputs(&mut self) -> u32 {
        if self.inputs_max == 1 || self.rng.percent(40) {
            return 1;
        }
        self.rng.log_uniform(1, u64::from(self.inputs_max)) as u32
    }

    /// True if, of two inputs that are at hand, the second kind comes first.
    pub fn second_first(&mut self) -> bool {
        self.inputs_max > 1 && self.rng.percent(50)
    }

    /// The event came that ends the turn.
    pub fn end(&mut self) {
        (self.left, self.armed) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(inputs_per_poll: u32) -> Turns {
        Turns::new(&Options { inputs_per_poll, ..Options::default() }, 1)
    }

    #[test]
    fn with_one_input_per_poll_each_is_polled() {
        let mut turns = turns(1);
        assert!((0..100).all(|_| turns.after_input() == Next::Poll && turns.inputs() == 1));
    }

    #[test]
    fn turns_are_of_one_input_or_of_several_and_never_of_more_than_the_option_says() {
        let mut turns = turns(8);
        let (mut waited, mut lengths) = (0, [0; 9]);
        for _ in 0..1_000 {
            match turns.after_input() {
                Next::Poll => {
                    lengths[waited + 1] += 1;
                    waited = 0;
                }
                Next::Wait => waited += 1,
                Next::WaitFor(span) => {
                    assert!(span <= Duration::from_micros(WAIT_MICROS_MAX));
                    waited += 1;
                    turns.armed = false;
                }
            }
        }
        assert!(lengths[1] > 100 && lengths[2..].iter().sum::<i32>() > 50, "{lengths:?}");
    }
}
