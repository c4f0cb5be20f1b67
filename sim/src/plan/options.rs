//! The shape of a world: how many servers and clients, on what, under which bounds, for how long.
//!
//! Options are drawn from a seed in [`crate::plan::draw`] (swarm testing: each world has its own
//! mix) and stand at the head of every plan, one line each.

use crate::judge::Property;
use crate::plan::Nodes;
use crate::plan::WorkloadKind;
use accord_core::replica::config::Durability;
use accord_core::time::{Duration, Span};
use std::fmt;

/// What stands below the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The real ring over simulated datagrams.
    Ring,
    /// A group that does everything the contract allows.
    Adversary,
}

/// How large the bounds are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// So small that every bound is met all the time.
    Tiny,
    /// Met now and then.
    Small,
    /// As in production.
    Roomy,
}

/// What a persistent server's records are kept by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// A model of a store: cheap.
    Modelled,
    /// The storage code of `accord-net`, on a simulated disk.
    Real,
}

/// The shape of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Decides all that the plan does not spell out.
    pub seed: u64,
    /// Servers that form the cluster together; its first voters. At least 1.
    pub servers: u32,
    /// Servers that start as observers.
    pub observers: u32,
    /// Clients. At least 1.
    pub clients: u32,
    /// What "durable" means.
    pub mode: Durability,
    /// What keeps the records. Means nothing in memory mode.
    pub storage: Storage,
    /// What stands below the replica.
    pub group: Group,
    /// Bounds of the servers.
    pub limits: Scale,
    /// What the clients do, dealt out in turn. At least one.
    pub workloads: Vec<WorkloadKind>,
    /// Operations that all clients together start, at most.
    pub operations: u32,
    /// Mean pause of a client between two operations.
    pub think: Duration,
    /// How long things go wrong.
    pub safety: Duration,
    /// How long the healed world may take to come together.
    pub converge: Duration,
    /// The fastest packet.
    pub delay_min: Duration,
    /// The slowest packet that nothing holds up.
    pub delay_max: Duration,
    /// Packets lost at all times, in a thousand.
    pub loss_per_mille: u32,
    /// Packets duplicated at all times, in a thousand.
    pub duplicate_per_mille: u32,
    /// Packets overtaken at all times, in a thousand.
    pub reorder_per_mille: u32,
    /// The fastest sync of a disk.
    pub sync_min: Duration,
    /// The slowest sync of a healthy disk.
    pub sync_max: Duration,
    /// The invariants of every machine are asserted after every so many steps. At least 1.
    pub check_every: u32,
    /// Inputs handed to a server before its outputs are polled, at most. At least 1. The bare world
    /// draws how many each time.
    pub inputs_per_poll: u32,
    /// Tests of the tests: this property is taken for violated when it is next judged.
    pub canary: Option<Property>,
}

/// The names of the options, in the order in which they are printed.
pub const NAMES: [&str; 23] = [
    "seed",
    "servers",
    "observers",
    "clients",
    "mode",
    "storage",
    "group",
    "limits",
    "workloads",
    "operations",
    "think",
    "safety",
    "converge",
    "delay-min",
    "delay-max",
    "loss-per-mille",
    "duplicate-per-mille",
    "reorder-per-mille",
    "sync-min",
    "sync-max",
    "check-every",
    "inputs-per-poll",
    "canary",
];

/// The most servers in a world, observers included: a fault names a set of them in one word.
pub const SERVERS_MAX: u32 = Nodes::NODE_MAX;
/// The most clients in a world.
pub const CLIENTS_MAX: u32 = 64;
/// The most inputs between two polls.
pub const INPUTS_MAX: u32 = 256;
const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            servers: 3,
            observers: 0,
            clients: 3,
            mode: Durability::Persistent,
            storage: Storage::Modelled,
            group: Group::Ring,
            limits: Scale::Small,
            workloads: vec![WorkloadKind::Register],
            operations: 200,
            think: Duration::from_millis(20),
            safety: Duration::from_secs(10),
            converge: Duration::from_secs(60),
            delay_min: Duration::from_micros(100),
            delay_max: Duration::from_millis(1),
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            reorder_per_mille: 0,
            sync_min: Duration::from_micros(200),
            sync_max: Duration::from_millis(5),
            check_every: 1,
            inputs_per_poll: 1,
            canary: None,
        }
    }
}

impl Options {
    /// Servers of both kinds. They are numbered from 1; observers come last.
    pub const fn nodes(&self) -> u32 {
        self.servers + self.observers
    }

    /// Asserts that the options make sense together.
    ///
    /// # Panics
    /// If they do not; [`Options::problem`] tells what to say to a person first.
    pub fn check(&self) {
        assert_eq!(self.problem(), None);
    }

