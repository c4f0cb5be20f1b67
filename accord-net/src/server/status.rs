//! How a server is, for people, scripts and monitors: one report, as text and as JSON.

use super::driver::Driver;
use super::group::GroupReport;
use super::options::ServerOptions;
use super::roster::Roster;
use crate::corosync::GroupStatus;
use crate::env::Env;
use accord_core::group::ring::{Refusal as RingRefusal, RingStage, RingStatus};
use accord_core::replica::config::Durability;
use accord_core::server::{DisconnectReason, ServerStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

impl<E: Env> Driver<E> {
    /// How the server is.
    pub(super) fn status(&self) -> StatusReport {
        let inner = &*self.inner.borrow();
        let mut report =
            StatusReport::new(&self.options, &inner.server.status(), &inner.group.report());
        report.records = inner.server.state().records();
        report.store_bytes = inner.server.state().store_bytes();
        report.draining = self.draining.get();
        report.show_roster(&self.options, &inner.roster);
        report
    }
}

/// How a server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Its number.
    pub node: u32,
    /// The name of its cluster.
    #[serde(default)]
    pub cluster: String,
    /// The release of its program.
    pub version: String,
    /// `memory` or `persistent`.
    pub mode: String,
    /// `solo`, `ring` or `corosync`.
    pub group: String,
    /// True if it serves writes and linearizable reads.
    pub primary: bool,
    /// Why not, otherwise.
    pub reason: Option<String>,
    /// True while it stops, and its clients move to others.
    pub draining: bool,
    /// The open epoch.
    pub epoch: Option<u64>,
    /// True if it has all of the log.
    pub synced: bool,
    /// The servers that it is in a group with, itself included.
    pub members: Vec<u32>,
    /// The servers of the cluster as it knows them, and where.
    #[serde(default)]
    pub servers: BTreeMap<u32, String>,
    /// Counts changes of that list; 0: as its configuration has it.
    #[serde(default)]
    pub servers_version: u64,
    /// True if it was removed from the cluster.
    #[serde(default)]
    pub removed: bool,
    /// The number of the cluster, made when it was formed; zeros: it is not formed.
    #[serde(default)]
    pub cluster_id: String,
    /// The servers that vote.
    pub voters: Vec<u32>,
    /// True if it votes with the memory that it has, and not only with one that it lost.
    #[serde(default)]
    pub votes: bool,
    /// Servers that lost their memory and are to vote again.
    pub returning: Vec<u32>,
    /// The incarnation of its memory.
    pub store: String,
    /// The end of its log.
    pub last_index: u64,
    /// Known to be committed.
    pub commit_index: u64,
    /// Applied.
    pub applied_index: u64,
    /// The first entry that it still has in memory.
    pub log_start: u64,
    /// Its disk has a checkpoint up to here; zero in memory mode.
    pub checkpoint_index: u64,
    /// The revision of its state.
    pub revision: u64,
    /// The digest of its state, to be compared with that of others at the same applied index.
    pub digest: String,
    /// Digests of its state at indices at which all servers take one.
    #[serde(default)]
    pub digests: BTreeMap<u64, String>,
    /// Records in the store.
    pub records: usize,
    /// Bytes of all keys and values.
    pub store_bytes: u64,
    /// Sessions in the cluster.
    pub sessions: usize,
    /// Sessions attached to this server.
    pub attached: usize,
    /// Connections of clients.
    pub conns: usize,
    /// Watches set at this server.
    pub watches: usize,
    /// Events kept for watches that resume.
    pub history_events: usize,
    /// Watches can resume from this revision on.
    pub history_floor: u64,
    /// Requests taken and not answered.
    pub requests_pending: usize,
    /// Commands held back.
    pub held: usize,
    /// Reads that wait.
    pub reads_waiting: usize,
    /// Bytes of commands that wait for commitment.
    pub proposals_bytes: usize,
    /// Turned away since the start, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Connections that it hung up on since the start, by reason; not those whose session was
    /// closed.
    pub hung_up: BTreeMap<String, u64>,
    /// The ring, if that is its group layer.
    pub ring: Option<RingReport>,
    /// The group over Corosync, if that is its group layer.
    #[serde(default)]
    pub corosync: Option<CorosyncReport>,
}

