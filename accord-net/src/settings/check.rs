//! From settings to [`ServerOptions`]: contradictions, host names, keys.
//!
//! The core asserts its bounds, since it is handed them by programs; what an operator writes is
//! checked here before, and named with its place.

use super::key::key_from_hex;
use super::schema::{GroupKind, Member, Mode, OnDamage, Settings, paths};
use super::sources::{Loaded, Place, SettingsError, value_at};
use crate::corosync::GroupConfig;
use crate::server::{CorosyncOptions, GroupOptions, PeerName, RingOptions, ServerOptions};
use accord_core::ids::NodeId;
use accord_core::limits::STEPS_MAX;
use accord_core::protocol::MESSAGE_BYTES_MAX;
use accord_core::replica::config::Durability;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

/// The largest bound of bytes or of things: so that sums of bounds do not overflow.
const COUNT_MAX: i64 = 1 << 50;
/// The longest span, in milliseconds: a year.
const SPAN_MS_MAX: i64 = 365 * 24 * 3600 * 1000;
/// The smallest command that every server makes itself: the beginning of a session.
const COMMAND_BYTES_MIN: usize = 64;
/// What goes with a command in a message of the ring.
const FRAME_MARGIN_BYTES: usize = 1 << 16;
/// What goes with a value in a message to a client.
const MESSAGE_MARGIN_BYTES: u64 = 1 << 20;
/// The largest message of a ring.
const RING_MESSAGE_BYTES_MAX: usize = 1 << 30;
/// The longest name of a cluster.
const CLUSTER_NAME_BYTES_MAX: usize = 64;
/// The largest piece of a transfer.
const CHUNK_BYTES_MAX: usize = 64 << 20;

/// A server that can be started.
#[derive(Clone, Debug)]
pub struct Ready {
    /// What to start.
    pub options: ServerOptions,
    /// Where to serve HTTP, if anywhere.
    pub http_listen: Option<SocketAddr>,
    /// Where the disk is, in persistent mode.
    pub data_dir: Option<PathBuf>,
    /// True if a damaged directory is to be set aside, since there are others that have the state.
    pub refetches: bool,
    /// What is odd, but not wrong.
    pub warnings: Vec<String>,
    /// The other servers that are named by hosts: to be looked up again while the server runs.
    pub names: Vec<PeerName>,
}

/// A rule: whether it holds, the settings it is about, and what is wrong if it does not.
type Rule = (bool, &'static [&'static str], &'static str);

