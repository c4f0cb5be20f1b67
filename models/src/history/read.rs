//! Reading histories in Jepsen's form.
//!
//! The text is either one vector (or list) of events or simply one event after another, as Jepsen
//! writes `history.edn`. An event is a map, perhaps tagged `#jepsen.history.Op`, with `:type`,
//! `:f`, `:process` and, if it has them, `:value`, `:time`, `:error`; other keys are overlooked,
//! `:index` among them: the order of the text counts.

use std::collections::{BTreeMap, BTreeSet};

use super::{History, Moment, Note, Operation, Outcome, Process};
use crate::edn::read::{Reader, utf8};
use crate::edn::{Name, Position, ReadError, Value};

/// Why a text is no history, and where.
pub type HistoryError = ReadError;

/// Reads a history from the bytes of a file.
///
/// # Errors
/// If the bytes are not UTF-8, not EDN, or not a history: with the line and column and what was
/// expected there.
pub fn read(bytes: &[u8]) -> Result<History, HistoryError> {
    let mut reader = Reader::new(utf8(bytes)?);
    let mut pairing = Pairing::default();
    reader.skip_blank()?;
    let close = match reader.peek() {
        Some('[') => Some(']'),
        Some('(') => Some(')'),
        _ => None,
    };
    if close.is_some() {
        reader.bump();
    }
    loop {
        reader.skip_blank()?;
        match reader.peek() {
            None if close.is_none() => break,
            Some(c) if Some(c) == close => {
                reader.bump();
                at_end(&mut reader)?;
                break;
            }
            _ => pairing.add(read_event(&mut reader)?)?,
        }
    }
    pairing.history.check();
    Ok(pairing.history)
}

fn at_end(reader: &mut Reader<'_>) -> Result<(), HistoryError> {
    reader.skip_blank()?;
    match reader.peek() {
        None => Ok(()),
        Some(c) => {
            let at = reader.at();
            Err(HistoryError::new(at, "nothing after the history's end", format!("{c:?}")))
        }
    }
}

/// `:type` of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Invoke,
    Completion(Outcome),
}

/// An event as it stands in the text.
struct Event {
    at: Position,
    kind: Kind,
    process: Process,
    f: Name,
    value: (Position, Value),
    time_ns: u64,
    error: Option<Value>,
}

/// The keys of an event as they come.
#[derive(Default)]
struct Fields {
    kind: Option<Kind>,
    process: Option<Process>,
    f: Option<Name>,
    value: Option<(Position, Value)>,
    time_ns: u64,
    error: Option<Value>,
}

fn read_event(reader: &mut Reader<'_>) -> Result<Event, HistoryError> {
    let at = reader.at();
    if reader.peek() == Some('#') {
        reader.bump();
        while reader.peek().is_some_and(|c| c.is_alphanumeric() || "._-/".contains(c)) {
            reader.bump();
        }
        reader.skip_blank()?;
    }
    if reader.peek() != Some('{') {
        let found = reader.peek().map_or("the end of the text".to_owned(), |c| format!("{c:?}"));
        let expected = "an event such as {:type :invoke, :f :read, :value nil, :process 0}";
        return Err(HistoryError::new(reader.at(), expected, found));
    }
    reader.bump();
    let mut fields = Fields::default();
    let mut keys = BTreeSet::new();
    loop {
        reader.skip_blank()?;
        if reader.peek() == Some('}') {
            reader.bump();
            return fields.finish(at);
        }
        let key_at = reader.at();
        let key = reader.value("a key of the event, or '}'")?;
        reader.skip_blank()?;
        let value_at = reader.at();
        let value = reader.value("the key's value")?;
        fields.set(&key, value_at, value)?;
        if let Some(key) = keys.replace(key) {
            return Err(HistoryError::new(key_at, "a key once in an event", key));
        }
    }
}

impl Fields {
    fn set(&mut self, key: &Value, at: Position, value: Value) -> Result<(), HistoryError> {
        match key.as_keyword() {
            Some("type") => self.kind = Some(read_kind(at, &value)?),
            Some("process") => self.process = Some(read_process(at, &value)?),
            Some("f") => match value {
                Value::Keyword(name) => self.f = Some(name),
                Value::Text(name) => self.f = Some(name.into()),
                other => return Err(HistoryError::new(at, "a keyword such as :read", other)),
            },
            Some("value") => self.value = Some((at, value)),
            Some("time") => self.time_ns = value.as_count().unwrap_or(0),
            Some("error") if !value.is_nil() => self.error = Some(value),
            _ => {}
        }
        Ok(())
    }

    fn finish(self, at: Position) -> Result<Event, HistoryError> {
        let lacks = |key: &str| HistoryError::new(at, format!("an event with {key}"), "none in it");
        Ok(Event {
            at,
            kind: self.kind.ok_or_else(|| lacks(":type"))?,
            process: self.process.ok_or_else(|| lacks(":process"))?,
            f: self.f.ok_or_else(|| lacks(":f"))?,
            value: self.value.unwrap_or((at, Value::Nil)),
            time_ns: self.time_ns,
            error: self.error,
        })
    }
}

