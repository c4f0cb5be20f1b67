//! The checkers against trying everything: random histories, each judged twice.
//!
//! For every model there is a generator of small histories, most of them right or nearly so, and a
//! naive judge that knows neither the checkers nor the specifications: it tries every order, every
//! log, all members. It sees the operations as they were made up; the checker sees the text, in
//! which values have any of their spellings. A checker that says otherwise is wrong, whichever way.
//!
//! What the judges take for right is what [`crate::Model::demands`] says, for what the models'
//! documentation says is judged: of sessions, opens and closes of which nobody was told say
//! nothing; of watches, whether the times of writes agree with their revisions does not matter.

mod lists;
mod lock;
mod order;
mod queue;
mod rng;
mod session;
mod spell;
mod store;
mod story;
mod watch;

use std::fmt;
use std::ops::Range;

pub use rng::Rng;

use crate::check::{Options, check};
use crate::history;
use crate::model::Model;

/// A history as text, and what trying everything says of it.
struct Case {
    text: String,
    is_right: bool,
}

/// How many histories the checker and the naive judge agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Histories that are right.
    pub valid: u64,
    /// Histories that are wrong.
    pub invalid: u64,
}

/// A history on which a checker and the naive judge disagree.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The model whose checker it is.
    pub model: Model,
    /// The seed that makes the history.
    pub seed: u64,
    /// Whether the history is right, as trying everything says.
    pub is_right: bool,
    /// What the checker says.
    pub said: String,
    /// The history.
    pub text: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, seed, is_right, said, text } = self;
        let right = if *is_right { "valid" } else { "invalid" };
        writeln!(
            f,
            "{}: the history of seed {seed} is {right}, and the checker says:",
            model.name()
        )?;
        write!(f, "{said}\n{text}")
    }
}

/// Judges the histories of `seeds` by `model`, and tells `progress` after each.
///
/// # Errors
/// The first history on which the checker and the naive judge disagree.
pub fn run(
    model: Model,
    seeds: Range<u64>,
    mut progress: impl FnMut(&Tally),
) -> Result<Tally, Box<Disagreement>> {
    let mut tally = Tally::default();
    for seed in seeds {
        let realtime = model != Model::ListAppend || seed.is_multiple_of(2);
        let mut rng = Rng::new(seed);
        let case = match model {
            Model::Register | Model::CasRegister | Model::Txn => store::case(&mut rng, model),
            Model::ListAppend => lists::case(&mut rng, realtime),
            Model::Lock => lock::case(&mut rng),
            Model::Queue => queue::case(&mut rng),
            Model::Session => session::case(&mut rng),
            Model::Watch => watch::case(&mut rng),
        };
        let Case { text, is_right } = case;
        if let Err(said) = agrees(&text, is_right, model, realtime) {
            return Err(Box::new(Disagreement { model, seed, is_right, said, text }));
        }
        *(if is_right { &mut tally.valid } else { &mut tally.invalid }) += 1;
        progress(&tally);
    }
    Ok(tally)
}

/// Whether the checker says the same; if not, what it says.
fn agrees(text: &str, is_right: bool, model: Model, realtime: bool) -> Result<(), String> {
    let history = history::read(text.as_bytes()).map_err(|error| error.to_string())?;
    let options = Options { realtime, ..Options::default() };
    let verdict = check(&history, model, &options).map_err(|error| error.to_string())?;
    match (verdict.explanation(), is_right) {
        (None, true) if verdict.is_valid() => Ok(()),
        (Some(_), false) => Ok(()),
        (Some(why), true) => Err(format!("invalid: {}", why.display(&history))),
        (None, _) => Err(format!("{verdict:?}")),
    }
}
