//! Changes as they happen, one line each.

use super::print::{self, Object, put_bytes, quoted};
use super::word::{Escapes, Word};
use super::{Context, Failure, connection};
use crate::out;
use crate::signals::Signals;
use accord_core::protocol::{Consistency, WATCH_KEY_BYTES_MAX};
use accord_core::state::ReadQuery;
use accord_net::client::{
    Client, Event, EventMask, KeyEvent, KeyEventKind, MemberEventKind, Revision, TreeEventKind,
    Watch, WatchEnd, WatchFilter,
};
use clap::Args;

pub const EXAMPLES: &str = "\
Examples:
  accord watch leader                       every change of one record
  accord watch --prefix config/             of all records whose keys begin so; '' is all of them
  accord watch --members                    who joins and leaves
  accord watch job --mask created --once    wait until there is such a record
  accord watch log --from 120               what happened after revision 120, and on
  accord watch --prefix '' --json           an object a line: revision, kind, key, data ...

`r12 changed page [3+2 of 9] = ab` says: at revision 12 two bytes at byte 3 were written, and the
value has 9 bytes now. No event is missed or told twice, also over lost connections; if history is
gone, the command ends and says from which revision on events are known. The standard error tells
when the connection is lost, when it is back, and when the session has expired, which ends it.

Exit code: 0, interrupted, or all that was asked for is told; 1, the watch ended.";

/// Watches records or members.
#[derive(Clone, Debug, Args)]
pub struct WatchArgs {
    /// The record to watch.
    #[arg(required_unless_present_any = ["prefix", "members"])]
    key: Option<Word>,
    /// All records whose keys begin so.
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["key", "members"])]
    prefix: Option<Word>,
    /// Who joins and who leaves.
    #[arg(long, conflicts_with = "key")]
    members: bool,
    /// Which kinds of event.
    #[arg(long, value_name = "KIND,...", value_delimiter = ',',
          value_parser = ["created", "changed", "deleted", "copied", "joined", "left"])]
    mask: Vec<String>,
    /// End after the first revision with events.
    #[arg(long)]
    once: bool,
    /// End after this many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Everything after this revision, not only what happens from now on.
    #[arg(long, value_name = "REVISION")]
    from: Option<u64>,
    /// How the key or the prefix is written.
    #[command(flatten)]
    escapes: Escapes,
}

impl WatchArgs {
    fn filter(&self) -> Result<WatchFilter, Failure> {
        let word = self.key.as_ref().or(self.prefix.as_ref());
        let Some(bytes) = self.escapes.maybe(word)? else { return Ok(WatchFilter::Members) };
        if bytes.len() > WATCH_KEY_BYTES_MAX {
            let bytes = bytes.len();
            let most = format!("at most {WATCH_KEY_BYTES_MAX} bytes can be watched, not {bytes}");
            return Err(Failure::misused(most));
        }
        Ok(match self.key {
            Some(_) => WatchFilter::Key(bytes.into()),
            None => WatchFilter::Prefix(bytes.into()),
        })
    }

    fn event_mask(&self) -> EventMask {
        let kinds = [
            ("created", EventMask::CREATED),
            ("changed", EventMask::CHANGED),
            ("deleted", EventMask::DELETED),
            ("copied", EventMask::COPIED),
            ("joined", EventMask::JOINED),
            ("left", EventMask::LEFT),
        ];
        let asked = kinds.iter().filter(|(name, _)| self.mask.iter().any(|asked| asked == name));
        asked.map(|(_, kind)| *kind).reduce(|all, kind| all | kind).unwrap_or(EventMask::ALL)
    }
}

pub async fn run(args: &WatchArgs, context: &mut Context) -> Result<u8, Failure> {
    let filter = args.filter()?;
    let client = context.client().await?;
    let mask = args.event_mask();
    let from = args.from.map(Revision);
    let watch = match args.once {
        true => client.watch_once(filter, mask, from).await?,
        false => client.watch(filter, mask, from).await?,
    };
    // Before it is said: an interruption from here on ends the watch, in a shell as well.
    let mut signals = Signals::new().map_err(|error| {
        Failure::failed("failed", format!("signals cannot be received: {error}"))
    })?;
    // For people, and for scripts that must not change anything before the watch is set.
    out::complain(&format!("watching what happens after revision {}", watch.from().0));
    let connection = connection::tell(&client);
    let following = async {
        if let Some(from) = from {
            tell_future(&client, from).await;
        }
        follow(args, context.json, watch).await
    };
    tokio::pin!(connection, following);
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            code = &mut following => return code,
            _ = signals.next() => return Ok(out::DONE),
            () = &mut connection, if !told => told = true,
        }
    }
}

