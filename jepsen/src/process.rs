//! One server as a process of its own.
//!
//! Invariant: dropping a [`ServerProcess`] ends the process and waits for it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long a server may take until it listens, or until it is gone after it was told to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often we look whether a process has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Why a server could not be run.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// The program cannot be started.
    #[error("cannot start {program}: {error}. Build it with: cargo build -p accord-net")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It ended instead of listening.
    #[error("the server ended before it listened; its log ends with:\n{log}")]
    Ended {
        /// The end of its log.
        log: String,
    },
    /// Its ready line is not understood.
    #[error("the server's first line is not understood: {line:?}")]
    Line {
        /// The line.
        line: String,
    },
    /// The nodes for it cannot be made.
    #[error(transparent)]
    Net(#[from] crate::netns::NetError),
    /// A file cannot be written or read.
    #[error("{path}: {error}")]
    File {
        /// The path of the file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
}

/// A running server process.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    client_addr: SocketAddr,
    log: PathBuf,
    paused: bool,
}

impl ServerProcess {
    /// Starts `program server --config CONFIG ...` and waits until it listens.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn start(
        program: &Path,
        config: &Path,
        flags: &[&str],
        log: &Path,
    ) -> Result<Self, ProcessError> {
        Self::start_by(Command::new(program), program, config, flags, log)
    }

    /// Starts it by a command that runs the program, such as in another network.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn start_by(
        mut command: Command,
        program: &Path,
        config: &Path,
        flags: &[&str],
        log: &Path,
    ) -> Result<Self, ProcessError> {
        command.arg("server").arg("--config").arg(config).args(flags);
        Self::run(command, program, log)
    }

    fn run(mut command: Command, program: &Path, log: &Path) -> Result<Self, ProcessError> {
        let file = |error| ProcessError::File { path: log.to_owned(), error };
        let sink = File::options().append(true).create(true).open(log).map_err(file)?;
        // The server ends when our end of its standard input does: also if we are killed.
        command.arg("--exit-with-parent");
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(sink).spawn();
        let mut child =
            spawned.map_err(|error| ProcessError::Spawn { program: program.to_owned(), error })?;
        let out = child.stdout.take().expect("it was piped");
        let mut line = String::new();
        let mut out = BufReader::new(out);
        let read = out.read_line(&mut line).map_err(file)?;
        if read == 0 {
            child.wait().map_err(file)?;
            return Err(ProcessError::Ended { log: tail(log) });
        }
        let Some(client_addr) = client_addr(&line) else {
            end(&mut child);
            return Err(ProcessError::Line { line });
        };
        // Keep reading, so that the server never waits for us.
        std::thread::spawn(move || {
            let _ = out.read_to_end(&mut Vec::new());
        });
        Ok(Self { child, client_addr, log: log.to_owned(), paused: false })
    }

    /// Where clients connect.
    pub const fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        // The child is not reaped as long as we hold it, so the number is its own.
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
    }

    /// Ends it at once, as a crash would.
    pub fn kill(mut self) {
        end(&mut self.child);
    }

    /// Holds it, as a long pause would. No effect if it is held.
    pub fn pause(&mut self) {
        self.paused = true;
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        self.paused = false;
        self.signal(Signal::SIGCONT);
    }

    /// True while it is held.
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// True if the system says that it stands still: what was to hold it has hit it.
    pub fn stands_still(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()));
        match stat {
            // The state follows the name, which is in parentheses and may hold some itself.
            Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('T')),
            // A system that does not tell: what we asked for.
            Err(_) => self.paused,
        }
    }

    /// Asks it to stop without haste, and waits. `None`: it had to be killed.
    pub fn stop(mut self) -> Option<ExitStatus> {
        if self.paused {
            self.resume();
        }
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(LOOK);
        }
        None
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The resident memory, in bytes, as Linux counts it.
    pub fn memory_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kibibytes * 1024)
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

fn tail(log: &Path) -> String {
    const LINES: usize = 15;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// The address in the line that a server prints when it listens.
fn client_addr(line: &str) -> Option<SocketAddr> {
    let rest = line.split("listens for clients at ").nth(1)?;
    rest.split([',', '\n', ' ']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_understood() {
        let line = "accord: server 2 listens for clients at 127.0.0.1:4711, http at off\n";
        assert_eq!(client_addr(line), Some(([127, 0, 0, 1], 4711).into()));
        assert_eq!(client_addr("accord: something else\n"), None);
    }
}