    /// What is wrong with the options, if anything is: an option's name and what is expected of it.
    pub fn problem(&self) -> Option<(&'static str, &'static str)> {
        let rules = [
            ((1..=SERVERS_MAX).contains(&self.servers), "servers", "1 to 63 servers"),
            (
                self.observers <= SERVERS_MAX.saturating_sub(self.servers),
                "observers",
                "few enough that there are at most 63 servers, observers included",
            ),
            ((1..=CLIENTS_MAX).contains(&self.clients), "clients", "1 to 64 clients"),
            (!self.workloads.is_empty(), "workloads", "at least one workload"),
            (self.delay_min <= self.delay_max, "delay-max", "no less than delay-min"),
            (self.sync_min <= self.sync_max, "sync-max", "no less than sync-min"),
            (self.loss_per_mille <= 500, "loss-per-mille", "at most 500"),
            (self.duplicate_per_mille <= 500, "duplicate-per-mille", "at most 500"),
            (self.reorder_per_mille <= 1000, "reorder-per-mille", "at most 1000"),
            (self.check_every >= 1, "check-every", "at least 1"),
            ((1..=INPUTS_MAX).contains(&self.inputs_per_poll), "inputs-per-poll", "1 to 256"),
            (self.safety <= SPAN_MAX, "safety", "at most a day"),
            (self.converge <= SPAN_MAX, "converge", "at most a day"),
            (self.delay_max <= Duration::from_secs(10), "delay-max", "at most 10s"),
            (self.sync_max <= Duration::from_secs(10), "sync-max", "at most 10s"),
            (self.think <= Duration::from_secs(60), "think", "at most 60s"),
        ];
        rules.into_iter().find(|(holds, ..)| !holds).map(|(_, name, expected)| (name, expected))
    }

    /// Sets the option `name` from its text.
    ///
    /// # Errors
    /// What was expected instead of `text`, or of `name`.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        match name {
            "seed" => self.seed = number(text)?,
            "servers" => self.servers = number(text)?,
            "observers" => self.observers = number(text)?,
            "clients" => self.clients = number(text)?,
            "mode" => self.mode = mode(text)?,
            "storage" => self.storage = storage(text)?,
            "group" => self.group = group(text)?,
            "limits" => self.limits = scale(text)?,
            "workloads" => self.workloads = workloads(text)?,
            "operations" => self.operations = number(text)?,
            "think" => self.think = duration(text)?,
            "safety" => self.safety = duration(text)?,
            "converge" => self.converge = duration(text)?,
            "delay-min" => self.delay_min = duration(text)?,
            "delay-max" => self.delay_max = duration(text)?,
            "loss-per-mille" => self.loss_per_mille = number(text)?,
            "duplicate-per-mille" => self.duplicate_per_mille = number(text)?,
            "reorder-per-mille" => self.reorder_per_mille = number(text)?,
            "sync-min" => self.sync_min = duration(text)?,
            "sync-max" => self.sync_max = duration(text)?,
            "check-every" => self.check_every = number(text)?,
            "inputs-per-poll" => self.inputs_per_poll = number(text)?,
            "canary" => self.canary = canary(text)?,
            _ => return Err(format!("one of {}", NAMES.join(", "))),
        }
        Ok(())
    }

    /// The text of the option `name`.
    ///
    /// # Panics
    /// If there is no such option.
    pub fn get(&self, name: &str) -> String {
        match name {
            "seed" => self.seed.to_string(),
            "servers" => self.servers.to_string(),
            "observers" => self.observers.to_string(),
            "clients" => self.clients.to_string(),
            "mode" => mode_name(self.mode).to_owned(),
            "storage" => match self.storage {
                Storage::Modelled => "modelled".to_owned(),
                Storage::Real => "real".to_owned(),
            },
            "group" => match self.group {
                Group::Ring => "ring".to_owned(),
                Group::Adversary => "adversary".to_owned(),
            },
            "limits" => match self.limits {
                Scale::Tiny => "tiny".to_owned(),
                Scale::Small => "small".to_owned(),
                Scale::Roomy => "roomy".to_owned(),
            },
            "workloads" => {
                self.workloads.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",")
            }
            "operations" => self.operations.to_string(),
            "think" => Span(self.think).to_string(),
            "safety" => Span(self.safety).to_string(),
            "converge" => Span(self.converge).to_string(),
            "delay-min" => Span(self.delay_min).to_string(),
            "delay-max" => Span(self.delay_max).to_string(),
            "loss-per-mille" => self.loss_per_mille.to_string(),
            "duplicate-per-mille" => self.duplicate_per_mille.to_string(),
            "reorder-per-mille" => self.reorder_per_mille.to_string(),
            "sync-min" => Span(self.sync_min).to_string(),
            "sync-max" => Span(self.sync_max).to_string(),
            "check-every" => self.check_every.to_string(),
            "inputs-per-poll" => self.inputs_per_poll.to_string(),
            "canary" => self.canary.map_or("none", Property::name).to_owned(),
            _ => panic!("no option is called {name}"),
        }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        NAMES.iter().try_for_each(|name| writeln!(f, "{name} {}", self.get(name)))
    }
}

