//! Corosync daemons in the namespaces of a network.

use crate::netns::{Net, NetError, remove_shared_memory, require};
use crate::process;
use crate::spawn;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long daemons may take until they see each other.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often that is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How daemons are set up.
#[derive(Clone, Debug)]
pub struct DaemonOptions {
    /// The cluster's name, which all its daemons share.
    pub cluster: String,
    /// Milliseconds without a token after which a ring counts as broken. A dead node is noticed
    /// after 2.2 times as long.
    pub token_ms: u32,
    /// Whether packets are encrypted and authenticated.
    pub crypto: bool,
    /// Lines for the section `totem`.
    pub totem: String,
}

impl Default for DaemonOptions {
    fn default() -> Self {
        Self { cluster: "accord".to_owned(), token_ms: 1000, crypto: false, totem: String::new() }
    }
}

/// The daemons of a network. Dropping them ends them.
#[derive(Debug)]
pub struct Daemons {
    dir: PathBuf,
    running: Vec<Option<Child>>,
}

impl Daemons {
    /// Starts a daemon on each node, and waits until they see each other.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn start(
        net: &Net,
        nodes: u32,
        dir: &Path,
        options: &DaemonOptions,
    ) -> Result<Self, NetError> {
        require("corosync", "corosync")?;
        let mut daemons = Self { dir: dir.to_owned(), running: Vec::new() };
        let system = |what: &Path| {
            let what = what.display().to_string();
            move |error| NetError::System { what, error }
        };
        let key = dir.join("authkey");
        if options.crypto && !key.exists() {
            let mut bytes = [0; 256];
            getrandom::fill(&mut bytes).map_err(std::io::Error::other).map_err(system(&key))?;
            fs::write(&key, bytes).map_err(system(&key))?;
        }
        for node in 1..=nodes {
            let config = daemons.config(node);
            let state = dir.join(format!("corosync-{node}"));
            fs::create_dir_all(&state).map_err(system(&state))?;
            let text = configuration(net, nodes, dir, node, options);
            fs::write(&config, text).map_err(system(&config))?;
            daemons.running.push(None);
            daemons.restart(net, node)?;
        }
        daemons.wait_for(net, nodes)?;
        Ok(daemons)
    }

    /// The numbers of the daemons' processes.
    pub fn pids(&self) -> Vec<u32> {
        self.running.iter().flatten().map(Child::id).collect()
    }

    fn config(&self, node: u32) -> PathBuf {
        self.dir.join(format!("corosync-{node}.conf"))
    }

    fn log(&self, node: u32) -> PathBuf {
        self.dir.join(format!("corosync-{node}.log"))
    }

    /// Starts a node's daemon, from 1, if it does not run.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn restart(&mut self, net: &Net, node: u32) -> Result<(), NetError> {
        if self.running[node as usize - 1].is_some() {
            return Ok(());
        }
        let mut command = spawn::command(Path::new("ip"));
        // A daemon locks a file in /run, so each has its own; `ip netns exec` has made the mounts
        // private.
        let script = "mount -t tmpfs tmpfs /run && exec corosync -f -c \"$0\"";
        command.args(["netns", "exec", &net.namespace(node), "sh", "-c", script]);
        command.arg(self.config(node));
        let log = self.log(node);
        let system = |error| NetError::System { what: log.display().to_string(), error };
        let sink = fs::File::options().append(true).create(true).open(&log).map_err(system)?;
        let sink_too = sink.try_clone().map_err(system)?;
        command.stdin(Stdio::null()).stdout(sink).stderr(sink_too);
        let child = spawn::spawn(command)
            .map_err(|error| NetError::System { what: "ip".to_owned(), error })?;
        self.running[node as usize - 1] = Some(child);
        Ok(())
    }

    /// Waits until each of the nodes sees so many.
    ///
    /// # Errors
    /// [`NetError`] if they do not come to it.
    pub fn wait_for(&self, net: &Net, nodes: u32) -> Result<(), NetError> {
        let deadline = Instant::now() + TIMEOUT;
        while (1..=nodes).any(|node| members(net, node) != nodes as usize) {
            if Instant::now() >= deadline {
                let logs = (1..=nodes).map(|node| tail(&self.log(node))).collect::<String>();
                let what =
                    format!("the daemons do not see each other; their logs end with\n{logs}");
                return Err(NetError::Options(what));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn signal(&self, node: u32, signal: Signal) {
        if let Some(child) = &self.running[node as usize - 1] {
            // The child is not reaped as long as we hold it, so the number is its own.
            let _ = kill(Pid::from_raw(child.id() as i32), signal);
        }
    }

    /// Kills a node's daemon, from 1, if it runs.
    pub fn kill(&mut self, node: u32) {
        if let Some(mut child) = self.running[node as usize - 1].take() {
            let _ = child.kill();
            let _ = child.wait();
            remove_shared_memory(&[child.id() as i32]);
        }
    }

    /// Gives a node's daemon, from 1, another key, as one of another cluster would have.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn forge_key(&self, node: u32) -> Result<(), NetError> {
        let key = self.dir.join("otherkey");
        let config = self.config(node);
        let own = self.dir.join("authkey").display().to_string();
        let forge = || {
            let bytes: Vec<u8> = fs::read(self.dir.join("authkey"))?.iter().map(|b| !b).collect();
            fs::write(&key, bytes)?;
            let text = fs::read_to_string(&config)?.replace(&own, &key.display().to_string());
            fs::write(&config, text)
        };
        let what = config.display().to_string();
        forge().map_err(|error| NetError::System { what, error })
    }

    /// True if a node's daemon, from 1, was started and has not ended by itself.
    pub fn is_up(&mut self, node: u32) -> bool {
        let child = &mut self.running[node as usize - 1];
        child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Holds a node's daemon, from 1.
    pub fn pause(&self, node: u32) {
        self.signal(node, Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self, node: u32) {
        self.signal(node, Signal::SIGCONT);
    }

    /// The ends of all logs, for reports.
    pub fn log_tails(&self) -> String {
        (1..=self.running.len() as u32).map(|node| tail(&self.log(node))).collect()
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        (1..=self.running.len() as u32).for_each(|node| self.kill(node));
    }
}

/// How many members a node's daemon sees.
fn members(net: &Net, node: u32) -> usize {
    let mut command = net.command(node, Path::new("corosync-quorumtool"));
    let Ok(output) = command.arg("-l").stderr(Stdio::null()).output() else { return 0 };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_member = |line: &&str| {
        line.split_whitespace().take(2).filter(|word| word.parse::<u32>().is_ok()).count() == 2
    };
    text.lines().filter(is_member).count()
}

fn configuration(net: &Net, nodes: u32, dir: &Path, node: u32, options: &DaemonOptions) -> String {
    let DaemonOptions { cluster, token_ms, crypto, totem } = options;
    let crypto = if *crypto {
        format!(
            "  keyfile: {}\n  crypto_model: openssl\n  crypto_cipher: aes256\n  crypto_hash: sha256\n",
            dir.join("authkey").display()
        )
    } else {
        "  crypto_cipher: none\n  crypto_hash: none\n".to_owned()
    };
    let mut text = format!(
        "totem {{\n  version: 2\n  cluster_name: {cluster}\n  transport: knet\n  token: {token_ms}\n  \
         token_coefficient: 0\n{crypto}{totem}}}\nnodelist {{\n"
    );
    for other in 1..=nodes {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "  node {{\n    name: n{other}\n    nodeid: {other}\n    ring0_addr: {}\n  }}\n",
            net.address(other)
        );
    }
    let dir = dir.display();
    let _ = write!(
        text,
        "}}\nquorum {{\n  provider: corosync_votequorum\n}}\nsystem {{\n  state_dir: \
         {dir}/corosync-{node}\n  sched_rr: no\n  move_to_root_cgroup: no\n  priority: 0\n}}\n\
         logging {{\n  to_syslog: no\n  to_stderr: yes\n  timestamp: hires\n}}\n"
    );
    text
}

fn tail(log: &Path) -> String {
    format!("--- {}\n{}\n", log.display(), process::tail(log))
}
