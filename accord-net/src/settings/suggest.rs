//! "Did you mean": the known name that is closest to a mistyped one.

/// The known name that is closest to `found`, if one is close.
pub fn closest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let far = (found.chars().count() / 3).clamp(1, 3);
    let known = known.into_iter().map(|name| (distance(found, name), name));
    known.filter(|(distance, _)| *distance <= far).min().map(|(_, name)| name)
}

/// Characters to insert, remove or replace, and neighbours to swap, from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before = vec![0; to.len() + 1];
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1; to.len() + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = above[j] + usize::from(a != b);
            row[j + 1] = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_is_close_and_another_word_is_not() {
        let known = ["client_listen", "ring_listen", "log", "id"];
        for (found, expected) in [
            ("client_listn", Some("client_listen")),
            ("cleint_listen", Some("client_listen")),
            ("ring-listen", Some("ring_listen")),
            ("lgo", Some("log")),
            ("bootstrap", None),
            ("x", None),
        ] {
            assert_eq!(closest(found, known), expected, "{found}");
        }
    }
}
