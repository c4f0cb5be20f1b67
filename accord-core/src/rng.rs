//! The only randomness the core has: a generator seeded from outside.
//!
//! SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): one
//! word of state, full period, the same stream on every machine and in every version of this crate.

use crate::time::{Duration, DurationExt};

/// A deterministic generator of pseudo-random numbers. Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose stream is a function of `seed` alone.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits of the stream.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; zero if `bound` is zero. The bias is below 2^-32 for bounds below
    /// 2^32.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `denominator / numerator` calls on average.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// A span in `base .. base * 3/2`, so that timers of different servers drift apart.
    pub fn jittered(&mut self, base: Duration) -> Duration {
        base + Duration::from_nanos(self.below(base.to_nanos() / 2 + 1))
    }
}
