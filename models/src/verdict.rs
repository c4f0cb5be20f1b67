//! What a checker says about a history.

use std::fmt;

use serde_json::{Value as Json, json};

use crate::history::{History, Outcome};

/// A checker's judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The history is one that the model allows.
    Valid,
    /// It is not, for the reason given.
    Invalid(Explanation),
    /// The checker's budget ended before it knew. Never to be taken for valid.
    Undecided {
        /// What ran out, and where.
        why: String,
    },
}

impl Verdict {
    /// Whether the history is certainly allowed.
    pub const fn is_valid(&self) -> bool {
        matches!(self, Self::Valid)
    }

    /// The explanation of a refusal.
    pub const fn explanation(&self) -> Option<&Explanation> {
        match self {
            Self::Invalid(explanation) => Some(explanation),
            _ => None,
        }
    }

    /// The verdict as JSON, with the operations of `history` that it speaks of.
    pub fn to_json(&self, history: &History) -> Json {
        match self {
            Self::Valid => json!({"verdict": "valid"}),
            Self::Undecided { why } => json!({"verdict": "undecided", "why": why}),
            Self::Invalid(explanation) => {
                let mut json = explanation.to_json(history);
                json["verdict"] = json!("invalid");
                json
            }
        }
    }
}

/// Why a history is refused: a smallest set of operations that cannot be ordered.
///
/// Invariant: `operations` ascends without duplicates, and links speak of its members only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The name of the anomaly, such as `not-linearizable`, `G1c`, `lost`.
    pub anomaly: String,
    /// One sentence that says what is wrong.
    pub summary: String,
    /// The operations that contradict each other, as indices into [`History::operations`].
    pub operations: Vec<usize>,
    /// What orders them, where the contradiction is a cycle: each link's `to` is the next's `from`.
    pub links: Vec<Link>,
    /// Further facts, a line each.
    pub notes: Vec<String>,
}

/// One step of a cycle: `from` must come before `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The operation that must come first.
    pub from: usize,
    /// The operation that must come later.
    pub to: usize,
    /// The kind of dependency: `ww`, `wr`, `rw`, `realtime`.
    pub kind: &'static str,
    /// Why, in words.
    pub why: String,
}

impl Link {
    fn to_json(&self) -> Json {
        let Self { from, to, kind, why } = self;
        json!({"from": from, "to": to, "kind": kind, "why": why})
    }
}

impl Explanation {
    /// An explanation without links and notes; sorts `operations`.
    pub fn new(
        anomaly: impl Into<String>,
        summary: impl Into<String>,
        operations: impl IntoIterator<Item = usize>,
    ) -> Self {
        let mut operations: Vec<usize> = operations.into_iter().collect();
        operations.sort_unstable();
        operations.dedup();
        let (anomaly, summary) = (anomaly.into(), summary.into());
        Self { anomaly, summary, operations, links: Vec::new(), notes: Vec::new() }
    }

    /// The explanation for people, with the operations of `history` written out.
    pub fn display<'a>(&'a self, history: &'a History) -> impl fmt::Display + 'a {
        Report { explanation: self, history }
    }

    fn to_json(&self, history: &History) -> Json {
        let operation = |index: &usize| {
            let op = &history.operations()[*index];
            json!({
                "operation": index,
                "process": op.process.to_string(),
                "f": op.f,
                "outcome": op.outcome.name(),
                "input": op.input.to_string(),
                "output": op.output.to_string(),
                "invoked": op.invoked.event,
                "completed": op.completed.map(|at| at.event),
                "line": (op.input_at.line > 0).then_some(op.input_at.line),
            })
        };
        json!({
            "anomaly": self.anomaly,
            "summary": self.summary,
            "operations": self.operations.iter().map(operation).collect::<Vec<_>>(),
            "links": self.links.iter().map(Link::to_json).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

struct Report<'a> {
    explanation: &'a Explanation,
    history: &'a History,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { anomaly, summary, operations, links, notes } = self.explanation;
        writeln!(f, "{anomaly}: {summary}")?;
        const SHOWN_MAX: usize = 40;
        let hidden = operations.len().saturating_sub(SHOWN_MAX);
        if hidden > 0 {
            writeln!(f, "  {hidden} earlier operations, and")?;
        }
        for index in &operations[hidden..] {
            writeln!(f, "  #{index:<5} {}", OneLine(self.history, *index))?;
        }
        for link in links {
            writeln!(f, "  #{} before #{} ({}): {}", link.from, link.to, link.kind, link.why)?;
        }
        for note in notes {
            writeln!(f, "  {note}")?;
        }
        Ok(())
    }
}

/// An operation on a line: who, what, result, and the events between which it ran.
struct OneLine<'a>(&'a History, usize);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = &self.0.operations()[self.1];
        write!(f, "process {:<4} :{} {}", op.process, op.f, op.input)?;
        match (op.outcome, op.completed) {
            (Outcome::Ok, _) => write!(f, " -> ok {}", op.output)?,
            (Outcome::Fail, _) => write!(f, " -> fail")?,
            (Outcome::Info, Some(_)) => write!(f, " -> unknown")?,
            (Outcome::Info, None) => write!(f, " -> never answered")?,
        }
        match op.completed {
            Some(at) => write!(f, "  [events {} to {}", op.invoked.event, at.event)?,
            None => write!(f, "  [event {} on", op.invoked.event)?,
        }
        if op.input_at.line > 0 {
            write!(f, ", line {}", op.input_at.line)?;
        }
        f.write_str("]")
    }
}
