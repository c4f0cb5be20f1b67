//! A command that runs while something is held, with all that it starts.
//!
//! The command and all that it started must end before another client can hold the lock. On Linux
//! `accord` starts itself again as a guard, and the guard starts the command. Orphans below the
//! guard become its children, so all that the command started can be found, whichever group or
//! session it put itself in; and the system tells the guard when `accord` is gone, however it
//! ended: then the guard ends them all. Process groups would serve less well: a shell's jobs have
//! groups of their own, and a command in a group of its own could not read from its terminal.

use super::Failure;
use crate::out;
use crate::signals::Kind;
use accord_core::time::Duration;
use std::process::{Child, Command, ExitStatus};

#[cfg(target_os = "linux")]
pub use linux::{GuardArgs, guard};

/// How often the command's state is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How long a guard with nothing left to guard may take to end.
#[cfg(target_os = "linux")]
const GUARD_MAX: Duration = Duration::from_secs(1);

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

/// What is to run.
#[derive(Debug)]
pub struct Start<'a> {
    /// The command and its arguments; at least the command.
    pub command: &'a [std::ffi::OsString],
    /// Variables added to its environment.
    pub environment: Vec<(&'static str, String)>,
    /// How long it may take to end once this process is gone.
    pub grace: Duration,
    /// Failures are told as JSON.
    pub json: bool,
}

impl Running {
    /// Starts a command.
    ///
    /// # Errors
    /// [`Failure::misused`] if it cannot be run.
    pub fn start(start: Start<'_>) -> Result<Self, Failure> {
        let mut command = start.program();
        command.envs(start.environment);
        match command.spawn() {
            Ok(child) => Ok(Self { child }),
            Err(error) => Err(cannot_run(&start.command[0], &error)),
        }
    }

    /// Waits for its end. Safe to cancel.
    ///
    /// # Errors
    /// [`Failure`] if the system does not tell of it.
    pub async fn ended(&mut self) -> Result<u8, Failure> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(self.over(status).await),
                Ok(None) => tokio::time::sleep(POLL_INTERVAL).await,
                Err(error) => {
                    return Err(Failure::failed("failed", format!("the command: {error}")));
                }
            }
        }
    }
}

fn cannot_run(program: &std::ffi::OsStr, error: &std::io::Error) -> Failure {
    Failure::misused(format!("cannot run {}: {error}", program.to_string_lossy()))
}

#[cfg(not(target_os = "linux"))]
impl Start<'_> {
    fn program(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        command
    }
}

#[cfg(not(target_os = "linux"))]
impl Running {
    #[expect(clippy::unused_async, reason = "elsewhere it waits")]
    async fn over(&self, status: ExitStatus) -> u8 {
        status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(out::FAILED)
    }

    /// Passes a signal on.
    pub fn signal(&mut self, _: Kind) {
        let _ = self.child.kill();
    }

    /// Ends it at once.
    pub async fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.ended().await;
    }
}

#[cfg(target_os = "linux")]
impl Start<'_> {
    fn program(&self) -> Command {
        // This very program, also if its file was replaced meanwhile.
        let mut guard = Command::new("/proc/self/exe");
        guard.arg("guard").arg("--parent").arg(std::process::id().to_string());
        guard.arg("--grace-ms").arg(self.grace.as_millis().to_string());
        if self.json {
            guard.arg("--json");
        }
        guard.arg("--").args(self.command);
        // What a guard leaves behind that was killed is this process's to find.
        let _ = nix::sys::prctl::set_child_subreaper(true);
        guard
    }
}

#[cfg(target_os = "linux")]
impl Running {
    /// A guard that did not end by itself leaves to us what it guarded.
    async fn over(&self, status: ExitStatus) -> u8 {
        let code = match status.code() {
            Some(code) => u8::try_from(code).unwrap_or(out::FAILED),
            None => {
                linux::kill_all(None).await;
                linux::code(status)
            }
        };
        linux::reap(self.child.id());
        code
    }

    /// Gives a signal to the command and to all that it started. Ctrl-C on a terminal reaches them
    /// by itself.
    pub fn signal(&mut self, kind: Kind) {
        use std::io::IsTerminal;
        if kind == Kind::Terminate || !std::io::stdin().is_terminal() {
            linux::signal_all(linux::number(kind), None);
        }
    }

    /// Ends the command and all that it started at once, and waits until nothing of it runs.
    pub async fn kill(&mut self) {
        // The guard sees what became of them, and ends.
        linux::kill_all(Some(self.child.id())).await;
        if tokio::time::timeout(GUARD_MAX, self.ended()).await.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Failure, POLL_INTERVAL, cannot_run, out};
    use crate::signals::{Kind, Signals};
    use accord_core::time::Duration;
    use clap::Args;
    use nix::errno::Errno;
    use nix::sys::prctl;
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use nix::unistd::Pid;
    use std::collections::BTreeSet;
    use std::ffi::OsString;
    use std::os::unix::process::{ExitStatusExt, parent_id};
    use std::process::{Command, ExitStatus};
    use tokio::signal::unix::{SignalKind, signal};
    use tokio::time::Instant;

    /// The guard between `accord` and a command that runs while something is held.
    #[derive(Clone, Debug, Args)]
    pub struct GuardArgs {
        /// The process whose end is the command's.
        #[arg(long)]
        parent: u32,
        /// How long the command may take to end then.
        #[arg(long)]
        grace_ms: u64,
        /// Tell failures as JSON.
        #[arg(long)]
        json: bool,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    }

