//! Which servers the cluster has and where they are: known to each, changed while they run.
//!
//! A server begins with what its configuration lists: version 0. An operator's change makes the
//! next version at one server, which keeps it in its data directory and tells the others over the
//! streams between servers. Wherever two servers meet, the later version counts, so a server that
//! was away learns from the others what was changed meanwhile, also in memory mode. Who votes is
//! another matter: that is ordered (`accord_core::replica::voters`).

use super::driver::Driver;
use super::options::GroupOptions;
use super::peer_outbox::PeerOutbox;
use super::peers;
use crate::env::Env;
use crate::operator::roster::Roster;
use accord_core::ids::NodeId;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

/// What an operator changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RosterChange {
    /// A server joins, or moves.
    Add(u32, SocketAddr),
    /// A server that does not vote goes.
    Remove(u32),
}

/// Makes a change of an operator known here, durably, and tells the other servers.
///
/// # Errors
/// For people: why not. Nothing is changed then.
pub(super) async fn change<E: Env>(
    driver: &Rc<Driver<E>>,
    change: RosterChange,
) -> Result<Roster, String> {
    let before = driver.roster();
    let after = changed(driver, &before, change)?;
    if after == before {
        return Ok(before);
    }
    if let Some(file) = driver.roster_file() {
        let kept = file.keep(&after).await;
        let kept = kept.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()));
        kept.map_err(|error| format!("{}: {error}", file.path().display()))?;
    }
    if driver.roster() != before {
        return Err("the list of servers was changed by somebody else meanwhile; look at \
                    `accord admin members`, then ask again"
            .to_owned());
    }
    adopt(driver, after.clone())?;
    Ok(after)
}

fn changed<E: Env>(
    driver: &Driver<E>,
    before: &Roster,
    change: RosterChange,
) -> Result<Roster, String> {
    if matches!(driver.options().group, GroupOptions::Solo) {
        return Err("this server is alone (group = \"solo\"), so there is no list of servers to \
                    change: start it with group = \"ring\", listing itself"
            .to_owned());
    }
    // A list without it would take it out of the cluster.
    let unknown = |node: &&NodeId| !before.servers.contains_key(&node.0);
    if before.version == 0
        && let Some(node) = driver.options().initial.iter().find(unknown)
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
            let voters = driver.replica_status().voters;
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
    after.cluster_id = driver.cluster_id();
    after.fault().map_or(Ok(after), Err)
}

/// The name of another server has this address now. False: it is known, or operators have
/// changed the list, and names count no more.
///
/// # Errors
/// For people: why it cannot be there.
pub(super) fn relocate<E: Env>(
    driver: &Rc<Driver<E>>,
    node: NodeId,
    at: SocketAddr,
) -> Result<bool, String> {
    let mut roster = driver.roster();
    if roster.version > 0 || roster.servers.insert(node.0, at) == Some(at) {
        return Ok(false);
    }
    if let Some(fault) = roster.fault() {
        return Err(fault);
    }
    adopt(driver, roster).map(|()| true)
}

/// Another server says which servers there are.
pub(super) fn on_roster<E: Env>(
    driver: &Rc<Driver<E>>,
    from: NodeId,
    message: &[u8],
) -> Result<(), String> {
    let theirs = Roster::from_bytes(message)?;
    let mut ours = driver.roster();
    let cluster_id = driver.cluster_id();
    if theirs.is_foreign(cluster_id) {
        tracing::warn!(%from, "it is a server of another cluster, with a list of its own");
        return Ok(());
    }
    if ours.is_foreign(cluster_id) {
        // From before this server joined.
        ours.version = 0;
    }
    if theirs.supersedes(&ours) {
        if let Some(file) = driver.roster_file() {
            // If it fails, the others tell again after the next start.
            drop(file.keep(&theirs));
        }
        return adopt(driver, theirs);
    }
    if ours.supersedes(&theirs) {
        let peer = driver.peer(from);
        match (peer, theirs.servers.get(&from.0)) {
            (Some(peer), _) => peer.push_roster(ours.to_bytes()),
            // It was removed, or not added yet, and hears so where it says that it is.
            (None, Some(at)) => tell_once(driver, from, *at, &ours),
            (None, None) => {}
        }
    }
    Ok(())
}

/// Tells a server that is none of the cluster's which there are.
fn tell_once<E: Env>(driver: &Rc<Driver<E>>, node: NodeId, at: SocketAddr, roster: &Roster) {
    let Some(streams) = driver.options().group.streams() else { return };
    let outbox = Rc::new(PeerOutbox::new(node, at, driver.options().net.peer_bytes_max));
    outbox.push_roster(roster.to_bytes());
    outbox.close();
    driver.env().spawn(peers::dial(driver.clone(), outbox, streams.key));
}

/// Goes by another roster from now on.
fn adopt<E: Env>(driver: &Rc<Driver<E>>, roster: Roster) -> Result<(), String> {
    let Some(streams) = driver.options().group.streams() else { return Ok(()) };
    for outbox in driver.set_roster(roster)? {
        driver.env().spawn(peers::dial(driver.clone(), outbox, streams.key));
    }
    Ok(())
}
