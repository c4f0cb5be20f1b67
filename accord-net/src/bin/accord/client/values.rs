//! Records: get, put, del, list, copy, incr.

use super::print::{self, Object, put_bytes, put_stat, shown};
use super::{Context, Failure};
use crate::out;
use crate::signals::Signals;
use accord_core::state::{Step, Width};
use accord_net::client::txn::Steps;
use accord_net::client::{Done, Error, Flags, StepResult};
use clap::Args;
use std::io::{self, Read};
use std::path::PathBuf;

pub const GET_EXAMPLES: &str = "\
Examples:
  accord get greeting                       the value, and a new line
  accord get photo --raw > photo.jpg        the value as it is
  accord get counter --number               what `accord incr` counted
  accord get greeting --stat                versions and revisions on the standard error as well
  accord get log --offset 100 --length 20   a part of a value

Exit code: 0, found; 1, not found.";

pub const PUT_EXAMPLES: &str = "\
Examples:
  accord put greeting hello                 creates or replaces
  echo hello | accord put greeting -        the value is what comes in
  accord put photo --file photo.jpg
  accord put owner me --exclusive           only if there is no such record (1: exists already)
  accord put owner you --existing           only if there is one (1: not found)
  accord put log 'one more line' --append
  accord put page XYZ --offset 100          three bytes in place; the rest stays
  accord put job/ todo --sequence           a key with a number from the order; printed
  accord put here me --ephemeral --hold     a record that lasts as long as this command";

pub const LIST_EXAMPLES: &str = "\
Examples:
  accord list                               all records, in the order of their keys
  accord list config/ --keys                only keys
  accord list --after m --limit 10          ten at a time
  accord list --json | jq .key";

pub const INCR_EXAMPLES: &str = "\
Examples:
  accord incr visits                        adds 1; a missing record counts from 0
  accord incr visits -- -5                  adds -5
  accord incr old --width 4                 numbers of four bytes, as the first Accord had

A number is 8 bytes, little-endian: `accord get visits --number` prints it.";

/// Reads a record.
#[derive(Clone, Debug, Args)]
pub struct GetArgs {
    /// Its key.
    key: String,
    /// Print exactly the bytes of the value.
    #[arg(long, conflicts_with_all = ["number", "json"])]
    raw: bool,
    /// Print the value as a number of 4 or 8 bytes.
    #[arg(long)]
    number: bool,
    /// Print versions and revisions as well.
    #[arg(long)]
    stat: bool,
    /// Begin at this byte.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    offset: u64,
    /// Read at most so many bytes.
    #[arg(long, value_name = "BYTES", default_value_t = u64::MAX, hide_default_value = true)]
    length: u64,
    /// What this server knows, without asking the others: perhaps old, but fast.
    #[arg(long)]
    local: bool,
}

pub async fn get(args: &GetArgs, context: &mut Context) -> Result<u8, Failure> {
    let client = context.client().await?;
    let mut read = client.read(&args.key).part(args.offset, args.length);
    if args.local {
        read = read.local();
    }
    let record = read.send().await?;
    let Some(record) = record else {
        return Err(Failure::failed("not_found", format!("{}: not found", args.key)));
    };
    let number = match args.number {
        false => None,
        true => Some(print::number(&record.value).ok_or_else(|| {
            let bytes = record.value.len();
            let message = format!("{}: {bytes} bytes are no number of 4 or 8 bytes", args.key);
            Failure::failed("not_a_number", message)
        })?),
    };
    if context.json {
        let mut object = Object::new();
        put_bytes(&mut object, "key", args.key.as_bytes());
        put_bytes(&mut object, "value", &record.value);
        if let Some(number) = number {
            object.insert("number".to_owned(), number.into());
        }
        put_stat(&mut object, &record.stat);
        object.insert("revision".to_owned(), record.revision.0.into());
        return Ok(out::print_text(&print::line(object)));
    }
    if args.stat {
        eprintln!("{}", print::stat_line(&record.stat));
    }
    Ok(match (args.raw, number) {
        (true, _) => out::print_bytes(&record.value),
        (_, Some(number)) => out::print_text(&format!("{number}\n")),
        _ => out::print_text(&format!("{}\n", shown(&record.value, true))),
    })
}

