//! Reading the values of operations, with errors that name the place and the right shape.

use std::collections::BTreeMap;

use crate::edn::{Position, Value};
use crate::history::{HistoryError, Operation, Outcome};

/// The value of an operation at one of its two events.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    /// The value.
    pub(super) value: &'a Value,
    at: Position,
    op: &'a Operation,
    /// What the value should look like.
    expected: &'static str,
}

impl<'a> Shape<'a> {
    /// The invocation's value, which should look like `expected`.
    pub(super) const fn input(op: &'a Operation, expected: &'static str) -> Self {
        Self { value: &op.input, at: op.input_at, op, expected }
    }

    /// The completion's value.
    pub(super) const fn output(op: &'a Operation, expected: &'static str) -> Self {
        Self { value: &op.output, at: op.output_at, op, expected }
    }

    /// The value that says most: the completion's if the operation is ok, else the invocation's.
    pub(super) fn best(op: &'a Operation, expected: &'static str) -> Self {
        if op.outcome == Outcome::Ok {
            Self::output(op, expected)
        } else {
            Self::input(op, expected)
        }
    }

    /// The same place with another value of it.
    pub(super) const fn part(self, value: &'a Value) -> Self {
        Self { value, ..self }
    }

    /// The error that says that the value has not the right shape.
    pub(super) fn error(self) -> HistoryError {
        let mut expected = format!("the :value of :{} to be {}", self.op.f, self.expected);
        if self.at.line == 0 {
            expected = format!("{expected} (event {})", self.op.invoked.event);
        }
        HistoryError::new(self.at, expected, self.value)
    }

    /// That the completion of `op` does not contradict its invocation: either has no value, or they
    /// are equal, or maps that are equal at every key that both have.
    pub(super) fn agree(op: &'a Operation, expected: &'static str) -> Result<(), HistoryError> {
        let agree = match (&op.input, &op.output) {
            (Value::Nil, _) | (_, Value::Nil) => true,
            (Value::Map(asked), Value::Map(answered)) => {
                let answer = |key| answered.iter().find(|(its, _)| its == key).map(|(_, v)| v);
                asked.iter().all(|(key, value)| answer(key).is_none_or(|its| its == value))
            }
            (asked, answered) => asked == answered,
        };
        let contradicts = || {
            let error = Self::output(op, expected).error();
            let expected = format!("{}, as it was invoked: {}", error.expected, op.input);
            HistoryError::new(error.at, expected, &op.output)
        };
        if agree { Ok(()) } else { Err(contradicts()) }
    }

    /// That the completion of `op`, which asks for the value at a key, speaks of the same key, and
    /// that a value that stands in the invocation already is the one that was answered.
    pub(super) fn agree_keyed(
        op: &'a Operation,
        expected: &'static str,
    ) -> Result<(), HistoryError> {
        if op.completed.is_none() || (op.outcome != Outcome::Ok && op.output.is_nil()) {
            return Ok(());
        }
        let output = Self::output(op, expected);
        let (key, asked) = Self::input(op, expected).keyed()?;
        let (answered, value) = output.keyed()?;
        let is_known = asked.value.is_nil() || op.outcome != Outcome::Ok;
        output.need((answered == key && (is_known || asked.value == value.value)).then_some(()))
    }

    /// `option`, or the error.
    pub(super) fn need<T>(self, option: Option<T>) -> Result<T, HistoryError> {
        option.ok_or_else(|| self.error())
    }

    /// Exactly `N` items of a vector.
    pub(super) fn items<const N: usize>(self) -> Result<[Self; N], HistoryError> {
        let items = self.need(self.value.items())?;
        let items: &[Value; N] = self.need(items.try_into().ok())?;
        Ok(std::array::from_fn(|i| self.part(&items[i])))
    }

    /// The key and the value of `[key value]`; of anything but a vector, `nil` and the value
    /// itself.
    pub(super) fn keyed(self) -> Result<(Value, Self), HistoryError> {
        match self.value.items() {
            Some(_) => self.items().map(|[key, value]| (key.value.clone(), value)),
            None => Ok((Value::Nil, self)),
        }
    }

    /// All items of a vector.
    pub(super) fn all(self) -> Result<impl Iterator<Item = Self>, HistoryError> {
        let items = self.need(self.value.items())?;
        Ok(items.iter().map(move |item| self.part(item)))
    }

    /// The value at a key of a map.
    pub(super) fn key(self, key: &str) -> Result<Self, HistoryError> {
        self.need(self.value.get(key)).map(|value| self.part(value))
    }

    /// The value at a key of a map, if there is one that is not `nil`.
    pub(super) fn key_if_any(self, key: &str) -> Option<Self> {
        self.value.get(key).filter(|value| !value.is_nil()).map(|value| self.part(value))
    }

    /// A whole number, not negative.
    pub(super) fn count(self) -> Result<u64, HistoryError> {
        self.need(self.value.as_count())
    }

    /// The count at a key of a map.
    pub(super) fn count_at(self, key: &str) -> Result<u64, HistoryError> {
        self.key(key)?.count()
    }
}

/// The error for an operation that the model does not know.
pub(super) fn unknown_f(op: &Operation, known: &str) -> HistoryError {
    let mut expected = format!("an operation that the model knows ({known})");
    if op.input_at.line == 0 {
        expected = format!("{expected} at event {}", op.invoked.event);
    }
    HistoryError::new(op.input_at, expected, format!(":{}", op.f))
}

/// Numbers for values, in the order in which they appear. 0 is `nil`.
#[derive(Debug)]
pub(super) struct Numbers {
    numbers: BTreeMap<Value, u32>,
    values: Vec<Value>,
}

impl Numbers {
    /// Numbers for `nil` alone.
    pub(super) fn new() -> Self {
        Self { numbers: BTreeMap::from([(Value::Nil, 0)]), values: vec![Value::Nil] }
    }

    /// The number of `value`.
    pub(super) fn of(&mut self, value: &Value) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).expect("fewer values than bytes of text");
        self.numbers.insert(value.clone(), number);
        self.values.push(value.clone());
        number
    }

    /// The value with this number.
    pub(super) fn name(&self, number: u32) -> &Value {
        &self.values[number as usize]
    }

    /// The values, by number.
    pub(super) fn all(&self) -> &[Value] {
        &self.values
    }

    /// The values, by number.
    pub(super) fn into_values(self) -> Vec<Value> {
        self.values
    }
}
