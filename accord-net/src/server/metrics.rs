//! What a server counts, for Prometheus.
//!
//! Counters that the driver keeps itself are counted where things happen; what the core and the
//! ring know is copied from their status when somebody asks ([`Metrics::observe`]).

use super::status::StatusReport;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;

/// A reason as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    reason: String,
}

impl Reason {
    pub(super) fn of(reason: &str) -> Self {
        Self { reason: reason.to_owned() }
    }
}

/// The counters of one server.
pub struct Metrics {
    registry: Registry,
    pub(super) requests: Counter,
    pub(super) replies: Counter,
    pub(super) reads: Counter,
    pub(super) events: Counter,
    pub(super) views: Counter,
    pub(super) entries_applied: Counter,
    pub(super) request_seconds: Histogram,
    pub(super) multicast_bytes: Histogram,
    pub(super) conn_ends: Family<Reason, Counter>,
    pub(super) prefaces_refused: Family<Reason, Counter>,
    pub(super) peers_refused: Family<Reason, Counter>,
    pub(super) peer_messages_dropped: Counter,
    pub(super) log_syncs: Counter,
    gauges: Gauges,
    refused: Family<Reason, Gauge>,
    hung_up: Family<Reason, Gauge>,
    datagrams_refused: Family<Reason, Gauge>,
    corosync_refused: Family<Reason, Gauge>,
}

/// What is copied from the status.
#[derive(Default)]
struct Gauges {
    primary: Gauge,
    epoch: Gauge,
    view_members: Gauge,
    voters: Gauge,
    last_index: Gauge,
    commit_index: Gauge,
    applied_index: Gauge,
    commit_lag: Gauge,
    revision: Gauge,
    records: Gauge,
    store_bytes: Gauge,
    sessions: Gauge,
    sessions_attached: Gauge,
    conns: Gauge,
    watches: Gauge,
    history_events: Gauge,
    requests_pending: Gauge,
    commands_held: Gauge,
    reads_waiting: Gauge,
    proposals_bytes: Gauge,
    ring_pending_messages: Gauge,
    ring_tokens: Gauge,
    ring_token_losses: Gauge,
    ring_packets_sent: Gauge,
    ring_packets_resent: Gauge,
    corosync_connected: Gauge,
    corosync_quorate: Gauge,
    corosync_pending_messages: Gauge,
    corosync_chunks: Gauge,
    corosync_chunk_bytes: Gauge,
    corosync_chunks_dropped: Gauge,
    corosync_losses: Gauge,
    corosync_tries_again: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("accord"),
            requests: Counter::default(),
            replies: Counter::default(),
            reads: Counter::default(),
            events: Counter::default(),
            views: Counter::default(),
            entries_applied: Counter::default(),
            request_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 18)),
            multicast_bytes: Histogram::new(exponential_buckets(64.0, 4.0, 12)),
            conn_ends: Family::default(),
            prefaces_refused: Family::default(),
            peers_refused: Family::default(),
            peer_messages_dropped: Counter::default(),
            log_syncs: Counter::default(),
            gauges: Gauges::default(),
            refused: Family::default(),
            hung_up: Family::default(),
            datagrams_refused: Family::default(),
            corosync_refused: Family::default(),
        };
        metrics.register_counted();
        metrics.register_copied();
        metrics.register_corosync();
        metrics
    }
}

impl Metrics {
    fn register_counted(&mut self) {
        let registry = &mut self.registry;
        registry.register("requests", "Requests taken from clients", self.requests.clone());
        registry.register("replies", "Outcomes told to clients", self.replies.clone());
        registry.register("reads", "Reads answered", self.reads.clone());
        registry.register("events", "Events told to watches", self.events.clone());
        registry.register("views", "Views of the group installed", self.views.clone());
        let applied = self.entries_applied.clone();
        registry.register("entries_applied", "Log entries applied", applied);
        let seconds = self.request_seconds.clone();
        let help = "Time from a request to its outcome, of one request in 16";
        registry.register_with_unit("request", help, Unit::Seconds, seconds);
        let bytes = self.multicast_bytes.clone();
        let help =
            "Size of the messages given to the group: batches of commands and acknowledgements";
        registry.register_with_unit("multicast", help, Unit::Bytes, bytes);
        let ends = self.conn_ends.clone();
        registry.register("connection_ends", "Connections of clients ended, by reason", ends);
        let refused = self.prefaces_refused.clone();
        let help = "Connections that ended before they had said what for, by reason";
        registry.register("prefaces_refused", help, refused);
        let refused = self.peers_refused.clone();
        let help = "Streams that were no server's of this cluster, by reason";
        registry.register("peers_refused", help, refused);
        let dropped = self.peer_messages_dropped.clone();
        let help = "Transfer messages dropped because too much waited";
        registry.register("peer_messages_dropped", help, dropped);
        let help = "Times that the log was synced: all records that waited share one";
        registry.register("log_syncs", help, self.log_syncs.clone());
    }

