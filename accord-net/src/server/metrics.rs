//! What a server counts, for Prometheus.
//!
//! Counters that the driver keeps itself are counted where things happen; what the core and the
//! ring know is copied from their status when somebody asks ([`Metrics::observe`]). Names follow
//! Prometheus: what only grows is a counter and ends in `_total`, units are in the names, and there
//! are no families of a group layer that the server does not use.

use crate::operator::status::StatusReport;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// Encoded once there is a ring.
    ring_registry: Registry,
    has_ring: AtomicBool,
    /// Encoded once there is a group over Corosync.
    corosync_registry: Registry,
    has_corosync: AtomicBool,
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
    pub(super) log_sync_seconds: Histogram,
    gauges: Gauges,
    copied: Copied,
    refused: Family<Reason, Counter>,
    hung_up: Family<Reason, Counter>,
    datagrams_refused: Family<Reason, Counter>,
    corosync_refused: Family<Reason, Counter>,
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
    commands_deferred: Gauge,
    reads_waiting: Gauge,
    proposals_bytes: Gauge,
    ring_pending_messages: Gauge,
    corosync_connected: Gauge,
    corosync_quorate: Gauge,
    corosync_pending_messages: Gauge,
}

/// What is copied from the status and only grows.
#[derive(Default)]
struct Copied {
    ring_tokens: Counter,
    ring_token_losses: Counter,
    ring_packets_sent: Counter,
    ring_packets_resent: Counter,
    corosync_chunks: Counter,
    corosync_chunk_bytes: Counter,
    corosync_chunks_dropped: Counter,
    corosync_losses: Counter,
    corosync_tries_again: Counter,
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
            ring_registry: Registry::with_prefix("accord_ring"),
            has_ring: AtomicBool::new(false),
            corosync_registry: Registry::with_prefix("accord_corosync"),
            has_corosync: AtomicBool::new(false),
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
            log_sync_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 17)),
            gauges: Gauges::default(),
            copied: Copied::default(),
            refused: Family::default(),
            hung_up: Family::default(),
            datagrams_refused: Family::default(),
            corosync_refused: Family::default(),
        };
        metrics.register_counted();
        metrics.register_copied();
        metrics.register_ring();
        metrics.register_corosync();
        metrics
    }
}

impl Metrics {
    fn register_counted(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The release of the program", build);
        registry.register("requests", "Requests taken from clients", self.requests.clone());
        registry.register("replies", "Outcomes told to clients", self.replies.clone());
        registry.register("reads", "Reads answered", self.reads.clone());
        registry.register("events", "Events told to watches", self.events.clone());
        registry.register("views", "Views of the group installed", self.views.clone());
        let applied = self.entries_applied.clone();
        registry.register("entries_applied", "Log entries applied", applied);
        let seconds = self.request_seconds.clone();
        let help = "Time from a request to its outcome, of one request in 16";
        registry.register_with_unit("request_sampled", help, Unit::Seconds, seconds);
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
        let seconds = self.log_sync_seconds.clone();
        let help = "Time that it took to write and sync the log, for each sync";
        registry.register_with_unit("log_sync", help, Unit::Seconds, seconds);
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
            ("commands_deferred", "Commands deferred", &g.commands_deferred),
            ("reads_waiting", "Reads that wait", &g.reads_waiting),
            ("proposals_bytes", "Bytes of commands that wait for commitment", &g.proposals_bytes),
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

    fn register_ring(&mut self) {
        let registry = &mut self.ring_registry;
        let help = "Messages not yet sent by the ring";
        registry.register("pending_messages", help, self.gauges.ring_pending_messages.clone());
        let c = &self.copied;
        for (name, help, counter) in [
            ("tokens", "Visits of the token", &c.ring_tokens),
            ("token_losses", "Tokens lost", &c.ring_token_losses),
            ("packets_sent", "Numbered datagrams made", &c.ring_packets_sent),
            ("packets_resent", "Numbered datagrams sent again", &c.ring_packets_resent),
        ] {
            registry.register(name, help, counter.clone());
        }
    }

    fn register_corosync(&mut self) {
        let registry = &mut self.corosync_registry;
        let (g, c) = (&self.gauges, &self.copied);
        for (name, help, gauge) in [
            ("connected", "1 while there is a link to the daemon", &g.corosync_connected),
            ("quorate", "1 while Corosync's own quorum counts a majority", &g.corosync_quorate),
            ("pending_messages", "Messages not handed to it", &g.corosync_pending_messages),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, counter) in [
            ("chunks", "Messages handed to it", &c.corosync_chunks),
            ("chunk_bytes", "Bytes handed to it", &c.corosync_chunk_bytes),
            ("chunks_dropped", "Dropped at the ends of views", &c.corosync_chunks_dropped),
            ("losses", "How often the daemon went away", &c.corosync_losses),
            ("tries_again", "How often it asked to try again", &c.corosync_tries_again),
        ] {
            registry.register(name, help, counter.clone());
        }
        let help = "Messages of the group over Corosync not used, by reason";
        registry.register("refused", help, self.corosync_refused.clone());
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
            (&g.commands_deferred, status.deferred as u64),
            (&g.reads_waiting, status.reads_waiting as u64),
            (&g.proposals_bytes, status.proposals_bytes as u64),
        ] {
            set(gauge, value);
        }
        self.observe_group(status);
        copy_by_reason(&self.refused, &status.refused);
        copy_by_reason(&self.hung_up, &status.hung_up);
    }

