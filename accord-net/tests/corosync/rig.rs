//! Members of a process group over real daemons on nodes of their own, all in this process, judged
//! by the checker of the ordering contract.

use accord_core::group::contract::{ContractChecker, Run};
use accord_core::ids::NodeId;
use accord_net::corosync::{CorosyncError, CorosyncGroup, GroupConfig, GroupStatus};
use accord_net::env::Env;
use accord_net::env::real::{Real, draw};
use accord_testbed::corosync::DaemonOptions;
use accord_testbed::nodes::{GroupChoice, Nodes, NodesOptions};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take to come about.
pub const TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(1);
pub const KEY: [u8; 32] = [7; 32];
pub const GROUP: &str = "accord";

/// Nodes compete for the processors: one set at a time.
static TURN: Mutex<()> = Mutex::new(());
static NETWORKS: AtomicU32 = AtomicU32::new(0);

pub struct Member {
    pub group: CorosyncGroup,
    pub run: Run,
}

pub struct Rig {
    pub members: BTreeMap<u32, Member>,
    pub checker: ContractChecker,
    pub nodes: Nodes,
    runs: u64,
    submitted: u64,
    pub accepted: u64,
    _dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// Starts a member on a node; it has the node's network for good.
pub fn start_member(
    nodes: &Nodes,
    node: u32,
    key: [u8; 32],
) -> Result<CorosyncGroup, CorosyncError> {
    std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            nodes.net().enter_node(node).expect("the node is there");
            let mut config = GroupConfig::new(GROUP, NodeId(node), key);
            config.machine.limits.silence = Duration::from_millis(2000);
            CorosyncGroup::start(config, draw(), Real.clock())
        });
        started.join().expect("it does not panic")
    })
}

impl Rig {
    /// Three daemons, and a member on each of these nodes.
    pub fn new(members: &[u32]) -> Self {
        Self::with(members, &DaemonOptions { token_ms: 600, ..DaemonOptions::default() })
    }

    pub fn with(members: &[u32], daemons: &DaemonOptions) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = TempDir::with_prefix("accord-corosync-").expect("a directory");
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}n{number}", std::process::id());
        let daemons = daemons.clone();
        let options = NodesOptions { name, daemons, ..NodesOptions::new(GroupChoice::Corosync) };
        let mut nodes = Nodes::up(options).unwrap_or_else(|error| panic!("{error}"));
        nodes.start_daemons(dir.path()).unwrap_or_else(|error| panic!("{error}"));
        let mut rig = Self {
            members: BTreeMap::new(),
            checker: ContractChecker::new(),
            nodes,
            runs: 0,
            submitted: 0,
            accepted: 0,
            _dir: dir,
            _turn: turn,
        };
        members.iter().for_each(|node| rig.start(*node));
        rig
    }

    pub fn start(&mut self, node: u32) {
        let group = start_member(&self.nodes, node, KEY).unwrap_or_else(|e| panic!("{e}"));
        self.runs += 1;
        let run = Run { node: NodeId(node), incarnation: self.runs };
        self.members.insert(node, Member { group, run });
    }

    pub fn stop(&mut self, node: u32) {
        self.pump();
        if let Some(member) = self.members.remove(&node) {
            self.checker.on_stop(member.run);
        }
    }

    /// Judges all that came.
    pub fn pump(&mut self) {
        for member in self.members.values() {
            while let Some(event) = member.group.poll_event() {
                let judged = self.checker.on_event(member.run, &event);
                judged.unwrap_or_else(|violation| panic!("{violation}"));
            }
        }
    }

    pub fn wait(&mut self, what: &str, mut until: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            self.pump();
            if until(self) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {:#?}", self.statuses());
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    pub fn statuses(&self) -> Vec<GroupStatus> {
        self.members.values().map(|member| member.group.status()).collect()
    }

    pub fn status(&self, node: u32) -> GroupStatus {
        self.members[&node].group.status()
    }

    /// False if the group is full.
    pub fn submit(&mut self, node: u32, bytes: usize) -> bool {
        self.submitted += 1;
        let mut payload = self.submitted.to_le_bytes().to_vec();
        payload.resize(bytes.max(8), node as u8);
        let payload = Bytes::from(payload);
        let member = &self.members[&node];
        let accepted = member.group.submit(payload.clone()).is_ok();
        if accepted {
            self.accepted += 1;
            self.checker.on_submit(member.run, &payload);
        }
        accepted
    }

    /// The members of a member's view.
    pub fn view(&self, node: u32) -> Vec<u32> {
        let view = self.checker.view_of(self.members[&node].run);
        view.map_or(Vec::new(), |view| view.members.iter().map(|node| node.0).collect())
    }

    /// Waits until these members share a view of just them.
    pub fn wait_for_view(&mut self, nodes: &[u32]) {
        self.wait(&format!("a view of {nodes:?}"), |rig| {
            let ids: Vec<_> =
                nodes.iter().map(|node| rig.checker.view_of(rig.members[node].run)).collect();
            nodes.iter().all(|node| rig.view(*node) == nodes)
                && ids.windows(2).all(|pair| pair[0] == pair[1])
        });
    }

    /// All members submit for a while.
    pub fn load(&mut self, span: Duration) {
        let deadline = Instant::now() + span;
        let nodes: Vec<u32> = self.members.keys().copied().collect();
        let sizes = [8, 100, 1000, 100_000, 8, 3000];
        for size in sizes.into_iter().cycle() {
            for node in &nodes {
                if self.status(*node).machine.pending_messages < 50 {
                    self.submit(*node, size);
                }
            }
            self.pump();
            std::thread::sleep(POLL_INTERVAL);
            if Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Waits until all members share a view and each was delivered what it submitted in it.
    pub fn settle(&mut self) {
        let nodes: Vec<u32> = self.members.keys().copied().collect();
        self.wait_for_view(&nodes);
        let runs: Vec<Run> = self.members.values().map(|member| member.run).collect();
        self.wait("all is delivered", |rig| rig.checker.check_converged(&runs).is_ok());
    }
}
