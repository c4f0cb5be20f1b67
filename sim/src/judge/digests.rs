//! In the end all states are equal: by the chain over what was applied, and by their whole content.

use super::Judgement;
use accord_core::ids::{Index, NodeId};

/// One server's state in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalState {
    /// The server.
    pub node: NodeId,
    /// The last entry applied.
    pub applied: Index,
    /// The chain over everything applied.
    pub digest: u64,
    /// Over the whole content.
    pub digest_full: u64,
}

/// Judges the states of all servers.
///
/// # Errors
/// If two differ.
pub fn check(states: &[FinalState]) -> Judgement {
    let Some(first) = states.first() else { return Ok(()) };
    for state in states {
        let same = FinalState { node: first.node, ..*state };
        if same != *first {
            return Err(format!("the states differ: {first:?} and {state:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_difference_is_refused() {
        let state = |node, applied, digest, digest_full| FinalState {
            node: NodeId(node),
            applied: Index(applied),
            digest,
            digest_full,
        };
        assert_eq!(check(&[state(1, 5, 6, 7), state(2, 5, 6, 7)]), Ok(()));
        assert!(check(&[state(1, 5, 6, 7), state(2, 4, 6, 7)]).is_err());
        assert!(check(&[state(1, 5, 6, 7), state(2, 5, 5, 7)]).is_err());
        assert!(check(&[state(1, 5, 6, 7), state(2, 5, 6, 6)]).is_err());
    }
}
