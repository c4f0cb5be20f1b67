//! Locks with fencing tokens.
//!
//! Shapes: `:acquire {:lock l :session s}`, answered by the same with `:token t`; `:release {:lock
//! l :token t}`; `:use {:lock l :token t}`: something that the lock protects was used with the
//! token, and accepted it (ok) or refused it as stale (fail); `:expire {:session s}`: from its
//! invocation on the session may have ended, from its completion on it has.
//!
//! The tokens put the holds of a lock in an order. What is left to check is that real time agrees:
//! before there is evidence that a token was granted, every smaller token's acquisition must have
//! been invoked, and the end of its hold too. An interval order with such a chain can be extended
//! to a linear order if and only if no pair contradicts, so that the checks of pairs below are
//! complete (the tests compare them with [`crate::spec::Lock`]).

use std::collections::BTreeMap;

use super::shape::{Shape, unknown_f};
use crate::edn::Value;
use crate::history::{History, HistoryError, Operation, Outcome};
use crate::verdict::{Explanation, Verdict};

const ACQUIRE: &str = "{:lock name, :session number}";
const ACQUIRED: &str = "{:lock name, :session number, :token number}";
const TOKEN: &str = "{:lock name, :token number}";
const EXPIRE: &str = "{:session number}";

/// Judges `history` as locks.
pub(super) fn check(history: &History) -> Result<Verdict, HistoryError> {
    let locks = read(history)?;
    let refused = locks.iter().find_map(|(name, lock)| {
        let judge = Judge { ops: history.operations(), name, lock };
        judge.refuse()
    });
    Ok(refused.map_or(Verdict::Valid, Verdict::Invalid))
}

/// What is known of one lock. Numbers are indices of operations.
#[derive(Default)]
struct Lock {
    holds: BTreeMap<u64, Hold>,
    /// Acquisitions with an unknown outcome.
    unknown: Vec<usize>,
    /// Two acquisitions that were given the same token.
    reused: Option<(u64, [usize; 2])>,
}

/// What is known of one token.
#[derive(Default)]
struct Hold {
    acquire: Option<usize>,
    releases: Vec<usize>,
    uses: Vec<usize>,
    /// What may have ended it, unless it was released: the end of its session.
    expire: Option<usize>,
    /// When its session had ended for certain: it was acquired before.
    gone: Option<usize>,
}

impl Hold {
    /// The operation that shows first that the token was granted.
    fn evidence(&self, ops: &[Operation]) -> Option<usize> {
        let all = self.acquire.iter().chain(&self.releases).chain(&self.uses).chain(&self.gone);
        let all = all.copied();
        all.filter(|op| ops[*op].outcome == Outcome::Ok).min_by_key(|op| ops[*op].returned())
    }

    /// The operation that ended the hold: a release that succeeded, else the first that may have.
    fn end(&self, ops: &[Operation]) -> Option<usize> {
        let released = self.releases.iter().copied().find(|op| ops[*op].outcome == Outcome::Ok);
        let all = self.releases.iter().chain(&self.expire).copied();
        released.or_else(|| all.min_by_key(|op| ops[*op].invoked.event))
    }
}

fn read(history: &History) -> Result<BTreeMap<Value, Lock>, HistoryError> {
    let mut locks: BTreeMap<Value, Lock> = BTreeMap::new();
    let mut expired: BTreeMap<u64, Expired> = BTreeMap::new();
    let mut owners: Vec<(u64, Value, u64)> = Vec::new();
    for (index, op) in history.operations().iter().enumerate() {
        let input = |expected| Shape::input(op, expected);
        Shape::agree(op, "what was invoked, with a :token if it acquires")?;
        match op.f.as_ref() {
            "expire" => {
                let session = input(EXPIRE).count_at("session")?;
                if op.outcome != Outcome::Fail {
                    let expired =
                        expired.entry(session).or_insert(Expired { from: index, by: index });
                    if op.returned() < history.operations()[expired.by].returned() {
                        expired.by = index;
                    }
                }
            }
            "acquire" => {
                let name = input(ACQUIRE).key("lock")?.value.clone();
                let session = input(ACQUIRE).count_at("session")?;
                let lock = locks.entry(name.clone()).or_default();
                match op.outcome {
                    Outcome::Ok => {
                        let token = Shape::output(op, ACQUIRED).count_at("token")?;
                        lock.acquired(token, index);
                        owners.push((session, name, token));
                    }
                    Outcome::Info => lock.unknown.push(index),
                    Outcome::Fail => {}
                }
            }
            "release" | "use" => {
                let (name, token) = (input(TOKEN).key("lock")?, input(TOKEN).count_at("token")?);
                let lock = locks.entry(name.value.clone()).or_default();
                match (op.f.as_ref(), op.outcome) {
                    ("release", Outcome::Ok | Outcome::Info) => {
                        lock.hold(token).releases.push(index)
                    }
                    ("use", Outcome::Ok) => lock.hold(token).uses.push(index),
                    _ => {}
                }
            }
            _ => return Err(unknown_f(op, ":acquire, :release, :use, :expire")),
        }
    }
    // Of several holds of a session, its end can have ended the last only.
    owners.sort();
    for (number, (session, name, token)) in owners.iter().enumerate() {
        let Some(Expired { from, by }) = expired.get(session) else { continue };
        let hold = locks.entry(name.clone()).or_default().hold(*token);
        let next = owners.get(number + 1);
        let is_last = next.is_none_or(|(its, lock, _)| (its, lock) != (session, name));
        hold.expire = is_last.then_some(*from);
        hold.gone = Some(*by);
    }
    Ok(locks)
}