/// How a server's ring is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingReport {
    /// What it is doing.
    pub stage: String,
    /// Its view.
    pub view: String,
    /// Messages not yet sent.
    pub pending_messages: usize,
    /// Visits of the token since the start.
    pub tokens: u64,
    /// Tokens lost since the start.
    pub token_losses: u64,
    /// Views installed since the start.
    pub views: u64,
    /// Numbered datagrams made since the start.
    pub packets_sent: u64,
    /// Numbered datagrams sent again since the start.
    pub packets_resent: u64,
    /// Datagrams ignored since the start, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// How a server's group over Corosync is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorosyncReport {
    /// Why there is no link to the daemon, if there is none.
    pub error: Option<String>,
    /// What the group is doing: `away`, `forming`, `agreed` or `alone`.
    pub stage: String,
    /// Accord's view.
    pub view: Option<String>,
    /// The daemons' ring, as Corosync writes it.
    pub ring: Option<String>,
    /// The daemons in it.
    pub nodes: Vec<u32>,
    /// Whether Corosync's own quorum counts the ring as a majority; none without a provider.
    /// Accord counts its own votes.
    pub quorate: Option<bool>,
    /// Messages not handed to Corosync.
    pub pending_messages: usize,
    /// Messages handed to Corosync and not known to be in the order.
    pub window_chunks: usize,
    /// Messages that came and are held back until they are surely in the order.
    pub held_chunks: usize,
    /// Views shared with others since the start.
    pub views: u64,
    /// Views of itself alone since the start.
    pub views_alone: u64,
    /// Messages handed to Corosync since the start.
    pub chunks: u64,
    /// Bytes of those.
    pub chunk_bytes: u64,
    /// Messages dropped at the ends of views, since some before them may be missing.
    pub chunks_dropped: u64,
    /// How often the daemon went away.
    pub losses: u64,
    /// How often the daemon asked to be asked again.
    pub tries_again: u64,
    /// Messages not used since the start, by reason.
    pub refused: BTreeMap<String, u64>,
}

impl CorosyncReport {
    fn new(GroupStatus { link, machine }: &GroupStatus) -> Self {
        Self {
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
}

impl fmt::Display for CorosyncReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.error {
            return writeln!(f, "  corosync   AWAY: {error}");
        }
        let ring = self.ring.as_deref().unwrap_or("unknown");
        let quorum = match self.quorate {
            Some(true) => "quorate",
            Some(false) => "not quorate",
            None => "without a quorum provider",
        };
        let view = self.view.as_deref().unwrap_or("none");
        writeln!(
            f,
            "  corosync   {}, view {view}, {} views so far; its ring {ring} of nodes {}, {quorum}",
            self.stage,
            self.views,
            list(&self.nodes)
        )
    }
}

impl StatusReport {
    pub(super) fn new(options: &ServerOptions, server: &ServerStatus, group: &GroupReport) -> Self {
        let replica = &server.replica;
        Self {
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
            held: server.held,
            reads_waiting: server.reads,
            proposals_bytes: replica.proposals_bytes,
            refused: by_name(server.refusals.iter()),
            hung_up: by_name(server.disconnects.iter().filter(|(reason, _)| is_fault(**reason))),
            ring: match group {
                GroupReport::Ring(status, strangers) => Some(RingReport::new(status, *strangers)),
                _ => None,
            },
            corosync: match group {
                GroupReport::Corosync(status) => Some(CorosyncReport::new(status)),
                _ => None,
            },
        }
    }
}

