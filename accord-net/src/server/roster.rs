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
use crate::operator::roster::Roster;
use accord_core::ids::NodeId;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

/// The list that a configuration gives: version 0.
pub(super) fn configured(options: &ServerOptions) -> Roster {
    let mut servers = BTreeMap::new();
    if let Some(streams) = options.group.streams() {
        servers.extend(streams.peers.iter().map(|(node, at)| (node.0, *at)));
        servers.insert(options.node.0, streams.address);
    }
    Roster { version: 0, cluster_id: 0, servers }
}

/// A server that begins with what an earlier life knew instead of its configuration.
pub(super) fn resume(options: &mut ServerOptions, found: &Roster) {
    let listed = configured(options);
    if listed.servers != found.servers {
        tracing::warn!(
            configured = ?listed.servers,
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
            kept.map_err(|error| format!("{}: {error}", file.path().display()))?;
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
