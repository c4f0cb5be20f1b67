//! What is compared: the rows, the windows that are tried, and how long all of it takes.

use crate::load::Timing;
use crate::workload::Workload;
use std::time::Duration;

/// How thorough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// A few minutes.
    Quick,
    /// Half an hour.
    Usual,
    /// Hours.
    Full,
}

/// One thing that is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name, for `--rows` and in the results.
    pub name: &'static str,
    /// What it is, in tables.
    pub title: &'static str,
    /// What is asked. Its window is replaced by the best of those tried, if any are.
    pub workload: Workload,
    /// True if the window is chosen for each system.
    pub scanned: bool,
}

/// All rows.
pub fn rows() -> Vec<Row> {
    let base = Workload::default();
    let row = |name, title, workload, scanned| Row { name, title, workload, scanned };
    let reads =
        |read_percent, linearizable| Workload { read_percent, linearizable, ..base.clone() };
    let one = Workload { window: 1, ..base.clone() };
    vec![
        row("write-existing", "writes, existing keys", base.clone(), true),
        row("write-fresh", "writes, fresh keys", Workload { fresh: true, ..base.clone() }, true),
        row("read-local", "local reads", reads(100, false), true),
        row("read-linearizable", "linearizable reads", reads(100, true), true),
        row("mix-50", "half reads (local), half writes", reads(50, false), true),
        row("mix-90", "nine reads (local) to a write", reads(90, false), true),
        row("one-outstanding", "writes, one outstanding on each connection", one, false),
    ]
}

impl Depth {
    /// How long each measurement takes.
    pub const fn timing(self) -> Timing {
        let (warm, measure) = match self {
            Self::Quick => (500, 2_000),
            Self::Usual => (1_000, 5_000),
            Self::Full => (2_000, 10_000),
        };
        let warm_max = Duration::ZERO;
        Timing {
            warm: Duration::from_millis(warm),
            warm_max,
            measure: Duration::from_millis(measure),
        }
    }

    /// How often all systems take their turns.
    pub const fn rounds(self) -> usize {
        match self {
            Self::Quick => 3,
            Self::Usual => 6,
            Self::Full => 11,
        }
    }

    /// The windows that are tried to find the one that suits a system best.
    pub const fn windows(self) -> &'static [usize] {
        match self {
            Self::Quick => &[64, 512],
            Self::Usual => &[64, 256, 1024],
            Self::Full => &[16, 64, 256, 1024],
        }
    }

    /// How long each of those is tried.
    pub const fn scan(self) -> Timing {
        let measure = match self {
            Self::Quick => 1_000,
            Self::Usual | Self::Full => 2_000,
        };
        Timing {
            warm: Duration::from_millis(500),
            warm_max: Duration::ZERO,
            measure: Duration::from_millis(measure),
        }
    }

    /// How long a freshly started system may take until its rate is stable.
    pub const fn warm_up(self) -> Timing {
        let (least, most) = match self {
            Self::Quick => (20, 30),
            Self::Usual => (30, 60),
            Self::Full => (45, 90),
        };
        Timing {
            warm: Duration::from_secs(least),
            warm_max: Duration::from_secs(most),
            measure: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_make_sense_and_have_names_of_their_own() {
        let rows = rows();
        rows.iter().for_each(|row| row.workload.check().unwrap());
        let mut names: Vec<_> = rows.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows.len());
    }

    #[test]
    fn six_pairs_and_more_give_intervals_of_ninety_five_percent() {
        for depth in [Depth::Usual, Depth::Full] {
            let pairs: Vec<_> = (0..depth.rounds()).map(|at| (at as f64 + 1.0, 1.0)).collect();
            assert!(crate::stats::ratio(&pairs).unwrap().confidence >= 0.95);
        }
    }
}
