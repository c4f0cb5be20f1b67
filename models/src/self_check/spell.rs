//! Values in all their spellings: the judges know them by number, the histories hold any of the
//! spellings that are equal.

use super::rng::Rng;

/// How a history spells its values.
pub(super) struct Spelling {
    style: u64,
}

impl Spelling {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self { style: rng.below(12) }
    }

    /// The value with this number, of which 0 is `nil`, in any spelling.
    pub(super) fn value(&self, rng: &mut Rng, number: u32) -> String {
        if number == 0 {
            return "nil".to_owned();
        }
        let n = u64::from(number);
        // Every number keeps its kind of value, whatever its spelling.
        let spellings = match (self.style + n) % 12 {
            0 => vec![format!("\"v{n}\""), format!("\"\\u0076{n}\""), format!("\"\\166{n}\"")],
            1 => vec![format!(":v{n}")],
            2 => vec![format!("{n}.5"), format!("{n}.50"), format!("{n}5e-1")],
            3 => vec![format!("{}/2", 2 * n + 1), format!("{}/4", 4 * n + 2)],
            4 => vec![format!("{{:v {n}, :w nil}}"), format!("{{:w nil, :v 0x{n:x}}}")],
            5 => vec![format!("#{{-1 {n}}}"), format!("#{{{n}N -1}}")],
            6 => vec![format!("[:v {n}]"), format!("(:v {n}N)")],
            7 => vec![format!("#t {{1 [{n}], 2 #{{3}}}}"), format!("#t {{2N #{{3}}, 0x1 ({n})}}")],
            8 => vec![format!("{n}.0M"), format!("{n}M"), format!("{n}0e-1M")],
            _ => return whole(rng, n),
        };
        spellings[rng.place(spellings.len())].clone()
    }

    /// The value as an item of a list that may also be written without a key.
    pub(super) fn key(&self, rng: &mut Rng, number: u32) -> String {
        self.value(rng, number + 7)
    }
}

/// A whole number in any spelling.
pub(super) fn whole(rng: &mut Rng, n: u64) -> String {
    match rng.below(6) {
        0 => format!("{n}N"),
        1 => format!("0x{n:x}"),
        2 => format!("0{n:o}"),
        3 => format!("+{n}"),
        4 => format!("{}/3", 3 * n),
        _ => n.to_string(),
    }
}
