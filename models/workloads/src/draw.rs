//! Where a generator's choices come from.

/// A stream of random numbers.
pub trait Draw {
    /// The next 64 bits.
    fn next_u64(&mut self) -> u64;

    /// A number in `0..bound`; zero if `bound` is zero.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`, of which `low` is not the greater.
    fn within(&mut self, low: u64, high: u64) -> u64 {
        match high.saturating_sub(low).checked_add(1) {
            Some(span) => low + self.below(span),
            None => self.next_u64(),
        }
    }

    /// True in `percent` of a hundred cases.
    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The stream of a seed: the same on every machine (SplitMix64).
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// The stream of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Draw for Seeded {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_everywhere() {
        // The first number of the generator's published test sequence.
        assert_eq!(Seeded::new(1_234_567).next_u64(), 6_457_827_717_110_365_317);
    }

    #[test]
    fn draws_stay_in_their_ranges_and_reach_the_ends() {
        let mut draw = Seeded::new(1);
        let drawn: Vec<u64> = (0..1000).map(|_| draw.within(3, 5)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&5)));
        assert!((0..100).all(|_| !draw.percent(0) && draw.percent(100)));
        draw.within(0, u64::MAX);
    }
}