/// The end of a session: the first operation from which on it may have ended, and the one by which
/// it has.
#[derive(Clone, Copy)]
struct Expired {
    from: usize,
    by: usize,
}

impl Lock {
    fn hold(&mut self, token: u64) -> &mut Hold {
        self.holds.entry(token).or_default()
    }

    fn acquired(&mut self, token: u64, index: usize) {
        match self.hold(token).acquire {
            None => self.hold(token).acquire = Some(index),
            Some(first) => {
                self.reused.get_or_insert((token, [first, index]));
            }
        }
    }
}

struct Judge<'a> {
    ops: &'a [Operation],
    name: &'a Value,
    lock: &'a Lock,
}

impl Judge<'_> {
    fn refuse(&self) -> Option<Explanation> {
        self.reused()
            .or_else(|| self.acquired_late())
            .or_else(|| self.never_granted())
            .or_else(|| self.ended_twice())
            .or_else(|| self.out_of_order())
            .or_else(|| self.stale_use())
    }

    fn reused(&self) -> Option<Explanation> {
        let (token, pair) = self.lock.reused?;
        let summary = format!("lock {} was acquired twice with token {token}", self.name);
        Some(Explanation::new("token-reused", summary, pair))
    }

    /// A session that has ended acquires nothing.
    fn acquired_late(&self) -> Option<Explanation> {
        self.lock.holds.iter().find_map(|(token, hold)| {
            let (acquire, gone) = (hold.acquire?, hold.gone?);
            self.ops[gone].precedes(&self.ops[acquire]).then(|| {
                let summary = format!(
                    "lock {} was acquired with token {token} after its session had ended",
                    self.name
                );
                Explanation::new("acquired-after-expiry", summary, [gone, acquire])
            })
        })
    }

    /// Tokens that were used or released must have been given, perhaps by an acquisition whose
    /// answer was lost; one such acquisition accounts for one token.
    fn never_granted(&self) -> Option<Explanation> {
        // By then the token had been given: it or a greater one is known.
        let mut known: Option<usize> = None;
        let mut shown: Vec<(usize, usize, u64)> = Vec::new();
        for (token, hold) in self.lock.holds.iter().rev() {
            let Some(evidence) = hold.evidence(self.ops) else { continue };
            let first = |known: usize| self.ops[known].returned() < self.ops[evidence].returned();
            let by = known.filter(|known| first(*known)).unwrap_or(evidence);
            known = Some(by);
            if hold.acquire.is_none() {
                shown.push((by, evidence, *token));
            }
        }
        shown.sort_by_key(|(by, ..)| self.ops[*by].returned());
        for (number, (by, evidence, token)) in shown.into_iter().enumerate() {
            let returned = self.ops[by].returned();
            let before = |op: &&usize| self.ops[**op].invoked.event < returned;
            if self.lock.unknown.iter().filter(before).count() <= number {
                let summary = format!(
                    "token {token} of lock {} was accepted, but no acquisition can have given it",
                    self.name
                );
                return Some(Explanation::new("unknown-token", summary, [evidence, by]));
            }
        }
        None
    }

    /// A hold ends once: no release succeeds after another did, or after its session ended.
    fn ended_twice(&self) -> Option<Explanation> {
        for (token, hold) in &self.lock.holds {
            let is_ok = |op: &&usize| self.ops[**op].outcome == Outcome::Ok;
            let released: Vec<usize> = hold.releases.iter().filter(is_ok).copied().collect();
            if let [first, second, ..] = released[..] {
                let summary = format!("token {token} of lock {} was released twice", self.name);
                return Some(Explanation::new("released-twice", summary, [first, second]));
            }
            let (Some(release), Some(expire)) = (released.first(), hold.gone) else {
                continue;
            };
            if self.ops[expire].precedes(&self.ops[*release]) {
                let summary = format!(
                    "token {token} of lock {} was released after its session had ended",
                    self.name
                );
                let contradict = hold.acquire.into_iter().chain([*release, expire]);
                return Some(Explanation::new("released-after-expiry", summary, contradict));
            }
        }
        None
    }

    /// Everything about smaller tokens comes before the first evidence of a greater one.
    fn out_of_order(&self) -> Option<Explanation> {
        let mut latest_acquire: Option<(usize, u64)> = None;
        let mut latest_end: Option<(u64, &Hold, u64)> = None;
        for (token, hold) in &self.lock.holds {
            let Some(evidence) = hold.evidence(self.ops) else { continue };
            let granted = self.ops[evidence].returned();
            if let Some(acquire) = hold.acquire
                && latest_acquire.is_none_or(|(op, _)| op < acquire)
            {
                latest_acquire = Some((acquire, *token));
            }
            if let Some((acquire, smaller)) = latest_acquire
                && self.ops[acquire].invoked.event > granted
            {
                return Some(self.token_order(*token, evidence, smaller, acquire));
            }
            if let Some((ended, smaller_hold, smaller)) = latest_end
                && ended > granted
            {
                return Some(self.two_holders(*token, evidence, smaller, smaller_hold));
            }
            let released = |end: &usize| self.ops[*end].outcome == Outcome::Ok;
            let ended = match (hold.end(self.ops), hold.acquire) {
                // Whose session held it is not known, nor when that ended.
                (end, None) if !end.as_ref().is_some_and(released) => continue,
                (Some(end), _) => self.ops[end].invoked.event,
                (None, _) => u64::MAX,
            };
            if latest_end.is_none_or(|(latest, ..)| latest < ended) {
                latest_end = Some((ended, hold, *token));
            }
        }
        None
    }

    fn token_order(&self, token: u64, evidence: usize, smaller: u64, later: usize) -> Explanation {
        let summary = if token == smaller {
            format!("token {token} of lock {} was accepted before it was asked for", self.name)
        } else {
            format!(
                "lock {} gave token {smaller} to an acquisition that began after token {token} \
                 had been given: tokens must grow",
                self.name
            )
        };
        Explanation::new("token-order", summary, [evidence, later])
    }

    fn two_holders(&self, token: u64, evidence: usize, smaller: u64, hold: &Hold) -> Explanation {
        let summary = format!(
            "lock {} was granted with token {token} while token {smaller} still held it",
            self.name
        );
        let end = hold.end(self.ops);
        let contradict = hold.acquire.into_iter().chain(end).chain([evidence]);
        let mut explanation = Explanation::new("two-holders", summary, contradict);
        explanation.notes.push(match end {
            Some(end) => format!("nothing can have ended the hold of {smaller} before #{end}"),
            None => format!("nothing ended the hold of {smaller}"),
        });
        explanation
    }

    /// Once a use with a token was accepted, no use with a smaller one may be.
    fn stale_use(&self) -> Option<Explanation> {
        let uses = self
            .lock
            .holds
            .iter()
            .flat_map(|(token, hold)| hold.uses.iter().map(move |op| (*token, *op)));
        // In ascending order of tokens: the use of a smaller one that was invoked last.
        let mut latest: Option<(u64, usize)> = None;
        for (token, index) in uses {
            if let Some((smaller, stale)) = latest.filter(|(smaller, _)| *smaller < token)
                && self.ops[index].precedes(&self.ops[stale])
            {
                let summary = format!(
                    "stale token {smaller} of lock {} was accepted after token {token}",
                    self.name
                );
                return Some(Explanation::new("stale-token", summary, [index, stale]));
            }
            if latest.is_none_or(|(_, op)| op < index) {
                latest = Some((token, index));
            }
        }
        None
    }
}
