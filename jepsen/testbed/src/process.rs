//! One server as a process of its own.
//!
//! Invariant: dropping a [`Process`] ends it and waits for it. It is in a process group of its own:
//! Ctrl-C reaches us alone.

use crate::spawn;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long a server may take until it is gone after it was asked to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How often we look whether a process has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The lines of a log that are shown.
const TAIL_LINES: usize = 15;

/// Why servers could not be run.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// The program cannot be started.
    #[error("cannot start {program}: {error}. {hint}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system says.
        error: std::io::Error,
        /// How to have it.
        hint: &'static str,
    },
    /// Something has to be installed first.
    #[error("{0}")]
    Missing(String),
    /// It ended instead of listening.
    #[error("a server of {system} ended before it listened; its log ends with:\n{log}")]
    Ended {
        /// Of which system.
        system: &'static str,
        /// The end of its log.
        log: String,
    },
    /// It does not listen, or the servers together do not serve.
    #[error("{system}: {what} within {} s; the logs end with:\n{log}", span.as_secs())]
    Late {
        /// Of which system.
        system: &'static str,
        /// What did not come about.
        what: &'static str,
        /// How long was waited.
        span: Duration,
        /// The end of its log.
        log: String,
    },
    /// The nodes for it cannot be made.
    #[error(transparent)]
    Net(#[from] crate::netns::NetError),
    /// A file cannot be written or read.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
}

impl ProcessError {
    /// For `map_err`: the file at this path.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::File { path: path.to_owned(), error }
    }
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    paused: bool,
}

impl Process {
    /// Starts a [`spawn::command`]. Its outputs are added to `log`; its standard input is open as
    /// long as it runs.
    ///
    /// # Errors
    /// As the system says.
    pub fn start(mut command: Command, log: &Path) -> std::io::Result<Self> {
        let sink = File::options().append(true).create(true).open(log)?;
        command.stdin(Stdio::piped()).stdout(sink.try_clone()?).stderr(sink).process_group(0);
        Ok(Self { child: spawn::spawn(command)?, log: log.to_owned(), paused: false })
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

    /// True if the system says that it stands still: what was to hold it has hit it.
    pub fn stands_still(&self) -> bool {
        // A system that does not tell: what we asked for.
        state(self.id()).map_or(self.paused, |state| state == 'T')
    }

    /// Asks it to stop in order, and waits. `None`: it had to be killed.
    pub fn stop(mut self) -> Option<ExitStatus> {
        if self.paused {
            self.resume();
        }
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(POLL_INTERVAL);
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

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// The end of a log.
pub fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// What Linux says that a process is doing, such as `S` for sleeping and `Z` for ended.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The state follows the name, which is in parentheses and may hold some itself.
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// True while there is a process of this number that has not ended.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeping(dir: &Path) -> Process {
        let mut sleep = spawn::command(&spawn::find("sleep").expect("every Unix has it"));
        sleep.arg("600");
        Process::start(sleep, &dir.join("log")).expect("it starts")
    }

    #[test]
    fn dropping_a_process_ends_it_also_when_the_thread_panics() {
        let dir = tempfile::tempdir().expect("a directory");
        let process = sleeping(dir.path());
        let pid = process.id();
        assert!(is_alive(pid));
        drop(process);
        assert!(!is_alive(pid));
        let process = sleeping(dir.path());
        let pid = process.id();
        let thread = std::thread::spawn(move || {
            let _held = process;
            std::panic::resume_unwind(Box::new("a test fails"));
        });
        assert!(thread.join().is_err());
        assert!(!is_alive(pid));
    }

    #[test]
    fn a_process_is_held_goes_on_and_stops() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut process = sleeping(dir.path());
        process.pause();
        // The system stops a process soon after it was told to, not at once.
        while !process.stands_still() {
            std::thread::yield_now();
        }
        process.resume();
        while process.stands_still() {
            std::thread::yield_now();
        }
        process.pause();
        let status = process.stop().expect("it ends when asked, also if it was held");
        assert!(!status.success(), "a signal ended it");
    }
}
