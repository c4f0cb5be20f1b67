//! Starting programs that end with this process, however it ends.
//!
//! The kernel can kill a child when its parent dies (`PR_SET_PDEATHSIG`), but it means the *thread*
//! that made the child. So one thread, which never ends, starts all of them. The program `setpriv`
//! asks the kernel for it, between the fork and the program: there is no safe way to do so from
//! here. This process may die after the fork and before `setpriv` has asked. So a shell, which is
//! run after `setpriv`, checks its parent's number before it runs the program. Without `setpriv`,
//! servers end when they are dropped, and Accord's also when their standard input ends.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::{env, io, thread};

type Job = Box<dyn FnOnce() + Send>;

static SPAWNER: LazyLock<Sender<Job>> = LazyLock::new(|| {
    let (give, take) = channel::<Job>();
    // It ends with the process: its sender is never dropped.
    thread::spawn(move || take.into_iter().for_each(|job| job()));
    give
});

/// Runs the rest of the arguments unless the parent is another one than the first argument says.
const RUN_FOR_PARENT: &str = r#"[ "$PPID" = "$1" ] || exit 1; shift; exec "$@""#;

static SETPRIV: LazyLock<Option<PathBuf>> = LazyLock::new(|| find("setpriv"));

/// Has the thread that starts programs in the network that the caller is in, if it does not run
/// yet. To be called before the first thread enters a network of its own: what is started later
/// would be in that one.
pub fn prepare() {
    LazyLock::force(&SPAWNER);
}

/// A command that runs a program, which the kernel kills if this process dies.
pub fn command(program: &Path) -> Command {
    match &*SETPRIV {
        None => Command::new(program),
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--", "/bin/sh", "-c", RUN_FOR_PARENT, "sh"]);
            command.arg(std::process::id().to_string()).arg(program);
            command
        }
    }
}

/// Starts a [`command`].
///
/// # Errors
/// As the system says.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    let (tell, told) = channel();
    let job: Job = Box::new(move || drop(tell.send(command.spawn())));
    let gone = || io::Error::other("the thread that starts programs has ended");
    SPAWNER.send(job).map_err(|_| gone())?;
    told.recv().map_err(|_| gone())?
}

/// Where a program is, by the search path and the directories of administrators' programs.
pub fn find(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = env::split_paths(&path).chain(more).map(|dir| dir.join(program.as_ref()));
    found.into_iter().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::is_alive;
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    const SLEEPER: &str = "ACCORD_TESTBED_SLEEPER";

    /// Run by the test below as a process of its own: starts a program from a thread that ends,
    /// says its number, and is killed.
    #[test]
    fn a_process_that_starts_another_and_is_killed() {
        if env::var_os(SLEEPER).is_none() {
            return;
        }
        let start = || {
            let mut sleep = command(&find("sleep").expect("every Unix has it"));
            sleep.arg("600").stdout(Stdio::null());
            spawn(sleep).expect("it starts")
        };
        let mut child = thread::spawn(start).join().expect("it does not panic");
        println!("\nstarted {}", child.id());
        let _ = child.wait();
    }

    #[test]
    fn a_program_outlives_the_thread_that_asked_for_it_and_dies_with_the_process() {
        if SETPRIV.is_none() {
            println!("skipped: there is no setpriv");
            return;
        }
        let name = "spawn::tests::a_process_that_starts_another_and_is_killed";
        let mut this = Command::new(env::current_exe().expect("it runs"));
        this.args(["--exact", name, "--nocapture"]).env(SLEEPER, "1").stdout(Stdio::piped());
        let mut this = this.spawn().expect("it starts");
        let lines = BufReader::new(this.stdout.take().expect("it is piped")).lines();
        let mut lines = lines.map_while(Result::ok);
        let started = lines.find_map(|line| line.strip_prefix("started ")?.parse::<u32>().ok());
        let started = started.expect("it says what it started");
        assert!(is_alive(started), "the thread that asked for it has ended, it has not");
        this.kill().expect("it runs");
        this.wait().expect("it ends");
        let deadline = Instant::now() + Duration::from_secs(30);
        while is_alive(started) {
            assert!(Instant::now() < deadline, "it goes on");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
