//! A linearizable read shows at least everything that any client was told before the read began; a
//! local one at least what its own session was told.
//!
//! Cheaper and sharper than the search for a linearization: the revision alone gives a stale read
//! away, whatever was read.

use super::Judgement;
use accord_core::ids::Revision;
use accord_core::protocol::Consistency;
use std::collections::BTreeMap;

/// What was told to whom.
#[derive(Debug, Default)]
pub struct FreshReads {
    told: Revision,
    told_to: BTreeMap<u64, Revision>,
}

impl FreshReads {
    /// `life` (a client, until it is replaced) was told something that is true at `revision`.
    pub fn on_told(&mut self, life: u64, revision: Revision) {
        self.told = self.told.max(revision);
        let own = self.told_to.entry(life).or_default();
        *own = (*own).max(revision);
    }

    /// The latest revision that `life` was told.
    pub fn told_to(&self, life: u64) -> Revision {
        self.told_to.get(&life).copied().unwrap_or_default()
    }

    /// The revision that a read of `life` beginning now must reach.
    pub fn floor(&self, life: u64, consistency: Consistency) -> Revision {
        match consistency {
            Consistency::Linearizable => self.told,
            Consistency::Local => self.told_to(life),
        }
    }

    /// A read that had to reach `floor` shows `revision`.
    ///
    /// # Errors
    /// If it does not reach it.
    pub fn on_read(&mut self, life: u64, floor: Revision, revision: Revision) -> Judgement {
        self.on_told(life, revision);
        if revision >= floor {
            return Ok(());
        }
        Err(format!("a read of client {life} shows {revision}, {floor} was told before it began"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_older_than_what_was_told_is_refused() {
        let mut reads = FreshReads::default();
        reads.on_told(1, Revision(5));
        assert_eq!(reads.floor(2, Consistency::Linearizable), Revision(5));
        assert_eq!(reads.floor(2, Consistency::Local), Revision(0));
        assert_eq!(reads.floor(1, Consistency::Local), Revision(5));
        assert!(reads.on_read(2, Revision(5), Revision(4)).is_err());
        assert_eq!(reads.on_read(2, Revision(5), Revision(5)), Ok(()));
    }
}
