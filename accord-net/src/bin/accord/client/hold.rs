//! Locks and elections: a command that runs while they are held, and not a moment longer than this
//! client can know.
//!
//! A client that cannot reach its cluster for as long as its session may be silent must take what
//! it held for lost, and ends the command. Whatever the command writes should still carry the
//! fencing token, since no client can know in time.

use super::print::{self, Object, put_bytes, shown};
use super::{Context, Failure};
use crate::out::{self, complain};
use crate::signals::{Kind, Signals};
use accord_core::time::Duration;
use accord_net::client::recipes::{Election, Leadership, Lock, LockGuard};
use accord_net::client::{Client, Error, SessionState};
use clap::Args;
use std::ffi::OsString;
use std::process::{Child, Command, ExitStatus};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

pub const LOCK_EXAMPLES: &str = "\
Examples:
  accord lock backup -- ./backup.sh         waits for the lock, runs the command, releases it
  accord lock backup --try -- ./backup.sh   1 at once if somebody else holds it
  accord lock backup --wait-ms 5000 -- ./backup.sh
  accord lock backup                        holds it until Ctrl-C

The command finds in its environment
  ACCORD_FENCING_TOKEN   larger than that of every earlier holder
  ACCORD_LOCK_KEY        the record that holds the lock
  ACCORD_SERVERS         the cluster
so that what it writes can be made to depend on the lock's being held still:
  accord txn \"when created $ACCORD_LOCK_KEY = $ACCORD_FENCING_TOKEN; put report done\"

If the session is lost, or cannot be confirmed for as long as it may be silent, the command is ended
(SIGTERM, and after five seconds SIGKILL): somebody else may hold the lock by then.

Exit code: that of the command; 1, the lock was not acquired; 3, it was lost while the command ran;
4, no server was reached.";

pub const ELECT_EXAMPLES: &str = "\
Examples:
  accord elect db --value node-7 -- ./be-leader.sh    stands, waits, runs the command while leader
  accord elect db --leader                            who leads now; 1 if nobody does
  accord elect db --value node-7                      leads until Ctrl-C

The command finds ACCORD_FENCING_TOKEN and ACCORD_SERVERS in its environment; it is ended when the
leadership may be lost, as with `accord lock`.

Exit code: that of the command; 1, not elected; 3, the leadership was lost while the command ran.";

/// How often a command is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How long a command may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Holds a lock.
#[derive(Clone, Debug, Args)]
pub struct LockArgs {
    /// The lock's name.
    name: String,
    /// Do not wait if somebody else holds it.
    #[arg(long = "try", conflicts_with = "wait_ms")]
    at_once: bool,
    /// Wait at most so long.
    #[arg(long, value_name = "MS")]
    wait_ms: Option<u64>,
    /// How and what to run.
    #[command(flatten)]
    held: HeldArgs,
}

/// What happens while something is held.
#[derive(Clone, Debug, Args)]
pub struct HeldArgs {
    /// How long the cluster may not hear from this client before somebody else gets its turn.
    #[arg(long, value_name = "MS", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    session_timeout_ms: u64,
    /// The command and its arguments; none: hold it until Ctrl-C.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Leads.
#[derive(Clone, Debug, Args)]
pub struct ElectArgs {
    /// The election's name.
    name: String,
    /// What others see of the leader.
    #[arg(long, value_name = "TEXT", default_value = "")]
    value: String,
    /// Print who leads, and do not stand.
    #[arg(long, conflicts_with_all = ["value", "command"])]
    leader: bool,
    /// How and what to run.
    #[command(flatten)]
    held: HeldArgs,
}

/// Something that is held.
enum Held {
    Lock(LockGuard),
    Leadership(Leadership),
}

impl Held {
    fn token(&self) -> u64 {
        match self {
            Self::Lock(guard) => guard.token().0,
            Self::Leadership(leadership) => leadership.token().0,
        }
    }

