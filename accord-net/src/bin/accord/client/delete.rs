//! Deleting records.

use super::print::{self, Object, named};
use super::values::about;
use super::word::{Escapes, Word};
use super::{Context, Failure};
use crate::out;
use accord_net::client::txn::Steps;
use accord_net::client::{Client, Error, Failure as CallFailure, Revision};
use bytes::Bytes;
use clap::Args;

pub const EXAMPLES: &str = "\
Examples:
  accord del greeting                       1 if there is no such record
  accord del a b c                          all of them or none
  accord del --prefix config/               all whose keys begin so, and how many there were

With --prefix records are deleted a few hundred at a time, not all at once: a reader may see some
gone and others not, and if the command is cut off, it says how many are gone. Given again, it goes
on. No record that begins so is no failure.";

/// Records that are deleted in one transaction.
const BATCH: usize = 500;

/// Deletes records.
#[derive(Clone, Debug, Args)]
pub struct DelArgs {
    /// Their keys.
    #[arg(required_unless_present = "prefix")]
    keys: Vec<Word>,
    /// All records whose keys begin so; '' is all there are.
    #[arg(long, value_name = "PREFIX", conflicts_with = "keys")]
    prefix: Option<Word>,
    /// How the keys are written.
    #[command(flatten)]
    escapes: Escapes,
}

pub async fn del(args: &DelArgs, context: &mut Context) -> Result<u8, Failure> {
    if let Some(prefix) = &args.prefix {
        return del_prefix(args.escapes.bytes(prefix)?, context).await;
    }
    let mut keys: Vec<Bytes> = Vec::new();
    for word in &args.keys {
        let key = Bytes::from(args.escapes.bytes(word)?);
        // Named twice, it is deleted once.
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let client = context.client().await?;
    let done = client.txn(steps(&keys)).await.map_err(|error| {
        let key = aborted_at(&error).and_then(|at| keys.get(at));
        match key {
            Some(key) => about(key, error),
            None => Failure::from(error).about("del"),
        }
    })?;
    out::note_change();
    Ok(tell(keys.len() as u64, Some(done.revision), context.json))
}

fn steps(keys: &[Bytes]) -> Steps {
    keys.iter().fold(Steps::new(), |steps, key| steps.delete(key))
}

/// The place of the step that failed.
fn aborted_at(error: &Error) -> Option<usize> {
    match error {
        Error::Failed(CallFailure::Aborted { step, .. }) => Some(*step as usize),
        _ => None,
    }
}

fn tell(deleted: u64, revision: Option<Revision>, json: bool) -> u8 {
    let revision = revision.map(|revision| revision.0);
    if json {
        let mut object = Object::new();
        object.insert("deleted".to_owned(), deleted.into());
        object.insert("revision".to_owned(), revision.into());
        return out::print_text(&print::line(object));
    }
    let at = revision.map_or(String::new(), |revision| format!(", revision {revision}"));
    out::print_text(&format!("{deleted} deleted{at}\n"))
}

async fn del_prefix(prefix: Vec<u8>, context: &mut Context) -> Result<u8, Failure> {
    let client = context.client().await?;
    let mut list = client.list(&prefix[..]).keys_only().page_entries(BATCH as u32);
    let (mut deleted, mut last) = (0, None);
    let failed = loop {
        let mut keys = Vec::new();
        let listed = loop {
            match list.next().await {
                Ok(Some(entry)) => keys.push(entry.key),
                Ok(None) => break Ok(false),
                Err(error) => break Err(error),
            }
            if keys.len() == BATCH {
                break Ok(true);
            }
        };
        match (listed, del_batch(&client, keys, &mut deleted, &mut last).await) {
            (Ok(true), Ok(())) => {}
            (Ok(false), Ok(())) => return Ok(tell(deleted, last, context.json)),
            (Err(error), _) | (_, Err(error)) => break error,
        }
    };
    let mut failure = Failure::from(failed).about(&named(&prefix));
    failure.message = format!("{}; {deleted} records were deleted before", failure.message);
    Err(failure)
}

/// Deletes what is there of some records.
async fn del_batch(
    client: &Client,
    mut keys: Vec<Bytes>,
    deleted: &mut u64,
    last: &mut Option<Revision>,
) -> Result<(), Error> {
    while !keys.is_empty() {
        match client.txn(steps(&keys)).await {
            Ok(done) => {
                out::note_change();
                *deleted += keys.len() as u64;
                *last = Some(done.revision);
                return Ok(());
            }
            // Somebody else deleted that one meanwhile.
            Err(error) if error.is_not_found() => match aborted_at(&error) {
                Some(at) if at < keys.len() => drop(keys.remove(at)),
                _ => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
