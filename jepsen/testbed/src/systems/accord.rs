//! Accord: on the built-in ring, alone, or over Corosync's daemons, as the nodes have it.

use crate::ask::get;
use crate::nodes::GroupChoice;
use crate::process::ProcessError;
use crate::system::{Launch, Layout, System};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The port for HTTP, among a server's ports.
const HTTP: usize = 2;

/// How Accord's servers are set up.
#[derive(Debug)]
pub struct Accord {
    /// The `accord` program.
    pub program: PathBuf,
    /// Lines for every server's configuration file, above its sections.
    pub extra: String,
    /// Sections for every server's configuration file, at its end.
    pub sections: String,
    /// More arguments for every server, such as `--set`.
    pub args: Vec<String>,
    /// What authenticates the servers to each other: 64 hexadecimal digits.
    pub key: String,
}

impl Accord {
    /// Servers of this program, with the settings that it has by itself.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let mut bytes = [0; 32];
        // A predictable key is no harm: the servers are reached from this machine alone.
        let _ = getrandom::fill(&mut bytes);
        let key = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let (extra, sections, args) = Default::default();
        Self { program: program.into(), extra, sections, args, key }
    }

    fn configuration(&self, layout: &Layout, at: usize) -> String {
        let solo = layout.len() == 1 && layout.group == GroupChoice::Ring;
        let group = if solo { "solo" } else { layout.group.name() };
        let mut text = format!(
            "id = {}\nclient_listen = \"{}\"\nhttp_listen = \"{}\"\nkey = \"{}\"\n{}\n",
            at + 1,
            layout.client(at),
            layout.at(at, HTTP),
            self.key,
            self.extra
        );
        // Writing to a string cannot fail.
        if layout.persistent {
            let data = self.data(&layout.dir, at);
            let _ = writeln!(text, "mode = \"persistent\"\ndata_dir = {data:?}");
        }
        let _ = writeln!(text, "group = \"{group}\"");
        // Who joins later lists those before it; an operator tells those before it.
        let listed = if solo { 0 } else { layout.len().min(layout.initial.max(at + 1)) };
        for other in 0..listed {
            let ring = layout.peer(other);
            let _ = write!(text, "\n[[servers]]\nid = {}\nring = \"{ring}\"\n", other + 1);
        }
        text + &self.sections
    }
}

impl System for Accord {
    fn name(&self) -> &'static str {
        "Accord"
    }

    fn hint(&self) -> &'static str {
        "Build it: cargo build --release -p accord-net --bin accord"
    }

    fn ports(&self) -> usize {
        HTTP + 1
    }

    fn metrics_port(&self) -> Option<usize> {
        Some(HTTP)
    }

    fn prepare(&self, layout: &Layout, at: usize) -> Result<Launch, ProcessError> {
        let configuration = self.configuration(layout, at);
        let file = layout.write(&format!("accord-{}.toml", at + 1), &configuration)?;
        // The server ends when our end of its standard input does, also where the kernel is not
        // asked to end it.
        let mut args = ["server", "--exit-with-parent", "--config"].map(str::to_owned).to_vec();
        args.push(file.display().to_string());
        args.extend(self.args.iter().cloned());
        Ok(Launch {
            program: self.program.clone(),
            args,
            first_args: vec!["--bootstrap".to_owned()],
            log: format!("accord-{}.log", at + 1),
            configuration,
        })
    }

    fn data(&self, dir: &Path, at: usize) -> PathBuf {
        dir.join(format!("data-{}", at + 1))
    }

    fn is_ready(&self, layout: &Layout) -> bool {
        (0..layout.len()).all(|at| {
            status(layout.at(at, HTTP)).is_some_and(|status: Status| status.is_whole(layout.len()))
        })
    }
}