impl StatusReport {
    /// Adds which servers there are.
    pub(super) fn show_roster(&mut self, options: &ServerOptions, roster: &Roster) {
        let shown = |(node, at): (&u32, &SocketAddr)| (*node, at.to_string());
        self.servers = roster.servers.iter().map(shown).collect();
        self.servers_version = roster.version;
        let listed = options.group.streams().is_some();
        self.removed = listed && !roster.servers.contains_key(&options.node.0);
        if self.removed {
            let why = "it was removed from the cluster; stop it, or let `accord admin add-server` \
                       bring it back";
            self.reason = Some(why.to_owned());
        }
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

/// The name of an enum's variant as a label: `TooManyReads(..)` is `too_many_reads`.
pub(super) fn snake_case(variant: &str) -> String {
    let name = variant.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    let mut label = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !label.is_empty() {
            label.push('_');
        }
        label.push(c.to_ascii_lowercase());
    }
    label
}

impl RingReport {
    fn new(status: &RingStatus, strangers: u64) -> Self {
        let counters = &status.counters;
        let count = |refusal: &RingRefusal| {
            (snake_case(&format!("{refusal:?}")), counters.refused_for(*refusal))
        };
        let mut refused: BTreeMap<String, u64> = RingRefusal::ALL.iter().map(count).collect();
        refused.insert("unknown_address".to_owned(), strangers);
        refused.retain(|_, count| *count > 0);
        Self {
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
}

impl fmt::Display for StatusReport {
    /// A few lines that a tired operator understands: first whether it serves, and if not, why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.draining, self.primary) {
            (true, _) => "stopping: its clients are moving to other servers".to_owned(),
            (false, true) if self.synced => "serving".to_owned(),
            (false, true) => "catching up with the other servers".to_owned(),
            (false, false) => match &self.reason {
                Some(reason) => format!("NOT SERVING: {reason}"),
                None => "NOT SERVING".to_owned(),
            },
        };
        writeln!(f, "server {}   {state}", self.node)?;
        let epoch = self.epoch.map_or("none".to_owned(), |epoch| epoch.to_string());
        writeln!(
            f,
            "  cluster    voters {}, connected {}, epoch {epoch}{}",
            list(&self.voters),
            list(&self.members),
            if self.returning.is_empty() {
                String::new()
            } else {
                format!(", coming back with an empty memory: {}", list(&self.returning))
            }
        )?;
        writeln!(
            f,
            "  log        committed {} of {}, applied {}, revision {}, digest {}",
            self.commit_index, self.last_index, self.applied_index, self.revision, self.digest
        )?;
        writeln!(
            f,
            "  store      {} records, {} bytes, {} mode",
            self.records, self.store_bytes, self.mode
        )?;
        writeln!(
            f,
            "  clients    {} sessions in the cluster, {} of them here, {} connections, {} watches",
            self.sessions, self.attached, self.conns, self.watches
        )?;
        writeln!(
            f,
            "  waiting    {} requests, {} held back, {} reads",
            self.requests_pending, self.held, self.reads_waiting
        )?;
        if let Some(ring) = &self.ring {
            writeln!(
                f,
                "  ring       {}, view {}, {} views so far, {} tokens lost, {} of {} datagrams sent again",
                ring.stage,
                ring.view,
                ring.views,
                ring.token_losses,
                ring.packets_resent,
                ring.packets_sent
            )?;
        }
        if let Some(corosync) = &self.corosync {
            corosync.fmt(f)?;
        }
        let ring = self.ring.iter().flat_map(|ring| &ring.refused);
        let corosync = self.corosync.iter().flat_map(|corosync| &corosync.refused);
        let group = ring.chain(corosync).filter(|(reason, _)| !is_normal(reason));
        let refused = self.refused.iter().chain(&self.hung_up).chain(group);
        let text: String = refused.map(|(reason, count)| format!(" {reason}={count}")).collect();
        if !text.is_empty() {
            writeln!(f, "  refused   {text}")?;
        }
        Ok(())
    }
}

/// True of what the group ignores whenever its members change, or a datagram comes twice: there is
/// nothing in it for an operator to look at.
fn is_normal(reason: &str) -> bool {
    const RING: [&str; 4] = ["other_ring", "stale", "duplicate_data", "left"];
    const COROSYNC: [&str; 3] = ["late", "hole", "behind"];
    RING.contains(&reason) || COROSYNC.contains(&reason)
}

fn list(nodes: &[u32]) -> String {
    if nodes.is_empty() {
        return "none".to_owned();
    }
    nodes.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_become_labels() {
        for (variant, label) in
            [("Busy", "busy"), ("TooManyReads", "too_many_reads"), ("Protocol(\"x\")", "protocol")]
        {
            assert_eq!(snake_case(variant), label);
        }
    }

    #[test]
    fn what_comes_with_every_change_of_members_is_not_shown_and_the_rest_is() {
        let shown = |refusal: &RingRefusal| !is_normal(&snake_case(&format!("{refusal:?}")));
        let shown: Vec<RingRefusal> = RingRefusal::ALL.into_iter().filter(shown).collect();
        let worth_a_look = [
            RingRefusal::Unauthentic,
            RingRefusal::Malformed,
            RingRefusal::UnknownNode,
            RingRefusal::Misdirected,
            RingRefusal::OwnEcho,
            RingRefusal::DuplicateNode,
            RingRefusal::Beyond,
            RingRefusal::Overloaded,
        ];
        assert_eq!(shown, worth_a_look);
    }
}
