//! A network of namespaces on this machine: one for each node, all joined by a bridge that has a
//! namespace of its own. Nothing is added to the machine's own network.
//!
//! | namespace | holds |
//! |---|---|
//! | `accord-NAME-I` | node I, at `10.77.0.I` |
//! | `accord-NAME-br` | the bridge; clients and operators, at `10.77.0.250` |
//!
//! Partitions are rules at the bridge between nodes; clients in the bridge's namespace reach every
//! node all the time.
//!
//! Invariant: dropping a [`Net`] ends every process in its namespaces and removes them. What a
//! killed process left behind is removed by [`Net::down`], and by the next [`Net::up`] of anybody.

use crate::leftovers::{Claim, is_left};
use crate::spawn;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long ended processes may take to be gone.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often that is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The most nodes of a network.
pub const NODES_MAX: u32 = 9;
/// The last part of the address of clients.
const CLIENT_PART: u8 = 250;
/// Where the claims on networks are, by their names.
const CLAIMS: &str = "/run/accord-testbed";

/// Why there is no network.
#[derive(Debug, Error)]
pub enum NetError {
    /// Only root makes namespaces.
    #[error("namespaces need root: run it as root, such as with sudo")]
    NotRoot,
    /// A program is missing.
    #[error("the program {program} is missing: install it with `apt-get install {package}`")]
    Missing {
        /// The program's name, looked up in `PATH`.
        program: &'static str,
        /// What brings it, on Debian.
        package: &'static str,
    },
    /// A command failed.
    #[error("`{command}` failed: {output}")]
    Command {
        /// What was run.
        command: String,
        /// What it said.
        output: String,
    },
    /// The system refuses something.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// What it says.
        error: std::io::Error,
    },
    /// The name or the number of nodes cannot be used.
    #[error("{0}")]
    Options(String),
}

/// A network of namespaces.
#[derive(Debug)]
pub struct Net {
    name: String,
    nodes: u32,
    _claim: Claim,
}

/// A name for a network of this process that nobody else uses: `what` says which of several.
pub fn own_name(what: &str) -> String {
    format!("{what}{}", std::process::id())
}

fn claim_of(name: &str) -> PathBuf {
    Path::new(CLAIMS).join(format!("{name}.lock"))
}

/// Removes the networks whose makers are gone.
fn sweep() {
    let Ok(entries) = fs::read_dir(CLAIMS) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.extension().is_some_and(|kind| kind == "lock") && is_left(&path) {
            // Somebody else may be doing the same.
            if Net::down(&name).is_ok() {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

/// Looks for a program, as a shell would.
///
/// # Errors
/// [`NetError::Missing`].
pub fn require(program: &'static str, package: &'static str) -> Result<(), NetError> {
    spawn::find(program).map(drop).ok_or(NetError::Missing { program, package })
}

fn run(mut command: Command) -> Result<String, NetError> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command.stdin(Stdio::null()).output();
    let Output { status, stdout, stderr } = output
        .map_err(|error| NetError::System { what: format!("`{shown}` cannot be run"), error })?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let output = String::from_utf8_lossy(&stderr).trim().to_owned();
    Err(NetError::Command { command: shown, output })
}

fn ip(arguments: &str) -> Result<String, NetError> {
    let mut command = Command::new("ip");
    command.args(arguments.split_whitespace());
    run(command)
}

/// The namespaces of a network of this name that exist.
fn existing(name: &str) -> Result<Vec<String>, NetError> {
    let prefix = format!("accord-{name}-");
    let list = ip("netns list")?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|found| found.starts_with(&prefix)).map(str::to_owned).collect())
}