    /// Runs a command, and ends it with all that it started if the parent is gone.
    pub fn guard(args: &GuardArgs) -> u8 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let failed =
            |error| Failure::failed("failed", format!("cannot guard the command: {error}"));
        let result = runtime.map_err(failed).and_then(|runtime| {
            runtime.block_on(async { guarded(args).await.unwrap_or_else(|e| Err(failed(e))) })
        });
        result.unwrap_or_else(|failure| failure.tell(args.json))
    }

    async fn guarded(args: &GuardArgs) -> std::io::Result<Result<u8, Failure>> {
        prctl::set_child_subreaper(true)?;
        prctl::set_pdeathsig(Signal::SIGTERM)?;
        let mut signals = Signals::new()?;
        let mut hangups = signal(SignalKind::hangup())?;
        let mut children = signal(SignalKind::child())?;
        if parent_id() != args.parent {
            return Ok(Ok(out::FAILED));
        }
        let child = match Command::new(&args.command[0]).args(&args.command[1..]).spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Err(cannot_run(&args.command[0], &error))),
        };
        let (mut code, mut asked) = (None, false);
        loop {
            code = code.or(reap(child.id()));
            // What was asked to end holds the lock until all of it has ended.
            if let Some(code) = code
                && (!asked || living_below().is_empty())
            {
                reap(child.id());
                return Ok(Ok(code));
            }
            tokio::select! {
                // Who asks tells the guard first: whether it is asked is known before an end that
                // comes of it.
                biased;
                _ = signals.next() => asked = true,
                _ = hangups.recv() => {}
                _ = children.recv() => {}
            }
            if parent_id() != args.parent {
                end_all(Duration::from_millis(args.grace_ms)).await;
                return Ok(Ok(out::FAILED));
            }
        }
    }

    /// Forgets the children that have ended. The exit code of the command, if it is among them.
    pub(super) fn reap(command: u32) -> Option<u8> {
        let mut code = None;
        loop {
            let (pid, ended) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, u8::try_from(code).ok()),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid, u8::try_from(128 + signal as i32).ok())
                }
                Err(Errno::EINTR) => continue,
                Ok(_) | Err(_) => return code,
            };
            if u32::try_from(pid.as_raw()) == Ok(command) {
                code = Some(ended.unwrap_or(out::FAILED));
            }
        }
    }

    pub(super) fn code(status: ExitStatus) -> u8 {
        let signal = status.signal().unwrap_or_default();
        u8::try_from(128 + signal).unwrap_or(u8::MAX)
    }

    pub(super) const fn number(kind: Kind) -> Signal {
        match kind {
            Kind::Interrupt => Signal::SIGINT,
            Kind::Terminate => Signal::SIGTERM,
        }
    }

    /// Asks all below this process to end, and ends them if they do not.
    async fn end_all(grace: Duration) {
        signal_all(Signal::SIGTERM, None);
        let deadline = Instant::now() + grace;
        while !living_below().is_empty() && Instant::now() < deadline {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        kill_all(None).await;
    }

    /// Ends all below this process, but for one.
    pub(super) async fn kill_all(spared: Option<u32>) {
        // Who is started while the others are ended is found the next time.
        while signal_all(Signal::SIGKILL, spared) {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Gives a signal to each process below this one, once, but for one. True if there is any.
    pub(super) fn signal_all(signal: Signal, spared: Option<u32>) -> bool {
        let spared = spared.and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let mut told: BTreeSet<Pid> = spared.into_iter().collect();
        let before = told.len();
        loop {
            let living = living_below();
            let new: Vec<Pid> = living.into_iter().filter(|pid| told.insert(*pid)).collect();
            if new.is_empty() {
                return told.len() > before;
            }
            for pid in new {
                // It may have ended meanwhile. Its number is not another's before it is waited
                // for, by us or by its parent, which is below us as well.
                let _ = kill(pid, signal);
            }
        }
    }

    /// The processes that descend from this one and have not ended.
    fn living_below() -> Vec<Pid> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let all: Vec<Process> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid: i32| {
                Process::parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
            })
            .collect();
        let mut found = BTreeSet::from([i32::try_from(std::process::id()).unwrap_or_default()]);
        let mut living = Vec::new();
        loop {
            let before = found.len();
            for process in &all {
                if found.contains(&process.parent) && found.insert(process.pid) && process.lives {
                    living.push(Pid::from_raw(process.pid));
                }
            }
            if found.len() == before {
                return living;
            }
        }
    }

    /// A line of the system's table of processes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Process {
        pid: i32,
        parent: i32,
        lives: bool,
    }

    impl Process {
        /// From `PID (NAME) STATE PARENT ...`; the name may contain anything.
        fn parse(pid: i32, stat: &str) -> Option<Self> {
            let mut rest = stat.rsplit(") ").next()?.split(' ');
            let lives = !matches!(rest.next()?, "Z" | "X");
            Some(Self { pid, parent: rest.next()?.parse().ok()?, lives })
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_process_is_read_whatever_its_name() {
            let found = Process::parse(7, "7 (a) R 1 (b)) S 42 7 7 0 -1");
            assert_eq!(found, Some(Process { pid: 7, parent: 42, lives: true }));
            let over = Process::parse(7, "7 (sh) Z 42 7");
            assert_eq!(over, Some(Process { pid: 7, parent: 42, lives: false }));
            assert_eq!(Process::parse(7, ""), None);
        }
    }
}
