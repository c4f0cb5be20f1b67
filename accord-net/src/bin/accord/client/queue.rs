//! Queues on the command line.

use super::print::{self, Object, put_bytes};
use super::values::read_input;
use super::word::{Escapes, Word};
use super::{Context, Failure};
use crate::out;
use crate::signals::Signals;
use accord_net::client::recipes::Queue;
use clap::{Args, Subcommand};

pub const EXAMPLES: &str = "\
Examples:
  accord queue push jobs 'resize 17'        at the end of the queue
  accord queue pop jobs                     the first item; 1 if there is none
  accord queue pop jobs --wait              the first item, as soon as there is one
  accord queue pop photos --raw > next.jpg  the item as it is, whatever it is
  accord queue len jobs

Each item goes to one consumer, in the order in which they were pushed. Items are printed as values
are: see `accord get --help`. An item that was taken and could not be printed is gone; the exit code
is 5 then.";

/// A queue.
#[derive(Clone, Debug, Args)]
pub struct QueueArgs {
    /// What to do with it.
    #[command(subcommand)]
    command: QueueCommand,
}

impl QueueArgs {
    /// True if the command waits for an item.
    pub const fn waits(&self) -> bool {
        matches!(self.command, QueueCommand::Pop { wait: true, .. })
    }
}

/// What can be done with a queue.
#[derive(Clone, Debug, Subcommand)]
enum QueueCommand {
    /// Append items.
    Push {
        /// The queue's name.
        name: String,
        /// The items; `-`: one item, from the standard input.
        #[arg(required = true, allow_negative_numbers = true)]
        items: Vec<Word>,
        /// How the items are written.
        #[command(flatten)]
        escapes: Escapes,
    },
    /// Take the first item, and print it.
    Pop {
        /// The queue's name.
        name: String,
        /// Wait for an item, if there is none.
        #[arg(long)]
        wait: bool,
        /// Print exactly the bytes of the item, on a terminal too.
        #[arg(long, conflicts_with = "json")]
        raw: bool,
    },
    /// Print how many items wait.
    Len {
        /// The queue's name.
        name: String,
    },
}

pub async fn run(args: &QueueArgs, context: &mut Context) -> Result<u8, Failure> {
    match &args.command {
        QueueCommand::Push { name, items, escapes } => push(name, items, *escapes, context).await,
        QueueCommand::Pop { name, wait, raw } => pop(name, *wait, *raw, context).await,
        QueueCommand::Len { name } => {
            let client = context.client().await?;
            let len = Queue::new(&client, name).len().await?;
            let text = match context.json {
                true => format!("{}\n", serde_json::json!({ "len": len })),
                false => format!("{len}\n"),
            };
            Ok(out::print_text(&text))
        }
    }
}

async fn push(
    name: &str,
    items: &[Word],
    escapes: Escapes,
    context: &mut Context,
) -> Result<u8, Failure> {
    let values = match items {
        [one] if one.is("-") => vec![read_input()?],
        items => items.iter().map(|item| escapes.bytes(item)).collect::<Result<_, _>>()?,
    };
    let client = context.client().await?;
    let queue = Queue::new(&client, name);
    for (at, value) in values.into_iter().enumerate() {
        queue.push(value).await.map_err(|error| {
            let failure = Failure::from(error).about(&format!("item {}", at + 1));
            Failure { message: format!("{}; {at} were pushed before", failure.message), ..failure }
        })?;
        out::note_change();
    }
    if context.json {
        out::print_text(&format!("{}\n", serde_json::json!({ "pushed": items.len() })));
    }
    Ok(out::DONE)
}

async fn pop(name: &str, wait: bool, raw: bool, context: &mut Context) -> Result<u8, Failure> {
    let client = context.client().await?;
    let queue = Queue::new(&client, name);
    let item = if wait {
        let mut signals = Signals::new().map_err(|error| {
            Failure::failed("failed", format!("signals cannot be received: {error}"))
        })?;
        tokio::select! {
            biased;
            item = queue.pop_wait() => Some(item?),
            _ = signals.next() => None,
        }
    } else {
        queue.pop().await?
    };
    let Some(item) = item else {
        return Err(Failure::failed("empty", format!("queue {name}: empty")));
    };
    out::note_change();
    if context.json {
        let mut object = Object::new();
        put_bytes(&mut object, "item", &item);
        return Ok(out::print_text(&print::line(object)));
    }
    Ok(print::print_value(&item, raw))
}
