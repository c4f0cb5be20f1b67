//! An epoch is opened in one view only, and the log has one marker for it.
//!
//! Two views that open one epoch would order different batches under the same number, and comparing
//! logs by epoch and index would take them for equal.

use super::Judgement;
use accord_core::group::ViewId;
use accord_core::ids::{Epoch, Era, Index, NodeId};
use std::collections::BTreeMap;

/// The epochs opened so far.
#[derive(Debug, Default)]
pub struct Epochs {
    opened: BTreeMap<Epoch, (ViewId, NodeId)>,
    markers: BTreeMap<Epoch, Index>,
    era: Era,
}

impl Epochs {
    /// How many epochs were opened.
    pub fn count(&self) -> u64 {
        self.opened.len() as u64
    }

    /// The cluster goes on from `kept`: the markers after it are given up.
    pub fn give_up_after(&mut self, kept: Index) {
        self.markers.retain(|_, index| *index <= kept);
    }

    /// The cluster goes on in this era: none before it is served any more.
    pub fn on_era(&mut self, era: Era) {
        self.era = self.era.max(era);
    }

    /// `node` has opened `epoch` in `view`.
    ///
    /// # Errors
    /// If it was opened in another view, or if it is of an era that was given up.
    pub fn on_opened(&mut self, node: NodeId, epoch: Epoch, view: ViewId) -> Judgement {
        if epoch.era() < self.era {
            let era = self.era;
            return Err(format!("{node} opened {epoch}, and the cluster was recovered to {era}"));
        }
        let (first, by) = *self.opened.entry(epoch).or_insert((view, node));
        if first == view {
            return Ok(());
        }
        Err(format!("{node} opened {epoch} in {view:?}, {by} had opened it in {first:?}"))
    }

    /// The log has the marker of `epoch` at `index`.
    ///
    /// # Errors
    /// If it has another elsewhere, or that of a later epoch before it.
    pub fn on_marker(&mut self, epoch: Epoch, index: Index) -> Judgement {
        let first = *self.markers.entry(epoch).or_insert(index);
        if first != index {
            return Err(format!("{epoch} has a marker at {first} and another at {index}"));
        }
        match self.markers.range(epoch.next()..).find(|(_, later)| **later < index) {
            None => Ok(()),
            Some((later, at)) => {
                Err(format!("the marker of {epoch} at {index} follows that of {later} at {at}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_opened_twice_is_refused() {
        let view = |seq| ViewId { seq, representative: NodeId(1), salt: 0 };
        let mut epochs = Epochs::default();
        assert_eq!(epochs.on_opened(NodeId(1), Epoch(1), view(1)), Ok(()));
        assert_eq!(epochs.on_opened(NodeId(2), Epoch(1), view(1)), Ok(()));
        assert!(epochs.on_opened(NodeId(2), Epoch(1), view(2)).is_err());
        epochs.on_era(Era(1));
        assert!(epochs.on_opened(NodeId(2), Epoch(9), view(9)).is_err(), "given up");
        let next = Epoch::before_first(Era(1)).next();
        assert_eq!(epochs.on_opened(NodeId(2), next, view(9)), Ok(()));
        assert_eq!(epochs.on_marker(Epoch(2), Index(5)), Ok(()));
        assert!(epochs.on_marker(Epoch(2), Index(6)).is_err());
        assert!(epochs.on_marker(Epoch(1), Index(7)).is_err());
    }
}
