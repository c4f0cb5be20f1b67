//! A set of calls that is cheap to remember.
//!
//! At any time of a search nearly all early calls are in the set and nearly all late ones are not,
//! so a key keeps only the words between. Calls with an unknown outcome may stay out for ever; they
//! are numbered apart, lest they keep the words between from being few.

/// A set of call numbers.
pub(super) struct Bits {
    place: Vec<(bool, u32)>,
    required: Words,
    optional: Words,
}

/// The set as a key: equal sets have equal keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct BitsKey {
    full: u32,
    words: Box<[u64]>,
    optional: Box<[u64]>,
}

impl BitsKey {
    /// The memory it takes.
    pub(super) const fn bytes(&self) -> usize {
        size_of::<Self>() + (self.words.len() + self.optional.len()) * size_of::<u64>()
    }
}

impl Bits {
    /// The empty set of calls that are required, or not, as `required` says.
    pub(super) fn new(required: impl Iterator<Item = bool>) -> Self {
        let mut counts = [0_u32; 2];
        let place = required.map(|is_required| {
            let count = &mut counts[usize::from(is_required)];
            *count += 1;
            (is_required, *count - 1)
        });
        let place = place.collect();
        Self { place, required: Words::new(counts[1]), optional: Words::new(counts[0]) }
    }

    /// Adds a call.
    pub(super) fn set(&mut self, number: usize) {
        let (words, bit) = self.words(number);
        words.set(bit);
    }

    /// Removes a call.
    pub(super) fn clear(&mut self, number: usize) {
        let (words, bit) = self.words(number);
        words.clear(bit);
    }

    /// The set's key.
    pub(super) fn key(&self) -> BitsKey {
        BitsKey {
            full: self.required.full as u32,
            words: self.required.words[self.required.full..self.required.end].into(),
            optional: self.optional.words[..self.optional.end].into(),
        }
    }

    fn words(&mut self, number: usize) -> (&mut Words, usize) {
        let (is_required, bit) = self.place[number];
        (if is_required { &mut self.required } else { &mut self.optional }, bit as usize)
    }
}

/// Invariant: every word before `full` has all its bits, the one at `full` has not; every word from
/// `end` on is zero, the one before is not; `full <= end`.
struct Words {
    words: Vec<u64>,
    full: usize,
    end: usize,
}

impl Words {
    fn new(bits_count: u32) -> Self {
        Self { words: vec![0; bits_count as usize / 64 + 1], full: 0, end: 0 }
    }

    fn set(&mut self, bit: usize) {
        let word = bit / 64;
        self.words[word] |= 1 << (bit % 64);
        self.end = self.end.max(word + 1);
        while self.words.get(self.full) == Some(&u64::MAX) {
            self.full += 1;
        }
    }

    fn clear(&mut self, bit: usize) {
        let word = bit / 64;
        self.words[word] &= !(1 << (bit % 64));
        self.full = self.full.min(word);
        while self.end > 0 && self.words[self.end - 1] == 0 {
            self.end -= 1;
        }
        assert!(self.full <= self.end, "a full word is not past the last");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_have_equal_keys_whatever_came_between() {
        let mut bits = Bits::new((0..200).map(|number| number % 7 != 0));
        let empty = bits.key();
        for number in 0..200 {
            bits.set(number);
        }
        for number in (0..200).rev() {
            bits.clear(number);
        }
        assert_eq!(bits.key(), empty);
        bits.set(150);
        assert_ne!(bits.key(), empty);
        bits.set(0);
        bits.clear(150);
        bits.clear(0);
        assert_eq!(bits.key(), empty);
    }
}
