//! Reading plans: a line per option, a line per fault, errors with line and column.
//!
//! ```text
//! accord-sim plan 1
//! seed 42
//! servers 3
//! # an option that is not given has its default; '#' begins a comment
//! at 1200ms for 800ms partition 1,3
//! at 2s clockleap 2 4s
//! end
//! ```
//!
//! The last line says that it is the last: a file that was cut off would be another world. For the
//! same reason, no option is given twice.
//!
//! Invariant: reading what [`Plan`]'s `Display` wrote gives an equal plan.

use super::Plan;
use super::fault::{Fault, FaultKind, Kind, Nodes};
use crate::plan::options::{Options, duration, number};
use accord_core::time::Duration;
use std::collections::BTreeMap;
use std::fmt;

/// The most faults in a plan.
pub const FAULTS_MAX: usize = 10_000;
/// The most a clock may leap, a delay may last, a fault may last.
const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why a text is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What would have been right.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, expected, found } = self;
        write!(f, "line {line}, column {column}: expected {expected}, found {found}")
    }
}

impl std::error::Error for PlanError {}

/// The words of one line, with their columns.
struct Words<'a> {
    line: usize,
    rest: &'a str,
    column: usize,
}

impl<'a> Words<'a> {
    fn new(line: usize, text: &'a str) -> Self {
        let text = text.split('#').next().unwrap_or("");
        Self { line, rest: text, column: 1 }
    }

    fn skip_blank(&mut self) {
        let trimmed = self.rest.trim_start();
        self.column += self.rest[..self.rest.len() - trimmed.len()].chars().count();
        self.rest = trimmed;
    }

    fn is_empty(&mut self) -> bool {
        self.skip_blank();
        self.rest.is_empty()
    }

