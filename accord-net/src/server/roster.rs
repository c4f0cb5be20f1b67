//! Which servers the cluster has and where they are: known to each, changed while they run.
//!
//! A server begins with what its configuration lists: version 0. An operator's change makes the
//! next version at one server, which keeps it in its data directory and tells the others over the
//! streams between servers. Wherever two servers meet, the later version counts, so a server that
//! was away learns from the others what was changed meanwhile, also in memory mode. Who votes is
//! another matter: that is ordered (`accord_core::replica::voters`).

use super::driver::Driver;
use super::options::{GroupOptions, ServerOptions};
use super::peers::{self, PeerOutbox};
use crate::env::Env;
use crate::storage::FILE_MODE;
use accord_core::group::MEMBERS_MAX;
use accord_core::ids::NodeId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// The file in a server's data directory.
pub(super) const FILE: &str = "servers.json";
/// Far more than any roster has.
const BYTES_MAX: u64 = 64 << 10;

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
    /// What the options list.
    pub(super) fn configured(options: &ServerOptions) -> Self {
        let mut servers = BTreeMap::new();
        if let Some(streams) = options.group.streams() {
            servers.extend(streams.peers.iter().map(|(node, at)| (node.0, *at)));
            servers.insert(options.node.0, streams.address);
        }
        Self { version: 0, cluster_id: 0, servers }
    }

    /// True if it is of another cluster than the one of this number, as far as can be told. Old
    /// servers that come back after all was restored know of another one's.
    const fn is_foreign(&self, cluster_id: u64) -> bool {
        self.cluster_id != 0 && cluster_id != 0 && self.cluster_id != cluster_id
    }

    /// True if this one counts where the two meet. Configurations may differ, and none is better.
    fn supersedes(&self, other: &Self) -> bool {
        self.version > 0 && (self.version, &self.servers) > (other.version, &other.servers)
    }

    /// The servers with whom `node` is to be in a group; none if it was removed itself.
    pub(super) fn peers_of(&self, node: NodeId) -> BTreeMap<NodeId, SocketAddr> {
        if !self.servers.contains_key(&node.0) {
            return BTreeMap::new();
        }
        let others = self.servers.iter().filter(|(other, _)| **other != node.0);
        others.map(|(other, at)| (NodeId(*other), *at)).collect()
    }

    /// Why it cannot be what the servers of a cluster go by.
    fn fault(&self) -> Option<String> {
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

    fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("a roster has a form in JSON").into()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let roster: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        // A counter of human actions; a larger one is made up, and could not be counted on.
        if roster.version > u64::from(u32::MAX) {
            return Err("its version is beyond all reason".to_owned());
        }
        roster.fault().map_or(Ok(roster), Err)
    }
}

/// The roster in a server's data directory, written beside the server's thread.
#[derive(Debug)]
pub struct RosterFile {
    path: PathBuf,
    found: Option<Roster>,
    /// The version last written, so that an earlier one never overwrites it.
    written: Arc<Mutex<u64>>,
}

impl RosterFile {
    /// Reads what is there.
    ///
    /// # Errors
    /// If the file cannot be read, or what it says makes no sense.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE);
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let found = match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
            Ok(found) if found.len() > BYTES_MAX => return Err(invalid("it is too long".into())),
            Ok(_) => {
                let bytes = std::fs::read(&path)?;
                let text = unsealed(&bytes).ok_or_else(|| {
                    invalid("its checksum does not match its contents".to_owned())
                })?;
                Some(Roster::from_bytes(text).map_err(invalid)?)
            }
        };
        let written = Arc::new(Mutex::new(found.as_ref().map_or(0, |roster| roster.version)));
        Ok(Self { path, found, written })
    }

    /// What an earlier life left.
    pub(super) const fn found(&self) -> Option<&Roster> {
        self.found.as_ref()
    }

    /// Makes a roster durable, and tells when it is.
    fn keep(&self, roster: &Roster) -> oneshot::Receiver<io::Result<()>> {
        let (tell, told) = oneshot::channel();
        let (path, written) = (self.path.clone(), self.written.clone());
        let roster = roster.clone();
        let work = move || {
            let mut version = written.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = match roster.version >= *version {
                true => write(&path, &roster.to_bytes()),
                false => Ok(()),
            };
            match &kept {
                Ok(()) => *version = (*version).max(roster.version),
                Err(error) => {
                    let path = path.display();
                    tracing::error!(%path, %error, "the list of servers cannot be kept");
                }
            }
            // Whoever asked may be gone.
            let _ = tell.send(kept);
        };
        if let Err(error) = std::thread::Builder::new().name("accord-roster".into()).spawn(work) {
            tracing::error!(%error, "the list of servers cannot be kept: no thread");
        }
        told
    }
}

