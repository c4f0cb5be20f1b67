//! The checkers. [`check`] is the way in; a [`Model`] says which one.
//!
//! Each checker reads the operations of a history into its own types first, so that a value of the
//! wrong shape is an error with its place ([`HistoryError`]) and not a verdict.
//!
//! Architecture invariant: a checker says [`Verdict::Valid`] only if it is certain; what its budget
//! does not reach is [`Verdict::Undecided`]. Verdicts and explanations are functions of the history
//! and the options alone.

mod append;
mod budget;
pub mod linear;
mod lock;
mod queue;
mod register;
mod session;
mod shape;
mod store;
mod watch;

pub use budget::{Budget, BudgetLeft};
pub use linear::Order;

use crate::history::{History, HistoryError, Outcome};
use crate::model::Model;
use crate::verdict::Verdict;

/// How to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What the check may spend.
    pub budget: Budget,
    /// For `list-append`: transactions take effect between invocation and completion (strict
    /// serializability). Otherwise in any order that explains the results (serializability).
    pub realtime: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { budget: Budget::default(), realtime: true }
    }
}

/// Judges `history` by `model`.
///
/// # Errors
/// If an operation has no place in the model or a value not its shape: with its line and column, if
/// the history was read from text.
///
/// ```
/// use accord_models::{Model, Recorder, check::{Options, check}, edn::Value};
///
/// let mut recorder = Recorder::new(2);
/// let write = recorder.invoke(0, 0, "write", Value::Int(1));
/// recorder.ok(write, 1, Value::Int(1));
/// let read = recorder.invoke(1, 2, "read", Value::Nil);
/// recorder.ok(read, 3, Value::Nil);
/// let history = recorder.finish();
/// let verdict = check(&history, Model::Register, &Options::default())?;
/// assert_eq!(verdict.explanation().unwrap().operations, [0, 1]);
/// # Ok::<(), accord_models::history::HistoryError>(())
/// ```
pub fn check(history: &History, model: Model, options: &Options) -> Result<Verdict, HistoryError> {
    let budget = &options.budget;
    Ok(match model {
        Model::Register => register::check(history, false, budget)?,
        Model::Lock => lock::check(history)?,
        Model::ListAppend => append::check(history, options)?,
        Model::Queue => queue::check(history, budget)?,
        Model::Session => session::check(history)?,
        Model::Watch => watch::check(history)?,
        Model::Txn => store::check(history, budget)?,
        Model::CasRegister => register::check(history, true, budget)?,
    })
}

/// As [`check`], but a history in which no operation is known to have taken effect is not valid:
/// any model allows it, and who asks has nearly always recorded or named the wrong thing.
///
/// # Errors
/// As [`check`].
pub fn check_known(
    history: &History,
    model: Model,
    options: &Options,
) -> Result<Verdict, HistoryError> {
    let verdict = check(history, model, options)?;
    if !verdict.is_valid() || history.count(Outcome::Ok) > 0 {
        return Ok(verdict);
    }
    let why = match history.operations().len() {
        0 => "the history has no operations: there is nothing to judge".to_owned(),
        count => format!(
            "none of the {count} operations is known to have taken effect: there is nothing to judge"
        ),
    };
    Ok(Verdict::Undecided { why })
}

/// The orders that explain `history`, for the models that ask for one: registers, stores, queues.
/// Parts of the history that have none, or none that the budget finds, are left out.
///
/// # Errors
/// As [`check`].
pub fn orders(
    history: &History,
    model: Model,
    options: &Options,
) -> Result<Vec<Order>, HistoryError> {
    let budget = &options.budget;
    match model {
        Model::Register => register::orders(history, false, budget),
        Model::CasRegister => register::orders(history, true, budget),
        Model::Queue => queue::orders(history, budget),
        Model::Txn => store::orders(history, budget),
        Model::Lock | Model::ListAppend | Model::Session | Model::Watch => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recorder;
    use crate::edn::Value;

    #[test]
    fn an_order_is_told_of_a_history_that_has_one() {
        let found = |answer| {
            let mut recorder = Recorder::new(3);
            let late = recorder.invoke(0, 0, "write", Value::Int(1));
            let early = recorder.invoke(1, 1, "write", Value::Int(2));
            recorder.ok(early, 2, Value::Int(2));
            recorder.ok(late, 3, Value::Int(1));
            let read = recorder.invoke(2, 4, "read", Value::Nil);
            recorder.ok(read, 5, Value::Int(answer));
            let history = recorder.finish();
            let orders = orders(&history, Model::Register, &Options::default());
            let orders = orders.expect("the history is well-formed");
            orders.into_iter().map(|order| order.operations).collect::<Vec<_>>()
        };
        assert_eq!(found(2), [[0, 1, 2]]);
        assert_eq!(found(1), [[1, 0, 2]]);
        assert!(found(3).is_empty(), "nobody wrote what was read");
    }
}
