//! A read with a place shows the requests of its session in front of it and none behind, and is
//! answered between their answers.
//!
//! Judged by the order in which one client is told of its own requests and reads. What was sent
//! over a lost connection is sent again, requests first: then a read stands behind its requests,
//! and perhaps behind later ones as well.

use super::Judgement;
use accord_core::client::{Cause, ClientEvent, ReadId};
use accord_core::ids::RequestId;
use std::collections::{BTreeSet, VecDeque};

/// What one life has under way, in its order.
#[derive(Debug, Default)]
pub struct SessionOrder {
    /// Requests that have no outcome.
    requests: BTreeSet<RequestId>,
    /// Reads with a place that are not answered, in the order in which they were begun.
    reads: VecDeque<Placed>,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    read: ReadId,
    after: RequestId,
    /// It was sent in its place, over the connection that stands.
    in_place: bool,
}

impl SessionOrder {
    /// A request was submitted.
    pub fn on_submitted(&mut self, request: RequestId) {
        self.requests.insert(request);
    }

    /// A read was begun behind the requests up to `after`. `in_place`: a connection carries it at
    /// once.
    pub fn on_begun(&mut self, read: ReadId, after: RequestId, in_place: bool) {
        self.reads.push_back(Placed { read, after, in_place });
    }

    /// The client is told something.
    ///
    /// # Errors
    /// If it is out of order.
    pub fn on_event(&mut self, event: &ClientEvent) -> Judgement {
        match event {
            ClientEvent::Suspended => {
                self.reads.iter_mut().for_each(|placed| placed.in_place = false);
                Ok(())
            }
            ClientEvent::Done { request, .. } => {
                self.requests.remove(request);
                let passed = |placed: &&Placed| placed.in_place && placed.after < *request;
                match self.reads.iter().find(passed) {
                    None => Ok(()),
                    Some(Placed { read: ReadId(read), after, .. }) => {
                        Err(format!("{request} is answered before read {read} behind {after}"))
                    }
                }
            }
            ClientEvent::Failed { request, .. } | ClientEvent::Unknown { request, .. } => {
                self.requests.remove(request);
                Ok(())
            }
            ClientEvent::ReadDone { read, .. }
            | ClientEvent::ReadFailed { read, cause: Cause::Refused(_) } => {
                let done = matches!(event, ClientEvent::ReadDone { .. });
                self.on_ended(*read, done)
            }
            ClientEvent::ReadFailed { read, .. } => {
                self.reads.retain(|placed| placed.read != *read);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_ended(&mut self, read: ReadId, done: bool) -> Judgement {
        let Some(at) = self.reads.iter().position(|placed| placed.read == read) else {
            return Ok(());
        };
        let placed = self.reads.remove(at).expect("it was just found");
        let first = self.requests.first().copied();
        if let Some(first) = first.filter(|first| done && *first <= placed.after) {
            return Err(format!(
                "read {} behind {} is answered before {first}",
                read.0, placed.after
            ));
        }
        let overtaken = self.reads.iter().take(at).find(|other| other.in_place);
        match overtaken.filter(|_| placed.in_place) {
            None => Ok(()),
            Some(other) => Err(format!("read {} is answered before read {}", read.0, other.read.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_core::ids::Revision;
    use accord_core::state::{Outcome, ReadResult, RequestError};

    fn done(request: u64) -> ClientEvent {
        let outcome = Outcome::Refused(RequestError::WindowFull);
        ClientEvent::Done { request: RequestId(request), outcome }
    }

    fn read_done(read: u64) -> ClientEvent {
        let result = ReadResult::NotFound;
        ClientEvent::ReadDone { read: ReadId(read), revision: Revision(1), result }
    }

    fn pipeline() -> SessionOrder {
        let mut order = SessionOrder::default();
        for number in 1..=3 {
            order.on_submitted(RequestId(number));
            order.on_begun(ReadId(number), RequestId(number), true);
        }
        order
    }

    #[test]
    fn only_the_order_in_which_all_was_asked_is_accepted() {
        let mut order = pipeline();
        for number in 1..=3 {
            assert_eq!(order.on_event(&done(number)), Ok(()));
            assert_eq!(order.on_event(&read_done(number)), Ok(()));
        }
        assert!(pipeline().on_event(&read_done(1)).is_err(), "before its request");
        let mut order = pipeline();
        assert_eq!(order.on_event(&done(1)), Ok(()));
        assert!(order.on_event(&done(2)).is_err(), "a later request before the read");
        let mut order = SessionOrder::default();
        order.on_begun(ReadId(1), RequestId(0), true);
        order.on_begun(ReadId(2), RequestId(0), true);
        assert!(order.on_event(&read_done(2)).is_err(), "a later read before it");
    }

    #[test]
    fn after_a_lost_connection_a_read_stands_behind_its_requests_alone() {
        let mut order = pipeline();
        assert_eq!(order.on_event(&ClientEvent::Suspended), Ok(()));
        assert_eq!(order.on_event(&done(1)), Ok(()));
        assert_eq!(order.on_event(&done(2)), Ok(()));
        assert_eq!(order.on_event(&read_done(2)), Ok(()));
        assert!(order.on_event(&read_done(3)).is_err());
    }
}