    async fn release(self) -> Result<(), Error> {
        match self {
            Self::Lock(guard) => guard.release().await,
            Self::Leadership(leadership) => leadership.resign().await,
        }
    }
}

pub async fn lock(args: &LockArgs, context: &mut Context) -> Result<u8, Failure> {
    let mut signals = signals()?;
    context.session_timeout = Duration::from_millis(args.held.session_timeout_ms);
    let client = context.client().await?;
    let lock = Lock::new(&client, &args.name);
    let taken = || Failure::failed("taken", format!("lock {}: somebody else holds it", args.name));
    let acquiring = async {
        match (args.at_once, args.wait_ms) {
            (true, _) => lock.try_acquire().await?.ok_or_else(taken),
            (_, Some(ms)) => {
                let waited = tokio::time::timeout(Duration::from_millis(ms), lock.acquire());
                waited.await.map_err(|_| taken())?.map_err(Failure::from)
            }
            _ => lock.acquire().await.map_err(Failure::from),
        }
    };
    let guard = tokio::select! {
        biased;
        guard = acquiring => guard?,
        _ = signals.next() => return Err(Failure::failed("interrupted", "interrupted: not acquired")),
    };
    let key = String::from_utf8_lossy(guard.key()).into_owned();
    hold(Held::Lock(guard), &args.held, Some(&key), context, &mut signals).await
}

pub async fn elect(args: &ElectArgs, context: &mut Context) -> Result<u8, Failure> {
    let mut signals = signals()?;
    context.session_timeout = Duration::from_millis(args.held.session_timeout_ms);
    let client = context.client().await?;
    let election = Election::new(&client, &args.name);
    if args.leader {
        let Some((value, token)) = election.leader().await? else {
            return Err(Failure::failed("no_leader", format!("{}: nobody leads", args.name)));
        };
        if context.json {
            let mut object = Object::new();
            put_bytes(&mut object, "value", &value);
            object.insert("token".to_owned(), token.0.into());
            return Ok(out::print_text(&print::line(object)));
        }
        return Ok(out::print_text(&format!("{}\n", shown(&value, false))));
    }
    let leadership = tokio::select! {
        biased;
        leadership = election.campaign(&args.value) => leadership?,
        _ = signals.next() => return Err(Failure::failed("interrupted", "interrupted: not elected")),
    };
    hold(Held::Leadership(leadership), &args.held, None, context, &mut signals).await
}

fn signals() -> Result<Signals, Failure> {
    Signals::new()
        .map_err(|error| Failure::failed("failed", format!("signals cannot be received: {error}")))
}

async fn hold(
    held: Held,
    args: &HeldArgs,
    key: Option<&str>,
    context: &mut Context,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let client = context.client().await?;
    let code = match args.command.split_first() {
        Some((program, rest)) => {
            let mut command = Command::new(program);
            command.args(rest).env("ACCORD_FENCING_TOKEN", held.token().to_string());
            command.env("ACCORD_SERVERS", context.servers.join(","));
            if let Some(key) = key {
                command.env("ACCORD_LOCK_KEY", key);
            }
            match command.spawn() {
                Ok(child) => run(child, &client, context.session_timeout, signals).await,
                Err(error) => {
                    let program = program.to_string_lossy();
                    Err(Failure::misused(format!("cannot run {program}: {error}")))
                }
            }
        }
        None => wait(&held, &client, context, signals).await,
    };
    if !client.states().borrow().is_final() {
        // The session ends next, and with it the record: all that can go wrong goes right then.
        let _ = held.release().await;
    }
    code
}

/// Holds it until interrupted.
async fn wait(
    held: &Held,
    client: &Client,
    context: &Context,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    if context.json {
        let object = serde_json::json!({ "token": held.token() });
        out::print_text(&format!("{object}\n"));
    } else {
        out::print_text(&format!("held, fencing token {}\n", held.token()));
    }
    tokio::select! {
        biased;
        _ = signals.next() => Ok(out::DONE),
        why = lost(client.states(), context.session_timeout) => Err(lost_failure(why)),
    }
}

fn lost_failure(why: &str) -> Failure {
    Failure { code: out::UNKNOWN, kind: "session_lost", message: why.to_owned() }
}

/// Waits until what is held must be taken for lost.
async fn lost(mut states: Receiver<SessionState>, session_timeout: Duration) -> &'static str {
    loop {
        let state = *states.borrow_and_update();
        if state.is_final() {
            return "the session has ended: somebody else may hold it now";
        }
        if state != SessionState::Suspended {
            if states.changed().await.is_err() {
                return "the session has ended: somebody else may hold it now";
            }
            continue;
        }
        complain("the connection is lost; looking for another server");
        let again = tokio::time::timeout(session_timeout, states.changed());
        if again.await.is_err() {
            return "no server was reached for as long as the session may be silent: somebody else \
                    may hold it now";
        }
    }
}

/// Waits for the command's end, and brings it about if what it relies on may be lost.
async fn run(
    mut child: Child,
    client: &Client,
    session_timeout: Duration,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let lost = lost(client.states(), session_timeout);
    tokio::pin!(lost);
    loop {
        tokio::select! {
            biased;
            status = ended(&mut child) => return status.map(code),
            why = &mut lost => {
                complain(why);
                end(&mut child).await;
                return Err(lost_failure("the command was ended"));
            }
            kind = signals.next() => pass_on(&mut child, kind),
        }
    }
}

async fn ended(child: &mut Child) -> Result<ExitStatus, Failure> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => tokio::time::sleep(LOOK).await,
            Err(error) => return Err(Failure::failed("failed", format!("the command: {error}"))),
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(out::FAILED)
}

/// Asks the command to end, and ends it if it does not.
async fn end(child: &mut Child) {
    pass_on(child, Kind::Terminate);
    let deadline = Instant::now() + GRACE;
    if tokio::time::timeout_at(deadline, ended(child)).await.is_err() {
        // It may have ended in between.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Gives a signal to the command. Ctrl-C on a terminal reaches it by itself.
fn pass_on(child: &mut Child, kind: Kind) {
    use std::io::IsTerminal;
    if kind == Kind::Interrupt && std::io::stdin().is_terminal() {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        use nix::sys::signal::{Signal, kill};
        let signal = match kind {
            Kind::Interrupt => Signal::SIGINT,
            Kind::Terminate => Signal::SIGTERM,
        };
        // The child was not waited for, so the number is still its own.
        if let Ok(pid) = i32::try_from(child.id()) {
            let _ = kill(nix::unistd::Pid::from_raw(pid), signal);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = child.kill();
}
