//! The list of a cluster's servers and where the others reach them, as data.
//!
//! Operators see it, servers tell it each other and keep it: `server::roster` says how. A list
//! that makes no sense is never read: [`Roster::from_bytes`] checks it.

use accord_core::group::MEMBERS_MAX;
use accord_core::ids::NodeId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The servers of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// Counts changes. 0: as a configuration lists them.
    pub version: u64,
    /// The number of the cluster in which it was changed; 0: it was not formed yet.
    #[serde(default)]
    pub cluster_id: u64,
    /// Where the others reach each of them.
    pub servers: BTreeMap<u32, SocketAddr>,
}

impl Roster {
    /// True if it is of another cluster than the one of this number, as far as can be told. Old
    /// servers that come back after all was restored know of another one's.
    pub(crate) const fn is_foreign(&self, cluster_id: u64) -> bool {
        self.cluster_id != 0 && cluster_id != 0 && self.cluster_id != cluster_id
    }

    /// True if this one counts where the two meet. Configurations may differ, and none is better.
    pub(crate) fn supersedes(&self, other: &Self) -> bool {
        self.version > 0 && (self.version, &self.servers) > (other.version, &other.servers)
    }

    /// The servers with whom `node` is to be in a group; none if it was removed itself.
    pub(crate) fn peers_of(&self, node: NodeId) -> BTreeMap<NodeId, SocketAddr> {
        if !self.servers.contains_key(&node.0) {
            return BTreeMap::new();
        }
        let others = self.servers.iter().filter(|(other, _)| **other != node.0);
        others.map(|(other, at)| (NodeId(*other), *at)).collect()
    }

    /// Why it cannot be what the servers of a cluster go by.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.servers.is_empty() {
            return Some("the last server cannot be removed".to_owned());
        }
        if self.servers.len() > MEMBERS_MAX {
            return Some(format!("a cluster has at most {MEMBERS_MAX} servers"));
        }
        let mut seen = BTreeMap::new();
        for (node, at) in &self.servers {
            if at.port() == 0 || at.ip().is_unspecified() {
                return Some(format!("{at} is no address by which others reach server {node}"));
            }
            if let Some(other) = seen.insert(*at, *node) {
                return Some(format!("servers {other} and {node} are both at {at}"));
            }
            if seen.keys().any(|other| other.is_ipv4() != at.is_ipv4()) {
                return Some(format!("{at}: all servers have IPv4 addresses, or all IPv6 ones"));
            }
        }
        None
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("a roster has a form in JSON").into()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let roster: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        // A counter of human actions; a larger one is made up, and could not be counted on.
        if roster.version > u64::from(u32::MAX) {
            return Err("its version is beyond all reason".to_owned());
        }
        roster.fault().map_or(Ok(roster), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(version: u64, servers: &[(u32, &str)]) -> Roster {
        let at = |at: &str| at.parse().expect("an address");
        Roster {
            version,
            cluster_id: 0,
            servers: servers.iter().map(|(node, a)| (*node, at(a))).collect(),
        }
    }

    #[test]
    fn the_later_version_counts_and_configurations_do_not() {
        let (one, two) = ([(1, "127.0.0.1:1")], [(1, "127.0.0.1:1"), (2, "127.0.0.1:2")]);
        for (mine, theirs, supersedes) in [
            (roster(0, &two), roster(0, &one), false),
            (roster(1, &one), roster(0, &two), true),
            (roster(2, &one), roster(1, &two), true),
            (roster(1, &two), roster(1, &two), false),
        ] {
            assert_eq!(mine.supersedes(&theirs), supersedes, "{mine:?} {theirs:?}");
        }
        // Two changes at once at two servers: one counts, everywhere the same.
        let (a, b) = (roster(1, &one), roster(1, &two));
        assert_ne!(a.supersedes(&b), b.supersedes(&a));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for servers in [
            &[][..],
            &[(1, "127.0.0.1:0")],
            &[(1, "0.0.0.0:1")],
            &[(1, "127.0.0.1:1"), (2, "127.0.0.1:1")],
            &[(1, "127.0.0.1:1"), (2, "[::1]:1")],
        ] {
            let bytes = roster(1, servers).to_bytes();
            assert!(Roster::from_bytes(&bytes).is_err(), "{servers:?}");
        }
        assert!(Roster::from_bytes(&roster(1 << 40, &[(1, "127.0.0.1:1")]).to_bytes()).is_err());
        assert!(Roster::from_bytes(b"[]").is_err());
    }
}
