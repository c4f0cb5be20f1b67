//! What the users of the first Accord had, as scenarios against three servers as real processes.
//!
//! The 43 cases of its own tests: 13 of synchronous operations, 14 of asynchronous ones, 7 of
//! transactions, 6 of watches, 3 with a hundred clients at once. Clients are spread over the
//! servers. All scenarios share one cluster, so each has keys of its own.

mod concurrent;
mod io;
mod support;
mod transactions;
mod watches;
