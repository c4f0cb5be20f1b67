//! One server of a cluster, as a child process.
//!
//! A child ends gracefully when its standard input ends, so none outlives the cluster's command,
//! however that ends. It is in a process group of its own: Ctrl-C reaches the command alone, which
//! then stops its children.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdin, Command, ExitStatus, Stdio};
use tokio::sync::mpsc;

/// What a child says.
#[derive(Debug)]
pub enum Said {
    /// Where it listens: it is ready.
    Listens(SocketAddr, String),
    /// Something for people, on its standard error.
    Line(String),
}

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The server's number in the cluster.
    pub id: u32,
    /// Its settings, by path, as they are given with `--set`.
    pub settings: Vec<(String, String)>,
    /// The cluster's key.
    pub key: String,
    /// Its configuration file, if there is one: it has the settings, and names the key.
    pub config: Option<PathBuf>,
    /// The file of its log; none if its parent reads it.
    pub log: Option<PathBuf>,
    /// Whether it may form a new cluster.
    pub bootstrap: bool,
}

/// A running child.
#[derive(Debug)]
pub struct Child {
    pub id: u32,
    process: Process,
    /// Its end tells the child to stop.
    input: Option<ChildStdin>,
    ended: Option<ExitStatus>,
    /// Where its log goes, and how long that was before it started.
    log: Option<(PathBuf, u64)>,
    /// Its last lines that were not shown, if its log has no file.
    last: VecDeque<String>,
}

/// The most lines of a log that are told as its last words.
const LAST_LINES: usize = 5;
/// The most bytes of a log's end that are looked at for them.
const LAST_BYTES: u64 = 16 << 10;

impl Recipe {
    /// The configuration as a file.
    pub fn file(&self) -> String {
        let mut text = "# Written by `accord cluster`, and overwritten when it starts again.\n\
                        key_file = \"accord.key\"\n"
            .to_owned();
        let (top, inner): (Vec<_>, Vec<_>) =
            self.settings.iter().partition(|(path, _)| !path.contains('.'));
        for (path, value) in top.into_iter().chain(inner) {
            text.push_str(&match path.as_str() {
                "servers" => format!("{path} = {}\n", members(value)),
                _ => format!("{path} = {}\n", literal(value)),
            });
        }
        text
    }

    /// Starts the server. What it says goes to `said`.
    ///
    /// # Errors
    /// As the system says.
    pub fn start(&self, said: &mpsc::UnboundedSender<(u32, Said)>) -> io::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        // The settings are these, whatever stands in the environment.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_accord(name)) {
            command.env_remove(name);
        }
        command.args(["server", "--exit-with-parent"]);
        match &self.config {
            Some(config) => {
                command.arg("--config").arg(config);
            }
            None => {
                command.env("ACCORD_KEY", &self.key);
                for (path, value) in &self.settings {
                    command.arg("--set").arg(format!("{path}={value}"));
                }
            }
        }
        if self.bootstrap {
            command.arg("--bootstrap");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut log_from = None;
        match &self.log {
            Some(log) => {
                let before = std::fs::metadata(log).map_or(0, |found| found.len());
                log_from = Some((log.clone(), before));
                command.stderr(std::fs::File::options().create(true).append(true).open(log)?)
            }
            None => command.stderr(Stdio::piped()),
        };
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.spawn()?;
        let id = self.id;
        if let Some(out) = process.stdout.take() {
            listen(id, out, said.clone(), ready)?;
        }
        if let Some(err) = process.stderr.take() {
            listen(id, err, said.clone(), |line| Some(Said::Line(line.to_owned())))?;
        }
        let input = process.stdin.take();
        Ok(Child { id, process, input, ended: None, log: log_from, last: VecDeque::new() })
    }
}

fn is_accord(name: &OsString) -> bool {
    name.to_string_lossy().starts_with("ACCORD_")
}

/// A value as it stands in TOML.
fn literal(value: &str) -> String {
    match value.parse::<u64>().is_ok() || value == "true" || value == "false" {
        true => value.to_owned(),
        false => toml::Value::String(value.to_owned()).to_string(),
    }
}

fn members(value: &str) -> String {
    let member = |part: &str| {
        let (id, ring) = part.split_once('=').unwrap_or((part, ""));
        format!("{{ id = {id}, ring = \"{ring}\" }}")
    };
    format!("[{}]", value.split(',').map(member).collect::<Vec<_>>().join(", "))
}

fn listen(
    id: u32,
    from: impl io::Read + Send + 'static,
    said: mpsc::UnboundedSender<(u32, Said)>,
    understand: fn(&str) -> Option<Said>,
) -> io::Result<()> {
    let read = move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // Read on, even if the receiver is gone: the child must not block.
            if let Some(what) = understand(&line) {
                let _ = said.send((id, what));
            }
        }
    };
    std::thread::Builder::new().name(format!("server {id}")).spawn(read).map(drop)
}

/// Reads the line by which a server tells where it listens.
fn ready(line: &str) -> Option<Said> {
    let (_, places) = line.split_once(" listens for clients at ")?;
    let (clients, http) = places.split_once(", http at ")?;
    Some(Said::Listens(clients.parse().ok()?, http.to_owned()))
}

impl Child {
    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.process.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Keeps a line of its output that was not shown.
    pub fn note(&mut self, line: &str) {
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }

    /// Its last lines; without a file for its log, of those that were not shown.
    pub fn last_words(&self) -> Vec<String> {
        let Some((path, from)) = &self.log else { return self.last.iter().cloned().collect() };
        let end = tail(path, *from).unwrap_or_default();
        let lines: Vec<_> = end.lines().filter(|line| !line.trim().is_empty()).collect();
        let first = lines.len().saturating_sub(LAST_LINES);
        lines[first..].iter().map(|line| (*line).to_owned()).collect()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Tells it to stop gracefully.
    pub fn stop(&mut self) {
        self.input = None;
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            // It may have ended meanwhile.
            let _ = self.process.kill();
            self.ended = self.process.wait().ok();
        }
    }
}

/// The end of a file behind `from`.
fn tail(path: &Path, from: u64) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(bytes.saturating_sub(LAST_BYTES))))?;
    let mut end = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_server_that_is_ready_is_understood() {
        let line = "accord: server 2 listens for clients at 127.0.0.1:7851, http at off";
        let Some(Said::Listens(at, http)) = ready(line) else { panic!("not understood") };
        assert_eq!((at.port(), http.as_str()), (7851, "off"));
        assert!(ready("something else").is_none());
    }

    #[test]
    fn a_recipe_as_a_file_says_the_same() {
        let settings = [("id", "2"), ("ring.burst_packets_max", "8"), ("group", "ring")];
        let settings = settings.map(|(path, value)| (path.to_owned(), value.to_owned()));
        let mut settings = settings.to_vec();
        settings.push(("servers".to_owned(), "1=a:1,2=b:2".to_owned()));
        let (key, config, log) = (String::new(), None, None);
        let text = Recipe { id: 2, settings, key, config, log, bootstrap: true }.file();
        let read: accord_net::settings::Settings = toml::from_str(&text).unwrap();
        assert_eq!((read.id, read.servers.len()), (2, 2));
        assert_eq!(read.ring.burst_packets_max, 8);
        assert!(!read.bootstrap, "a restarted server must not form another cluster");
    }
}