fn sealed(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    bytes.extend_from_slice(format!("\n{:08x}\n", crc32fast::hash(text)).as_bytes());
    bytes
}

fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    (sealed(&bytes[..end]) == bytes).then_some(&bytes[..end])
}

/// Writes the file whole or not at all.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("json.new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(FILE_MODE);
    let mut file = options.open(&unfinished)?;
    file.write_all(&sealed(text))?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    let directory = path.parent().expect("it is a file in a directory");
    std::fs::File::open(directory)?.sync_all()
}

/// A server that begins with what an earlier life knew instead of its configuration.
pub(super) fn resume(options: &mut ServerOptions, found: &Roster) {
    let configured = Roster::configured(options);
    if configured.servers != found.servers {
        tracing::warn!(
            configured = ?configured.servers,
            known = ?found.servers,
            "operators have changed the list of servers: what is known counts, not the \
             configuration; bring it up to date"
        );
    }
    options.group.set_peers(found.peers_of(options.node));
}

/// What an operator changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RosterChange {
    /// A server joins, or moves.
    Add(u32, SocketAddr),
    /// A server that does not vote goes.
    Remove(u32),
}

impl<E: Env> Driver<E> {
    /// The servers as this one knows them.
    pub(super) fn roster(&self) -> Roster {
        self.inner.borrow().roster.clone()
    }

