//! Records: get, put, list, copy.

use super::print::{self, LISTED_BYTES_MAX, Object, named, put_bytes, put_stat, quoted};
use super::word::{Escapes, Word};
use super::{Context, Failure};
use crate::out;
use crate::signals::Signals;
use accord_core::state::Step;
use accord_net::client::txn::Steps;
use accord_net::client::{Done, Error, Flags, Record, StepResult};
use bytes::Bytes;
use clap::Args;
use std::io::{self, Read};
use std::path::PathBuf;

pub const GET_EXAMPLES: &str = "\
Examples:
  accord get greeting                       the value
  accord get photo --raw > photo.jpg        the value as it is, whatever it is
  accord get counter --number               what `accord incr` counted
  accord get greeting --stat                versions and revisions on the standard error as well
  accord get log --offset 100 --length 20   a part of a value
  accord get --escaped '\\xffkey'            a key that is no text

On a terminal, what is no text is shown with escapes (\\r, \\x00), and so is the backslash (\\\\):
different values look different. Into a file or a pipe the value goes as it is; a new line follows
if it is text that does not end in one. With --raw nothing follows.

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
  accord list --full                        values of more than 256 bytes as well, whole
  accord list --json | jq .key

Keys and values are shown as `accord txn` takes them: in double quotes with escapes, if they must
be. A value of more than 256 bytes is cut, and its length is told.";

/// Reads a record.
#[derive(Clone, Debug, Args)]
pub struct GetArgs {
    /// Key of the record
    key: Word,
    /// Print exactly the bytes of the value, on a terminal too.
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
    /// Read at most this many bytes.
    #[arg(long, value_name = "BYTES", default_value_t = u64::MAX, hide_default_value = true)]
    length: u64,
    /// What this server knows, without asking the others: perhaps old, but fast.
    #[arg(long)]
    local: bool,
    /// The value that it had at this revision, if it has not changed since; earlier values are not
    /// kept.
    #[arg(long, visible_alias = "revision", value_name = "REVISION")]
    rev: Option<u64>,
    /// How the key is written.
    #[command(flatten)]
    escapes: Escapes,
}

/// Earlier values are not kept, so only the present one can be what was there at a revision.
fn check_revision(key: &[u8], rev: u64, record: &Record) -> Result<(), Failure> {
    let (now, modified) = (record.revision.0, record.stat.modified.0);
    let key = named(key);
    if rev > now {
        let message = format!("{key}: revision {rev} is not reached yet; the present one is {now}");
        return Err(Failure::failed("future_revision", message));
    }
    if rev < modified {
        let message = format!(
            "{key}: what it was at revision {rev} is not kept: only present values are, and this \
             one is of revision {modified}; `accord watch --from {rev}` tells the changes since, \
             as far as they are remembered"
        );
        return Err(Failure::failed("no_history", message));
    }
    Ok(())
}

pub async fn get(args: &GetArgs, context: &mut Context) -> Result<u8, Failure> {
    let key = args.escapes.bytes(&args.key)?;
    let reader = context.reader()?;
    let mut read = reader.read(&key[..]).part(args.offset, args.length);
    if args.local {
        read = read.local();
    }
    let record = context.reading(async { Ok(read.send().await?) }).await?;
    let Some(record) = record else {
        return Err(Failure::failed("not_found", format!("{}: not found", named(&key))));
    };
    if let Some(rev) = args.rev {
        check_revision(&key, rev, &record)?;
    }
    let number = match args.number {
        false => None,
        true => Some(print::number(&record.value).ok_or_else(|| {
            let bytes = record.value.len();
            let message = format!("{}: {bytes} bytes are no number of 4 or 8 bytes", named(&key));
            Failure::failed("not_a_number", message)
        })?),
    };
    if context.json {
        let mut object = Object::new();
        put_bytes(&mut object, "key", &key);
        put_bytes(&mut object, "value", &record.value);
        if let Some(number) = number {
            object.insert("number".to_owned(), number.into());
        }
        put_stat(&mut object, &record.stat);
        object.insert("revision".to_owned(), record.revision.0.into());
        return Ok(out::print_text(&print::line(object)));
    }
    if args.stat {
        out::say(&print::stat_line(&record.stat));
    }
    Ok(match number {
        Some(number) => out::print_text(&format!("{number}\n")),
        None => print::print_value(&record.value, args.raw),
    })
}

/// Writes a record.
#[derive(Clone, Debug, Args)]
pub struct PutArgs {
    /// Key of the record
    key: Word,
    /// Its value; `-`: the standard input.
    #[arg(required_unless_present = "file", conflicts_with = "file", allow_hyphen_values = true)]
    value: Option<Word>,
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
    /// How the key and the value are written.
    #[command(flatten)]
    escapes: Escapes,
}

