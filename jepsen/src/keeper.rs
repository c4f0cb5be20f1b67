//! A cluster that outlives the command that brought it up: a keeper holds it in the background.
//!
//! The keeper's files are in one directory: its number, the lines that say where the servers are,
//! its log, and all that the cluster writes. Whatever happened to the keeper, [`down`] finds what
//! is left by the names of the namespaces and removes it.

use accord_testbed::netns::Net;
use accord_testbed::process::is_alive;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a cluster may take to be up, or to be down.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often that is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Where the files of a cluster of that name are.
pub fn dir(name: &str) -> PathBuf {
    PathBuf::from("/tmp").join(format!("accord-cluster-{name}"))
}

/// Starts a keeper, with these arguments to this program, and waits until it says that the cluster
/// is up. Returns what it says.
///
/// # Errors
/// What went wrong, for people. Nothing is left then.
pub fn up(name: &str, arguments: &[String]) -> Result<String, String> {
    let dir = dir(name);
    if dir.exists() {
        return Err(format!(
            "a cluster named {name} is up, or was: `accord-jepsen cluster down --name {name}` \
             removes it"
        ));
    }
    let begun = begin(&dir, arguments);
    let said = begun.and_then(|mut keeper| {
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            if let Ok(said) = fs::read_to_string(dir.join("ready")) {
                return Ok(said);
            }
            if let Ok(Some(_)) = keeper.try_wait() {
                break;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Err(fs::read_to_string(dir.join("log")).unwrap_or_default())
    });
    if said.is_err() {
        let _ = down(name);
    }
    said
}

fn begin(dir: &Path, arguments: &[String]) -> Result<std::process::Child, String> {
    let begin = || {
        fs::create_dir_all(dir)?;
        let log = fs::File::create(dir.join("log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).env("TMPDIR", dir).stdin(Stdio::null());
        // A group of its own, so that what interrupts us does not interrupt it.
        command.stdout(log.try_clone()?).stderr(log).process_group(0);
        let keeper = command.spawn()?;
        fs::write(dir.join("pid"), format!("{} {}", keeper.id(), birth(keeper.id())))?;
        Ok(keeper)
    };
    begin().map_err(|error: std::io::Error| format!("{}: {error}", dir.display()))
}

/// When a process was started, by the system's clock: with its number, it names it for good.
fn birth(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().nth(19).unwrap_or_default().to_owned()
}

/// Says, as a keeper, that the cluster is up.
///
/// # Errors
/// As the system says.
pub fn ready(name: &str, said: &str) -> std::io::Result<()> {
    let dir = dir(name);
    fs::write(dir.join("ready.new"), said)?;
    fs::rename(dir.join("ready.new"), dir.join("ready"))
}

/// Ends a cluster, and removes all that is left of it.
///
/// # Errors
/// What is still there, for people.
pub fn down(name: &str) -> Result<(), String> {
    let dir = dir(name);
    let pid = fs::read_to_string(dir.join("pid")).unwrap_or_default();
    if let Some((pid, born)) = pid.split_once(' ')
        && let Ok(pid) = pid.parse::<u32>()
        && !born.is_empty()
    {
        let lives = || birth(pid) == born && is_alive(pid);
        let deadline = Instant::now() + TIMEOUT;
        if lives() {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
        }
        while lives() && Instant::now() < deadline {
            std::thread::sleep(POLL_INTERVAL);
        }
        if lives() {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
    }
    Net::down(name).map_err(|error| error.to_string())?;
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", dir.display()))
        }
        _ => Ok(()),
    }
}
