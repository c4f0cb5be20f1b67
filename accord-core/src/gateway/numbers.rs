//! Numbers for the requests of clients that number nothing.
//!
//! A front-end whose protocol has no numbers gives them itself, one [`Numbers`] for each attachment
//! of a session. The record of outcomes goes by number: if a number were given twice in a session,
//! the second request would not run, and be answered with the outcome of the first.
//!
//! The last request that ran does not say where to go on. When a connection is cut off, requests of
//! it may be under way at its server, and no other server knows how many: they may still run after
//! the session was attached elsewhere. So numbers never depend on what ran. An attachment has a
//! generation, which no other attachment of the session has and which ascends. It is the upper half
//! of the attachment's numbers, and a count is the lower half. A request of an earlier attachment
//! thus has a lower number than all of this one: it runs before the first of them, or never.

use crate::ids::RequestId;
use alloc::collections::BTreeSet;

/// Gives the requests of one attachment their numbers, and knows which of them are answered.
#[derive(Clone, Debug)]
pub struct Numbers {
    next: u64,
    /// The last number of the attachment.
    last: u64,
    /// Every number below this is answered.
    answered_below: u64,
    /// Numbers that are answered before a lower one is.
    answered: BTreeSet<u64>,
}

impl Numbers {
    /// The numbers of an attachment, by its generation. That of a session's opening is 1.
    pub const fn new(generation: u32) -> Self {
        let base = (generation as u64) << 32;
        let next = base + 1;
        let last = base + u32::MAX as u64;
        Self { next, last, answered_below: next, answered: BTreeSet::new() }
    }

    /// The number of the next request, and below which number all are answered. `None`: the
    /// attachment has no more numbers. The connection is to end then; the next attachment has
    /// numbers of its own.
    pub fn give(&mut self) -> Option<(RequestId, RequestId)> {
        let number = self.next;
        if number > self.last {
            return None;
        }
        self.next += 1;
        Some((RequestId(number), RequestId(self.answered_below)))
    }

    /// The last number given; none yet: one below the first.
    pub const fn given(&self) -> RequestId {
        RequestId(self.next - 1)
    }

    /// A request was answered or refused.
    pub fn note_answer(&mut self, request: RequestId) {
        if request.0 != self.answered_below {
            self.answered.insert(request.0);
            return;
        }
        self.answered_below += 1;
        while self.answered.remove(&self.answered_below) {
            self.answered_below += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_attachments_ascend_and_none_is_given_twice() {
        let mut before = RequestId(0);
        for generation in [1, 2, 3, 1000, u32::MAX] {
            let mut numbers = Numbers::new(generation);
            for _ in 0..3 {
                assert_eq!(numbers.given().max(before), numbers.given());
                let (number, _) = numbers.give().expect("there are more");
                assert!(number > before && number == numbers.given());
                before = number;
            }
        }
        let mut numbers = Numbers { next: (1 << 32) + u64::from(u32::MAX), ..Numbers::new(1) };
        let (last, _) = numbers.give().expect("it is the last");
        assert_eq!(numbers.give(), None);
        assert!(last < Numbers::new(2).given(), "the next attachment's are higher");
    }

    #[test]
    fn what_is_acknowledged_is_answered_whatever_the_order_of_answers() {
        let mut numbers = Numbers::new(1);
        let given: [RequestId; 4] = core::array::from_fn(|_| numbers.give().expect("more").0);
        let acknowledged = |numbers: &Numbers| numbers.clone().give().expect("more").1;
        assert_eq!(acknowledged(&numbers), given[0]);
        numbers.note_answer(given[2]);
        assert_eq!(acknowledged(&numbers), given[0]);
        numbers.note_answer(given[0]);
        assert_eq!(acknowledged(&numbers), given[1]);
        numbers.note_answer(given[1]);
        assert_eq!(acknowledged(&numbers), given[3]);
        numbers.note_answer(given[3]);
        assert_eq!(acknowledged(&numbers), RequestId(given[3].0 + 1));
    }
}