    /// The next word, read by `parse`, which says what it expects instead.
    fn next<T>(&mut self, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, PlanError> {
        self.skip_blank();
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let parsed = parse(word).map_err(|expected| self.error(expected, word))?;
        self.column += word.chars().count();
        self.rest = rest;
        Ok(parsed)
    }

    fn word(&mut self, expected: &str) -> Result<(), PlanError> {
        self.next(|word| if word == expected { Ok(()) } else { Err(format!("'{expected}'")) })
    }

    fn end(&mut self) -> Result<(), PlanError> {
        if self.is_empty() {
            return Ok(());
        }
        let rest = self.rest;
        Err(self.error("the end of the line".to_owned(), rest))
    }

    fn error(&self, expected: String, found: &str) -> PlanError {
        let shown: String = found.chars().take(40).collect();
        let found =
            if shown.is_empty() { "the end of the line".to_owned() } else { format!("{shown:?}") };
        PlanError { line: self.line, column: self.column, expected, found }
    }
}

/// Reads a plan.
///
/// # Errors
/// The place of the first mistake and what was expected there.
pub fn read(text: &str) -> Result<Plan, PlanError> {
    let mut options = Options::default();
    let mut faults = Vec::new();
    let mut given = BTreeMap::new();
    let (mut headed, mut ended) = (false, false);
    let mut last_line = 1;
    for (number, text) in text.lines().enumerate() {
        last_line = number + 1;
        let mut words = Words::new(last_line, text);
        if words.is_empty() {
            continue;
        }
        if !headed {
            for expected in ["accord-sim", "plan", "1"] {
                words.word(expected)?;
            }
            headed = true;
        } else if ended {
            return Err(words.error("nothing after the line 'end'".to_owned(), words.rest));
        } else if words.rest.split_whitespace().next() == Some("end") {
            words.word("end")?;
            ended = true;
        } else if words.rest.starts_with("at ") {
            faults.push((read_fault(&mut words)?, last_line));
        } else {
            read_option(&mut words, &mut options, &mut given)?;
        }
        words.end()?;
    }
    if !headed {
        return Err(Words::new(last_line, "").error("'accord-sim plan 1'".to_owned(), ""));
    }
    if !ended {
        let expected = "the line 'end' after the last fault: the plan seems to be cut off";
        let found = "the end of the text".to_owned();
        return Err(PlanError { line: last_line, column: 1, expected: expected.to_owned(), found });
    }
    checked(options, faults, last_line)
}

fn checked(
    options: Options,
    faults: Vec<(Fault, usize)>,
    last_line: usize,
) -> Result<Plan, PlanError> {
    let at = |line, expected: String, found: String| PlanError { line, column: 1, expected, found };
    if let Some((name, expected)) = options.problem() {
        let found = format!("{name} {}", options.get(name));
        return Err(at(last_line, format!("{name} to be {expected}"), found));
    }
    if faults.len() > FAULTS_MAX {
        let (expected, found) = (format!("at most {FAULTS_MAX} faults"), faults.len().to_string());
        return Err(at(last_line, expected, found));
    }
    for (fault, line) in &faults {
        if fault.kind.nodes().max() > options.nodes() {
            let expected = format!("servers from 1 to {}", options.nodes());
            return Err(at(*line, expected, format!("{fault}")));
        }
        if fault.kind.client().is_some_and(|client| client > options.clients) {
            let expected = format!("clients from 1 to {}", options.clients);
            return Err(at(*line, expected, format!("{fault}")));
        }
    }
    let plan = Plan { options, faults: faults.into_iter().map(|(fault, _)| fault).collect() };
    plan.check();
    Ok(plan)
}

fn read_option(
    words: &mut Words<'_>,
    options: &mut Options,
    given: &mut BTreeMap<&'static str, usize>,
) -> Result<(), PlanError> {
    let line = words.line;
    let name = words.next(|word| {
        let known = crate::plan::options::NAMES.into_iter().find(|name| *name == word);
        let name = known.ok_or_else(|| {
            let names = crate::plan::options::NAMES.join(", ");
            format!("'at' and a fault, 'end', or an option: {names}")
        })?;
        match given.insert(name, line) {
            None => Ok(name),
            Some(before) => Err(format!("each option once ({name} stands in line {before})")),
        }
    })?;
    words.next(|word| options.set(name, word))
}

fn read_fault(words: &mut Words<'_>) -> Result<Fault, PlanError> {
    words.word("at")?;
    let at = words.next(span)?;
    let lasts = if words.rest.trim_start().starts_with("for ") {
        words.word("for")?;
        Some((words.column, words.next(span)?))
    } else {
        None
    };
    let mut told = None;
    let kind = words.next(|word| {
        let names = || Kind::ALL.map(Kind::name).join(", ");
        let kind = Kind::named(word).ok_or_else(|| format!("a kind of fault: {}", names()))?;
        told = Some(kind);
        match (kind.lasts(), lasts) {
            (true, None) => Err(format!("'for' and a span of time before '{word}', which lasts")),
            (false, Some(_)) => Err(format!("no 'for' before '{word}', which is over at once")),
            _ => Ok(kind),
        }
    })?;
    let kind = read_kind(kind, words)?;
    Ok(Fault { at, lasts: lasts.map_or(Duration::ZERO, |(_, lasts)| lasts), kind })
}

fn read_kind(kind: Kind, words: &mut Words<'_>) -> Result<FaultKind, PlanError> {
    Ok(match kind {
        Kind::Partition => FaultKind::Partition(words.next(nodes)?),
        Kind::OneWay => {
            let from = words.next(nodes)?;
            words.word("to")?;
            FaultKind::OneWay(from, words.next(nodes)?)
        }
        Kind::Sever => FaultKind::Sever(words.next(node)?, words.next(node)?),
        Kind::Loss => FaultKind::Loss(words.next(|word| percent(word, 100))?),
        Kind::Duplicate => FaultKind::Duplicate(words.next(|word| percent(word, 100))?),
        Kind::Reorder => FaultKind::Reorder(words.next(|word| percent(word, 100))?),
        Kind::Delay => FaultKind::Delay(words.next(span)?),
        Kind::Crash => FaultKind::Crash(words.next(node)?),
        Kind::PowerLoss => FaultKind::PowerLoss(words.next(node)?),
        Kind::Blackout => FaultKind::Blackout,
        Kind::StartKill => FaultKind::StartKill(words.next(node)?),
        Kind::StartLoss => FaultKind::StartLoss(words.next(node)?),
        Kind::Wipe => FaultKind::Wipe(words.next(node)?),
        Kind::Rot => FaultKind::Rot(words.next(node)?),
        Kind::Swap => FaultKind::Swap(words.next(node)?),
        Kind::Pause => FaultKind::Pause(words.next(node)?),
        Kind::ClockRate => {
            let node = words.next(node)?;
            FaultKind::ClockRate(node, words.next(|word| percent(word, 10_000))?)
        }
        Kind::ClockLeap => FaultKind::ClockLeap(words.next(node)?, words.next(span)?),
        Kind::SlowDisk => FaultKind::SlowDisk(words.next(node)?, words.next(span)?),
        Kind::FailDisk => FaultKind::FailDisk(words.next(node)?),
        Kind::AddVoter => FaultKind::AddVoter(words.next(node)?),
        Kind::RemoveVoter => FaultKind::RemoveVoter(words.next(node)?),
        Kind::HangUp => FaultKind::HangUp(words.next(node)?),
        Kind::Unreachable => FaultKind::Unreachable(words.next(node)?),
        Kind::Isolate => FaultKind::Isolate(words.next(client)?),
        Kind::Gone => FaultKind::Gone(words.next(client)?),
        Kind::Amnesia => FaultKind::Amnesia,
        Kind::Oblivion => FaultKind::Oblivion,
        Kind::Recover => FaultKind::Recover,
        Kind::Damage => FaultKind::Damage(words.next(node)?),
    })
}

fn span(word: &str) -> Result<Duration, String> {
    match duration(word)? {
        span if span <= SPAN_MAX => Ok(span),
        _ => Err("a span of time of at most a day".to_owned()),
    }
}

fn percent(word: &str, max: u32) -> Result<u32, String> {
    let expected = || format!("a percentage from 1% to {max}%");
    let digits = word.strip_suffix('%').ok_or_else(expected)?;
    match number(digits) {
        Ok(percent) if (1..=max).contains(&percent) => Ok(percent),
        _ => Err(expected()),
    }
}

fn node(word: &str) -> Result<u32, String> {
    match number(word) {
        Ok(node) if (1..=Nodes::NODE_MAX).contains(&node) => Ok(node),
        _ => Err(format!("a server's number from 1 to {}", Nodes::NODE_MAX)),
    }
}

fn nodes(word: &str) -> Result<Nodes, String> {
    let nodes = word.split(',').map(node).collect::<Result<Nodes, _>>();
    nodes.map_err(|_| "servers' numbers separated by commas, such as 1,3".to_owned())
}

fn client(word: &str) -> Result<u32, String> {
    match number(word) {
        Ok(client) if client >= 1 => Ok(client),
        _ => Err("a client's number from 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{FaultMix, Overrides};

    #[test]
    fn what_was_drawn_and_printed_is_read_back() {
        let overrides = Overrides { faults: FaultMix::everything(), ..Overrides::default() };
        for seed in 0..300 {
            let plan = Plan::draw(seed, &overrides);
            assert_eq!(read(&plan.to_string()), Ok(plan));
        }
    }

    fn error(text: &str) -> String {
        read(text).expect_err("not a plan").to_string()
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let with = |line: &str| error(&format!("accord-sim plan 1\nservers 3\n{line}\nend\n"));
        let cases = [
            ("at 1s for 2s crash 4", "line 3, column 1: expected servers from 1 to 3"),
            ("at 1s for 2s crash", "line 3, column 19: expected a server's number from 1 to 63"),
            ("at 1s crash 1", "line 3, column 7: expected 'for' and a span of time before"),
            ("at 1s for 2s hangup 1", "line 3, column 14: expected no 'for' before 'hangup'"),
            ("at 1h for 2s crash 1", "line 3, column 4: expected a span of time such as"),
            ("at 1s for 2s melt 1", "line 3, column 14: expected a kind of fault: partition"),
            ("at 1s for 2s loss 0%", "line 3, column 19: expected a percentage from 1% to 100%"),
            ("at 1s for 2s crash 1 2", "line 3, column 22: expected the end of the line"),
            ("at 1s for 2s oneway 1 2", "line 3, column 23: expected 'to'"),
            ("at 1s gone 4", "line 3, column 1: expected clients from 1 to 3"),
            ("at 1s for 1s partition 0,1", "line 3, column 24: expected servers' numbers"),
            ("sevrers 3", "line 3, column 1: expected 'at' and a fault, 'end', or an option"),
            ("servers 5", "line 3, column 1: expected each option once (servers stands in line 2)"),
            ("end\nclients 1", "line 4, column 1: expected nothing after the line 'end'"),
            ("end of it", "line 3, column 5: expected the end of the line"),
            ("at", "line 3, column 1: expected 'at' and a fault"),
            ("clients many", "line 3, column 9: expected a whole number within range"),
            ("clients 0", "line 4, column 1: expected clients to be 1 to 64 clients"),
        ];
        for (line, expected) in cases {
            assert!(with(line).starts_with(expected), "{line}: {}", with(line));
        }
        assert!(error("").contains("'accord-sim plan 1'"));
        assert!(error("accord-sim plan 2").starts_with("line 1, column 17: expected '1'"));
    }

    #[test]
    fn a_plan_that_is_cut_off_anywhere_is_refused() {
        let whole = Plan::draw(1, &Overrides::default()).to_string();
        assert!(read(whole.trim_end()).is_ok(), "the last line needs no end of its own");
        for cut in 0..whole.len() - 1 {
            assert!(read(&whole[..cut]).is_err(), "{}", &whole[..cut]);
        }
        let cut = error(&whole[..whole.len() - 4]);
        assert!(cut.contains("expected the line 'end'") && cut.contains("cut off"), "{cut}");
    }

    #[test]
    fn hostile_bytes_never_panic() {
        let mut rng = crate::plan::rng::Rng::of(3, crate::plan::rng::Concern::Plan, 0);
        let sample = Plan::draw(1, &Overrides::default()).to_string();
        for _ in 0..2000 {
            let mut bytes = sample.clone().into_bytes();
            for _ in 0..rng.within(1, 4) {
                let at = rng.below(bytes.len() as u64) as usize;
                match rng.below(3) {
                    0 => bytes[at] = rng.next_u64() as u8,
                    1 => bytes.insert(at, b' '),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let _ = read(&String::from_utf8_lossy(&bytes));
        }
    }
}