/// The word for a durability.
pub const fn mode_name(mode: Durability) -> &'static str {
    match mode {
        Durability::Memory => "memory",
        Durability::Persistent => "persistent",
    }
}

/// Reads a whole number.
///
/// # Errors
/// What was expected.
pub fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = if digits { text.parse().ok() } else { None };
    parsed.ok_or_else(|| "a whole number within range".to_owned())
}

/// Reads a span of time such as `250ms`: a whole number and one of `s`, `ms`, `us`, `ns`.
///
/// # Errors
/// What was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "a span of time such as 250ms (units: s, ms, us, ns)".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let count: u64 = number(count).map_err(|_| expected())?;
    let scale = match unit {
        "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "us" => 1_000,
        "ns" => 1,
        _ => return Err(expected()),
    };
    count.checked_mul(scale).map(Duration::from_nanos).ok_or_else(expected)
}

/// Reads a durability.
///
/// # Errors
/// What was expected.
pub fn mode(text: &str) -> Result<Durability, String> {
    match text {
        "memory" => Ok(Durability::Memory),
        "persistent" => Ok(Durability::Persistent),
        _ => Err("memory or persistent".to_owned()),
    }
}

/// Reads what keeps the records.
///
/// # Errors
/// What was expected.
pub fn storage(text: &str) -> Result<Storage, String> {
    match text {
        "modelled" => Ok(Storage::Modelled),
        "real" => Ok(Storage::Real),
        _ => Err("modelled or real".to_owned()),
    }
}

/// Reads what stands below the replica.
///
/// # Errors
/// What was expected.
pub fn group(text: &str) -> Result<Group, String> {
    match text {
        "ring" => Ok(Group::Ring),
        "adversary" => Ok(Group::Adversary),
        _ => Err("ring or adversary".to_owned()),
    }
}

/// Reads how large the bounds are.
///
/// # Errors
/// What was expected.
pub fn scale(text: &str) -> Result<Scale, String> {
    match text {
        "tiny" => Ok(Scale::Tiny),
        "small" => Ok(Scale::Small),
        "roomy" => Ok(Scale::Roomy),
        _ => Err("tiny, small or roomy".to_owned()),
    }
}

fn canary(text: &str) -> Result<Option<Property>, String> {
    let named = Property::ALL.into_iter().find(|property| property.name() == text);
    match (text, named) {
        ("none", _) => Ok(None),
        (_, Some(property)) => Ok(Some(property)),
        _ => Err(format!("none, or one of {}", Property::ALL.map(Property::name).join(", "))),
    }
}

/// Reads workloads, separated by commas.
///
/// # Errors
/// What was expected.
pub fn workloads(text: &str) -> Result<Vec<WorkloadKind>, String> {
    let named = text.split(',').map(WorkloadKind::named);
    named.collect::<Option<Vec<_>>>().ok_or_else(|| {
        let names: Vec<&str> = WorkloadKind::ALL.iter().map(|kind| kind.name()).collect();
        format!("one or more of {}, separated by commas", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_survives_its_own_text() {
        let options = Options::default();
        let mut read = Options { seed: 9, servers: 9, clients: 9, ..Options::default() };
        for name in NAMES {
            read.set(name, &options.get(name)).expect("its own text");
        }
        assert_eq!(read, options);
        assert!(read.set("colour", "red").is_err());
        for text in ["", "-1", "1.5", "99999999999999999999", "+1"] {
            assert!(read.set("servers", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_needs_a_unit_and_must_fit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for text in ["250", "ms", "1.5s", "1h", "99999999999999s", "-1s", ""] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn contradictions_are_named() {
        Options::default().check();
        let none = Options { servers: 0, ..Options::default() };
        assert_eq!(none.problem().map(|(name, _)| name), Some("servers"));
        let many = Options { servers: u32::MAX, observers: u32::MAX, ..Options::default() };
        assert_eq!(many.problem(), Some(("servers", "1 to 63 servers")));
        let most = Options { servers: SERVERS_MAX, ..Options::default() };
        assert_eq!(most.problem(), None);
        let more = Options { observers: 1, ..most };
        assert_eq!(more.problem().map(|(name, _)| name), Some("observers"));
        let slow = Options { sync_min: Duration::from_secs(1), ..Options::default() };
        assert_eq!(slow.problem().map(|(name, _)| name), Some("sync-max"));
    }
}
