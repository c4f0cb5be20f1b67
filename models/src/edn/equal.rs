//! What values are, not how they are written: EDN's equality, and an order and a hash that agree
//! with it.
//!
//! Maps and sets have no order; a list and a vector with equal items are equal; numbers have one
//! spelling each ([`super::number`]). `##NaN` is equal to itself here, as what was written is to be
//! compared with what was read; in Clojure it is not. The text after a tag is compared as it is:
//! two spellings of one `#inst` differ.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use super::Value;

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) | (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Char(a), Self::Char(b)) => a.cmp(b),
            (Self::Keyword(a), Self::Keyword(b)) | (Self::Symbol(a), Self::Symbol(b)) => a.cmp(b),
            (Self::List(a) | Self::Vector(a), Self::List(b) | Self::Vector(b)) => a.cmp(b),
            // By length first: what differs in it need not be sorted.
            (Self::Set(a), Self::Set(b)) => {
                a.len().cmp(&b.len()).then_with(|| sorted(a).cmp(&sorted(b)))
            }
            (Self::Map(a), Self::Map(b)) => {
                a.len().cmp(&b.len()).then_with(|| sorted(a).cmp(&sorted(b)))
            }
            (Self::Tagged(tag, a), Self::Tagged(other, b)) => tag.cmp(other).then_with(|| a.cmp(b)),
            _ => self.kind().cmp(&other.kind()),
        }
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind().hash(state);
        match self {
            Self::Nil => {}
            Self::Bool(bool) => bool.hash(state),
            Self::Int(n) => n.hash(state),
            Self::Number(text) | Self::Text(text) => text.hash(state),
            Self::Char(c) => c.hash(state),
            Self::Keyword(name) | Self::Symbol(name) => name.hash(state),
            Self::List(items) | Self::Vector(items) => items.hash(state),
            Self::Set(items) => sorted(items).hash(state),
            Self::Map(entries) => sorted(entries).hash(state),
            Self::Tagged(tag, inner) => (tag, inner).hash(state),
        }
    }
}

impl Value {
    /// A number for each kind of values: values of two kinds are never equal.
    const fn kind(&self) -> u8 {
        match self {
            Self::Nil => 0,
            Self::Bool(_) => 1,
            Self::Int(_) => 2,
            Self::Number(_) => 3,
            Self::Char(_) => 4,
            Self::Text(_) => 5,
            Self::Keyword(_) => 6,
            Self::Symbol(_) => 7,
            Self::List(_) | Self::Vector(_) => 8,
            Self::Map(_) => 9,
            Self::Set(_) => 10,
            Self::Tagged(..) => 11,
        }
    }
}

fn sorted<T: Ord>(items: &[T]) -> Vec<&T> {
    let mut sorted: Vec<&T> = items.iter().collect();
    sorted.sort_unstable();
    sorted
}

/// The place of the first of `items` that is equal to an earlier one.
pub(super) fn repeated<T: Ord>(items: &[T]) -> Option<usize> {
    if items.len() < 2 {
        return None;
    }
    let mut places: Vec<usize> = (0..items.len()).collect();
    places.sort_by(|a, b| items[*a].cmp(&items[*b]));
    let pairs = places.windows(2).filter(|pair| items[pair[0]] == items[pair[1]]);
    pairs.map(|pair| pair[1]).min()
}

#[cfg(test)]
mod tests {
    use super::super::read::read_value;
    use super::*;
    use std::collections::{BTreeSet, HashSet};

    #[test]
    fn values_are_equal_by_what_they_are() {
        let equal = [
            "{:a 1, :b 2} {:b 2, :a 1}",
            "#{1 2 3} #{3 1 2}",
            "[1 2] (1 2)",
            "() []",
            "[{:a #{1 2}}] ({:a #{2 1}})",
            "{#{1 2} x, [1] y} {(1) y, #{2 1} x}",
            "#{{:a 1 :b 2} (1)} #{[1N] {:b 0x2 :a 1}}",
            "{1 :one} {1N :one}",
            "[1.50 2/4] [1.5 1/2]",
            r#"[\A \newline "A" \f] [\u0041 \o12 "\u0041" \o146]"#,
            "##NaN ##NaN",
            "#t {:a 1, :b 2} #t {:b 2, :a 1}",
            "#:n{:a 1, b 2, _/c 3, o/d 4} {:n/a 1, n/b 2, c 3, o/d 4}",
        ];
        for pair in equal {
            let Value::Vector(pair) = read_value(&format!("[{pair}]")).unwrap() else { panic!() };
            assert_eq!(pair.len(), 2);
            assert_eq!(pair[0], pair[1]);
            assert_eq!(pair.iter().collect::<HashSet<_>>().len(), 1, "hashed alike");
            assert_eq!(pair.iter().collect::<BTreeSet<_>>().len(), 1, "ordered alike");
        }
    }

    #[test]
    fn values_that_differ_are_told_apart() {
        let Value::Vector(values) = read_value(
            "[nil false true 0 1 1.0 1M 1/2 \"1\" \\1 :a a \"a\" [] #{} {} [nil] #{1 2} #{1 3} \
             #{1} [1 2] [2 1] {:a 1} {:a 2} {:b 1} {1 :a} {:a 1, :b 2} #t 1 #u 1 #t [] ##NaN ##Inf]",
        )
        .unwrap() else {
            panic!()
        };
        assert_eq!(values.iter().collect::<BTreeSet<_>>().len(), values.len());
        assert_eq!(values.iter().collect::<HashSet<_>>().len(), values.len());
    }
}
