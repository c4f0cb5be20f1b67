//! Every bound of the replicated state, in one place.
//!
//! A bound decides what a command does (it is carried out or refused), so all replicas of a cluster
//! must have the same [`Limits`]: their fingerprint starts the state's digest and stands in every
//! snapshot, and a server with other limits is found out at the first comparison. Simulations draw
//! tiny values, so that every bound is hit. Read [`crate::state`] next for what is bounded.

use crate::wire::{Encode, Writer};
use xxhash_rust::xxh3::xxh3_64;

/// The most steps in one branch of a transaction that any configuration allows (as in the first
/// Accord), and the most comparisons in its guard.
pub const STEPS_MAX: usize = 65_535;

/// The bounds of the replicated state. The same on every server of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest key of a record, and the longest path of a znode, in bytes.
    pub key_bytes_max: u32,
    /// The largest value of a record, and the largest data of a znode, in bytes, however it comes
    /// about (a write far behind the end fills the gap with zeros, so this also bounds what one
    /// short command can allocate).
    pub value_bytes_max: u64,
    /// Keys and values together, in bytes, over the whole store. Paths and data of all znodes may
    /// be as many again.
    pub store_bytes_max: u64,
    /// The largest encoded command, in bytes.
    pub command_bytes_max: u64,
    /// Steps in one branch of a transaction, and comparisons in its guard; steps of one operation
    /// on the tree, and questions in one; at most [`STEPS_MAX`].
    pub steps_max: u32,
    /// Bytes that the results of one transaction may carry (values read, pages listed), and the
    /// answers to a question about the tree.
    pub result_bytes_max: u64,
    /// Entries on one page of a list or of the members.
    pub page_entries_max: u32,
    /// Bytes on one page of a list. A page has at least one entry, even if it is larger.
    pub page_bytes_max: u64,
    /// Sessions open at once.
    pub sessions_max: u32,
    /// Ephemeral records, and as many ephemeral znodes, that one session may own: what its end
    /// deletes in one command.
    pub ephemerals_max: u32,
    /// Entries of the access control list of one znode.
    pub acl_entries_max: u32,
    /// Whether the hard limits of quotas on the tree are enforced; if not, what is there is counted
    /// all the same.
    pub quota_enforced: bool,
    /// Outcomes recorded for one session, that is, requests that ran and are not yet acknowledged.
    pub outcomes_max: u32,
    /// Bytes of recorded results for one session at which further requests are refused. One outcome
    /// may overshoot it, by at most `result_bytes_max`.
    pub outcome_bytes_max: u64,
    /// The shortest session timeout, in milliseconds; shorter wishes are raised to it.
    pub timeout_ms_min: u32,
    /// The longest session timeout, in milliseconds; longer wishes are lowered to it.
    pub timeout_ms_max: u32,
}

impl Default for Limits {
    /// What a server uses unless its operator says otherwise.
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            key_bytes_max: 4096,
            value_bytes_max: 64 * MIB,
            store_bytes_max: 1 << 40,
            command_bytes_max: 65 * MIB,
            steps_max: STEPS_MAX as u32,
            result_bytes_max: 65 * MIB,
            page_entries_max: 10_000,
            page_bytes_max: MIB,
            sessions_max: 100_000,
            ephemerals_max: 10_000,
            acl_entries_max: 1000,
            quota_enforced: false,
            outcomes_max: 10_000,
            outcome_bytes_max: 4 * MIB,
            timeout_ms_min: 100,
            timeout_ms_max: 3_600_000,
        }
    }
}

impl Limits {
    /// Limits so small that a short run meets every one of them.
    pub fn tiny() -> Self {
        Self {
            key_bytes_max: 24,
            value_bytes_max: 64,
            store_bytes_max: 1024,
            command_bytes_max: 512,
            steps_max: 8,
            result_bytes_max: 128,
            page_entries_max: 3,
            page_bytes_max: 64,
            sessions_max: 4,
            ephemerals_max: 2,
            acl_entries_max: 3,
            quota_enforced: true,
            outcomes_max: 3,
            outcome_bytes_max: 160,
            timeout_ms_min: 10,
            timeout_ms_max: 1000,
        }
    }

    /// A number that differs between different limits; it starts the digest of a state.
    pub fn fingerprint(&self) -> u64 {
        xxh3_64(&self.to_bytes())
    }

    /// The session timeout granted to a client that asks for `timeout_ms`.
    pub fn grant_timeout_ms(&self, timeout_ms: u32) -> u32 {
        timeout_ms.max(self.timeout_ms_min).min(self.timeout_ms_max)
    }

    /// Asserts that the limits fit each other.
    ///
    /// # Panics
    /// If they do not: an operator's limits are to be checked where they are read.
    pub fn check(&self) {
        assert!(self.steps_max as usize <= STEPS_MAX, "steps_max is at most {STEPS_MAX}");
        assert!(self.steps_max >= 1, "a transaction needs a step");
        assert!(self.page_entries_max >= 1, "a page has at least one entry");
        assert!(self.sessions_max >= 1, "a state without sessions takes no requests");
        assert!(self.acl_entries_max >= 1, "an access control list has an entry");
        assert!(self.outcomes_max >= 1, "a request that runs leaves an outcome");
        assert!(self.outcome_bytes_max >= 1, "a request that runs leaves an outcome");
        assert!(self.timeout_ms_min <= self.timeout_ms_max, "timeouts: min is above max");
    }
}

impl Encode for Limits {
    fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.key_bytes_max));
        out.varint(self.value_bytes_max);
        out.varint(self.store_bytes_max);
        out.varint(self.command_bytes_max);
        out.varint(u64::from(self.steps_max));
        out.varint(self.result_bytes_max);
        out.varint(u64::from(self.page_entries_max));
        out.varint(self.page_bytes_max);
        out.varint(u64::from(self.sessions_max));
        out.varint(u64::from(self.ephemerals_max));
        out.varint(u64::from(self.acl_entries_max));
        out.bool(self.quota_enforced);
        out.varint(u64::from(self.outcomes_max));
        out.varint(self.outcome_bytes_max);
        out.varint(u64::from(self.timeout_ms_min));
        out.varint(u64::from(self.timeout_ms_max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_is_part_of_the_fingerprint() {
        let base = Limits::default();
        base.check();
        Limits::tiny().check();
        let other = Limits { outcomes_max: 7, ..base.clone() };
        assert_ne!(base.fingerprint(), other.fingerprint());
        assert_ne!(base.fingerprint(), Limits::tiny().fingerprint());
        assert_eq!(base.fingerprint(), Limits::default().fingerprint());
    }

    #[test]
    fn a_timeout_is_brought_within_its_bounds() {
        let limits = Limits::tiny();
        assert_eq!(limits.grant_timeout_ms(0), 10);
        assert_eq!(limits.grant_timeout_ms(500), 500);
        assert_eq!(limits.grant_timeout_ms(u32::MAX), 1000);
    }
}
