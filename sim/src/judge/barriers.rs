//! A linearizable read is answered on the strength of a barrier that was sent after the read came
//! in, and that a majority of the voters was delivered before the answer.
//!
//! Judged by what the world sees pass: the read on its way in, the frames with a barrier on their
//! way out and at those who are delivered them, the answer on its way out. Whether a read that
//! broke this rule showed too old a state is a matter of luck; here it is wrong all the same.

use accord_core::ids::{ConnId, Epoch, NodeId};
use accord_core::replica::voters::VoterSet;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use xxhash_rust::xxh3::xxh3_64;

/// Barriers of a server that are remembered.
const BARRIERS_MAX: usize = 1024;

/// The reads and barriers of all servers.
#[derive(Debug, Default)]
pub struct Barriers {
    servers: BTreeMap<u32, Server>,
}

#[derive(Debug, Default)]
struct Server {
    /// Barriers sent by this process, and those that were forgotten.
    sent: VecDeque<Sent>,
    forgotten: u64,
    waiting: BTreeMap<(ConnId, u64), Waiting>,
}

#[derive(Debug)]
struct Sent {
    /// Of the frame. Two frames of a sender may be equal; then each counts for both.
    hash: u64,
    delivered_to: BTreeSet<u32>,
}

/// A read that is not answered.
#[derive(Debug)]
struct Waiting {
    /// Barriers that had been sent when it came.
    sent_before: u64,
    voters: VoterSet,
    epoch: Option<Epoch>,
}

impl Server {
    fn count(&self) -> u64 {
        self.forgotten + self.sent.len() as u64
    }
}

impl Barriers {
    /// The process is gone, with its reads and barriers.
    pub fn on_stop(&mut self, node: u32) {
        self.servers.remove(&node);
    }

    /// A server is handed a linearizable read, while these are the latest voters in its log and
    /// this is the open epoch.
    pub fn on_read(
        &mut self,
        node: u32,
        read: (ConnId, u64),
        voters: &VoterSet,
        epoch: Option<Epoch>,
    ) {
        let server = self.servers.entry(node).or_default();
        let waiting = Waiting { sent_before: server.count(), voters: voters.clone(), epoch };
        server.waiting.insert(read, waiting);
    }

    /// A server sends a frame with a barrier.
    pub fn on_sent(&mut self, node: u32, payload: &Bytes) {
        let server = self.servers.entry(node).or_default();
        let hash = xxh3_64(payload);
        server.sent.push_back(Sent { hash, delivered_to: BTreeSet::new() });
        if server.sent.len() > BARRIERS_MAX {
            server.sent.pop_front();
            server.forgotten += 1;
        }
    }

    /// A frame with a barrier is delivered to `node`.
    pub fn on_delivered(&mut self, node: u32, from: u32, payload: &Bytes) {
        let Some(server) = self.servers.get_mut(&from) else { return };
        let hash = xxh3_64(payload);
        for sent in server.sent.iter_mut().filter(|sent| sent.hash == hash) {
            sent.delivered_to.insert(node);
        }
    }

    /// A read is refused.
    pub fn on_refused(&mut self, node: u32, conn: ConnId, read: u64) {
        if let Some(server) = self.servers.get_mut(&node) {
            server.waiting.remove(&(conn, read));
        }
    }

    /// A read is answered, while these are the latest voters in the server's log and this is the
    /// open epoch. Returns whether it is another one than when the read came.
    ///
    /// # Errors
    /// If no barrier was sent after it came that a majority has been delivered.
    pub fn on_answered(
        &mut self,
        node: u32,
        (conn, read): (ConnId, u64),
        voters: &VoterSet,
        epoch: Option<Epoch>,
    ) -> Result<bool, String> {
        let Some(server) = self.servers.get_mut(&node) else { return Ok(false) };
        let Some(waiting) = server.waiting.remove(&(conn, read)) else { return Ok(false) };
        let old = waiting.sent_before.saturating_sub(server.forgotten) as usize;
        if old >= server.sent.len() {
            return Err(format!(
                "n{node} answers read {read} of {conn}, and sent no barrier since"
            ));
        }
        // Between the two sets there may have been another, one voter apart.
        let changed = usize::from(waiting.voters != *voters);
        let quorum = waiting.voters.quorum().min(voters.quorum()).saturating_sub(changed).max(1);
        let votes = |node: u32| {
            let node = NodeId(node);
            voters.voters.contains_key(&node) || waiting.voters.voters.contains_key(&node)
        };
        let seen = |sent: &Sent| sent.delivered_to.iter().filter(|node| votes(**node)).count();
        let most = server.sent.iter().skip(old).map(seen).max().unwrap_or_default();
        if most >= quorum {
            return Ok(waiting.epoch != epoch);
        }
        Err(format!(
            "n{node} answers read {read} of {conn}; a barrier sent since was delivered to {most} \
             voters at most, not to {quorum}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_core::ids::{ClusterId, StoreId};

    fn voters(count: u32) -> VoterSet {
        let voters = (1..=count).map(|node| (NodeId(node), StoreId(1))).collect();
        VoterSet { cluster: ClusterId(1), voters, ..VoterSet::default() }
    }

    #[test]
    fn a_barrier_counts_if_it_was_sent_after_the_read_and_seen_by_a_majority() {
        let frame = |number: u8| Bytes::copy_from_slice(&[number]);
        let (conn, set) = (ConnId(1), voters(3));
        let mut barriers = Barriers::default();
        let answer = |barriers: &mut Barriers| barriers.on_answered(1, (conn, 7), &set, None);
        barriers.on_sent(1, &frame(1));
        (1..=3).for_each(|node| barriers.on_delivered(node, 1, &frame(1)));
        barriers.on_read(1, (conn, 7), &voters(3), None);
        assert!(answer(&mut barriers).is_err(), "it was sent before");
        barriers.on_read(1, (conn, 7), &voters(3), None);
        barriers.on_sent(1, &frame(2));
        barriers.on_delivered(1, 1, &frame(2));
        assert!(answer(&mut barriers).is_err(), "nobody else has it");
        barriers.on_read(1, (conn, 7), &voters(3), None);
        barriers.on_sent(1, &frame(3));
        barriers.on_delivered(4, 1, &frame(3));
        barriers.on_delivered(1, 1, &frame(3));
        barriers.on_delivered(2, 1, &frame(3));
        assert_eq!(answer(&mut barriers), Ok(false));
    }
}
