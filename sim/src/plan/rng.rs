//! Randomness of a world: one seed, and a stream of its own for every concern.
//!
//! Streams are split by name, not drawn from each other: an additional draw in one place (a new
//! kind of fault, one more packet) shifts nothing elsewhere, so a shrunk plan still meets the same
//! delays and the same clients' wishes as far as possible. Nothing else in this crate draws
//! randomness.

use accord_core::time::{Duration, DurationExt};
use accord_workloads::Draw;
use rand::{Rng as _, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use xxhash_rust::xxh3::xxh3_64;

/// What a stream of randomness is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Drawing the options of a world.
    Options,
    /// Drawing the fault plan.
    Plan,
    /// Delays and fates of packets between servers.
    Network,
    /// Delays of connections between clients and servers.
    Connections,
    /// Delays and damage of one server's disk.
    Disk,
    /// The seed of one server's process.
    Process,
    /// The choices of the adversarial group.
    Adversary,
    /// The seed of one client.
    Client,
    /// What one client wishes to do.
    Workload,
    /// Whether a world has the real storage code, and the damage of its disks.
    Engine,
}

/// A stream of pseudo-random numbers: the same on every machine, in every build.
#[derive(Clone, Debug)]
pub struct Rng(Xoshiro256PlusPlus);

impl Rng {
    /// The stream of `concern` number `index` in the world of `seed`.
    pub fn of(seed: u64, concern: Concern, index: u64) -> Self {
        let mut name = [0; 17];
        name[..8].copy_from_slice(&seed.to_le_bytes());
        name[8] = concern as u8;
        name[9..].copy_from_slice(&index.to_le_bytes());
        Self(Xoshiro256PlusPlus::seed_from_u64(xxh3_64(&name)))
    }

    /// The stream of a seed that was drawn from another stream.
    pub fn from_seed(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`; zero if `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`.
    ///
    /// # Panics
    /// If `low` is above `high`.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range: {low}..={high}");
        match (high - low).checked_add(1) {
            Some(span) => low + self.below(span),
            None => self.next_u64(),
        }
    }

    /// True in `percent` of a hundred cases.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < u64::from(percent)
    }

    /// True in `per_mille` of a thousand cases. Draws nothing for zero.
    pub fn per_mille(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1000) < u64::from(per_mille)
    }

    /// A span in `low..=high`.
    pub fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_nanos(self.within(low.to_nanos(), high.to_nanos()))
    }

    /// One of `items`.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// An index into `weights`, each as likely as its weight says.
    ///
    /// # Panics
    /// If all weights are zero.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        assert!(total > 0, "something must be possible");
        let mut left = self.below(total);
        for (index, weight) in weights.iter().enumerate() {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return index,
            }
        }
        unreachable!("the number drawn is below the total")
    }

    /// A number whose logarithm is uniform in `low..=high`: small values as often as large ones.
    ///
    /// # Panics
    /// If `low` is zero or above `high`.
    pub fn log_uniform(&mut self, low: u64, high: u64) -> u64 {
        assert!(0 < low && low <= high, "a logarithmic range: {low}..={high}");
        let steps = u64::from((high / low).ilog2());
        let base = low << self.below(steps + 1);
        self.within(base, base.saturating_mul(2).min(high).max(base))
    }
}

impl Draw for Rng {
    fn next_u64(&mut self) -> u64 {
        Self::next_u64(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_functions_of_their_names_alone() {
        let draw = |concern, index| Rng::of(7, concern, index).next_u64();
        assert_eq!(draw(Concern::Disk, 1), draw(Concern::Disk, 1));
        assert_ne!(draw(Concern::Disk, 1), draw(Concern::Disk, 2));
        assert_ne!(draw(Concern::Disk, 1), draw(Concern::Network, 1));
    }

    #[test]
    fn the_streams_are_pinned_so_that_seeds_mean_the_same_everywhere() {
        assert_eq!(Rng::of(1, Concern::Options, 0).next_u64(), PINNED);
    }
    const PINNED: u64 = 11_723_697_189_208_320_705;

    #[test]
    fn draws_stay_in_their_ranges_and_reach_the_ends() {
        let mut rng = Rng::of(1, Concern::Plan, 0);
        let draws: Vec<u64> = (0..1000).map(|_| rng.within(3, 5)).collect();
        assert_eq!((draws.iter().min(), draws.iter().max()), (Some(&3), Some(&5)));
        assert!((0..1000).all(|_| (8..=1000).contains(&rng.log_uniform(8, 1000))));
        assert!((0..100).all(|_| rng.weighted(&[0, 1, 0]) == 1));
        assert!((0..100).all(|_| !rng.percent(0) && rng.percent(100)));
    }
}