    fn observe_group(&self, status: &StatusReport) {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let (g, c) = (&self.gauges, &self.copied);
        if let Some(ring) = &status.ring {
            self.has_ring.store(true, Ordering::Relaxed);
            set(&g.ring_pending_messages, ring.pending_messages as u64);
            copy(&c.ring_tokens, ring.tokens);
            copy(&c.ring_token_losses, ring.token_losses);
            copy(&c.ring_packets_sent, ring.packets_sent);
            copy(&c.ring_packets_resent, ring.packets_resent);
            copy_by_reason(&self.datagrams_refused, &ring.refused);
        }
        if let Some(corosync) = &status.corosync {
            self.has_corosync.store(true, Ordering::Relaxed);
            set(&g.corosync_connected, u64::from(corosync.error.is_none()));
            set(&g.corosync_quorate, u64::from(corosync.quorate == Some(true)));
            set(&g.corosync_pending_messages, corosync.pending_messages as u64);
            copy(&c.corosync_chunks, corosync.chunks);
            copy(&c.corosync_chunk_bytes, corosync.chunk_bytes);
            copy(&c.corosync_chunks_dropped, corosync.chunks_dropped);
            copy(&c.corosync_losses, corosync.losses);
            copy(&c.corosync_tries_again, corosync.tries_again);
            copy_by_reason(&self.corosync_refused, &corosync.refused);
        }
    }

    /// The metrics in the text format of OpenMetrics.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let group =
            [(&self.has_ring, &self.ring_registry), (&self.has_corosync, &self.corosync_registry)];
        let group = group.into_iter().filter(|(has, _)| has.load(Ordering::Relaxed));
        for registry in std::iter::once(&self.registry).chain(group.map(|(_, registry)| registry)) {
            encode_registry(&mut text, registry).expect("a string takes what is written to it");
        }
        encode_eof(&mut text).expect("a string takes what is written to it");
        text
    }
}

/// What is copied is a counter where it comes from, so it never falls.
fn copy(counter: &Counter, value: u64) {
    counter.inner().fetch_max(value, Ordering::Relaxed);
}

fn copy_by_reason(counters: &Family<Reason, Counter>, counts: &BTreeMap<String, u64>) {
    for (reason, count) in counts {
        copy(&counters.get_or_create(&Reason::of(reason)), *count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Each family's name and type.
    fn families(text: &str) -> BTreeSet<(&str, &str)> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.map(|line| line.split_once(' ').expect("a name and a type")).collect()
    }

    #[test]
    fn a_group_layer_that_is_not_used_has_no_families() {
        let metrics = Metrics::default();
        let text = metrics.encode();
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
        assert!(text.contains("accord_build_info{version=\""), "{text}");
        let layers = |text: &str| {
            let is = |layer: &str| families(text).iter().any(|(name, _)| name.starts_with(layer));
            (is("accord_ring_"), is("accord_corosync_"))
        };
        assert_eq!(layers(&text), (false, false));
        metrics.has_ring.store(true, Ordering::Relaxed);
        assert_eq!(layers(&metrics.encode()), (true, false));
        metrics.has_corosync.store(true, Ordering::Relaxed);
        assert_eq!(layers(&metrics.encode()), (true, true));
    }

    #[test]
    fn what_only_grows_is_a_counter() {
        let metrics = Metrics::default();
        copy(&metrics.copied.ring_tokens, 7);
        copy(&metrics.copied.ring_tokens, 5);
        for family in [&metrics.hung_up, &metrics.refused, &metrics.datagrams_refused] {
            copy_by_reason(family, &[("protocol".to_owned(), 3)].into());
        }
        metrics.has_ring.store(true, Ordering::Relaxed);
        metrics.has_corosync.store(true, Ordering::Relaxed);
        let text = metrics.encode();
        assert!(text.contains("accord_ring_tokens_total 7\n"), "{text}");
        assert!(text.contains("accord_hung_up_total{reason=\"protocol\"} 3\n"), "{text}");
        for name in ["refused", "hung_up", "datagrams_refused", "ring_token_losses", "log_syncs"]
            .into_iter()
            .chain(["ring_packets_resent", "corosync_chunks", "corosync_losses", "views"])
        {
            let family = (&*format!("accord_{name}"), "counter");
            assert!(families(&text).contains(&family), "{name}: {text}");
        }
    }
}