    fn register_copied(&mut self) {
        let registry = &mut self.registry;
        let g = &self.gauges;
        for (name, help, gauge) in [
            ("primary", "1 if this server is in the primary component", &g.primary),
            ("epoch", "The open epoch, or 0", &g.epoch),
            ("view_members", "Members of the present view", &g.view_members),
            ("voters", "Servers that vote", &g.voters),
            ("last_index", "The end of the log", &g.last_index),
            ("commit_index", "Known to be committed", &g.commit_index),
            ("applied_index", "Applied", &g.applied_index),
            ("commit_lag", "Entries in the log that are not known to be committed", &g.commit_lag),
            ("revision", "The revision of the state", &g.revision),
            ("records", "Records in the store", &g.records),
            ("store_bytes", "Bytes of all keys and values", &g.store_bytes),
            ("sessions", "Sessions in the cluster", &g.sessions),
            ("sessions_attached", "Sessions attached here", &g.sessions_attached),
            ("connections", "Connections of clients", &g.conns),
            ("watches", "Watches set here", &g.watches),
            ("history_events", "Events kept for watches that resume", &g.history_events),
            ("requests_pending", "Requests taken and not answered", &g.requests_pending),
            ("commands_held", "Commands held back", &g.commands_held),
            ("reads_waiting", "Reads that wait", &g.reads_waiting),
            ("proposals_bytes", "Bytes of commands that wait for commitment", &g.proposals_bytes),
            (
                "ring_pending_messages",
                "Messages not yet sent by the ring",
                &g.ring_pending_messages,
            ),
            ("ring_tokens", "Visits of the token since the start", &g.ring_tokens),
            ("ring_token_losses", "Tokens lost since the start", &g.ring_token_losses),
            ("ring_packets_sent", "Numbered datagrams made since the start", &g.ring_packets_sent),
            (
                "ring_packets_resent",
                "Numbered datagrams sent again since the start",
                &g.ring_packets_resent,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        let help = "Requests, reads and watches turned away since the start, by reason";
        registry.register("refused", help, self.refused.clone());
        let help = "Connections that the server hung up on since the start, by reason";
        registry.register("hung_up", help, self.hung_up.clone());
        let help = "Datagrams ignored since the start, by reason";
        registry.register("datagrams_refused", help, self.datagrams_refused.clone());
    }

    fn register_corosync(&mut self) {
        let registry = &mut self.registry;
        let g = &self.gauges;
        for (name, help, gauge) in [
            ("connected", "1 while there is a link to the daemon", &g.corosync_connected),
            ("quorate", "1 while Corosync's own quorum counts a majority", &g.corosync_quorate),
            ("pending_messages", "Messages not handed to it", &g.corosync_pending_messages),
            ("chunks", "Messages handed to it since the start", &g.corosync_chunks),
            ("chunk_bytes", "Bytes handed to it since the start", &g.corosync_chunk_bytes),
            ("chunks_dropped", "Dropped at the ends of views", &g.corosync_chunks_dropped),
            ("losses", "How often the daemon went away", &g.corosync_losses),
            ("tries_again", "How often it asked to try again", &g.corosync_tries_again),
        ] {
            registry.register(format!("corosync_{name}"), help, gauge.clone());
        }
        let help = "Messages of the group over Corosync not used since the start, by reason";
        registry.register("corosync_refused", help, self.corosync_refused.clone());
    }

    /// Copies what the status knows.
    pub(super) fn observe(&self, status: &StatusReport) {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let g = &self.gauges;
        for (gauge, value) in [
            (&g.primary, u64::from(status.primary)),
            (&g.epoch, status.epoch.unwrap_or(0)),
            (&g.view_members, status.members.len() as u64),
            (&g.voters, status.voters.len() as u64),
            (&g.last_index, status.last_index),
            (&g.commit_index, status.commit_index),
            (&g.applied_index, status.applied_index),
            (&g.commit_lag, status.last_index.saturating_sub(status.commit_index)),
            (&g.revision, status.revision),
            (&g.records, status.records as u64),
            (&g.store_bytes, status.store_bytes),
            (&g.sessions, status.sessions as u64),
            (&g.sessions_attached, status.attached as u64),
            (&g.conns, status.conns as u64),
            (&g.watches, status.watches as u64),
            (&g.history_events, status.history_events as u64),
            (&g.requests_pending, status.requests_pending as u64),
            (&g.commands_held, status.held as u64),
            (&g.reads_waiting, status.reads_waiting as u64),
            (&g.proposals_bytes, status.proposals_bytes as u64),
        ] {
            set(gauge, value);
        }
        if let Some(ring) = &status.ring {
            set(&g.ring_pending_messages, ring.pending_messages as u64);
            set(&g.ring_tokens, ring.tokens);
            set(&g.ring_token_losses, ring.token_losses);
            set(&g.ring_packets_sent, ring.packets_sent);
            set(&g.ring_packets_resent, ring.packets_resent);
            for (reason, count) in &ring.refused {
                set(&self.datagrams_refused.get_or_create(&Reason::of(reason)), *count);
            }
        }
        if let Some(corosync) = &status.corosync {
            set(&g.corosync_connected, u64::from(corosync.error.is_none()));
            set(&g.corosync_quorate, u64::from(corosync.quorate == Some(true)));
            set(&g.corosync_pending_messages, corosync.pending_messages as u64);
            set(&g.corosync_chunks, corosync.chunks);
            set(&g.corosync_chunk_bytes, corosync.chunk_bytes);
            set(&g.corosync_chunks_dropped, corosync.chunks_dropped);
            set(&g.corosync_losses, corosync.losses);
            set(&g.corosync_tries_again, corosync.tries_again);
            for (reason, count) in &corosync.refused {
                set(&self.corosync_refused.get_or_create(&Reason::of(reason)), *count);
            }
        }
        for (reason, count) in &status.refused {
            set(&self.refused.get_or_create(&Reason::of(reason)), *count);
        }
        for (reason, count) in &status.hung_up {
            set(&self.hung_up.get_or_create(&Reason::of(reason)), *count);
        }
    }

    /// The metrics in the text format of OpenMetrics.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all that is written to it");
        text
    }
}