    /// Makes a change of an operator known here, durably, and tells the other servers.
    ///
    /// # Errors
    /// For people: why not. Nothing is changed then.
    pub(super) async fn change_roster(
        self: &Rc<Self>,
        change: RosterChange,
    ) -> Result<Roster, String> {
        let before = self.roster();
        let after = self.changed_roster(&before, change)?;
        if after == before {
            return Ok(before);
        }
        if let Some(file) = &self.roster_file {
            let kept = file.keep(&after).await;
            let kept = kept.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()));
            kept.map_err(|error| format!("{}: {error}", file.path.display()))?;
        }
        if self.roster() != before {
            return Err("the list of servers was changed by somebody else meanwhile; look at \
                        `accord admin members`, then ask again"
                .to_owned());
        }
        self.adopt(after.clone())?;
        Ok(after)
    }

    fn changed_roster(&self, before: &Roster, change: RosterChange) -> Result<Roster, String> {
        if matches!(self.options.group, GroupOptions::Solo) {
            return Err(
                "this server is alone (group = \"solo\"), so there is no list of servers to \
                        change: start it with group = \"ring\", listing itself"
                    .to_owned(),
            );
        }
        // A list without it would take it out of the cluster.
        let unknown = |node: &&NodeId| !before.servers.contains_key(&node.0);
        if before.version == 0
            && let Some(node) = self.options.initial.iter().find(unknown)
        {
            return Err(format!(
                "where server {} is is not known here, since its name is not found: ask another \
                 server, or mend the name",
                node.0
            ));
        }
        let mut after = before.clone();
        match change {
            RosterChange::Add(node, at) => {
                if after.servers.insert(node, at) == Some(at) {
                    return Ok(before.clone());
                }
            }
            RosterChange::Remove(node) => {
                let voters = self.inner.borrow().server.status().replica.voters;
                let node_id = NodeId(node);
                if voters.voters.contains_key(&node_id) || voters.returning.contains(&node_id) {
                    return Err(format!("server {node} votes: demote it first"));
                }
                if after.servers.remove(&node).is_none() {
                    return Ok(before.clone());
                }
            }
        }
        after.version += 1;
        after.cluster_id = self.cluster_id();
        after.fault().map_or(Ok(after), Err)
    }

    /// The name of another server has this address now. False: it is known, or operators have
    /// changed the list, and names count no more.
    ///
    /// # Errors
    /// For people: why it cannot be there.
    pub(super) fn relocate(self: &Rc<Self>, node: NodeId, at: SocketAddr) -> Result<bool, String> {
        let mut roster = self.roster();
        if roster.version > 0 || roster.servers.insert(node.0, at) == Some(at) {
            return Ok(false);
        }
        if let Some(fault) = roster.fault() {
            return Err(fault);
        }
        self.adopt(roster).map(|()| true)
    }

    /// Another server says which servers there are.
    pub(super) fn on_roster(self: &Rc<Self>, from: NodeId, message: &[u8]) -> Result<(), String> {
        let theirs = Roster::from_bytes(message)?;
        let mut ours = self.roster();
        let cluster_id = self.cluster_id();
        if theirs.is_foreign(cluster_id) {
            tracing::warn!(%from, "it is a server of another cluster, with a list of its own");
            return Ok(());
        }
        if ours.is_foreign(cluster_id) {
            // From before this server joined.
            ours.version = 0;
        }
        if theirs.supersedes(&ours) {
            if let Some(file) = &self.roster_file {
                // If it fails, the others tell again after the next start.
                drop(file.keep(&theirs));
            }
            return self.adopt(theirs);
        }
        if ours.supersedes(&theirs) {
            let peer = self.inner.borrow().peers.get(&from).cloned();
            match (peer, theirs.servers.get(&from.0)) {
                (Some(peer), _) => peer.push_roster(ours.to_bytes()),
                // It was removed, or not added yet, and hears so where it says that it is.
                (None, Some(at)) => self.tell_once(from, *at, &ours),
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// The number of the cluster; 0 as long as this server knows of none.
    fn cluster_id(&self) -> u64 {
        self.inner.borrow().server.status().replica.voters.cluster.0
    }

    /// Tells a server that is none of the cluster's which there are.
    fn tell_once(self: &Rc<Self>, node: NodeId, at: SocketAddr, roster: &Roster) {
        let Some(streams) = self.options.group.streams() else { return };
        let outbox = Rc::new(PeerOutbox::new(node, at, self.options.net.peer_bytes_max));
        outbox.push_roster(roster.to_bytes());
        outbox.close();
        self.env.spawn(peers::dial(self.clone(), outbox, streams.key));
    }

    /// Goes by another roster from now on.
    fn adopt(self: &Rc<Self>, roster: Roster) -> Result<(), String> {
        let Some(streams) = self.options.group.streams() else { return Ok(()) };
        let inner = &mut *self.inner.borrow_mut();
        let peers = roster.peers_of(self.options.node);
        inner.group.set_peers(self.env.now(), &peers).map_err(|error| error.to_string())?;
        tracing::info!(version = roster.version, servers = ?roster.servers, "servers changed");
        inner.roster = roster;
        // Those who go are told as well.
        inner.tell_roster();
        inner.peers.retain(|node, outbox| {
            let stays = peers.get(node) == Some(&outbox.address());
            if !stays {
                outbox.close();
            }
            stays
        });
        for (node, at) in peers {
            if inner.peers.contains_key(&node) {
                continue;
            }
            let outbox = Rc::new(PeerOutbox::new(node, at, self.options.net.peer_bytes_max));
            outbox.push_roster(inner.roster.to_bytes());
            inner.peers.insert(node, outbox.clone());
            self.env.spawn(peers::dial(self.clone(), outbox, streams.key));
        }
        self.turn.notify_one();
        Ok(())
    }
}

impl super::driver::Inner {
    /// Tells all servers which there are.
    pub(super) fn tell_roster(&self) {
        let message = self.roster.to_bytes();
        self.peers.values().for_each(|peer| peer.push_roster(message.clone()));
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

    #[test]
    fn a_kept_roster_is_found_and_a_damaged_one_refused() {
        let dir = std::env::temp_dir().join(format!("accord-roster-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("there is a place for it");
        let file = RosterFile::open(&dir).expect("nothing is there");
        assert_eq!(file.found(), None);
        let (older, newer) = (roster(1, &[(1, "127.0.0.1:1")]), roster(2, &[(2, "127.0.0.1:2")]));
        file.keep(&newer).blocking_recv().expect("it ends").expect("it is kept");
        file.keep(&older).blocking_recv().expect("it ends").expect("nothing is to do");
        assert_eq!(RosterFile::open(&dir).expect("it is intact").found(), Some(&newer));
        let path = dir.join(FILE);
        let mut bytes = std::fs::read(&path).expect("it is there");
        bytes[3] ^= 1;
        std::fs::write(&path, bytes).expect("it can be written");
        assert!(RosterFile::open(&dir).is_err());
        std::fs::remove_dir_all(&dir).expect("it is ours");
    }
}
