//! Locks and elections: a command that runs while they are held, and not a moment longer than this
//! client can know.
//!
//! A session surely lives for a time that was granted, from the last ping that a server answered:
//! its lease ([`Client::lease_left`]). When a quarter of it is left, no server is likely to answer
//! in time, and the command is asked to end; when a tenth is left, it is ended, with all that it
//! started. So it is over before the next holder can begin, as far as clocks run at the same pace.
//! Whatever the command writes should still carry the fencing token: a machine that is suspended
//! does not notice.

use super::held::{Running, Start};
use super::print::{self, Object, put_bytes, shown};
use super::{Context, Failure, connection};
use crate::out::{self, complain};
use crate::signals::{Kind, Signals};
use accord_core::time::Duration;
use accord_net::client::recipes::{Election, Leadership, Lock, LockGuard};
use accord_net::client::{Client, Error};
use clap::Args;
use std::ffi::OsString;

pub const LOCK_EXAMPLES: &str = "\
Examples:
  accord lock backup -- ./backup.sh         waits for the lock, runs the command, releases it
  accord lock backup --try -- ./backup.sh   1 at once if somebody else holds it
  accord lock backup --wait-ms 5000 -- ./backup.sh
  accord lock backup                        holds it until Ctrl-C
  accord lock backup --who                  who holds it: host, process, command; 1 if it is free

The command finds in its environment
  ACCORD_FENCING_TOKEN   larger than that of every earlier holder
  ACCORD_LOCK_KEY        the record that holds the lock
  ACCORD_SERVERS         the cluster
so that what it writes can be made to depend on the lock's being held still:
  accord txn \"when created $ACCORD_LOCK_KEY = $ACCORD_FENCING_TOKEN; put report done\"

The session lasts for the timeout that the cluster granted, from the last ping that was answered.
When a quarter of it is left, the command is asked to end (SIGTERM), with all that it started; when
a tenth is left, all of it is ended (SIGKILL), before somebody else can hold the lock. The lock is
released when all has ended that was asked to. If `accord lock` itself is killed, the command is
ended as well (on Linux).

Exit code: that of the command; 1, the lock was not acquired; 3, it was lost while the command ran;
4, no server was reached.";

pub const ELECT_EXAMPLES: &str = "\
Examples:
  accord elect db --value node-7 -- ./be-leader.sh    stands, waits, runs the command while leader
  accord elect db --leader                            who leads now; 1 if there is no leader
  accord elect db --value node-7                      leads until Ctrl-C

The command finds ACCORD_FENCING_TOKEN and ACCORD_SERVERS in its environment; it is ended when the
leadership may be lost, as with `accord lock`.

Exit code: that of the command; 1, not elected; 3, the leadership was lost while the command ran.";

/// The longest description of a holder that is made up.
const OWNER_CHARS_MAX: usize = 200;
/// Of how many parts of the session's timeout one is left when the command is asked to end.
const ASK_PART: u32 = 4;
/// The most that is left then.
const ASK_MAX: Duration = Duration::from_secs(6);
/// Of how many parts one is left when it is ended.
const KILL_PART: u32 = 10;
/// The most that is left then.
const KILL_MAX: Duration = Duration::from_secs(1);

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
    /// Print who holds the lock, and do not take it.
    #[arg(long, conflicts_with_all = ["at_once", "wait_ms", "owner", "command"])]
    who: bool,
    /// What others see of this holder [default: host, process and command]
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// How and what to run.
    #[command(flatten)]
    held: HeldArgs,
}