impl PutArgs {
    /// True if the command goes on after the write.
    pub const fn holds(&self) -> bool {
        self.hold
    }

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
        match (&self.file, &self.value) {
            (Some(file), _) => std::fs::read(file).map_err(|error| {
                Failure::misused(format!("cannot read {}: {error}", file.display()))
            }),
            (None, Some(value)) if value.is("-") => read_input(),
            (None, value) => Ok(self.escapes.maybe(value.as_ref())?.unwrap_or_default()),
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
    let key = Bytes::from(args.escapes.bytes(&args.key)?);
    let value = args.value()?;
    let client = context.client().await?;
    let offset = args.offset.unwrap_or(0);
    let steps = Steps::new().write(&key, value, offset, args.flags());
    let done = client.txn(steps).await.map_err(|error| about(&key, error))?;
    out::note_change();
    let code = print_change(context, done.sequence_key(0).unwrap_or(&key), &done);
    if args.hold {
        hold(context).await?;
    }
    Ok(code)
}

async fn hold(context: &mut Context) -> Result<(), Failure> {
    let mut signals = Signals::new().map_err(|error| {
        Failure::failed("failed", format!("signals cannot be received: {error}"))
    })?;
    let client = context.client().await?;
    out::complain(&format!("holding session {}; Ctrl-C ends it", client.session().0));
    let mut states = client.states();
    tokio::select! {
        _ = signals.next() => Ok(()),
        _ = states.wait_for(|state| state.is_final()) => {
            Err(Failure::failed("session_lost", "the session has ended: the record is gone"))
        }
    }
}

/// Why something was not done with a record.
pub fn about(key: &[u8], error: Error) -> Failure {
    Failure::from(error).about(&named(key))
}

/// Prints what became of a record.
pub fn print_change(context: &Context, key: &[u8], done: &Done) -> u8 {
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
    out::print_text(&format!("{}{version}, revision {}\n", quoted(key), done.revision.0))
}

/// Lists records.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// What the keys begin with; all keys, if not given.
    prefix: Option<Word>,
    /// Only keys.
    #[arg(long)]
    keys: bool,
    /// Only keys greater than this one.
    #[arg(long, value_name = "KEY")]
    after: Option<Word>,
    /// At most this many.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Show values whole, however long they are. JSON always has them whole.
    #[arg(long)]
    full: bool,
    /// What this server knows, without asking the others: perhaps old, but fast.
    #[arg(long)]
    local: bool,
    /// How the prefix and the key are written.
    #[command(flatten)]
    escapes: Escapes,
}

pub async fn list(args: &ListArgs, context: &mut Context) -> Result<u8, Failure> {
    let prefix = args.escapes.maybe(args.prefix.as_ref())?.unwrap_or_default();
    let after = args.escapes.maybe(args.after.as_ref())?;
    let reader = context.reader()?;
    let mut list = reader.list(&prefix[..]);
    if args.keys {
        list = list.keys_only();
    }
    if args.local {
        list = list.local();
    }
    if let Some(after) = after {
        list = list.after(after);
    }
    let mut left = args.limit.unwrap_or(u64::MAX);
    list = list.page_entries(u32::try_from(left.min(1000)).unwrap_or(1000));
    let listing = async {
        while left > 0
            && let Some(entry) = list.next().await?
        {
            left -= 1;
            let value_bytes_max = if args.full { usize::MAX } else { LISTED_BYTES_MAX };
            out::print_text(&match context.json {
                true => print::line(entry_object(&entry)),
                false => entry_line(&entry, value_bytes_max),
            });
        }
        Ok(out::DONE)
    };
    context.reading(listing).await
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

/// An entry of a list as a line; of a longer value only the first bytes.
pub fn entry_line(entry: &accord_net::client::ListEntry, value_bytes_max: usize) -> String {
    let key = quoted(&entry.key);
    match &entry.value {
        Some(value) => format!("{key} = {}\n", print::shortened(value, value_bytes_max)),
        None => format!("{key}\n"),
    }
}

/// Copies a record.
#[derive(Clone, Debug, Args)]
pub struct CopyArgs {
    /// The record to copy.
    source: Word,
    /// The key that gets its value.
    target: Word,
    /// Only if there is no such record as the target.
    #[arg(long, visible_alias = "create", conflicts_with = "existing")]
    exclusive: bool,
    /// Only if there is such a record as the target.
    #[arg(long)]
    existing: bool,
    /// How the keys are written.
    #[command(flatten)]
    escapes: Escapes,
}

pub async fn copy(args: &CopyArgs, context: &mut Context) -> Result<u8, Failure> {
    let source = Bytes::from(args.escapes.bytes(&args.source)?);
    let target = Bytes::from(args.escapes.bytes(&args.target)?);
    let client = context.client().await?;
    let flags = match (args.exclusive, args.existing) {
        (true, _) => Flags::CREATE | Flags::EXCLUSIVE,
        (_, true) => Flags::NONE,
        _ => Flags::CREATE,
    };
    let both = format!("{} to {}", named(&source), named(&target));
    let steps = Steps::new().step(Step::Copy { source, target: target.clone(), flags });
    let done = client.txn(steps).await.map_err(|error| Failure::from(error).about(&both))?;
    out::note_change();
    Ok(print_change(context, &target, &done))
}
