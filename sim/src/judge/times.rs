//! The time in the order never goes back, and is the same on every server.
//!
//! What a server's state says of the time is compared with what any state said after fewer, as many
//! and more entries: so a server that restored a state, or took another's, is judged like one that
//! applied everything.

use super::Judgement;
use accord_core::ids::{Index, NodeId, Stamp};
use std::collections::BTreeMap;

/// The times that states had after so many entries.
#[derive(Debug, Default)]
pub struct Times {
    shown: BTreeMap<Index, Stamp>,
}

impl Times {
    /// The cluster goes on from `kept`: what came after it is given up.
    pub fn give_up_after(&mut self, kept: Index) {
        self.shown.split_off(&kept.next());
    }

    /// The state of `node` has this time after the entry at `applied`.
    ///
    /// # Errors
    /// If it is not that of other states there, or not between those before and after it.
    pub fn on_state(&mut self, node: NodeId, applied: Index, stamp: Stamp) -> Judgement {
        let before = self.shown.range(..=applied).next_back();
        if let Some((index, earlier)) = before
            && (*earlier > stamp || (*index == applied && *earlier != stamp))
        {
            return Err(format!(
                "{node} has {stamp:?} at {applied}, at {index} it was {earlier:?}"
            ));
        }
        let after = self.shown.range(applied.next()..).next();
        if let Some((index, later)) = after
            && *later < stamp
        {
            return Err(format!("{node} has {stamp:?} at {applied}, at {index} it was {later:?}"));
        }
        self.shown.insert(applied, stamp);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_goes_back_or_differs_is_refused() {
        let mut times = Times::default();
        let (first, second) = (NodeId(1), NodeId(2));
        assert_eq!(times.on_state(first, Index(3), Stamp(30)), Ok(()));
        assert_eq!(times.on_state(first, Index(9), Stamp(50)), Ok(()));
        assert_eq!(times.on_state(second, Index(3), Stamp(30)), Ok(()));
        assert_eq!(times.on_state(second, Index(5), Stamp(50)), Ok(()));
        assert!(times.on_state(second, Index(9), Stamp(51)).is_err(), "another time");
        assert!(times.on_state(first, Index(10), Stamp(49)).is_err(), "back");
        assert!(times.on_state(second, Index(4), Stamp(51)).is_err(), "later than what follows");
        times.give_up_after(Index(4));
        assert_eq!(times.on_state(first, Index(5), Stamp(31)), Ok(()), "of another era");
    }
}