impl Loaded {
    /// Checks the settings against each other, finds hosts and reads the key.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn ready(&self) -> Result<Ready, SettingsError> {
        self.check_ranges()?;
        let s = &self.settings;
        let rules =
            [client_rules(s), state_rules(s), replica_rules(s), net_rules(s), group_rules(s)];
        if let Some((_, about, message)) = rules.into_iter().flatten().find(|(holds, ..)| !holds) {
            return Err(self.wrong(about, message));
        }
        let mut warnings = self.warnings.clone();
        let mut names = Vec::new();
        let node = NodeId(s.id);
        let group = match s.group {
            GroupKind::Solo => GroupOptions::Solo,
            GroupKind::Ring => {
                let ring = self.ring(node, &mut warnings, &mut names)?;
                self.check_ring(node, &ring)?;
                GroupOptions::Ring(ring)
            }
            GroupKind::Corosync => {
                GroupOptions::Corosync(self.corosync(node, &mut warnings, &mut names)?)
            }
        };
        let client_listen = self.resolve("client_listen", &s.client_listen, None)?;
        let http_listen = match s.http_listen.as_str() {
            "off" => None,
            at => Some(self.resolve("http_listen", at, None)?),
        };
        self.check_addresses(client_listen, http_listen, &group)?;
        let mut options = ServerOptions::new(node, client_listen, group);
        // Also those whose names are not found yet.
        options.initial.extend(names.iter().map(|name| name.node));
        options.cluster.clone_from(&s.cluster);
        options.durability = match s.mode {
            Mode::Memory => Durability::Memory,
            Mode::Persistent => Durability::Persistent,
        };
        options.bootstrap = s.bootstrap;
        options.replica = s.replica.to_core();
        options.state = s.state.to_core();
        options.limits = s.limits.to_core();
        options.net = s.net.to_core();
        let persistent = s.mode == Mode::Persistent;
        let data_dir = persistent.then(|| self.beside("data_dir", &s.data_dir));
        let refetches = s.on_damage == OnDamage::Refetch && s.group != GroupKind::Solo;
        Ok(Ready { options, http_listen, data_dir, refetches, warnings, names })
    }

    /// An error about some settings, at the place of the first that was given.
    fn wrong(&self, about: &[&str], message: impl Into<String>) -> SettingsError {
        let place = about.iter().find_map(|path| self.places.get(*path));
        SettingsError::new(place.cloned(), message)
    }

    fn check_ranges(&self) -> Result<(), SettingsError> {
        let table = toml::Table::try_from(&self.settings);
        let table = table.map_err(|error| SettingsError::new(None, error.to_string()))?;
        for path in paths() {
            let Some(number) = value_at(&table, &path).and_then(toml::Value::as_integer) else {
                continue;
            };
            let max = if path.ends_with("_ms") { SPAN_MS_MAX } else { COUNT_MAX };
            if number > max {
                return Err(self.wrong(&[&path], format!("{path} is {number}: at most {max}")));
            }
        }
        Ok(())
    }

    fn check_addresses(
        &self,
        client: SocketAddr,
        http: Option<SocketAddr>,
        group: &GroupOptions,
    ) -> Result<(), SettingsError> {
        let ring = group.listen();
        let all = [("client_listen", Some(client)), ("http_listen", http), ("ring_listen", ring)];
        for (at, (name, address)) in all.iter().enumerate() {
            let same = |(_, other): &&(&str, Option<SocketAddr>)| {
                other.is_some() && other == address && address.is_some_and(|a| a.port() != 0)
            };
            if let Some((other, _)) = all[..at].iter().find(same) {
                let address = address.map_or(String::new(), |address| address.to_string());
                let message = format!("{name} and {other} are both {address}: choose two ports");
                return Err(self.wrong(&[name, other], message));
            }
        }
        Ok(())
    }

    /// The addresses of a host and a port. The inner error: the host is not found.
    fn look_up(
        &self,
        path: &str,
        text: &str,
    ) -> Result<Result<Vec<SocketAddr>, String>, SettingsError> {
        let off = if path == "http_listen" { ", or off" } else { "" };
        if text.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            let expected = format!("expected HOST:PORT{off}, such as 127.0.0.1:7850");
            return Err(self.wrong(&[path], format!("{path}: {expected}; found `{text}`")));
        }
        Ok(match text.to_socket_addrs().map(Vec::from_iter) {
            Ok(found) if found.is_empty() => Err(format!("the host of `{text}` has no address")),
            Ok(found) => Ok(found),
            Err(error) => Err(format!("the host of `{text}` is not found: {error}")),
        })
    }

    fn resolve(
        &self,
        path: &str,
        text: &str,
        like: Option<SocketAddr>,
    ) -> Result<SocketAddr, SettingsError> {
        let found = self.look_up(path, text)?;
        let found = found.map_err(|why| self.wrong(&[path], format!("{path}: {why}")))?;
        Ok(alike(&found, like))
    }

    /// Where another server is. `None`: its name is not found, which is no reason not to start.
    fn peer(
        &self,
        member: &Member,
        listen: SocketAddr,
        warnings: &mut Vec<String>,
        names: &mut Vec<PeerName>,
    ) -> Result<Option<SocketAddr>, SettingsError> {
        let found = self.look_up("servers", &member.ring)?;
        let at = found.as_ref().ok().map(|found| alike(found, Some(listen)));
        if let Err(why) = found {
            let id = member.id;
            warnings
                .push(format!("server {id}: {why}; starting without it, and looking it up again"));
        }
        if member.ring.parse::<SocketAddr>().is_err() {
            let (node, name) = (NodeId(member.id), member.ring.clone());
            names.push(PeerName { node, name, found: at });
        }
        Ok(at)
    }

    fn ring(
        &self,
        node: NodeId,
        warnings: &mut Vec<String>,
        names: &mut Vec<PeerName>,
    ) -> Result<RingOptions, SettingsError> {
        let s = &self.settings;
        let own = s.servers.iter().find(|member| member.id == node.0);
        let Some(own) = own else {
            let ids: Vec<_> = s.servers.iter().map(|member| member.id.to_string()).collect();
            let listed = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
            let message = format!(
                "this server's id {} is not among the servers ({listed}): list every server of \
                 the cluster, this one included, as [[servers]] with id and ring, or as \
                 --member ID=HOST:PORT",
                node.0
            );
            return Err(self.wrong(&["servers", "id"], message));
        };
        let listen = match s.ring_listen.as_str() {
            "" => self.resolve("servers", &own.ring, None)?,
            at => self.resolve("ring_listen", at, None)?,
        };
        let (mut peers, mut ids) = (BTreeMap::new(), BTreeSet::new());
        let mut seen = BTreeMap::from([(self.resolve("servers", &own.ring, None)?, node.0)]);
        for member in s.servers.iter().filter(|member| member.id != node.0) {
            if !ids.insert(member.id) {
                return Err(self.duplicate(member.id));
            }
            let Some(at) = self.peer(member, listen, warnings, names)? else { continue };
            if let Some(other) = seen.insert(at, member.id) {
                let message = format!(
                    "servers {other} and {} are both at {at}: each needs an address of its own",
                    member.id
                );
                return Err(self.wrong(&["servers"], message));
            }
            peers.insert(NodeId(member.id), at);
        }
        if s.servers.iter().filter(|member| member.id == node.0).count() > 1 {
            return Err(self.duplicate(node.0));
        }
        if let Some(at) = peers.values().find(|at| at.port() == 0) {
            let message = format!("servers: {at} has no port by which others can reach it");
            return Err(self.wrong(&["servers"], message));
        }
        let key = cluster_key(&self.key(warnings)?, &s.cluster);
        let mut options = RingOptions::new(listen, peers, key);
        options.address = self.resolve("servers", &own.ring, Some(listen))?;
        options.limits = s.ring.to_core();
        options.timeouts = s.ring.timeouts.to_core();
        Ok(options)
    }

    fn corosync(
        &self,
        node: NodeId,
        warnings: &mut Vec<String>,
        names: &mut Vec<PeerName>,
    ) -> Result<CorosyncOptions, SettingsError> {
        let s = &self.settings;
        if node.0 == 0 {
            return Err(self.wrong(&["id"], "id: a Corosync node's number is at least 1"));
        }
        let (group, limits) = (s.corosync_group.clone(), s.corosync.to_core());
        if group.is_empty() || group.len() > GroupConfig::NAME_BYTES_MAX || group.contains('\0') {
            let message = "corosync_group: from 1 to 127 bytes, such as accord";
            return Err(self.wrong(&["corosync_group"], message));
        }
        if let Err(what) = limits.validate() {
            let named = |path: &String| {
                let name = path.rsplit('.').next().unwrap_or_default();
                let name = name.strip_suffix("_ms").unwrap_or(name);
                path.starts_with("corosync.") && what.split([':', ' ']).any(|word| word == name)
            };
            let about: Vec<_> = paths().filter(named).collect();
            let about: Vec<_> = about.iter().map(String::as_str).collect();
            return Err(self.wrong(&about, format!("corosync: {what}")));
        }
        let RingOptions { listen, address, peers, key, .. } = self.ring(node, warnings, names)?;
        Ok(CorosyncOptions { listen, address, peers, key, group, limits })
    }

    fn duplicate(&self, id: u32) -> SettingsError {
        let message = format!("server {id} is listed twice: each server needs an id of its own");
        self.wrong(&["servers"], message)
    }

    /// Lets the core look for contradictions, and finds the place of what it names.
    fn check_ring(&self, node: NodeId, options: &RingOptions) -> Result<(), SettingsError> {
        let Err(error) = options.core(node).validate() else { return Ok(()) };
        let message = error.to_string();
        let words: Vec<_> = message.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let named = |path: &String| {
            let name = path.rsplit('.').next().unwrap_or_default();
            let name = name.strip_suffix("_ms").unwrap_or(name);
            path.starts_with("ring.") && words.contains(&name)
        };
        let about: Vec<_> = paths().filter(named).collect();
        let about: Vec<_> = about.iter().map(String::as_str).collect();
        Err(self.wrong(&about, format!("{}: {message}", about.join(", "))))
    }

    fn key(&self, warnings: &mut Vec<String>) -> Result<[u8; 32], SettingsError> {
        let s = &self.settings;
        match (s.key.as_str(), s.key_file.as_str()) {
            ("", "") => {
                let message = "a cluster needs a key that all its servers share: make one with \
                               `accord key > accord.key` and set key_file";
                Err(self.wrong(&["group"], message))
            }
            (_, "") => {
                key_from_hex(&s.key).map_err(|why| self.wrong(&["key"], format!("key: {why}")))
            }
            ("", _) => self.key_from_file(&self.beside("key_file", &s.key_file), warnings),
            _ => Err(self.wrong(&["key", "key_file"], "key and key_file are both set: keep one")),
        }
    }

    /// A file or directory: beside the file that names it, unless it is named elsewhere.
    fn beside(&self, setting: &str, named: &str) -> PathBuf {
        let named = Path::new(named);
        match self.places.get(setting) {
            Some(Place::File { path, .. }) => path.parent().unwrap_or(Path::new("")).join(named),
            _ => named.to_owned(),
        }
    }

    fn key_from_file(
        &self,
        path: &Path,
        warnings: &mut Vec<String>,
    ) -> Result<[u8; 32], SettingsError> {
        let shown = path.display();
        let wrong = |why: String| self.wrong(&["key_file"], format!("key_file {shown}: {why}"));
        let text = std::fs::read_to_string(path).map_err(|error| {
            wrong(format!(
                "{error}. Make one with `accord key > {shown}` and copy it to all servers"
            ))
        })?;
        if is_public(path) {
            warnings.push(format!("the key file {shown} can be read by others: chmod 600 {shown}"));
        }
        key_from_hex(&text).map_err(wrong)
    }
}

