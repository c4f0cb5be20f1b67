//! Medians, spreads and ratios of a few repeated measurements, without assumptions on their
//! distribution.
//!
//! Systems are measured in turns, so what disturbs the machine for a while disturbs the two sides
//! of a pair alike: ratios are taken within pairs. The interval of their median comes from order
//! statistics: the median lies between the k-th smallest and the k-th largest of n pairs but with
//! probability 2 P(Binomial(n, 1/2) < k).

use serde::{Deserialize, Serialize};

/// How sure an interval is to be, if there are pairs enough for that.
const CONFIDENCE: f64 = 0.95;

/// A middle value and how far the others are from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// How many times more one side has than the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The median over the pairs.
    pub median: f64,
    /// Where its interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
    /// How sure the interval is, as a share of one.
    pub confidence: f64,
    /// Over how many pairs.
    pub pairs: usize,
}

/// The median and the spread; None of nothing.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let sorted = sorted(values);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    Some(Spread { median: median(&sorted), min, max })
}

/// The ratios `a / b` of pairs; None if there are none.
pub fn ratio(pairs: &[(f64, f64)]) -> Option<Ratio> {
    let ratios: Vec<f64> = pairs.iter().filter(|(_, b)| *b > 0.0).map(|(a, b)| a / b).collect();
    let sorted = sorted(&ratios);
    let count = sorted.len();
    // The narrowest interval that is sure enough, or the widest there is.
    let ranks = (1..=count.div_ceil(2)).rev();
    let rank = ranks.clone().find(|rank| confidence(count, *rank) >= CONFIDENCE).unwrap_or(1);
    let (low, high) = (*sorted.get(rank - 1)?, *sorted.get(count.checked_sub(rank)?)?);
    let confidence = confidence(count, rank);
    Some(Ratio { median: median(&sorted), low, high, confidence, pairs: count })
}

/// How sure it is that the median of n lies between the k-th smallest and the k-th largest.
fn confidence(count: usize, rank: usize) -> f64 {
    // P(Binomial(n, 1/2) = i), one after the other.
    let mut probability = 0.5f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut below = 0.0;
    for i in 0..rank {
        below += probability;
        probability *= (count - i) as f64 / (i + 1) as f64;
    }
    (1.0 - 2.0 * below).max(0.0)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The median of values in order.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn the_confidence_of_order_statistics_is_that_of_the_tables() {
        // From any table of distribution-free intervals for the median.
        for (count, rank, expected) in
            [(5, 1, 0.9375), (6, 1, 0.96875), (10, 2, 0.97852), (15, 4, 0.96484), (3, 1, 0.75)]
        {
            assert!((confidence(count, rank) - expected).abs() < 1e-5, "{count} {rank}");
        }
    }

    #[test]
    fn a_ratio_is_taken_within_pairs() {
        // The machine was half as fast during the second pair: that does not matter.
        let found = ratio(&[(20.0, 1.0), (10.0, 0.5), (22.0, 1.0)]).unwrap();
        assert_eq!((found.median, found.low, found.high), (20.0, 20.0, 22.0));
        assert!((found.confidence - 0.75).abs() < 1e-9 && found.pairs == 3);
        assert_eq!(ratio(&[(1.0, 0.0)]), None);
        assert_eq!(ratio(&[]), None);
    }

    #[test]
    fn more_pairs_make_the_interval_narrower() {
        let pairs: Vec<(f64, f64)> = (1..=11).map(|n| (f64::from(n), 1.0)).collect();
        let found = ratio(&pairs).unwrap();
        assert_eq!((found.low, found.median, found.high), (2.0, 6.0, 10.0));
        assert!(found.confidence >= 0.95);
    }
}
