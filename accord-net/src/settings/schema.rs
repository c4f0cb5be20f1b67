//! What can be set, each setting once: its name, its type, what it is for, and its default.
//!
//! The sections mirror the bounds of the core field by field: a bound that is added there and not
//! here does not compile. What stands here as documentation is what `accord config` prints.

use crate::corosync::CorosyncLimits;
use crate::server::NetLimits;
use crate::storage::CLUSTER_NAME_DEFAULT;
use accord_core::group::ring::{RingLimits, RingTimeouts};
use accord_core::limits::Limits;
use accord_core::replica::config::ReplicaLimits;
use accord_core::server::ServerLimits;
use accord_core::time::{Duration, DurationExt};
use serde::{Deserialize, Serialize};

/// A setting's name and what it is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) doc: &'static [&'static str],
}

/// Declares a struct of settings, and keeps the documentation of its fields.
macro_rules! documented {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])+ pub $field:ident: $type:ty, )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )*
        }

        impl $name {
            pub(super) const FIELDS: &'static [Field] =
                &[$(Field { name: stringify!($field), doc: &[$($doc),+] }),*];
            pub(super) const ABOUT: &'static [&'static str] = &[$($about),+];
        }
    };
}

/// Declares a section whose fields are those of a struct of bounds. Spans of time are written in
/// milliseconds.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident($core:ident) {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty, )*
        }
        milliseconds {
            $( $(#[doc = $span_doc:literal])+ $span_ms:ident: $span:ident, )*
        }
        sections {
            $( $(#[doc = $inner_doc:literal])+ $inner:ident: $inner_type:ty, )*
        }
    ) => {
        documented! {
            $(#[doc = $about])+
            pub struct $name {
                $( $(#[doc = $doc])+ pub $field: $type, )*
                $( $(#[doc = $span_doc])+ pub $span_ms: u64, )*
                $( $(#[doc = $inner_doc])+ pub $inner: $inner_type, )*
            }
        }

        impl Default for $name {
            fn default() -> Self {
                let core = $core::default();
                Self {
                    $( $field: core.$field, )*
                    $( $span_ms: core.$span.to_millis(), )*
                    $( $inner: <$inner_type>::default(), )*
                }
            }
        }

        impl $name {
            /// As the core has it.
            pub fn to_core(&self) -> $core {
                $core {
                    $( $field: self.$field, )*
                    $( $span: Duration::from_millis(self.$span_ms), )*
                }
            }
        }
    };
}

/// What "durable" means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Memory is the medium.
    #[default]
    Memory,
    /// The disk is the medium.
    Persistent,
}

/// How a server reaches the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupKind {
    /// There are no others.
    #[default]
    Solo,
    /// By the built-in ring.
    Ring,
    /// By a Corosync daemon on this machine.
    Corosync,
}

/// What a server does whose disk did not keep what it had promised to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDamage {
    /// It sets its directory aside and takes its state from the others.
    #[default]
    Refetch,
    /// It stops, and says where the damage is.
    Stop,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// One server of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The server's number, unique in the cluster.
    pub id: u32,
    /// Where the others reach it: host and port.
    pub ring: String,
}

documented! {
    /// All settings of a server.
    pub struct Settings {
        /// This server's number, unique in the cluster.
        pub id: u32,
        /// The cluster's name, the same on all its servers. A directory of another cluster is
        /// refused, and servers with different names do not hear each other.
        pub cluster: String,
        /// `memory`: a write is safe when a majority of the servers has it in memory.
        /// `persistent`: when a majority has it on disk.
        pub mode: Mode,
        /// `solo`: this is the only server. `ring`: the servers listed below are one cluster.
        /// `corosync`: so they are, and each has a Corosync daemon on its machine.
        pub group: GroupKind,
        /// Where clients connect. Port 0: the system chooses one, and the server prints it.
        pub client_listen: String,
        /// Where metrics, health and readiness are served over HTTP; `off`: nowhere.
        pub http_listen: String,
        /// Where the other servers are heard, over UDP and TCP. Empty: at the address under which
        /// this server is listed below.
        pub ring_listen: String,
        /// The process group of this cluster's servers, if they talk over Corosync: the same on all
        /// of them, and no other program's.
        pub corosync_group: String,
        /// The file with the secret that all servers of the cluster share: 32 bytes as 64
        /// hexadecimal digits, made by `accord key`. Only its owner should be able to read it.
        /// A relative path begins at this file's directory.
        pub key_file: String,
        /// The secret itself, instead of a file with it.
        pub key: String,
        /// Allows this server to form a new cluster, once all servers that are listed below are
        /// there and allow it. For the very first start only: a cluster that lost its memory must
        /// not start empty unnoticed.
        pub bootstrap: bool,
        /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or filters by module, such
        /// as `info,accord_net=debug`.
        pub log: String,
        /// `text` or `json`.
        pub log_format: LogFormat,
        /// Where `persistent` mode keeps its files: a directory of this server's own. A relative
        /// path begins at this file's directory.
        pub data_dir: String,
        /// What to do if the files in there are damaged. `refetch`: rename the directory, begin
        /// with an empty one and take the state from the other servers; without others, stop.
        /// `stop`: say where the damage is, and stop.
        pub on_damage: OnDamage,
        /// The servers that form the cluster, this one included: each with its `id` and the
        /// address (host:port) at which the others reach it.
        pub servers: Vec<Member>,
        /// The ring.
        pub ring: RingSettings,
        /// The group over Corosync.
        pub corosync: CorosyncSettings,
        /// This server's dealings with its clients.
        pub limits: ClientSettings,
        /// The replicated state.
        pub state: StateSettings,
        /// Replication.
        pub replica: ReplicaSettings,
        /// Connections.
        pub net: NetSettings,
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            id: 1,
            cluster: CLUSTER_NAME_DEFAULT.to_owned(),
            mode: Mode::default(),
            group: GroupKind::default(),
            client_listen: "127.0.0.1:7850".to_owned(),
            http_listen: "127.0.0.1:9180".to_owned(),
            ring_listen: String::new(),
            corosync_group: "accord".to_owned(),
            key_file: String::new(),
            key: String::new(),
            bootstrap: false,
            log: "info".to_owned(),
            log_format: LogFormat::default(),
            data_dir: String::new(),
            on_damage: OnDamage::default(),
            servers: Vec::new(),
            ring: RingSettings::default(),
            corosync: CorosyncSettings::default(),
            limits: ClientSettings::default(),
            state: StateSettings::default(),
            replica: ReplicaSettings::default(),
            net: NetSettings::default(),
        }
    }
}

section! {
    /// The bounds of the ring that orders the servers' messages.
    pub struct RingSettings(RingLimits) {
        /// The largest datagram that carries messages. On a real network without jumbo frames,
        /// larger ones than about 1400 are split by the IP layer, which loses all if it loses one.
        datagram_bytes_max: usize,
        /// The largest message. Larger ones than a datagram travel in fragments.
        message_bytes_max: usize,
        /// The most bytes that wait to be sent.
        pending_bytes_max: usize,
        /// The most messages that wait to be sent.
        pending_messages_max: usize,
        /// The most datagrams that one server sends in one visit of the token.
        burst_packets_max: u32,
        /// How many of the burst's datagrams follow the token instead of going before it.
        accelerated_packets: u32,
        /// The most datagrams that all servers send in one rotation of the token. An equal part of
        /// it is each one's share.
        window_packets_max: u32,
        /// The most datagrams kept until all servers have them. One server alone has at most a
        /// quarter of it on the way.
        store_packets_max: u32,
        /// The most datagrams that wait for the socket; more are lost.
        transmit_packets_max: usize,
        /// The most messages that wait for the replica before datagrams are refused.
        events_max: usize,
    }
    milliseconds {}
    sections {
        /// The tempo of the ring.
        timeouts: RingTimeoutSettings,
    }
}

section! {
    /// The tempo of the ring. A dead server is noticed after `token_loss_ms`, and a ring without it
    /// forms after `gather_ms` more.
    pub struct RingTimeoutSettings(RingTimeouts) {}
    milliseconds {
        /// Without a token for this long, the ring is taken for broken.
        token_loss_ms: token_loss,
        /// A token that was passed on is sent again after this long without another.
        token_retransmit_ms: token_retransmit,
        /// How long the token of an idle ring rests before each rotation.
        idle_hold_ms: idle_hold,
        /// Presence is announced this often while a ring forms.
        join_ms: join,
        /// How long a ring that forms waits for those who are missing.
        gather_ms: gather,
        /// Presence is announced this often while servers are missing.
        beacon_ms: beacon,
        /// A server outside the ring that was not heard for this long is not there.
        presence_ms: presence,
        /// A server that for this long could not receive what the others have, or held them back
        /// and took nothing, leaves the ring.
        receive_ms: receive,
        /// The longest that a server which would not agree is kept out.
        suspicion_max_ms: suspicion_max,
    }
    sections {}
}

section! {
    /// The bounds and the tempo of a group over Corosync. How soon a dead machine is noticed is set
    /// in corosync.conf.
    pub struct CorosyncSettings(CorosyncLimits) {
        /// The largest message handed to Corosync, from 256 to 1000000. Larger ones travel in
        /// fragments, smaller ones together.
        chunk_bytes_max: usize,
        /// The largest message.
        message_bytes_max: usize,
        /// The most bytes that wait to be handed to Corosync.
        pending_bytes_max: usize,
        /// The most messages that wait to be handed to Corosync.
        pending_messages_max: usize,
        /// The most bytes handed to Corosync that are not known to be in the order.
        window_bytes_max: usize,
        /// The most messages handed to Corosync that are not known to be in the order; at most 250.
        window_chunks_max: usize,
        /// The most bytes delivered that wait for the replica; above, Corosync keeps what comes.
        events_bytes_max: usize,
    }
    milliseconds {
        /// A server that has nothing to say says so this often.
        alive_ms: alive,
        /// A server process that was not heard for this long, while others were, is left out; one
        /// whose own messages do not come back for this long counts as alone.
        silence_ms: silence,
        /// How long a view that forms waits for a process in the group that says nothing.
        form_ms: form,
        /// How long others wait for the sender of the last message to say that it has it in order.
        seen_ms: seen,
    }
    sections {}
}

section! {
    /// The bounds of this server's dealings with its clients.
    pub struct ClientSettings(ServerLimits) {
        /// Connections at once.
        conns_max: usize,
        /// Requests of one connection that are not answered.
        requests_per_conn_max: usize,
        /// Bytes of one connection's requests that are not answered; one larger request may be
        /// alone.
        request_bytes_per_conn_max: usize,
        /// Reads of one connection that are not answered.
        reads_per_conn_max: usize,
        /// Watches of one connection.
        watches_per_conn_max: usize,
        /// Bytes of one connection's messages that have not left; one larger message may be alone.
        unsent_bytes_max: usize,
        /// Commands held back while there is no majority or replication is full.
        deferred_max: usize,
        /// Bytes of those commands.
        deferred_bytes_max: usize,
        /// Events kept for watches that resume.
        history_events_max: usize,
        /// Bytes of those events.
        history_bytes_max: usize,
    }
    milliseconds {
        /// How long a read waits for a majority, or for what its session has seen.
        read_wait_max_ms: read_wait_max,
        /// A server that finds a session's deadline missed by more than this was itself asleep,
        /// and restarts every session's timer.
        pause_max_ms: pause_max,
    }
    sections {}
}

section! {
    /// The bounds of the replicated state. They must be the same on every server of a cluster.
    pub struct StateSettings(Limits) {
        /// The longest key, in bytes.
        key_bytes_max: u32,
        /// The largest value, in bytes.
        value_bytes_max: u64,
        /// Keys and values together, in bytes, over the whole store.
        store_bytes_max: u64,
        /// The largest encoded command, in bytes.
        command_bytes_max: u64,
        /// Steps in one branch of a transaction, and conditions; at most 65535.
        steps_max: u32,
        /// Bytes that the results of one transaction may carry.
        result_bytes_max: u64,
        /// Entries on one page of a list or of the members.
        page_entries_max: u32,
        /// Bytes on one page of a list; a page has at least one entry, whatever its size.
        page_bytes_max: u64,
        /// Sessions open at once.
        sessions_max: u32,
        /// Ephemeral records, and as many ephemeral znodes, that one session may own.
        ephemerals_max: u32,
        /// Entries of the access control list of one znode.
        acl_entries_max: u32,
        /// Whether the hard limits of quotas on the tree of znodes are enforced.
        quota_enforced: bool,
        /// Outcomes kept for one session: requests that ran and are not yet acknowledged.
        outcomes_max: u32,
        /// Bytes of those outcomes, above which further requests are refused.
        outcome_bytes_max: u64,
        /// The shortest session timeout, in milliseconds; shorter wishes are raised to it.
        timeout_ms_min: u32,
        /// The longest session timeout, in milliseconds; longer wishes are lowered to it.
        timeout_ms_max: u32,
    }
    milliseconds {}
    sections {}
}

section! {
    /// The bounds of replication.
    pub struct ReplicaSettings(ReplicaLimits) {
        /// A batch is closed when it has this many bytes.
        batch_bytes_max: usize,
        /// The largest command, in bytes.
        command_bytes_max: usize,
        /// Own messages under way. More make larger pipelines, fewer make larger batches.
        frames_in_flight_max: usize,
        /// Bytes of own commands that wait for commitment; above, more are held back.
        proposals_bytes_max: usize,
        /// Bytes of new entries kept while older ones are still fetched.
        live_bytes_max: usize,
        /// Bytes of entries in one message of a transfer; of a snapshot, four times as many.
        chunk_bytes_max: usize,
        /// Bytes of entries a second that a server which is behind fetches at most, so that there
        /// is time for what is new; of a snapshot, four times as many. Doubled for one that does
        /// not come nearer.
        transfer_bytes_per_second_max: u64,
        /// The largest snapshot accepted from another server, in bytes.
        snapshot_bytes_max: u64,
        /// Bytes of applied entries kept in memory for servers that were away for a short time;
        /// with a large state, a quarter of its bytes. Who was away for longer gets an image.
        log_bytes_retained: usize,
        /// Bytes of committed entries applied in one go, before others have their turn.
        apply_bytes_max: usize,
        /// Bytes of log after which a checkpoint is taken (persistent mode), or as many as the
        /// state had in the last one if that is more.
        checkpoint_bytes: usize,
        /// A digest of the state is exchanged whenever the index is a multiple of this.
        digest_interval: u64,
    }
    milliseconds {
        /// How long an unanswered request for a transfer waits before the next server is asked.
        transfer_timeout_ms: transfer_timeout,
    }
    sections {}
}

section! {
    /// The bounds of connections.
    pub struct NetSettings(NetLimits) {
        /// Bytes for another server that have not left; more are dropped, and asked for again.
        peer_bytes_max: usize,
        /// Connections of operators (`accord status`) at once.
        operators_max: usize,
        /// Connections at one port that have not said what they are for; more are closed at once.
        strangers_max: usize,
        /// Bytes of messages in several frames whose ends have not arrived, over all clients.
        /// A client that exceeds it is disconnected.
        fragment_bytes_max: usize,
        /// Bytes of records that wait for the disk. While there are more, nothing is taken from
        /// the group.
        journal_bytes_max: usize,
    }
    milliseconds {
        /// How long a new connection may take to send its preface.
        preface_timeout_ms: preface_timeout,
        /// How long a client's connection may be without a session.
        sessionless_timeout_ms: sessionless_timeout,
        /// How long a client that is hung up on may take for what it was sent before.
        linger_timeout_ms: linger_timeout,
        /// How long a server that stops waits for its clients to move to others.
        drain_timeout_ms: drain_timeout,
        /// How long an operator may say nothing, or not take an answer.
        operator_timeout_ms: operator_timeout,
        /// How long a client may take none of what it is sent.
        stall_timeout_ms: stall_timeout,
    }
    sections {}
}

/// A section of the file: its path, and what is in it.
pub(super) struct Section {
    /// Empty for the settings before the first section.
    pub(super) path: &'static str,
    pub(super) about: &'static [&'static str],
    pub(super) fields: &'static [Field],
}

/// All sections, in the order of the file.
pub(super) const SECTIONS: [Section; 8] = [
    section("", Settings::ABOUT, Settings::FIELDS),
    section("ring", RingSettings::ABOUT, RingSettings::FIELDS),
    section("ring.timeouts", RingTimeoutSettings::ABOUT, RingTimeoutSettings::FIELDS),
    section("corosync", CorosyncSettings::ABOUT, CorosyncSettings::FIELDS),
    section("limits", ClientSettings::ABOUT, ClientSettings::FIELDS),
    section("state", StateSettings::ABOUT, StateSettings::FIELDS),
    section("replica", ReplicaSettings::ABOUT, ReplicaSettings::FIELDS),
    section("net", NetSettings::ABOUT, NetSettings::FIELDS),
];

const fn section(
    path: &'static str,
    about: &'static [&'static str],
    fields: &'static [Field],
) -> Section {
    Section { path, about, fields }
}

/// The section at this path.
pub(super) fn section_at(path: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.path == path)
}

/// The path of a name in a section.
pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// True if a setting, and not a section, stands at this path.
pub(super) fn is_setting(path: &str) -> bool {
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    section_at(path).is_none()
        && section_at(section)
            .is_some_and(|section| section.fields.iter().any(|field| field.name == name))
}

/// The paths of all settings.
pub(super) fn paths() -> impl Iterator<Item = String> {
    let all = SECTIONS
        .iter()
        .flat_map(|section| section.fields.iter().map(|field| join(section.path, field.name)));
    all.filter(|path| is_setting(path))
}
