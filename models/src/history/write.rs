//! Histories as text in Jepsen's form, one event a line.

use std::fmt::{self, Display, Formatter};

use super::{History, Moment, Note, Operation, Process};
use crate::edn::Value;

/// One event on its way to the text.
enum Event<'a> {
    Invoked(&'a Operation),
    Completed(&'a Operation),
    Noted(&'a Note),
}

impl Display for History {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut events: Vec<(u64, Event<'_>)> = Vec::new();
        for op in self.operations() {
            events.push((op.invoked.event, Event::Invoked(op)));
            events.extend(op.completed.map(|at| (at.event, Event::Completed(op))));
        }
        events.extend(self.notes().iter().map(|note| (note.at.event, Event::Noted(note))));
        events.sort_by_key(|(number, _)| *number);
        for (_, event) in &events {
            writeln!(f, "{event}")?;
        }
        Ok(())
    }
}

impl Display for Event<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invoked(op) => line(f, "invoke", &op.f, &op.input, &op.process, op.invoked, None),
            Self::Completed(op) => {
                let at = op.completed.unwrap_or(op.invoked);
                let error = op.error.as_ref();
                line(f, op.outcome.name(), &op.f, &op.output, &op.process, at, error)
            }
            Self::Noted(note) => {
                line(f, "info", &note.f, &note.value, &note.process, note.at, None)
            }
        }
    }
}

fn line(
    f: &mut Formatter<'_>,
    kind: &str,
    name: &str,
    value: &Value,
    process: &Process,
    at: Moment,
    error: Option<&Value>,
) -> fmt::Result {
    write!(f, "{{:type :{kind}, :f :{name}, :value {value}, :process {process}")?;
    write!(f, ", :time {}, :index {}", at.time_ns, at.event)?;
    if let Some(error) = error {
        write!(f, ", :error {error}")?;
    }
    f.write_str("}")
}
