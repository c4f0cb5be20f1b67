//! The report of a running server, put together from what its parts know.

use super::driver::Driver;
use super::group::GroupReport;
use super::options::ServerOptions;
use crate::corosync::GroupStatus;
use crate::env::Env;
use crate::operator::roster::Roster;
use crate::operator::status::{CorosyncReport, RingReport, StatusReport, snake_case};
use accord_core::group::ring::{Refusal as RingRefusal, RingStage, RingStatus};
use accord_core::replica::config::Durability;
use accord_core::server::{DisconnectReason, ServerStatus};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

/// How the server is.
pub(super) fn status<E: Env>(driver: &Driver<E>) -> StatusReport {
    let observed = driver.observe();
    let mut report = report(driver.options(), &observed.server, &observed.group);
    report.records = observed.records;
    report.store_bytes = observed.store_bytes;
    report.draining = observed.draining;
    show_roster(&mut report, driver.options(), &observed.roster);
    report
}

fn report(options: &ServerOptions, server: &ServerStatus, group: &GroupReport) -> StatusReport {
    let replica = &server.replica;
    StatusReport {
        node: options.node.0,
        cluster: options.cluster.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: match options.durability {
            Durability::Memory => "memory".to_owned(),
            Durability::Persistent => "persistent".to_owned(),
        },
        group: match group {
            GroupReport::Solo => "solo".to_owned(),
            GroupReport::Ring(..) => "ring".to_owned(),
            GroupReport::Corosync(_) => "corosync".to_owned(),
        },
        primary: server.primary,
        reason: replica.closed.as_ref().map(ToString::to_string),
        draining: false,
        epoch: replica.epoch.map(|epoch| epoch.0),
        synced: replica.synced,
        members: replica.members.iter().map(|node| node.0).collect(),
        servers: BTreeMap::new(),
        servers_version: 0,
        removed: false,
        cluster_id: format!("{:016x}", replica.voters.cluster.0),
        voters: replica.voters.voters.keys().map(|node| node.0).collect(),
        votes: replica.voters.voters.get(&options.node) == Some(&replica.store),
        returning: replica.voters.returning.iter().map(|node| node.0).collect(),
        store: format!("{:016x}", replica.store.0),
        last_index: replica.last.index.0,
        commit_index: replica.commit.0,
        applied_index: server.applied.0,
        log_start: replica.log_start.0,
        checkpoint_index: replica.checkpointed.0,
        revision: server.revision.0,
        digest: format!("{:016x}", server.digest),
        digests: replica
            .digests
            .iter()
            .map(|(index, digest)| (index.0, format!("{digest:016x}")))
            .collect(),
        records: 0,
        store_bytes: 0,
        sessions: server.sessions,
        attached: server.attached,
        conns: server.conns,
        watches: server.watches,
        history_events: server.history_events,
        history_floor: server.history_floor.0,
        requests_pending: server.requests,
        deferred: server.deferred,
        reads_waiting: server.reads,
        proposals_bytes: replica.proposals_bytes,
        refused: by_name(server.refusals.iter()),
        hung_up: by_name(server.disconnects.iter().filter(|(reason, _)| is_fault(**reason))),
        ring: match group {
            GroupReport::Ring(status, strangers) => Some(ring_report(status, *strangers)),
            _ => None,
        },
        corosync: match group {
            GroupReport::Corosync(status) => Some(corosync_report(status)),
            _ => None,
        },
    }
}

/// Adds which servers there are.
fn show_roster(report: &mut StatusReport, options: &ServerOptions, roster: &Roster) {
    let shown = |(node, at): (&u32, &SocketAddr)| (*node, at.to_string());
    report.servers = roster.servers.iter().map(shown).collect();
    report.servers_version = roster.version;
    let listed = options.group.streams().is_some();
    report.removed = listed && !roster.servers.contains_key(&options.node.0);
    if report.removed {
        let why = "it was removed from the cluster; stop it, or let `accord admin add-server` \
                   bring it back";
        report.reason = Some(why.to_owned());
    }
}

fn ring_report(status: &RingStatus, strangers: u64) -> RingReport {
    let counters = &status.counters;
    let count = |refusal: &RingRefusal| {
        (snake_case(&format!("{refusal:?}")), counters.refused_for(*refusal))
    };
    let mut refused: BTreeMap<String, u64> = RingRefusal::ALL.iter().map(count).collect();
    refused.insert("unknown_address".to_owned(), strangers);
    refused.retain(|_, count| *count > 0);
    RingReport {
        stage: match status.stage {
            RingStage::Operational => "operational",
            RingStage::Gathering => "gathering",
            RingStage::Committing => "committing",
            RingStage::Recovering => "recovering",
            RingStage::Left => "left",
        }
        .to_owned(),
        view: status.view.id.to_string(),
        pending_messages: status.pending_messages,
        tokens: counters.tokens,
        token_losses: counters.token_losses,
        views: counters.views,
        packets_sent: counters.packets_sent,
        packets_resent: counters.packets_resent,
        refused,
    }
}

fn corosync_report(GroupStatus { link, machine }: &GroupStatus) -> CorosyncReport {
    CorosyncReport {
        error: link.error.map(|error| error.to_string()),
        stage: machine.stage.to_owned(),
        view: machine.view.map(|view| view.to_string()),
        ring: link.ring.map(|(node, seq)| format!("{node}.{seq:x}")),
        nodes: link.nodes.clone(),
        quorate: link.quorate,
        pending_messages: machine.pending_messages,
        window_chunks: machine.window_chunks,
        held_chunks: machine.held_chunks,
        views: machine.counters.views,
        views_alone: machine.counters.alone,
        chunks: machine.counters.chunks,
        chunk_bytes: machine.counters.chunk_bytes,
        chunks_dropped: machine.counters.dropped,
        losses: link.losses,
        tries_again: link.tries_again,
        refused: by_name(machine.counters.refused.iter()),
    }
}

/// False of the ends that every client's connection comes to in order.
const fn is_fault(reason: DisconnectReason) -> bool {
    match reason {
        DisconnectReason::SessionClosed => false,
        DisconnectReason::SessionExpired
        | DisconnectReason::SessionRefused
        | DisconnectReason::Orphaned
        | DisconnectReason::Replaced
        | DisconnectReason::TooSlow
        | DisconnectReason::Protocol(_)
        | DisconnectReason::TooManyConnections => true,
    }
}

fn by_name<'a, T: fmt::Debug + 'a>(
    counts: impl Iterator<Item = (&'a T, &'a u64)>,
) -> BTreeMap<String, u64> {
    let mut named = BTreeMap::new();
    for (reason, count) in counts {
        *named.entry(snake_case(&format!("{reason:?}"))).or_default() += count;
    }
    named
}
