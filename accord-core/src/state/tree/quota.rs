//! Quotas: how many znodes, and how many bytes of data, a subtree may have.
//!
//! They are znodes themselves, as in ZooKeeper: below `/zookeeper/quota`, at the path that a quota
//! is for, `zookeeper_limits` has the limits and `zookeeper_stats` what is there. The state keeps
//! the second one true, without a new version or an event. Soft limits are for clients to look at;
//! hard ones are enforced if the cluster's limits say so.

use super::super::compact::Value;
use super::error::TreeError;
use super::path::QUOTA;
use super::store::Store;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;
use core::str;

const LIMITS: &[u8] = b"/zookeeper_limits";
const STATS: &[u8] = b"/zookeeper_stats";
const COUNT: &str = "count";
const BYTES: &str = "bytes";

/// What a change adds to a subtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Added {
    /// Znodes.
    pub(super) count: i64,
    /// Bytes of data.
    pub(super) bytes: i64,
}

impl Added {
    /// A znode with so much data.
    pub(super) const fn node(data_bytes: usize) -> Self {
        Self { count: 1, bytes: data_bytes as i64 }
    }

    /// The same the other way round.
    pub(super) const fn removed(self) -> Self {
        Self { count: -self.count, bytes: -self.bytes }
    }
}

/// The held path that a znode of this path limits, if it is one that limits something. A limit of
/// the root means nothing.
pub(super) fn limited_by(held: &[u8]) -> Option<&[u8]> {
    subject(held, LIMITS)
}

/// The held path for which a znode of this path counts.
fn counted_by(held: &[u8]) -> Option<&[u8]> {
    subject(held, STATS)
}

fn subject<'a>(held: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let subject = held.strip_prefix(QUOTA)?.strip_suffix(name)?;
    subject.starts_with(b"/").then_some(subject)
}

/// Checks that the quota for a path, if there is one, has room for more.
pub(super) fn check(store: &Store, held: &[u8], added: Added) -> Result<(), TreeError> {
    let Some(subject) = store.quota_of(held) else { return Ok(()) };
    let (Some(limits), Some(stats)) =
        (Track::of(store, subject, LIMITS), Track::of(store, subject, STATS))
    else {
        return Ok(());
    };
    let exceeded = |name: &str, hard: &str, added: i64| {
        let limit = limits.get(hard);
        added != 0 && limit > -1 && stats.get(name).saturating_add(added) > limit
    };
    let over = exceeded(COUNT, "countHardLimit", added.count)
        || exceeded(BYTES, "byteHardLimit", added.bytes);
    if over { Err(TreeError::QuotaExceeded) } else { Ok(()) }
}

/// Counts what a change added below the quota for a path, if there is one.
pub(super) fn count(store: &mut Store, held: &[u8], added: Added) {
    let Some(subject) = store.quota_of(held) else { return };
    let Some(mut stats) = Track::of(store, subject, STATS) else { return };
    stats.add(COUNT, added.count);
    stats.add(BYTES, added.bytes);
    stats.put(store, subject);
}

/// A znode was created: if it counts for a path, it begins with what is there.
pub(super) fn on_create(store: &mut Store, held: &[u8]) {
    let Some(subject) = counted_by(held) else { return };
    let (mut count, mut bytes) = (0, 0);
    if let Some(node) = store.get(subject) {
        let below = store.below(subject);
        (count, bytes) = (below.0 + 1, below.1 + node.data_len() as u64);
    }
    let mut stats = Track(BTreeMap::new());
    stats.0.insert(COUNT.to_string(), count as i64);
    stats.0.insert(BYTES.to_string(), bytes as i64);
    stats.put(store, subject);
}

/// Numbers by name, as ZooKeeper writes them: `count=1,bytes=2`, and others behind.
struct Track(BTreeMap<String, i64>);

impl Track {
    /// What the znode of a quota says; `None` if there is none. What is not a number by name in it
    /// is passed over.
    fn of(store: &Store, subject: &[u8], name: &[u8]) -> Option<Self> {
        let node = store.get(&joined(subject, name))?;
        Some(Self::parse(node.data.as_deref().unwrap_or_default()))
    }

    fn parse(data: &[u8]) -> Self {
        let text = str::from_utf8(data).unwrap_or_default();
        let number = |pair: &str| {
            let (name, rest) = pair.split_once('=')?;
            let number = rest.split('=').next().unwrap_or_default();
            Some((name.to_string(), number.parse().ok()?))
        };
        Self(text.split([',', ';']).filter_map(number).collect())
    }

    /// -1 if it is not there.
    fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(-1)
    }

    fn add(&mut self, name: &str, added: i64) {
        let sum = self.get(name).saturating_add(added);
        self.0.insert(name.to_string(), sum);
    }

    fn put(&self, store: &mut Store, subject: &[u8]) {
        let text = self.to_text();
        store.update(&joined(subject, STATS), |node| node.data = Some(Value::new(text.as_bytes())));
    }

    /// The second `=` behind the bytes is there for the oldest parsers, as in ZooKeeper.
    fn to_text(&self) -> String {
        let mut text = String::new();
        let mut write = |name: &str, before: &str, number: i64| {
            write!(text, "{before}{name}={number}").expect("a string takes all");
        };
        write(COUNT, "", self.get(COUNT));
        write(BYTES, ",", self.get(BYTES));
        let others = self.0.iter().filter(|(name, _)| *name != COUNT && *name != BYTES);
        for (place, (name, number)) in others.enumerate() {
            write(name, if place == 0 { "=;" } else { ";" }, *number);
        }
        text
    }
}

/// The path of a znode of the quota for `subject`.
fn joined(subject: &[u8], name: &[u8]) -> Vec<u8> {
    [QUOTA, subject, name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_quota_is_for_is_in_its_path() {
        assert_eq!(limited_by(b"/zookeeper/quota/a/b/zookeeper_limits"), Some(&b"/a/b"[..]));
        assert_eq!(counted_by(b"/zookeeper/quota/a/zookeeper_stats"), Some(&b"/a"[..]));
        let none = [
            "/zookeeper/quota/zookeeper_limits",
            "/zookeeper/quota/a/zookeeper_stats",
            "/zookeeper/quota/a/zookeeper_limits/b",
            "/zookeeper/quotas/a/zookeeper_limits",
            "/a/zookeeper_limits",
        ];
        for path in none {
            assert_eq!(limited_by(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn numbers_are_read_and_written_as_zookeeper_does() {
        let table = [
            ("count=3,bytes=-1", "count=3,bytes=-1"),
            ("", "count=-1,bytes=-1"),
            ("bytes=4;count=2", "count=2,bytes=4"),
            (
                "count=1,bytes=2=;countHardLimit=3;byteHardLimit=4",
                "count=1,bytes=2=;byteHardLimit=4;countHardLimit=3",
            ),
            ("count=x,bytes,=,;;", "count=-1,bytes=-1"),
        ];
        for (text, expected) in table {
            assert_eq!(Track::parse(text.as_bytes()).to_text(), expected, "{text}");
        }
        assert_eq!(Track::parse(b"\xff").get(COUNT), -1);
    }
}