/// A watch from a revision that is not reached yet is silent until then: say so.
async fn tell_future(client: &Client, from: Revision) {
    let query = ReadQuery::Members { after: None, limit: 1 };
    if let Ok((_, now)) = client.query(query, Consistency::Linearizable).await
        && from > now
    {
        let (from, now) = (from.0, now.0);
        out::complain(&format!(
            "revision {from} is not reached yet: nothing is told before it; the present one is {now}"
        ));
    }
}

async fn follow(args: &WatchArgs, json: bool, mut watch: Watch) -> Result<u8, Failure> {
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut complete = watch.from();
    while left > 0 {
        let item = watch.next().await.map_err(|end| told_up_to(complete, end))?;
        complete = item.revision;
        for event in item.events.iter() {
            if left == 0 {
                break;
            }
            left -= 1;
            let line = if json { print::line(object(event)) } else { line(event) };
            out::print_text(&line);
        }
        if args.once {
            break;
        }
    }
    Ok(out::DONE)
}

/// The watch has ended; another can go on where it was.
fn told_up_to(complete: Revision, end: WatchEnd) -> Failure {
    let lost = end == WatchEnd::SessionLost;
    let mut failure = Failure::from(end);
    if lost {
        failure.message += &format!("; `--from {}` goes on from here", complete.0);
    }
    failure
}

const fn kind(event: &Event) -> &'static str {
    match event {
        Event::Key(event) => match event.kind {
            KeyEventKind::Created => "created",
            KeyEventKind::Changed => "changed",
            KeyEventKind::Deleted => "deleted",
            KeyEventKind::Copied => "copied",
        },
        Event::Member(event) => match event.kind {
            MemberEventKind::Joined => "joined",
            MemberEventKind::Left => "left",
        },
        Event::Tree(event) => match event.kind {
            TreeEventKind::Created => "created",
            TreeEventKind::Deleted => "deleted",
            TreeEventKind::DataChanged => "changed",
            TreeEventKind::AclChanged => "acl",
        },
    }
}

fn is_whole(event: &KeyEvent) -> bool {
    event.offset == 0 && event.data.len() as u64 == event.size
}

fn line(event: &Event) -> String {
    let what = format!("r{} {}", event.revision().0, kind(event));
    match event {
        Event::Member(event) => {
            format!("{what} session {}, {} sessions now\n", event.session.0, event.members)
        }
        Event::Tree(event) => format!("{what} {}\n", quoted(&event.path)),
        Event::Key(event) if event.kind == KeyEventKind::Deleted => {
            format!("{what} {}\n", quoted(&event.key))
        }
        Event::Key(event) => {
            let part = match is_whole(event) {
                true => String::new(),
                false => format!(" [{}+{} of {}]", event.offset, event.data.len(), event.size),
            };
            let (key, data) = (quoted(&event.key), quoted(&event.data));
            format!("{what} {key}{part} = {data}\n")
        }
    }
}

fn object(event: &Event) -> Object {
    let mut object = Object::new();
    object.insert("revision".to_owned(), event.revision().0.into());
    object.insert("kind".to_owned(), kind(event).into());
    match event {
        Event::Member(event) => {
            object.insert("session".to_owned(), event.session.0.into());
            object.insert("members".to_owned(), event.members.into());
        }
        Event::Tree(event) => put_bytes(&mut object, "path", &event.path),
        Event::Key(event) => {
            put_bytes(&mut object, "key", &event.key);
            object.insert("version".to_owned(), event.version.into());
            if event.kind != KeyEventKind::Deleted {
                put_bytes(&mut object, "data", &event.data);
                object.insert("offset".to_owned(), event.offset.into());
                object.insert("size".to_owned(), event.size.into());
            }
        }
    }
    object
}
