//! What a server reports of itself: one report, as text for people and as JSON for programs.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How a server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The server's number.
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
    /// Commands deferred.
    pub deferred: usize,
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

/// The name of an enum's variant as a label: `TooManyReads(..)` is `too_many_reads`.
pub(crate) fn snake_case(variant: &str) -> String {
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
            "  waiting    {} requests, {} deferred, {} reads",
            self.requests_pending, self.deferred, self.reads_waiting
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
    use accord_core::group::ring::Refusal as RingRefusal;

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
