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

/// The terms of the tables headed "term", and the phrases of the table headed "avoid".
pub fn read(text: &str) -> (Vec<Term>, Vec<String>) {
    let (mut terms, mut phrases) = (Vec::new(), Vec::new());
    let (mut head, mut in_body) = (String::new(), false);
    for (at, line) in text.lines().enumerate() {
        let row = line.starts_with('|');
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        match head.as_str() {
            "avoid" if row && in_body => phrases.extend(cells[0].split(", ").map(str::to_string)),
            "term" if row && in_body => {
                let names = cells[cells.len() - 1].split(", ").filter(|name| !name.is_empty());
                let names = names.map(|name| name.trim_matches('`').to_string()).collect();
                terms.push(Term { line: at + 1, term: cells[0].to_string(), names });
            }
            _ => {}
        }
        let rule = line.starts_with("|---");
        if row && !in_body && !rule {
            head = cells[0].to_string();
        }
        in_body = row && (in_body || rule);
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