/// Of a host's addresses the first of the same kind as another one, if there is one.
fn alike(found: &[SocketAddr], like: Option<SocketAddr>) -> SocketAddr {
    let same = |address: &&SocketAddr| like.is_none_or(|a| a.is_ipv4() == address.is_ipv4());
    *found.iter().find(same).unwrap_or(&found[0])
}

#[cfg(unix)]
fn is_public(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_public(_: &Path) -> bool {
    false
}

fn client_rules(s: &Settings) -> Vec<Rule> {
    let l = &s.limits;
    vec![
        (l.conns_max > 0, &["limits.conns_max"], "limits.conns_max is 0: at least 1"),
        (
            l.requests_per_conn_max > 0,
            &["limits.requests_per_conn_max"],
            "limits.requests_per_conn_max is 0: at least 1",
        ),
        (
            l.reads_per_conn_max > 0,
            &["limits.reads_per_conn_max"],
            "limits.reads_per_conn_max is 0: at least 1",
        ),
        (l.deferred_max > 0, &["limits.deferred_max"], "limits.deferred_max is 0: at least 1"),
        (
            l.unsent_bytes_max > 0,
            &["limits.unsent_bytes_max"],
            "limits.unsent_bytes_max is 0: at least 1",
        ),
        (
            l.read_wait_max_ms > 0,
            &["limits.read_wait_max_ms"],
            "limits.read_wait_max_ms is 0: at least 1",
        ),
    ]
}

fn state_rules(s: &Settings) -> Vec<Rule> {
    let l = &s.state;
    let message_max = MESSAGE_BYTES_MAX as u64 - MESSAGE_MARGIN_BYTES;
    vec![
        (
            (1..=STEPS_MAX).contains(&(l.steps_max as usize)),
            &["state.steps_max"],
            "state.steps_max: from 1 to 65535",
        ),
        (
            l.page_entries_max > 0,
            &["state.page_entries_max"],
            "state.page_entries_max is 0: at least 1",
        ),
        (l.sessions_max > 0, &["state.sessions_max"], "state.sessions_max is 0: at least 1"),
        (
            l.acl_entries_max > 0,
            &["state.acl_entries_max"],
            "state.acl_entries_max is 0: at least 1",
        ),
        (l.outcomes_max > 0, &["state.outcomes_max"], "state.outcomes_max is 0: at least 1"),
        (
            l.outcome_bytes_max > 0,
            &["state.outcome_bytes_max"],
            "state.outcome_bytes_max is 0: at least 1",
        ),
        (
            l.timeout_ms_min <= l.timeout_ms_max,
            &["state.timeout_ms_min", "state.timeout_ms_max"],
            "state.timeout_ms_min is above state.timeout_ms_max",
        ),
        (
            l.value_bytes_max <= message_max,
            &["state.value_bytes_max"],
            "state.value_bytes_max: at most 95 MiB, so that an answer fits into a message",
        ),
        (
            l.result_bytes_max <= message_max,
            &["state.result_bytes_max"],
            "state.result_bytes_max: at most 95 MiB, so that an answer fits into a message",
        ),
        (
            l.page_bytes_max <= message_max / 2,
            &["state.page_bytes_max"],
            "state.page_bytes_max: at most 47 MiB, so that a page fits into a message",
        ),
    ]
}

fn replica_rules(s: &Settings) -> Vec<Rule> {
    let l = &s.replica;
    vec![
        (
            l.batch_bytes_max > 0,
            &["replica.batch_bytes_max"],
            "replica.batch_bytes_max is 0: at least 1",
        ),
        (
            l.command_bytes_max >= COMMAND_BYTES_MIN,
            &["replica.command_bytes_max"],
            "replica.command_bytes_max: at least 64, so that a session can begin",
        ),
        (
            l.frames_in_flight_max > 0,
            &["replica.frames_in_flight_max"],
            "replica.frames_in_flight_max is 0: at least 1",
        ),
        (
            (1..=CHUNK_BYTES_MAX).contains(&l.chunk_bytes_max),
            &["replica.chunk_bytes_max"],
            "replica.chunk_bytes_max: from 1 to 67108864 (64 MiB)",
        ),
        (
            l.transfer_bytes_per_second_max > 0,
            &["replica.transfer_bytes_per_second_max"],
            "replica.transfer_bytes_per_second_max is 0: at least 1",
        ),
        (
            l.digest_interval > 0,
            &["replica.digest_interval"],
            "replica.digest_interval is 0: at least 1",
        ),
    ]
}

fn net_rules(s: &Settings) -> Vec<Rule> {
    let l = &s.net;
    vec![
        (l.operators_max > 0, &["net.operators_max"], "net.operators_max is 0: at least 1"),
        (l.strangers_max > 0, &["net.strangers_max"], "net.strangers_max is 0: at least 1"),
        (
            l.preface_timeout_ms > 0,
            &["net.preface_timeout_ms"],
            "net.preface_timeout_ms is 0: at least 1",
        ),
        (
            l.stall_timeout_ms > 0,
            &["net.stall_timeout_ms"],
            "net.stall_timeout_ms is 0: at least 1",
        ),
        (
            l.operator_timeout_ms > 0,
            &["net.operator_timeout_ms"],
            "net.operator_timeout_ms is 0: at least 1",
        ),
    ]
}

/// The key of a cluster's servers: clusters of different names do not understand each other, also
/// if somebody gave them the same secret.
fn cluster_key(secret: &[u8; 32], cluster: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher.update(b"accord cluster ").update(cluster.as_bytes());
    *hasher.finalize().as_bytes()
}

fn group_rules(s: &Settings) -> Vec<Rule> {
    let message_bytes = match s.group {
        GroupKind::Ring => s.ring.message_bytes_max,
        GroupKind::Corosync => s.corosync.message_bytes_max,
        GroupKind::Solo => accord_core::group::solo::SoloLimits::default().message_bytes_max,
    };
    let command_bytes = s.replica.command_bytes_max + s.replica.batch_bytes_max;
    vec![
        (
            (1..=CLUSTER_NAME_BYTES_MAX).contains(&s.cluster.len())
                && s.cluster.bytes().all(|byte| byte.is_ascii_graphic()),
            &["cluster"],
            "cluster: a name of 1 to 64 letters, digits and signs of ASCII, without blanks",
        ),
        (
            s.mode == Mode::Memory || !s.data_dir.is_empty(),
            &["data_dir", "mode"],
            "mode is persistent, but data_dir is empty: name the directory for this server's files",
        ),
        (
            s.group != GroupKind::Solo || s.servers.len() <= 1,
            &["servers", "group"],
            "several servers are listed, but group is solo: set group = \"ring\" or \"corosync\"",
        ),
        (
            s.ring.message_bytes_max <= RING_MESSAGE_BYTES_MAX,
            &["ring.message_bytes_max"],
            "ring.message_bytes_max: at most 1073741824 (1 GiB)",
        ),
        (
            s.corosync.message_bytes_max <= RING_MESSAGE_BYTES_MAX,
            &["corosync.message_bytes_max"],
            "corosync.message_bytes_max: at most 1073741824 (1 GiB)",
        ),
        (
            message_bytes >= command_bytes.saturating_add(FRAME_MARGIN_BYTES),
            &[
                "replica.command_bytes_max",
                "replica.batch_bytes_max",
                "ring.message_bytes_max",
                "corosync.message_bytes_max",
            ],
            "replica.command_bytes_max and replica.batch_bytes_max together do not fit into a \
             message of the group: lower them, or raise ring.message_bytes_max \
             (corosync.message_bytes_max over Corosync; solo: 72 MiB)",
        ),
    ]
}
