//! The glossary as data: its terms with their names in the code, and the phrases that it replaces.

/// A row of a table of terms.
#[derive(Debug, PartialEq, Eq)]
pub struct Term {
    /// The line of the row, from 1.
    pub line: usize,
    /// The first column.
    pub term: String,
    /// The identifiers of the last column.
    pub names: Vec<String>,
}

/// The rows under the heading "Phrases to avoid" are phrases, all others are terms.
pub fn read(text: &str) -> (Vec<Term>, Vec<String>) {
    let (mut terms, mut phrases) = (Vec::new(), Vec::new());
    let (mut avoid, mut in_body) = (false, false);
    for (at, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            avoid = line.ends_with("Phrases to avoid");
        }
        let row = line.starts_with('|');
        if row && in_body {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            if avoid {
                phrases.extend(cells[0].split(", ").map(str::to_string));
            } else {
                let names = cells[cells.len() - 1].split(", ").filter(|name| !name.is_empty());
                let names = names.map(|name| name.trim_matches('`').to_string()).collect();
                terms.push(Term { line: at + 1, term: cells[0].to_string(), names });
            }
        }
        in_body = row && (in_body || line.starts_with("|---"));
    }
    (terms, phrases)
}

/// The words of a text in lower case, with the lines that they stand in.
fn words(text: &str) -> Vec<(String, usize)> {
    let of_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == '\'';
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let parts = line.split(|c: char| !of_word(c)).filter(|word| !word.is_empty());
        found.extend(parts.map(|word| (word.to_lowercase(), at + 1)));
    }
    found
}

/// Where a text uses one of the phrases, also across the end of a line.
pub fn uses(text: &str, phrases: &[String]) -> Vec<(usize, String)> {
    let words = words(text);
    let mut found = Vec::new();
    for phrase in phrases {
        let parts: Vec<&str> = phrase.split(' ').collect();
        for window in words.windows(parts.len()) {
            if window.iter().map(|(word, _)| word.as_str()).eq(parts.iter().copied()) {
                found.push((window[0].1, phrase.clone()));
            }
        }
    }
    found.sort();
    found
}
