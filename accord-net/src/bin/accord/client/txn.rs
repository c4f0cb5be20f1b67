//! Transactions: read, run, shown.

use super::lang::{Program, parse, parse_words};
use super::print::{self, LISTED_BYTES_MAX, Object, put_bytes, put_stat, quoted};
use super::values::{entry_line, entry_object, read_input};
use super::{Context, Failure};
use crate::out;
use accord_net::client::txn::Txn;
use accord_net::client::{Done, Error, Failure as CallFailure, StepError, StepResult};
use clap::Args;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Runs a transaction.
#[derive(Clone, Debug, Args)]
pub struct TxnArgs {
    /// The transaction: one argument with all of it, or its words. None: the standard input.
    #[arg(conflicts_with = "file", allow_negative_numbers = true)]
    text: Vec<String>,
    /// Take the transaction from a file.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl TxnArgs {
    fn program(&self) -> Result<Program, Failure> {
        let text = match (&self.file, &self.text[..]) {
            (Some(file), _) => std::fs::read_to_string(file).map_err(|error| {
                Failure::misused(format!("cannot read {}: {error}", file.display()))
            })?,
            (None, [one]) if one != "-" => one.clone(),
            (None, [] | [_]) => String::from_utf8_lossy(&read_input()?).into_owned(),
            (None, words) => {
                return parse_words(words).map_err(|why| {
                    Failure::misused(format!("word {}", why.trim_start_matches("at ")))
                });
            }
        };
        parse(&text).map_err(Failure::misused)
    }
}

pub async fn run(args: &TxnArgs, context: &mut Context) -> Result<u8, Failure> {
    let program = args.program()?;
    let client = context.client().await?;
    let done = match client.txn(Txn::from(program.txn.clone())).await {
        Ok(done) => done,
        Err(Error::Failed(CallFailure::Aborted { step, error })) => {
            return Err(aborted(&program, step, error));
        }
        Err(error) => return Err(error.into()),
    };
    if labels(&program, &done).iter().any(|label| changes(label)) {
        out::note_change();
    }
    let text = if context.json { object(&program, &done) } else { lines(&program, &done) };
    out::print_text(&text);
    let nothing = !done.held() && program.otherwise.is_empty();
    Ok(if nothing { out::FAILED } else { out::DONE })
}

/// The branch that was taken is the one that has such a step; if both have, either may be it.
fn aborted(program: &Program, step: u32, error: StepError) -> Failure {
    let at = step as usize;
    let labels = [program.then.get(at), program.otherwise.get(at)];
    let labels: Vec<_> = labels.into_iter().flatten().map(|label| print::cut(label)).collect();
    let mut failure = Failure::from(Error::Failed(CallFailure::Aborted { step, error }));
    failure.message = format!(
        "nothing was done: step {} ({}): {}",
        step + 1,
        labels.join(", or behind else: "),
        failure.message
    );
    failure
}

fn labels<'a>(program: &'a Program, done: &Done) -> &'a [String] {
    if done.held() { &program.then } else { &program.otherwise }
}

/// True for a step that changes something.
fn changes(label: &str) -> bool {
    !["get ", "list ", "check "].iter().any(|reads| label.starts_with(reads))
}

fn lines(program: &Program, done: &Done) -> String {
    let mut text = String::new();
    if !program.txn.guard.is_empty() {
        text.push_str(match (done.held(), program.otherwise.is_empty()) {
            (true, _) => "the conditions hold\n",
            (false, false) => "the conditions do not hold: else\n",
            (false, true) => "the conditions do not hold: nothing was done\n",
        });
    }
    for (label, result) in labels(program, done).iter().zip(done.results.iter()) {
        let _ = write!(text, "{label}: ");
        let _ = match result {
            StepResult::Read { value, .. } => writeln!(text, "{}", quoted(value)),
            StepResult::Written { version, .. } | StepResult::Copied { version } => {
                writeln!(text, "version {version}")
            }
            StepResult::Deleted => writeln!(text, "deleted"),
            StepResult::Held => writeln!(text, "holds"),
            StepResult::Incremented { value, .. } => writeln!(text, "{}", print::signed(*value)),
            StepResult::Listed(page) => {
                let more = if page.more { ", and there are more" } else { "" };
                let _ = writeln!(text, "{} records{more}", page.entries.len());
                for entry in &page.entries {
                    let _ = write!(text, "  {}", entry_line(entry, LISTED_BYTES_MAX));
                }
                Ok(())
            }
        };
    }
    let _ = writeln!(text, "revision {}", done.revision.0);
    text
}

fn object(program: &Program, done: &Done) -> String {
    let results = labels(program, done).iter().zip(done.results.iter());
    let results: Vec<Value> = results.map(|(label, result)| step_object(label, result)).collect();
    let mut object = Object::new();
    object.insert("branch".to_owned(), if done.held() { "then" } else { "else" }.into());
    object.insert("results".to_owned(), results.into());
    object.insert("revision".to_owned(), done.revision.0.into());
    print::line(object)
}

fn step_object(label: &str, result: &StepResult) -> Value {
    let mut object = Object::new();
    object.insert("step".to_owned(), label.into());
    match result {
        StepResult::Read { value, stat } => {
            put_bytes(&mut object, "value", value);
            put_stat(&mut object, stat);
        }
        StepResult::Written { version, .. } | StepResult::Copied { version } => {
            object.insert("version".to_owned(), (*version).into());
        }
        StepResult::Incremented { value, version } => {
            object.insert("number".to_owned(), print::signed(*value).into());
            object.insert("version".to_owned(), (*version).into());
        }
        StepResult::Listed(page) => {
            let entries = page.entries.iter().map(|entry| Value::Object(entry_object(entry)));
            object.insert("entries".to_owned(), entries.collect::<Vec<_>>().into());
            object.insert("more".to_owned(), page.more.into());
        }
        StepResult::Deleted | StepResult::Held => {}
    }
    Value::Object(object)
}