impl LockArgs {
    fn owner(&self) -> String {
        let Some(owner) = &self.owner else {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let host = if host.trim().is_empty() { "?" } else { host.trim() };
            let words = self.held.command.iter().map(|word| word.to_string_lossy());
            let command: Vec<_> = words.collect();
            let owner = format!("{host}, process {}: {}", std::process::id(), command.join(" "));
            let owner = owner.trim_end_matches([' ', ':']);
            return owner.chars().take(OWNER_CHARS_MAX).collect();
        };
        owner.clone()
    }
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

/// Tells who holds a lock.
async fn who(name: &str, context: &Context) -> Result<u8, Failure> {
    let reader = context.reader()?;
    let mut line = reader.list(format!("lock/{name}/").as_bytes()).page_entries(1);
    let Some(first) = context.reading(async { Ok(line.next().await?) }).await? else {
        return Err(Failure::failed("free", format!("lock {name}: it is free")));
    };
    let (owner, token) = (first.value.unwrap_or_default(), first.stat.created.0);
    let session = first.stat.owner.unwrap_or_default().0;
    if context.json {
        let mut object = Object::new();
        put_bytes(&mut object, "owner", &owner);
        object.insert("token".to_owned(), token.into());
        object.insert("session".to_owned(), session.into());
        return Ok(out::print_text(&print::line(object)));
    }
    let owner = if owner.is_empty() { "no name".to_owned() } else { shown(&owner, false) };
    Ok(out::print_text(&format!("{owner} (fencing token {token}, session {session})\n")))
}

pub async fn lock(args: &LockArgs, context: &mut Context) -> Result<u8, Failure> {
    if args.who {
        return who(&args.name, context).await;
    }
    let mut signals = signals()?;
    context.session_timeout = Duration::from_millis(args.held.session_timeout_ms);
    let client = context.client().await?;
    let lock = Lock::new(&client, &args.name).owned_by(args.owner());
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
            return Err(Failure::failed("no_leader", format!("{}: there is no leader", args.name)));
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
    let margins = Margins::of(client.session_timeout());
    let code = match args.command.is_empty() {
        true => wait(&held, &client, margins, context, signals).await,
        false => {
            let mut environment = vec![
                ("ACCORD_FENCING_TOKEN", held.token().to_string()),
                ("ACCORD_SERVERS", context.servers.join(",")),
            ];
            environment.extend(key.map(|key| ("ACCORD_LOCK_KEY", key.to_owned())));
            let start = Start {
                command: &args.command,
                environment,
                grace: margins.ask.saturating_sub(margins.kill),
                json: context.json,
            };
            match Running::start(start) {
                Ok(command) => run(command, &client, margins, signals).await,
                Err(failure) => Err(failure),
            }
        }
    };
    if !client.states().borrow().is_final() {
        // The session ends next, and with it the record: all that can go wrong goes right then,
        // also if there is no answer while the lease lasts.
        let _ = tokio::time::timeout(client.lease_left(), held.release()).await;
    }
    code
}

/// How much of the lease is left when something has to be done.
#[derive(Clone, Copy, Debug)]
struct Margins {
    /// The command is asked to end.
    ask: Duration,
    /// It is ended.
    kill: Duration,
}

impl Margins {
    /// Of a session with this timeout.
    fn of(granted: Duration) -> Self {
        Self { ask: (granted / ASK_PART).min(ASK_MAX), kill: (granted / KILL_PART).min(KILL_MAX) }
    }
}

/// Holds it until interrupted.
async fn wait(
    held: &Held,
    client: &Client,
    margins: Margins,
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
        why = lease_below(client, margins.kill) => Err(lost_failure(why)),
        () = connection::tell(client) => Err(lost_failure(ENDED)),
    }
}

const ENDED: &str = "the session has ended: somebody else may hold it now";

fn lost_failure(why: impl Into<String>) -> Failure {
    Failure { code: out::UNKNOWN, kind: "session_lost", message: why.into() }
}

/// Waits until no more than this is left of the session's lease, and says why.
async fn lease_below(client: &Client, least: Duration) -> String {
    let mut states = client.states();
    loop {
        if states.borrow_and_update().is_final() {
            return ENDED.to_owned();
        }
        let left = client.lease_left();
        if left <= least {
            return format!(
                "no server has confirmed the session, of {} ms, for so long that {} ms are left: \
                 somebody else may hold it soon",
                client.session_timeout().as_millis(),
                left.as_millis()
            );
        }
        // A lease is never cut short, except by the session's end.
        tokio::select! {
            () = tokio::time::sleep(left - least) => {}
            _ = states.changed() => {}
        }
    }
}

/// Waits for the command's end, and brings it about if what it relies on may be lost.
async fn run(
    mut command: Running,
    client: &Client,
    margins: Margins,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let telling = connection::tell(client);
    let lost = lease_below(client, margins.ask);
    tokio::pin!(telling, lost);
    let mut told = false;
    let why = loop {
        tokio::select! {
            biased;
            code = command.ended() => return code,
            why = &mut lost => break why,
            kind = signals.next() => command.signal(kind),
            () = &mut telling, if !told => told = true,
        }
    };
    complain(&why);
    command.signal(Kind::Terminate);
    tokio::select! {
        biased;
        _ = command.ended() => {}
        _ = lease_below(client, margins.kill) => command.kill().await,
    }
    Err(lost_failure("the command was ended"))
}
