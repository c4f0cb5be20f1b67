//! Transactions as they are written in a program.
//!
//! [`Steps`] run in order, each sees what the earlier ones did, and all take effect or none. A
//! [`Txn`] chooses between two branches of them by conditions, in one round trip:
//!
//! ```
//! use accord_net::client::txn::{Steps, Txn, value};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let cluster = accord_net::embedded::Cluster::start(1)?;
//! # let client = cluster.client().await?;
//! client.put("owner", "alice").await?;
//! let hand_over = Txn::when(value("owner").equals("alice"))
//!     .then(Steps::new().put("owner", "bob").increment("handovers", 1))
//!     .otherwise(Steps::new().get("owner"));
//!
//! let done = client.txn(hand_over.clone()).await?;
//! assert!(done.held());
//! assert_eq!(done.number(1), Some(1), "the result of each step stands at its place");
//! let again = client.txn(hand_over).await?;
//! assert!(!again.held());
//! assert_eq!(again.value(0).map(|value| &value[..]), Some(&b"bob"[..]));
//!
//! // A step that fails takes the others with it.
//! let error = client.txn(Steps::new().put("a", "1").delete("nothing")).await.unwrap_err();
//! assert!(error.is_not_found());
//! assert_eq!(client.get("a").await?, None);
//! # Ok(())
//! # }
//! ```

use super::bytes_like::IntoBytes;
use accord_core::ids::Revision;
use accord_core::state::{self, Compare, Flags, ListQuery, Range, Relation, Step, Width};
use bytes::Bytes;

/// The steps of a transaction, in order. The result of each stands at its place in the reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps(Vec<Step>);

impl Steps {
    /// No steps.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Any step.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }

    /// Gives the record exactly this value; creates it if it is missing.
    #[must_use]
    pub fn put(self, key: impl IntoBytes, value: impl IntoBytes) -> Self {
        self.write(key, value, 0, Flags::CREATE | Flags::REPLACE)
    }

    /// Creates a record that must not exist.
    #[must_use]
    pub fn create(self, key: impl IntoBytes, value: impl IntoBytes) -> Self {
        self.write(key, value, 0, Flags::CREATE | Flags::EXCLUSIVE)
    }

    /// Gives a record that must exist exactly this value.
    #[must_use]
    pub fn update(self, key: impl IntoBytes, value: impl IntoBytes) -> Self {
        self.write(key, value, 0, Flags::REPLACE)
    }

    /// Appends to a record; creates it if it is missing.
    #[must_use]
    pub fn append(self, key: impl IntoBytes, value: impl IntoBytes) -> Self {
        self.write(key, value, 0, Flags::CREATE | Flags::APPEND)
    }

    /// Writes bytes at an offset; see [`Step::Write`] for what the flags do.
    #[must_use]
    pub fn write(
        self,
        key: impl IntoBytes,
        value: impl IntoBytes,
        offset: u64,
        flags: Flags,
    ) -> Self {
        let (key, value) = (key.into_bytes(), value.into_bytes());
        self.step(Step::Write { key, value, offset, flags })
    }

    /// Reads the whole value of a record that must exist.
    #[must_use]
    pub fn get(self, key: impl IntoBytes) -> Self {
        self.step(Step::Read { key: key.into_bytes(), offset: 0, length_max: u64::MAX })
    }

    /// Removes a record that must exist.
    #[must_use]
    pub fn delete(self, key: impl IntoBytes) -> Self {
        self.step(Step::Delete { key: key.into_bytes() })
    }

    /// Gives `target` the value of `source`; creates it if it is missing.
    #[must_use]
    pub fn copy(self, source: impl IntoBytes, target: impl IntoBytes) -> Self {
        let (source, target) = (source.into_bytes(), target.into_bytes());
        self.step(Step::Copy { source, target, flags: Flags::CREATE })
    }

    /// Adds to a number of eight bytes, little-endian; a missing record is created as zero before.
    #[must_use]
    pub fn increment(self, key: impl IntoBytes, delta: i64) -> Self {
        let (key, width) = (key.into_bytes(), Width::Eight);
        self.step(Step::Increment { key, delta, offset: None, width, flags: Flags::CREATE })
    }

