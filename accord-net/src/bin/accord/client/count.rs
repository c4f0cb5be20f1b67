//! Numbers: incr.
//!
//! In a transaction an increment wraps around, as the number of a processor does. Who counts on the
//! command line does not want that: the command looks at the number first, and adds only if the
//! record is still the one that it looked at.

use super::print::{self, named};
use super::values::{about, print_change};
use super::word::{Escapes, Word};
use super::{Context, Failure};
use crate::out;
use accord_core::state::{Compare, Relation, Step, StepError, Width};
use accord_net::client::txn::{Steps, Txn, missing};
use accord_net::client::{Error, Flags, Record};
use bytes::Bytes;
use clap::Args;

pub const EXAMPLES: &str = "\
Examples:
  accord incr visits                        adds 1; a missing record counts from 0
  accord incr visits -- -5                  adds -5
  accord incr old --width 4                 numbers of four bytes, as the first Accord had

A number is 8 bytes, little-endian: `accord get visits --number` prints it. A value that is none is
left as it is (1), and so is a number that would leave the range of its width (1). In a transaction
(`accord txn`) numbers wrap around instead.";

/// Adds to a number.
#[derive(Clone, Debug, Args)]
pub struct IncrArgs {
    /// The record with the number.
    key: Word,
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
    /// How the key is written.
    #[command(flatten)]
    escapes: Escapes,
}

impl IncrArgs {
    fn width(&self) -> Width {
        if self.width == "4" { Width::Four } else { Width::Eight }
    }

    /// The number that a record has, if it has one.
    fn number(&self, record: &Record) -> Option<i64> {
        let whole = self.offset.is_some() || record.stat.size == self.width().bytes() as u64;
        let number = print::number(&record.value);
        number.filter(|_| whole && record.value.len() == self.width().bytes())
    }

    /// What comes of it, if that is in the range of the width.
    fn sum(&self, before: i64) -> Option<i64> {
        let sum = before.checked_add(self.delta)?;
        (self.width() == Width::Eight || i32::try_from(sum).is_ok()).then_some(sum)
    }

    fn overflow(&self, key: &[u8], before: i64) -> Failure {
        let (least, most) = match self.width() {
            Width::Four => (i32::MIN.into(), i32::MAX.into()),
            Width::Eight => (i64::MIN, i64::MAX),
        };
        let message = format!(
            "{}: it is {before}, and {:+} would leave the range of a number of {} bytes, {least} \
             to {most}; nothing was done",
            named(key),
            self.delta,
            self.width
        );
        Failure::failed("overflow", message)
    }

    fn failure(&self, key: &[u8], error: Error) -> Failure {
        if error.step_error() != Some(StepError::NotANumber) {
            return about(key, error);
        }
        let place = match self.offset {
            Some(offset) => format!("has none of {} bytes at byte {offset}", self.width),
            None => format!("is no number of {} bytes, little-endian", self.width),
        };
        let message = format!(
            "{}: its value {place}; digits as text cannot be counted: begin with a record that is \
             missing, or see --width and --offset",
            named(key)
        );
        Failure::failed("not_a_number", message)
    }
}

pub async fn incr(args: &IncrArgs, context: &mut Context) -> Result<u8, Failure> {
    let key = Bytes::from(args.escapes.bytes(&args.key)?);
    let client = context.client().await?;
    let (offset, bytes) = (args.offset.unwrap_or(0), args.width().bytes() as u64);
    let done = loop {
        let record = client.read(&key).part(offset, bytes).send().await?;
        let unchanged = match &record {
            None => missing(&key),
            Some(record) => Compare::Modified {
                key: key.clone(),
                relation: Relation::Equal,
                revision: record.stat.modified,
            },
        };
        let before = record.as_ref().map_or(Some(0), |record| args.number(record));
        if let Some(before) = before
            && args.sum(before).is_none()
        {
            return Err(args.overflow(&key, before));
        }
        let step = Step::Increment {
            key: key.clone(),
            delta: args.delta,
            offset: args.offset,
            width: args.width(),
            flags: if args.existing { Flags::NONE } else { Flags::CREATE },
        };
        let txn = Txn::when(unchanged).then(Steps::new().step(step));
        let done = client.txn(txn).await.map_err(|error| args.failure(&key, error))?;
        // Otherwise somebody else changed it meanwhile, and got on.
        if done.held() {
            break done;
        }
    };
    out::note_change();
    if context.json {
        return Ok(print_change(context, &key, &done));
    }
    let number = done.number(0).unwrap_or_default();
    let number = match u32::try_from(number) {
        Ok(four) if args.width == "4" => four.cast_signed().into(),
        _ => print::signed(number),
    };
    Ok(out::print_text(&format!("{number}\n")))
}
