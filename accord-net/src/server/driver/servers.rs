//! The servers of the cluster as a driver knows them: who is in its group, and the streams to each.

use super::{Driver, Inner};
use crate::env::Env;
use crate::operator::roster::Roster;
use crate::server::options::ServerOptions;
use crate::server::peer_outbox::PeerOutbox;
use crate::server::roster_file::RosterFile;
use accord_core::ids::NodeId;
use std::collections::BTreeMap;
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

impl<E: Env> Driver<E> {
    /// The servers as this one knows them.
    pub(in crate::server) fn roster(&self) -> Roster {
        self.inner.borrow().roster.clone()
    }

    /// Where that is kept, in persistent mode.
    pub(in crate::server) const fn roster_file(&self) -> Option<&RosterFile> {
        self.roster_file.as_ref()
    }

    /// What waits for another server of the cluster.
    pub(in crate::server) fn peer(&self, node: NodeId) -> Option<Rc<PeerOutbox>> {
        self.inner.borrow().peers.get(&node).cloned()
    }

    /// What waits for each of them.
    pub(in crate::server) fn peers(&self) -> Vec<Rc<PeerOutbox>> {
        self.inner.borrow().peers.values().cloned().collect()
    }

    /// Tells all servers which there are.
    pub(in crate::server) fn tell_roster(&self) {
        self.inner.borrow().tell_roster();
    }

    /// Goes by another roster from now on, and tells all servers, also those that are not in it.
    /// Returns the outboxes of servers that are new, or elsewhere: each wants a stream.
    ///
    /// # Errors
    /// For people: why the group cannot have these members. Nothing is changed then.
    pub(in crate::server) fn set_roster(
        &self,
        roster: Roster,
    ) -> Result<Vec<Rc<PeerOutbox>>, String> {
        let inner = &mut *self.inner.borrow_mut();
        let peers = roster.peers_of(self.options.node);
        inner.group.set_peers(self.env.now(), &peers).map_err(|error| error.to_string())?;
        tracing::info!(version = roster.version, servers = ?roster.servers, "servers changed");
        inner.roster = roster;
        // Those that go learn it as well.
        inner.tell_roster();
        inner.peers.retain(|node, outbox| {
            let stays = peers.get(node) == Some(&outbox.address());
            if !stays {
                outbox.close();
            }
            stays
        });
        let mut fresh = Vec::new();
        for (node, at) in peers {
            if inner.peers.contains_key(&node) {
                continue;
            }
            let outbox = Rc::new(PeerOutbox::new(node, at, self.options.net.peer_bytes_max));
            outbox.push_roster(inner.roster.to_bytes());
            inner.peers.insert(node, outbox.clone());
            fresh.push(outbox);
        }
        self.turn.notify_one();
        Ok(fresh)
    }
}

impl Inner {
    /// Tells all servers which there are.
    pub(super) fn tell_roster(&self) {
        let message = self.roster.to_bytes();
        self.peers.values().for_each(|peer| peer.push_roster(message.clone()));
    }
}
