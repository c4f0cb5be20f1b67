//! Server processes, and the directories that they work in.
//!
//! Invariant: what was started is ended when its owner is dropped, and by the system if we are
//! killed. Each server is in a process group of its own: Ctrl-C reaches us alone.

use crate::failure::{During, Failure, Result};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

use super::Mode;

/// How long a cluster may take until it serves.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How often we look whether it does.
const LOOK: Duration = Duration::from_millis(50);
/// Where Linux keeps files in memory.
const MEMORY_DIR: &str = "/dev/shm";

/// A server.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output goes to `log`. `setpriv`, if it is there, has the system end
    /// the program when we end.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(program: &Path, args: &[String], dir: &Path, log: PathBuf) -> Result<Self> {
        let sink = File::create(&log).during(log.display())?;
        let errors = sink.try_clone().during(log.display())?;
        let setpriv = find("setpriv");
        let mut command = Command::new(setpriv.as_deref().unwrap_or(program));
        if setpriv.is_some() {
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        }
        command.args(args).current_dir(dir).process_group(0);
        // Accord's servers end when their standard input does; the others do not look at it.
        command.stdin(Stdio::piped()).stdout(sink).stderr(errors);
        let child = command.spawn().during(format!("cannot start {}", program.display()))?;
        Ok(Self { child, log })
    }

    /// The operating system's id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// True if it has not ended.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        const LINES: usize = 12;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
        format!("--- {}\n{tail}", self.log.display())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a program is, by the search path.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// A directory for a cluster: in memory, or on a disk.
///
/// # Errors
/// If there is no such place.
pub fn directory(name: &str, mode: Mode, disk: &Path) -> Result<TempDir> {
    let base = match mode {
        Mode::Memory => Path::new(MEMORY_DIR),
        Mode::Persistent => disk,
    };
    let is_memory = statfs(base).during(base.display())?.filesystem_type() == TMPFS_MAGIC;
    match (mode, is_memory) {
        (Mode::Memory, false) => Err(Failure::Missing(format!(
            "{MEMORY_DIR} is not a tmpfs; mount one: mount -t tmpfs tmpfs {MEMORY_DIR}"
        ))),
        (Mode::Persistent, true) => Err(Failure::Usage(format!(
            "{} is in memory; give a directory on a disk with --data-dir",
            base.display()
        ))),
        _ => TempDir::with_prefix_in(format!("accord-bench-{name}-"), base).during(base.display()),
    }
}

/// Waits until `serves` says yes, as long as all processes run.
///
/// # Errors
/// If that takes too long, or one ends.
pub fn wait_until(
    name: &str,
    processes: &mut [Process],
    mut serves: impl FnMut() -> bool,
) -> Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    while !serves() {
        crate::interrupt::check()?;
        let ended = processes.iter_mut().any(|process| !process.runs());
        if ended || Instant::now() > deadline {
            let logs: Vec<_> = processes.iter().map(Process::log_tail).collect();
            let what = if ended { "a server ended" } else { "the servers do not serve" };
            return Err(Failure::Wrong(format!("{name}: {what}; logs:\n{}", logs.join("\n"))));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Ports of the loopback interface that are free.
///
/// # Errors
/// If there are not so many.
pub fn ports(count: usize) -> Result<Vec<u16>> {
    accord_net::ports::free(count).during("looking for free ports")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_a_process_ends_it() {
        let dir = TempDir::new().unwrap();
        let sleep = find("sleep").expect("every Unix has it");
        let log = dir.path().join("log");
        let mut process = Process::start(&sleep, &["600".into()], dir.path(), log).unwrap();
        assert!(process.runs());
        let proc_dir = PathBuf::from(format!("/proc/{}", process.id()));
        assert!(proc_dir.exists());
        drop(process);
        assert!(!proc_dir.exists());
    }

    #[test]
    fn a_server_that_ends_is_told_with_its_log() {
        let dir = TempDir::new().unwrap();
        let sh = find("sh").expect("every Unix has it");
        let log = dir.path().join("log");
        let args = ["-c".to_owned(), "echo no such flag; exit 1".to_owned()];
        let process = Process::start(&sh, &args, dir.path(), log).unwrap();
        let error = wait_until("it", &mut [process], || false).unwrap_err().to_string();
        assert!(error.contains("no such flag"), "{error}");
    }
}
