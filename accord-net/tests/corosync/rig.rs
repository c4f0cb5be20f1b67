//! Members of a process group over real daemons on nodes of their own, all in this process, as a
//! rig of the conformance suite.

use accord_core::group::conformance::{Harness, Need, Rig, Setup};
use accord_core::group::{GroupEvent, SubmitError};
use accord_core::ids::NodeId;
use accord_core::time::{Duration, Instant};
use accord_net::corosync::{
    CorosyncError, CorosyncGroup, CorosyncLimits, GroupConfig, GroupStatus,
};
use accord_net::env::Env;
use accord_net::env::real::{Real, draw};
use accord_testbed::corosync::{DaemonOptions, Daemons};
use accord_testbed::netns::Net;
use accord_testbed::nodes::{GroupChoice, Nodes, NodesOptions};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

/// How long anything may take to come about.
const TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// Longer ones are lost when datagrams are: not the token, or the ring would break at once.
const LOST_BYTES_MIN: u32 = 400;
pub const KEY: [u8; 32] = [7; 32];
pub const GROUP: &str = "accord";

/// Nodes compete for the processors: one set at a time.
static TURN: Mutex<()> = Mutex::new(());
static NETWORKS: AtomicU32 = AtomicU32::new(0);

pub struct RealRig {
    members: BTreeMap<u32, CorosyncGroup>,
    pub nodes: Nodes,
    began: std::time::Instant,
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

/// Three daemons that notice a lost ring soon.
pub fn daemons() -> DaemonOptions {
    DaemonOptions { token_ms: 600, ..DaemonOptions::default() }
}

/// A test of what concerns Corosync alone, with a member on each of these nodes.
pub fn harness(name: &'static str, nodes: &[u32], daemons: &DaemonOptions) -> Harness<RealRig> {
    Harness::over(name, RealRig::with(nodes, daemons), nodes.iter().copied())
}

impl RealRig {
    /// Three daemons, and a member on each of these nodes.
    pub fn with(on: &[u32], daemons: &DaemonOptions) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = TempDir::with_prefix("accord-corosync-").expect("a directory");
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}n{number}", std::process::id());
        let daemons = daemons.clone();
        let options = NodesOptions { name, daemons, ..NodesOptions::new(GroupChoice::Corosync) };
        let mut nodes = Nodes::up(options).unwrap_or_else(|error| panic!("{error}"));
        nodes.start_daemons(dir.path()).unwrap_or_else(|error| panic!("{error}"));
        let began = std::time::Instant::now();
        let members = BTreeMap::new();
        let mut rig = Self { members, nodes, began, _dir: dir, _turn: turn };
        on.iter().for_each(|node| rig.start(NodeId(*node)));
        rig
    }

    pub fn status(&self, node: u32) -> GroupStatus {
        self.members[&node].status()
    }

    fn daemons(&mut self) -> (&mut Daemons, &Net) {
        self.nodes.daemons().expect("there are daemons")
    }
}

impl Rig for RealRig {
    const NAME: &'static str = "Corosync";
    const LACKS: &'static [(Need, &'static str)] =
        &[(Need::Hold, "members are threads of this process, which cannot be stopped")];
    const MEMBERS: u32 = 3;
    const MEMBERS_MAX: u32 = 3;
    const LOAD: Duration = Duration::from_millis(1500);
    const TIMEOUT: Duration = TIMEOUT;
    const CAMPAIGNS: u64 = 1;

    fn new(setup: Setup) -> Self {
        let nodes: Vec<u32> = (1..=setup.members).collect();
        Self::with(&nodes, &daemons())
    }

    fn now(&self) -> Instant {
        let nanos = self.began.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).expect("tests take no centuries"))
    }

    fn step(&mut self) {
        std::thread::sleep(POLL_INTERVAL);
    }

    fn message_bytes_max(&self) -> usize {
        CorosyncLimits::default().message_bytes_max
    }

    fn submit(&mut self, node: NodeId, payload: Bytes) -> Result<(), SubmitError> {
        self.members[&node.0].submit(payload)
    }

    fn poll(&mut self, node: NodeId) -> Option<GroupEvent> {
        self.members[&node.0].poll_event()
    }

    /// Its daemon as well, if that is dead.
    fn start(&mut self, node: NodeId) {
        self.start_daemon(node);
        let end = self.now() + TIMEOUT;
        loop {
            match start_member(&self.nodes, node.0, KEY) {
                Ok(member) => {
                    self.members.insert(node.0, member);
                    return;
                }
                Err(error) => assert!(self.now() < end, "{node} does not start: {error}"),
            }
            self.step();
        }
    }

    fn describe(&mut self) -> String {
        let statuses: Vec<_> = self.members.values().map(CorosyncGroup::status).collect();
        format!("{statuses:#?}\n{}", self.nodes.log_tails())
    }

    /// The machine on which both run is gone.
    fn crash(&mut self, node: NodeId) {
        self.kill_daemon(node);
        self.members.remove(&node.0);
    }

    fn leave(&mut self, node: NodeId) {
        self.members.remove(&node.0);
    }

    fn partition(&mut self, sides: &[Vec<NodeId>]) {
        let side = |side: &Vec<NodeId>| side.iter().map(|node| node.0).collect();
        let sides: Vec<Vec<u32>> = sides.iter().map(side).collect();
        let sides: Vec<&[u32]> = sides.iter().map(Vec::as_slice).collect();
        self.nodes.net().partition(&sides).expect("the network can be cut");
    }

    fn heal(&mut self) {
        self.nodes.net().heal().expect("the network can be mended");
    }

    fn lose(&mut self, percent: u32) {
        self.nodes.net().lose(percent, LOST_BYTES_MIN).expect("the network can lose");
    }

    fn kill_daemon(&mut self, node: NodeId) {
        self.daemons().0.kill(node.0);
    }

    fn start_daemon(&mut self, node: NodeId) {
        let (daemons, net) = self.daemons();
        if !daemons.is_up(node.0) {
            daemons.restart(net, node.0).expect("the daemon starts");
        }
    }

    fn hold_daemon(&mut self, node: NodeId) {
        self.daemons().0.pause(node.0);
    }

    fn release_daemon(&mut self, node: NodeId) {
        self.daemons().0.resume(node.0);
    }
}
