//! What a state is made of: shared between states, and hashed once when it is made.
//!
//! A step changes one machine of several. So each stands behind an `Arc` with its fingerprint
//! beside it: to copy a state costs a few counters, to hash it a few words, and a frontier of a
//! million states holds the machines that differ and no others.
//!
//! Invariant: `print` is the fingerprint of `value`. A value is never changed in place.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Something that can be told apart by one number.
pub trait Fingerprint {
    /// Equal for values with the same future, and different (but for accidents of one in 2^64) for
    /// others.
    fn fingerprint(&self) -> u64;
}

/// A shared value with its fingerprint.
pub struct Kept<T>(Arc<(u64, T)>);

impl<T: Fingerprint> Kept<T> {
    /// Keeps a value as it is now.
    pub fn new(value: T) -> Self {
        Self(Arc::new((value.fingerprint(), value)))
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
impl<T> Deref for Kept<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.1
    }
}
impl<T> Hash for Kept<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.0);
    }
}
impl<T> PartialEq for Kept<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.0 == other.0.0
    }
}
impl<T> Eq for Kept<T> {}
impl<T: fmt::Debug> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.1.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Parity(u64);
    impl Fingerprint for Parity {
        fn fingerprint(&self) -> u64 {
            self.0 % 2
        }
    }

    #[test]
    fn equality_is_that_of_the_fingerprints() {
        let kept = Kept::new(Parity(3));
        assert!(kept == kept.clone());
        assert!(kept == Kept::new(Parity(5)));
        assert!(kept != Kept::new(Parity(4)));
        assert_eq!(kept.0.1.0, 3);
    }
}