    /// Aborts the transaction unless the condition holds.
    #[must_use]
    pub fn check(self, condition: Compare) -> Self {
        self.step(Step::Compare(condition))
    }

    /// Lists the first records whose keys begin with a prefix, at most `limit`.
    #[must_use]
    pub fn list(self, prefix: impl IntoBytes, limit: u32) -> Self {
        let range = Range::Prefix(prefix.into_bytes());
        self.step(Step::List(ListQuery { range, after: None, limit, keys_only: false }))
    }
}

/// A transaction: conditions, and the steps for either case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn(state::Txn);

impl Txn {
    /// Begins with a condition; all conditions must hold for [`Self::then`].
    pub fn when(condition: Compare) -> Self {
        Self::default().and(condition)
    }

    /// Adds a condition.
    #[must_use]
    pub fn and(mut self, condition: Compare) -> Self {
        self.0.guard.push(condition);
        self
    }

    /// The steps if all conditions hold.
    #[must_use]
    pub fn then(mut self, steps: Steps) -> Self {
        self.0.then = steps.0;
        self
    }

    /// The steps if one does not.
    #[must_use]
    pub fn otherwise(mut self, steps: Steps) -> Self {
        self.0.otherwise = steps.0;
        self
    }

    /// As the core has it.
    pub const fn as_core(&self) -> &state::Txn {
        &self.0
    }
}

impl From<Steps> for Txn {
    fn from(steps: Steps) -> Self {
        Self(state::Txn::of(steps.0))
    }
}
impl From<state::Txn> for Txn {
    fn from(txn: state::Txn) -> Self {
        Self(txn)
    }
}

/// A record's value, to be compared with bytes.
pub fn value(key: impl IntoBytes) -> ValueOf {
    ValueOf(key.into_bytes())
}

/// A record's version, to be compared; 0 if there is none.
pub fn version(key: impl IntoBytes) -> VersionOf {
    VersionOf(key.into_bytes())
}

/// The record exists.
pub fn exists(key: impl IntoBytes) -> Compare {
    Compare::Exists { key: key.into_bytes() }
}

/// There is no such record.
pub fn missing(key: impl IntoBytes) -> Compare {
    Compare::Missing { key: key.into_bytes() }
}

/// The record is the one that was created at this revision: the lock whose fencing token it is has
/// been held ever since.
pub fn created_at(key: impl IntoBytes, revision: Revision) -> Compare {
    Compare::Created { key: key.into_bytes(), relation: Relation::Equal, revision }
}

/// The values of two records are equal.
pub fn same(key: impl IntoBytes, other: impl IntoBytes) -> Compare {
    let (key, other) = (key.into_bytes(), other.into_bytes());
    Compare::Keys { key, relation: Relation::Equal, other }
}

/// A record's value, in a condition. An absent record fulfils none.
#[derive(Clone, Debug)]
pub struct ValueOf(Bytes);

impl ValueOf {
    /// It stands so to these bytes.
    pub fn is(self, relation: Relation, value: impl IntoBytes) -> Compare {
        Compare::Value { key: self.0, relation, value: value.into_bytes() }
    }
    /// It is exactly these bytes.
    pub fn equals(self, value: impl IntoBytes) -> Compare {
        self.is(Relation::Equal, value)
    }
    /// It is not exactly these bytes.
    pub fn differs(self, value: impl IntoBytes) -> Compare {
        self.is(Relation::Unequal, value)
    }
}

/// A record's version, in a condition.
#[derive(Clone, Debug)]
pub struct VersionOf(Bytes);

impl VersionOf {
    /// It stands so to this number.
    pub fn is(self, relation: Relation, version: u64) -> Compare {
        Compare::Version { key: self.0, relation, version }
    }
    /// It is this number.
    pub fn equals(self, version: u64) -> Compare {
        self.is(Relation::Equal, version)
    }
}