/// The `accord` program of the same build as the test that calls this, for tests outside its
/// package: cargo builds it for those alone. `features` are those that it needs besides.
///
/// # Panics
/// If it cannot be built.
pub fn built(features: &[&str]) -> PathBuf {
    let this = std::env::current_exe().expect("a program has a file");
    let within_deps = this.ancestors().find(|dir| dir.ends_with("deps"));
    let dir = within_deps.and_then(Path::parent).expect("a test is in target/PROFILE/deps");
    let profile = match dir.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(profile) => profile,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With the features of the whole workspace, as its tests have built it: nothing is built twice.
    // The feature is one of accord-sim, which its tests need.
    cargo.args(["build", "--quiet", "--workspace", "--features", "worlds"]);
    cargo.args(["--bin", "accord", "--profile", profile]);
    cargo.arg("--target-dir").arg(dir.parent().expect("it is in a target directory"));
    if !features.is_empty() {
        cargo.arg("--features").arg(features.join(","));
    }
    assert!(cargo.status().expect("cargo runs").success(), "accord builds");
    dir.join("accord")
}

/// How a server says it is, at the address of its HTTP: a type that reads as much of it as its user
/// wants. None if it does not answer.
pub fn status<T: DeserializeOwned>(http: SocketAddr) -> Option<T> {
    serde_json::from_str(&get(http, "/status")?).ok()
}

/// As much of a server's status as tells whether a cluster is whole.
#[derive(Clone, Debug, Deserialize)]
struct Status {
    primary: bool,
    synced: bool,
    votes: bool,
    members: Vec<u32>,
    voters: Vec<u32>,
    returning: Vec<u32>,
}

impl Status {
    /// True if it is in a cluster of so many servers that all vote and have all of the log. A voter
    /// that has just come back with an empty memory is `returning` until it is exchanged.
    fn is_whole(&self, servers: usize) -> bool {
        let votes = self.votes && self.returning.is_empty();
        let all = self.members.len() == servers && self.voters.len() == servers;
        self.primary && self.synced && votes && all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Place;

    fn layout(servers: usize, initial: usize, group: GroupChoice) -> Layout {
        let place =
            |at| Place { address: [127, 0, 0, at as u8 + 1].into(), ports: vec![9000, 9001, 9002] };
        let places = (0..servers).map(place).collect();
        Layout { dir: "/tmp/x".into(), places, initial, persistent: true, group }
    }

    #[test]
    fn a_server_lists_those_that_are_there_from_the_start_and_those_before_it() {
        let accord = Accord::new("accord");
        let listed =
            |layout: &Layout, at| accord.configuration(layout, at).matches("[[servers]]").count();
        let ring = layout(4, 2, GroupChoice::Ring);
        assert_eq!([0, 1, 2, 3].map(|at| listed(&ring, at)), [2, 2, 3, 4]);
        let text = accord.configuration(&ring, 1);
        assert!(text.starts_with("id = 2\nclient_listen = \"127.0.0.2:9000\"\n"), "{text}");
        assert!(text.contains("data_dir = \"/tmp/x/data-2\"\ngroup = \"ring\"\n"), "{text}");
        let solo = layout(1, 1, GroupChoice::Ring);
        assert_eq!(listed(&solo, 0), 0);
        assert!(accord.configuration(&solo, 0).contains("group = \"solo\"\n"));
        let corosync = layout(1, 1, GroupChoice::Corosync);
        assert!(accord.configuration(&corosync, 0).contains("group = \"corosync\"\n"));
    }

    #[test]
    fn a_cluster_is_whole_when_all_vote_and_none_returns() {
        let whole = r#"{"primary":true,"synced":true,"votes":true,"members":[1,2],"voters":[1,2],
            "returning":[],"more":{"than":"is read"}}"#;
        let status: Status = serde_json::from_str(whole).expect("it is a status");
        assert!(status.is_whole(2) && !status.is_whole(3));
        assert!(!Status { returning: vec![2], ..status.clone() }.is_whole(2));
        assert!(!Status { synced: false, ..status }.is_whole(2));
    }
}