impl Net {
    /// Makes a network, whose links carry packets of at most so many bytes.
    ///
    /// # Errors
    /// [`NetError`]: nothing is left of it then.
    pub fn up(name: &str, nodes: u32, mtu: u32) -> Result<Self, NetError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(NetError::NotRoot);
        }
        require("ip", "iproute2")?;
        require("nft", "nftables")?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(NetError::Options(format!("name `{name}`: letters and digits alone")));
        }
        if !(1..=NODES_MAX).contains(&nodes) || !(576..=65_535).contains(&mtu) {
            let what = format!("{nodes} nodes with an MTU of {mtu}: 1 to 9, and 576 to 65535");
            return Err(NetError::Options(what));
        }
        spawn::prepare();
        sweep();
        if !existing(name)?.is_empty() {
            let what = format!(
                "a network named {name} is there already: remove it with \
                 `accord-jepsen cluster down --name {name}`, or choose another name"
            );
            return Err(NetError::Options(what));
        }
        let claim = fs::create_dir_all(CLAIMS).and_then(|()| Claim::new(claim_of(name)));
        let claim = claim.map_err(|error| NetError::System {
            what: claim_of(name).display().to_string(),
            error,
        })?;
        // From here on, dropping it removes what there is.
        let net = Self { name: name.to_owned(), nodes, _claim: claim };
        net.build(mtu)?;
        Ok(net)
    }

    fn build(&self, mtu: u32) -> Result<(), NetError> {
        let bridge = self.bridge();
        ip(&format!("netns add {bridge}"))?;
        ip(&format!("-n {bridge} link set lo up"))?;
        ip(&format!("-n {bridge} link add br0 type bridge stp_state 0 forward_delay 0"))?;
        ip(&format!("-n {bridge} link set br0 mtu {mtu} up"))?;
        ip(&format!("-n {bridge} addr add {}/24 dev br0", address(CLIENT_PART)))?;
        for node in 1..=self.nodes {
            let own = self.namespace(node);
            ip(&format!("netns add {own}"))?;
            ip(&format!("-n {own} link set lo up"))?;
            ip(&format!("-n {own} link add eth0 type veth peer name v{node} netns {bridge}"))?;
            ip(&format!("-n {bridge} link set v{node} mtu {mtu} master br0 up"))?;
            ip(&format!("-n {own} link set eth0 mtu {mtu}"))?;
            ip(&format!("-n {own} addr add {}/24 dev eth0", self.address(node)))?;
            ip(&format!("-n {own} link set eth0 up"))?;
        }
        self.nft("add table bridge accord")?;
        self.nft("add chain bridge accord cut { type filter hook forward priority 0; }")
    }

    /// Ends every process in the namespaces of that name and removes them, whoever made them.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn down(name: &str) -> Result<(), NetError> {
        let namespaces = existing(name)?;
        let mut ended = Vec::new();
        for namespace in &namespaces {
            let pids = ip(&format!("netns pids {namespace}"))?;
            ended.extend(pids.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
        // Who holds the network, or calls this, may itself be among the clients.
        ended.retain(|pid| *pid != std::process::id() as i32);
        for pid in &ended {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        let deadline = Instant::now() + TIMEOUT;
        let runs = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The children of this process stay as zombies until they are waited for.
            stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
        };
        while ended.iter().any(runs) && Instant::now() < deadline {
            std::thread::sleep(POLL_INTERVAL);
        }
        remove_shared_memory(&ended);
        for namespace in &namespaces {
            ip(&format!("netns del {namespace}"))?;
        }
        Ok(())
    }

    /// The name of the network namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace of a node, from 1.
    pub fn namespace(&self, node: u32) -> String {
        format!("accord-{}-{node}", self.name)
    }

    fn bridge(&self) -> String {
        format!("accord-{}-br", self.name)
    }

    /// The address of a node, from 1.
    pub fn address(&self, node: u32) -> IpAddr {
        address(node as u8)
    }

    /// A command in a node's namespace, for [`spawn::spawn`].
    pub fn command(&self, node: u32, program: &Path) -> Command {
        let mut command = spawn::command(Path::new("ip"));
        command.args(["netns", "exec", &self.namespace(node)]).arg(program);
        command
    }

    /// Puts the calling thread, and those that it starts from then on, among the clients.
    ///
    /// # Errors
    /// [`NetError::System`].
    pub fn enter(&self) -> Result<(), NetError> {
        enter(&self.bridge())
    }

    /// Does something among the clients. What was opened there stays there.
    ///
    /// # Errors
    /// [`NetError::System`].
    ///
    /// # Panics
    /// If the thread cannot come back: what it did next would be somewhere else than meant.
    pub fn among_clients<T>(&self, act: impl FnOnce() -> T) -> Result<T, NetError> {
        const HERE: &str = "/proc/thread-self/ns/net";
        let wrong = |error| NetError::System { what: HERE.to_owned(), error };
        let here = fs::File::open(HERE).map_err(wrong)?;
        self.enter()?;
        let done = act();
        nix::sched::setns(here, nix::sched::CloneFlags::CLONE_NEWNET).expect("it came from there");
        Ok(done)
    }

    /// Puts the calling thread, and those that it starts from then on, onto a node.
    ///
    /// # Errors
    /// [`NetError::System`].
    pub fn enter_node(&self, node: u32) -> Result<(), NetError> {
        enter(&self.namespace(node))
    }

    /// Lets nodes reach only those of their own part. Nodes in no part are alone.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn partition(&self, parts: &[&[u32]]) -> Result<(), NetError> {
        let together = |a, b| parts.iter().any(|part| part.contains(&a) && part.contains(&b));
        let mut rules = String::from("flush chain bridge accord cut\n");
        for from in 1..=self.nodes {
            for to in (1..=self.nodes).filter(|to| *to != from && !together(from, *to)) {
                rules += &format!(
                    "add rule bridge accord cut iifname \"v{from}\" oifname \"v{to}\" drop\n"
                );
            }
        }
        self.nft(&rules)
    }

    /// Loses so many of a hundred packets between nodes that are longer than so many bytes.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn lose(&self, percent: u32, longer_than: u32) -> Result<(), NetError> {
        self.nft(&format!(
            "flush chain bridge accord cut\nadd rule bridge accord cut meta length > {longer_than} \
             numgen random mod 100 < {percent} drop\n"
        ))
    }

    /// Lets all nodes reach each other again.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn heal(&self) -> Result<(), NetError> {
        self.nft("flush chain bridge accord cut")
    }

    fn nft(&self, rules: &str) -> Result<(), NetError> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.bridge(), "nft", rules]);
        run(command).map(drop)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if let Err(error) = Self::down(&self.name) {
            crate::complain!("the network {} is not removed: {error}", self.name);
        }
    }
}

const fn address(part: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, part))
}

/// Puts the calling thread, and those that it starts from then on, into a namespace.
///
/// # Errors
/// [`NetError::System`].
pub fn enter(namespace: &str) -> Result<(), NetError> {
    let path = format!("/run/netns/{namespace}");
    let wrong = |error| NetError::System { what: path.clone(), error };
    let file = fs::File::open(&path).map_err(wrong)?;
    nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)
        .map_err(|error| wrong(error.into()))
}

/// A daemon that was killed leaves the memory that it shared with its clients.
pub(crate) fn remove_shared_memory(pids: &[i32]) {
    let Ok(entries) = fs::read_dir("/dev/shm") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Some(rest) = name.strip_prefix("qb-") else { continue };
        let rest = rest.strip_prefix("corosync-").unwrap_or(rest);
        let owner = rest.split('-').next().and_then(|pid| pid.parse().ok());
        if owner.is_some_and(|pid| pids.contains(&pid)) {
            let path = entry.path();
            // Somebody else may have removed it.
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}
