//! Transactions over lists: serializable, by default strictly, that is, in an order that real time
//! allows.
//!
//! Shape: `:txn [[:append key value] [:r key nil]]`, answered by the same steps with the reads
//! filled in: `[:r key [value ...]]`. A value is appended to a key at most once in a history. Then
//! a read tells who wrote everything before it and in which order, and the order of transactions
//! can be inferred instead of searched for: [`observe`] reads the transactions and refuses reads
//! that no order explains, [`graph`] draws who must come before whom, and [`cycle`] finds the
//! contradiction.
//!
//! The inference is complete: appends that nobody read come, in any order, after all that were
//! read, so that whatever order the graph allows explains every read. An append whose transaction
//! has an unknown outcome counts if somebody read any append of that transaction.
//!
//! Source: Kingsbury & Alvaro, "Elle: inferring isolation anomalies from experimental
//! observations", 2020; the names of anomalies are Adya's, 1999.
//!
//! Claims: C-write-linearizable, C-write-atomic

mod cycle;
mod graph;
mod observe;

use super::Options;
use crate::history::{History, HistoryError};
use crate::verdict::Verdict;
use graph::Graph;
use observe::Observed;

/// Judges `history` as transactions over lists.
pub(super) fn check(history: &History, options: &Options) -> Result<Verdict, HistoryError> {
    let observed = Observed::read(history)?;
    if let Some(explanation) = observed.refuse() {
        return Ok(Verdict::Invalid(explanation));
    }
    let mut left = options.budget.left();
    let Some(graph) = Graph::draw(history, &observed, options.realtime, &mut left) else {
        let why = "the graph of dependencies has more edges than the budget has steps".to_owned();
        return Ok(Verdict::Undecided { why });
    };
    let cycle = cycle::find(&graph, &mut left);
    Ok(cycle.map_or(Verdict::Valid, |cycle| Verdict::Invalid(cycle.explanation(&graph))))
}