/// Writes a record.
#[derive(Clone, Debug, Args)]
pub struct PutArgs {
    /// Its key.
    key: String,
    /// Its value; `-`: the standard input.
    #[arg(required_unless_present = "file", conflicts_with = "file", allow_hyphen_values = true)]
    value: Option<String>,
    /// Take the value from a file.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only if there is no such record.
    #[arg(long, visible_alias = "create", conflicts_with = "existing")]
    exclusive: bool,
    /// Only if there is such a record.
    #[arg(long)]
    existing: bool,
    /// Append to the value.
    #[arg(long, conflicts_with = "offset")]
    append: bool,
    /// Write at this byte, and leave the rest of the value.
    #[arg(long, value_name = "BYTES")]
    offset: Option<u64>,
    /// A new record whose key goes on with a number from the order of all writes.
    #[arg(long, conflicts_with_all = ["exclusive", "existing", "append", "offset"])]
    sequence: bool,
    /// A record that this creates is deleted when the session ends.
    #[arg(long)]
    ephemeral: bool,
    /// Keep the session until interrupted (Ctrl-C).
    #[arg(long)]
    hold: bool,
}

impl PutArgs {
    fn flags(&self) -> Flags {
        let kind = if self.ephemeral { Flags::EPHEMERAL } else { Flags::NONE };
        if self.sequence {
            return kind | Flags::SEQUENCE;
        }
        let mut flags = kind;
        if !self.existing {
            flags = flags | Flags::CREATE;
        }
        if self.exclusive {
            flags = flags | Flags::EXCLUSIVE;
        }
        if self.append {
            flags = flags | Flags::APPEND;
        } else if self.offset.is_none() && !self.exclusive {
            flags = flags | Flags::REPLACE;
        }
        flags
    }

    fn value(&self) -> Result<Vec<u8>, Failure> {
        match (&self.file, self.value.as_deref()) {
            (Some(file), _) => std::fs::read(file).map_err(|error| {
                Failure::misused(format!("cannot read {}: {error}", file.display()))
            }),
            (None, Some("-")) => read_input(),
            (None, value) => Ok(value.unwrap_or_default().into()),
        }
    }
}

/// All of the standard input.
pub fn read_input() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::misused(format!("cannot read the standard input: {error}")))?;
    Ok(bytes)
}

pub async fn put(args: &PutArgs, context: &mut Context) -> Result<u8, Failure> {
    if args.ephemeral && !args.hold && !context.lasting {
        return Err(Failure::misused(
            "--ephemeral: the record would be gone at once, with this command's session; add \
             --hold, or do it in `accord shell`",
        ));
    }
    let value = args.value()?;
    let client = context.client().await?;
    let offset = args.offset.unwrap_or(0);
    let steps = Steps::new().write(&args.key, value, offset, args.flags());
    let done = client.txn(steps).await.map_err(|error| about(&args.key, error))?;
    let key = done.sequence_key(0).cloned().unwrap_or_else(|| args.key.clone().into());
    let code = print_change(context, &key, &done);
    if args.hold {
        eprintln!("accord: holding session {}; Ctrl-C ends it", client.session().0);
        hold(context).await?;
    }
    Ok(code)
}

async fn hold(context: &mut Context) -> Result<(), Failure> {
    let mut signals = Signals::new().map_err(|error| {
        Failure::failed("failed", format!("signals cannot be received: {error}"))
    })?;
    let client = context.client().await?;
    let mut states = client.states();
    tokio::select! {
        _ = signals.next() => Ok(()),
        _ = states.wait_for(|state| state.is_final()) => {
            Err(Failure::failed("session_lost", "the session has ended: the record is gone"))
        }
    }
}

fn about(key: &str, error: Error) -> Failure {
    Failure::from(error).about(key)
}

fn print_change(context: &Context, key: &[u8], done: &Done) -> u8 {
    let version = match done.results.first() {
        Some(
            StepResult::Written { version, .. }
            | StepResult::Copied { version }
            | StepResult::Incremented { version, .. },
        ) => Some(*version),
        _ => None,
    };
    if context.json {
        let mut object = Object::new();
        put_bytes(&mut object, "key", key);
        if let Some(version) = version {
            object.insert("version".to_owned(), version.into());
        }
        if let Some(number) = done.number(0) {
            object.insert("number".to_owned(), print::signed(number).into());
        }
        object.insert("revision".to_owned(), done.revision.0.into());
        return out::print_text(&print::line(object));
    }
    let version = version.map_or(String::new(), |version| format!(": version {version}"));
    out::print_text(&format!("{}{version}, revision {}\n", shown(key, false), done.revision.0))
}

/// Deletes records.
#[derive(Clone, Debug, Args)]
pub struct DelArgs {
    /// Their keys.
    #[arg(required = true)]
    keys: Vec<String>,
}

pub async fn del(args: &DelArgs, context: &mut Context) -> Result<u8, Failure> {
    let client = context.client().await?;
    let steps = args.keys.iter().fold(Steps::new(), |steps, key| steps.delete(key));
    let done = client.txn(steps).await.map_err(|error| {
        let key = match &error {
            Error::Failed(accord_net::client::Failure::Aborted { step, .. }) => {
                args.keys.get(*step as usize)
            }
            _ => None,
        };
        about(key.map_or("del", String::as_str), error)
    })?;
    if context.json {
        let mut object = Object::new();
        object.insert("deleted".to_owned(), args.keys.len().into());
        object.insert("revision".to_owned(), done.revision.0.into());
        return Ok(out::print_text(&print::line(object)));
    }
    Ok(out::print_text(&format!("{} deleted, revision {}\n", args.keys.len(), done.revision.0)))
}

