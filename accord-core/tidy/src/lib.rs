//! Reading Rust sources without their comments, strings and tests, as far as the tests of sources
//! need it: a lexer, not a parser.

pub mod claims;
pub mod glossary;
pub mod imports;

use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's directory.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the package is two levels inside the workspace").to_path_buf()
}

/// All files below a directory with this extension, sorted, but not what tools leave there.
pub fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        let entries = fs::read_dir(&directory).expect("the sources are readable");
        for entry in entries {
            let path = entry.expect("the sources are readable").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy();
            if path.is_dir() {
                let of_tools = name == "target" || name == "out" || name == ".git";
                waiting.extend((!of_tools).then(|| path.clone()));
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The source with every character of comments, strings and character literals replaced by a blank.
/// Lines and columns stay.
pub fn code_only(source: &str) -> String {
    let text: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < text.len() {
        let end = skip_from(&text, at);
        if end == at {
            out.push(text[at]);
            at += 1;
        }
        while at < end {
            out.push(if text[at] == '\n' { '\n' } else { ' ' });
            at += 1;
        }
    }
    out
}

/// Where the comment or literal that begins here ends; here, if none does.
fn skip_from(text: &[char], at: usize) -> usize {
    let next = |offset: usize| text.get(at + offset).copied().unwrap_or('\0');
    match text[at] {
        '/' if next(1) == '/' => until(text, at, |text, at| text[at] == '\n'),
        '/' if next(1) == '*' => {
            let end = |text: &[char], at: usize| text[at] == '/' && text[at - 1] == '*';
            until(text, at + 3, end) + 1
        }
        '"' => string_end(text, at + 1),
        'r' if !continues_word(text, at) && (next(1) == '"' || next(1) == '#') => {
            raw_string_end(text, at)
        }
        '\'' if next(1) == '\\' => until(text, at + 3, |text, at| text[at] == '\'') + 1,
        // A lifetime has no closing quote.
        '\'' if next(2) == '\'' => at + 3,
        _ => at,
    }
}

fn until(text: &[char], from: usize, end: impl Fn(&[char], usize) -> bool) -> usize {
    (from..text.len()).find(|at| end(text, *at)).unwrap_or(text.len())
}

fn string_end(text: &[char], from: usize) -> usize {
    let mut at = from;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

fn raw_string_end(text: &[char], at: usize) -> usize {
    let hashes = text[at + 1..].iter().take_while(|c| **c == '#').count();
    if text.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let closes = |text: &[char], at: usize| {
        let after = &text[at + 1..];
        text[at] == '"' && after.len() >= hashes && after[..hashes].iter().all(|c| *c == '#')
    };
    (until(text, at + 2 + hashes, closes) + 1 + hashes).min(text.len())
}

fn continues_word(text: &[char], at: usize) -> bool {
    at > 0 && (text[at - 1].is_alphanumeric() || text[at - 1] == '_')
}

/// Blanks out the items marked `#[cfg(test)]` in code without comments and strings.
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_string();
    while let Some(start) = out.find(MARK) {
        let end = item_end(&out, start + MARK.len());
        let blank: String =
            out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// Where the item that begins at `from` ends: after its semicolon or its closing brace.
pub fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0;
    for (offset, c) in code[from..].char_indices() {
        match c {
            ';' if depth == 0 => return from + offset + 1,
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth -= 1;
                if depth == 0 && c == '}' {
                    return from + offset + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// The words of a line: runs of letters, digits and `_`.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}
