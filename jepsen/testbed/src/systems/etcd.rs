//! etcd: clusters of its servers.

use crate::ask::get;
use crate::process::ProcessError;
use crate::spawn::find;
use crate::system::{Launch, Layout, System};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// How to have what it needs.
pub const INSTALL: &str =
    "etcd is not installed: apt-get install -y etcd-server (the service need not run)";
/// Room for what a long comparison writes; without it etcd stops taking writes at 2 GiB.
const QUOTA_BYTES: u64 = 8 << 30;
/// The signal that asks a program to stop.
const SIGTERM: i32 = 15;

/// How etcd's servers are set up.
#[derive(Debug)]
pub struct Etcd {
    /// The program.
    pub program: PathBuf,
    /// Milliseconds between the leader's heartbeats.
    pub heartbeat_ms: u32,
    /// Milliseconds without one after which another leader is elected.
    pub election_ms: u32,
}

impl Etcd {
    /// Servers of the installed program, as patient as ZooKeeper: a busy machine is not a dead
    /// leader.
    ///
    /// # Errors
    /// [`ProcessError::Missing`].
    pub fn installed() -> Result<Self, ProcessError> {
        let program = find("etcd").ok_or_else(|| ProcessError::Missing(INSTALL.to_owned()))?;
        Ok(Self { program, heartbeat_ms: 500, election_ms: 5000 })
    }
}

/// The version that a program says it has.
pub fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next()?.trim_start_matches("etcd Version: ").to_owned())
}

fn name(at: usize) -> String {
    format!("e{}", at + 1)
}

impl System for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn hint(&self) -> &'static str {
        INSTALL
    }

    fn ports(&self) -> usize {
        2
    }

    fn metrics_port(&self) -> Option<usize> {
        Some(0)
    }

    fn prepare(&self, layout: &Layout, at: usize) -> Result<Launch, ProcessError> {
        let (client, peer) = (layout.client(at), layout.peer(at));
        let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
        let member = |at| format!("{}=http://{}", name(at), layout.peer(at));
        let members: Vec<_> = (0..layout.initial.min(layout.len())).map(member).collect();
        let data = self.data(&layout.dir, at).display().to_string();
        let mut args: Vec<String> = [
            ("--name", name(at)),
            ("--data-dir", data),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer),
            ("--initial-cluster", members.join(",")),
            ("--initial-cluster-state", "new".to_owned()),
            ("--heartbeat-interval", self.heartbeat_ms.to_string()),
            ("--election-timeout", self.election_ms.to_string()),
            ("--quota-backend-bytes", QUOTA_BYTES.to_string()),
            ("--logger", "zap".to_owned()),
            ("--log-level", "warn".to_owned()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect();
        if !layout.persistent {
            args.push("--unsafe-no-fsync".to_owned());
        }
        let (program, log) = (self.program.clone(), format!("{}.log", name(at)));
        let (first_args, configuration) = Default::default();
        Ok(Launch { program, args, first_args, log, configuration })
    }

    fn data(&self, dir: &Path, at: usize) -> PathBuf {
        dir.join(name(at))
    }

    /// True if every server says that it is healthy, which takes a leader.
    fn is_ready(&self, layout: &Layout) -> bool {
        let healthy = |text: String| text.contains("\"health\":\"true\"");
        (0..layout.len()).all(|at| get(layout.client(at), "/health").is_some_and(healthy))
    }

    fn is_orderly(&self, status: ExitStatus) -> bool {
        // It stops in order and then ends by the signal that it was sent.
        status.success() || status.signal() == Some(SIGTERM)
    }
}