/// Lists records.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// What the keys begin with; all keys, if not given.
    #[arg(default_value = "")]
    prefix: String,
    /// Only keys.
    #[arg(long)]
    keys: bool,
    /// Only keys greater than this one.
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// What this server knows, without asking the others: perhaps old, but fast.
    #[arg(long)]
    local: bool,
}

pub async fn list(args: &ListArgs, context: &mut Context) -> Result<u8, Failure> {
    let client = context.client().await?;
    let mut list = client.list(&args.prefix);
    if args.keys {
        list = list.keys_only();
    }
    if args.local {
        list = list.local();
    }
    if let Some(after) = &args.after {
        list = list.after(after);
    }
    let mut left = args.limit.unwrap_or(u64::MAX);
    list = list.page_entries(u32::try_from(left.min(1000)).unwrap_or(1000));
    while left > 0
        && let Some(entry) = list.next().await?
    {
        left -= 1;
        let line =
            if context.json { print::line(entry_object(&entry)) } else { entry_line(&entry) };
        out::print_text(&line);
    }
    Ok(out::DONE)
}

/// An entry of a list as JSON.
pub fn entry_object(entry: &accord_net::client::ListEntry) -> Object {
    let mut object = Object::new();
    put_bytes(&mut object, "key", &entry.key);
    if let Some(value) = &entry.value {
        put_bytes(&mut object, "value", value);
    }
    put_stat(&mut object, &entry.stat);
    object
}

/// An entry of a list as a line.
pub fn entry_line(entry: &accord_net::client::ListEntry) -> String {
    let key = shown(&entry.key, false);
    match &entry.value {
        Some(value) => format!("{key} = {}\n", shown(value, false)),
        None => format!("{key}\n"),
    }
}

/// Copies a record.
#[derive(Clone, Debug, Args)]
pub struct CopyArgs {
    /// The record to copy.
    source: String,
    /// The key that gets its value.
    target: String,
    /// Only if there is no such record as the target.
    #[arg(long, visible_alias = "create", conflicts_with = "existing")]
    exclusive: bool,
    /// Only if there is such a record as the target.
    #[arg(long)]
    existing: bool,
}

pub async fn copy(args: &CopyArgs, context: &mut Context) -> Result<u8, Failure> {
    let client = context.client().await?;
    let flags = match (args.exclusive, args.existing) {
        (true, _) => Flags::CREATE | Flags::EXCLUSIVE,
        (_, true) => Flags::NONE,
        _ => Flags::CREATE,
    };
    let (source, target) = (args.source.clone().into(), args.target.clone().into());
    let steps = Steps::new().step(Step::Copy { source, target, flags });
    let both = format!("{} to {}", args.source, args.target);
    let done = client.txn(steps).await.map_err(|error| about(&both, error))?;
    Ok(print_change(context, args.target.as_bytes(), &done))
}

/// Adds to a number.
#[derive(Clone, Debug, Args)]
pub struct IncrArgs {
    /// The record with the number.
    key: String,
    /// What to add.
    #[arg(default_value_t = 1, allow_negative_numbers = true)]
    delta: i64,
    /// The bytes of the number: 4 or 8.
    #[arg(long, value_name = "BYTES", default_value = "8", value_parser = ["4", "8"])]
    width: String,
    /// Where in a larger value the number stands.
    #[arg(long, value_name = "BYTES")]
    offset: Option<u64>,
    /// Only if there is such a record.
    #[arg(long)]
    existing: bool,
}

pub async fn incr(args: &IncrArgs, context: &mut Context) -> Result<u8, Failure> {
    let client = context.client().await?;
    let step = Step::Increment {
        key: args.key.clone().into(),
        delta: args.delta,
        offset: args.offset,
        width: if args.width == "4" { Width::Four } else { Width::Eight },
        flags: if args.existing { Flags::NONE } else { Flags::CREATE },
    };
    let done = client.txn(Steps::new().step(step)).await.map_err(|e| about(&args.key, e))?;
    if context.json {
        return Ok(print_change(context, args.key.as_bytes(), &done));
    }
    let number = done.number(0).unwrap_or_default();
    let number = match u32::try_from(number) {
        Ok(four) if args.width == "4" => four.cast_signed().into(),
        _ => print::signed(number),
    };
    Ok(out::print_text(&format!("{number}\n")))
}