fn read_kind(at: Position, value: &Value) -> Result<Kind, HistoryError> {
    match value.as_keyword() {
        Some("invoke") => Ok(Kind::Invoke),
        Some("ok") => Ok(Kind::Completion(Outcome::Ok)),
        Some("fail") => Ok(Kind::Completion(Outcome::Fail)),
        Some("info") => Ok(Kind::Completion(Outcome::Info)),
        _ => Err(HistoryError::new(at, "one of :invoke, :ok, :fail, :info", value)),
    }
}

fn read_process(at: Position, value: &Value) -> Result<Process, HistoryError> {
    match value {
        Value::Keyword(name) => Ok(Process::Named(name.clone())),
        _ => value
            .as_count()
            .map(Process::Client)
            .ok_or_else(|| HistoryError::new(at, "a process: 0, 1, ... or :nemesis", value)),
    }
}

/// Joins completions to their invocations.
#[derive(Default)]
struct Pairing {
    history: History,
    outstanding: BTreeMap<Process, usize>,
}

impl Pairing {
    fn add(&mut self, event: Event) -> Result<(), HistoryError> {
        let moment = self.history.next_moment(event.time_ns);
        match (&event.process, event.kind) {
            (Process::Named(_), _) => {
                let Event { process, f, value, .. } = event;
                self.history.notes.push(Note { process, at: moment, f, value: value.1 });
                Ok(())
            }
            (Process::Client(_), Kind::Invoke) => self.invoke(event, moment),
            (Process::Client(_), Kind::Completion(outcome)) => {
                self.complete(event, outcome, moment)
            }
        }
    }

    fn invoke(&mut self, event: Event, invoked: Moment) -> Result<(), HistoryError> {
        let number = self.history.operations.len();
        if let Some(earlier) = self.outstanding.insert(event.process.clone(), number) {
            let f = &self.history.operations[earlier].f;
            let expected = format!("process {} to complete its :{f} first", event.process);
            return Err(HistoryError::new(event.at, expected, format!("another :{}", event.f)));
        }
        self.history.operations.push(Operation {
            process: event.process,
            f: event.f,
            input: event.value.1,
            invoked,
            outcome: Outcome::Info,
            completed: None,
            output: Value::Nil,
            error: None,
            input_at: event.value.0,
            output_at: event.at,
        });
        Ok(())
    }

    fn complete(
        &mut self,
        event: Event,
        outcome: Outcome,
        completed: Moment,
    ) -> Result<(), HistoryError> {
        let Some(number) = self.outstanding.remove(&event.process) else {
            let expected = format!("an :invoke by process {} before this", event.process);
            return Err(HistoryError::new(event.at, expected, format!("its :{}", outcome.name())));
        };
        let op = &mut self.history.operations[number];
        if op.f != event.f {
            let expected = format!("the completion of :{}", op.f);
            return Err(HistoryError::new(event.at, expected, format!("that of :{}", event.f)));
        }
        op.outcome = outcome;
        op.completed = Some(completed);
        op.output_at = event.value.0;
        op.output = event.value.1;
        op.error = event.error;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
{:type :invoke, :f :write, :value 1, :process 0, :time 5, :index 0}
{:type :info, :f :cut, :value [1 2], :process :nemesis, :time 6, :index 1}
{:type :invoke, :f :read, :value nil, :process 1, :time 7, :index 2}
{:type :info, :f :write, :value 1, :process 0, :time 8, :index 3, :error :timeout}
{:type :ok, :f :read, :value 1, :process 1, :time 9, :index 4}
";

    #[test]
    fn a_history_is_written_as_it_was_read() {
        let history = read(GOOD.as_bytes()).unwrap();
        assert_eq!(history.to_string(), GOOD);
        assert_eq!(history.operations()[0].outcome, Outcome::Info);
        assert_eq!(history.operations()[0].returned(), u64::MAX);
        let vector =
            format!("; told\n[{}]", GOOD.replace("{:type :info, :f :c", "#op {:type :info, :f :c"));
        assert_eq!(read(vector.as_bytes()).unwrap().to_string(), GOOD);
    }

    #[test]
    fn what_is_no_history_is_refused_with_its_place() {
        let refused = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        let twice = GOOD.replace(":process 1, :time 7", ":process 0, :time 7");
        assert_eq!(
            refused(&twice),
            "3:1: expected process 0 to complete its :write first, found another :read"
        );
        assert!(refused("{:type :ok, :f :read, :process 1}").contains("an :invoke by process 1"));
        assert!(refused("{:type :done}").starts_with("1:8: expected one of :invoke"));
        assert!(refused("{:f :read}").contains("an event with :type"));
        assert!(refused("[{:type :invoke :f :r :process 0}").contains("an event such as"));
        assert!(refused("[] 1").contains("nothing after"));
        assert_eq!(
            refused("{:type :invoke, :process 0, :f :read, :process 1}"),
            "1:39: expected a key once in an event, found :process"
        );
    }
}
