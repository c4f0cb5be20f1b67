//! Transactions as they are typed: words, quotes and semicolons.

use super::print::{named, quoted};
use accord_core::ids::Revision;
use accord_core::state::{Compare, Flags, ListQuery, Range, Relation, Step, Txn as CoreTxn, Width};
use accord_net::settings::closest;
use bytes::Bytes;

/// How transactions are written.
pub const HELP: &str = r#"A transaction is steps, one after the other. Each sees what the earlier ones did; all take effect or
none. With `when`, they run only if all conditions hold, and those behind `else` run if not.

  [when CONDITION [and CONDITION]... ;] STEP [; STEP]... [; else STEP [; STEP]...]

Steps:
  put KEY VALUE        create or replace          get KEY             read; it must exist
  create KEY VALUE     it must not exist          del KEY             delete; it must exist
  update KEY VALUE     it must exist              copy FROM TO        copy the value
  append KEY VALUE     to the end of the value    incr KEY [DELTA]    add to a number
  list PREFIX [LIMIT]  read many                  check CONDITION     abort everything if it fails

Conditions (RELATION is one of = != < <= > >=):
  value KEY RELATION VALUE         compares bytes, as in a dictionary; a missing record fails
  version KEY RELATION NUMBER      changes since it was created; 0: it is missing
  created KEY RELATION REVISION    = FENCING-TOKEN: the lock is still held
  modified KEY RELATION REVISION
  same KEY KEY                     their values are equal
  exists KEY
  missing KEY

Words end at blanks; quotes hold them together: 'as it is', or "with \n \r \t \" \\ \x00". A new line
counts as a semicolon, and # begins a comment.

Examples:
  accord txn 'put a 1; put b 2; get a'
  accord txn 'when value a = 1; put a 2; get b; else get a'
  accord txn 'when missing leader; create leader me; else get leader'
  accord txn 'when exists a and exists b; copy a tmp; copy b a; copy tmp b; del tmp'
  accord txn --file transfer.txn

The text may also come in several arguments, then each is a word, and a `;` is one of its own.

Exit code: 0, done, in either branch; 1, a step failed and nothing was done, or the conditions did
not hold and there is no `else`; 2, it is not understood; 3, it is unknown whether it was done."#;

const STEPS: [&str; 10] =
    ["put", "create", "update", "append", "get", "del", "copy", "incr", "list", "check"];
const CONDITIONS: [&str; 7] =
    ["value", "version", "created", "modified", "same", "exists", "missing"];

/// A transaction that was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// What to run.
    pub txn: CoreTxn,
    /// Each step of the first branch as it can be shown.
    pub then: Vec<String>,
    /// Each step of the other.
    pub otherwise: Vec<String>,
}

/// A word or a semicolon, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(usize, Vec<u8>),
    End(usize),
}

/// Understands a transaction.
///
/// # Errors
/// For people: what was expected where.
pub fn parse(text: &str) -> Result<Program, String> {
    Parser { tokens: tokens(text)?, at: 0 }.program()
}

/// Understands a transaction whose words are arguments.
///
/// # Errors
/// As [`parse`].
pub fn parse_words(words: &[String]) -> Result<Program, String> {
    let token = |(at, word): (usize, &String)| match word.as_str() {
        ";" => Token::End(at + 1),
        word => Token::Word(at + 1, word.as_bytes().to_vec()),
    };
    Parser { tokens: words.iter().enumerate().map(token).collect(), at: 0 }.program()
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match c {
            ';' | '\n' => tokens.push(Token::End(at + 1)),
            '#' => while rest.next_if(|(_, c)| *c != '\n').is_some() {},
            c if c.is_whitespace() => {}
            first => {
                let mut word = Vec::new();
                let mut next = Some(first);
                while let Some(c) = next {
                    match c {
                        '\'' | '"' => quote(c, at, &mut rest, &mut word)?,
                        c => word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                    }
                    next = rest.next_if(|(_, c)| !c.is_whitespace() && *c != ';').map(|(_, c)| c);
                }
                tokens.push(Token::Word(at + 1, word));
            }
        }
    }
    Ok(tokens)
}

/// The bytes of a word as it is printed: with escapes, in double quotes or without.
///
/// # Errors
/// For people: what was expected where.
pub fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut rest = text.char_indices().peekable();
    let mut word = Vec::new();
    if rest.next_if(|(_, c)| *c == '"').is_some() {
        quote('"', 0, &mut rest, &mut word)?;
        return match rest.next() {
            None => Ok(word),
            Some((at, _)) => Err(format!("at {}: expected the end behind the quote", at + 1)),
        };
    }
    while let Some((at, c)) = rest.next() {
        match c {
            '\\' => escape(at, &mut rest, &mut word)?,
            c => word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Ok(word)
}

type Chars<'a> = std::iter::Peekable<std::str::CharIndices<'a>>;

/// Takes what stands in quotes, the closing one included.
fn quote(mark: char, at: usize, rest: &mut Chars, word: &mut Vec<u8>) -> Result<(), String> {
    loop {
        match rest.next() {
            None => return Err(format!("at {}: the quote {mark} is not closed", at + 1)),
            Some((_, c)) if c == mark => return Ok(()),
            Some((at, '\\')) if mark == '"' => escape(at, rest, word)?,
            Some((_, c)) => word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn escape(at: usize, rest: &mut Chars, word: &mut Vec<u8>) -> Result<(), String> {
    let wrong =
        || format!("at {}: expected \\n, \\r, \\t, \\\", \\\\ or \\x and two digits", at + 1);
    let (_, c) = rest.next().ok_or_else(wrong)?;
    word.push(match c {
        'n' => b'\n',
        't' => b'\t',
        'r' => b'\r',
        '"' | '\\' | '\'' => c as u8,
        'x' => {
            let mut digit = || rest.next().and_then(|(_, c)| c.to_digit(16)).ok_or_else(wrong);
            (digit()? * 16 + digit()?) as u8
        }
        _ => return Err(wrong()),
    });
    Ok(())
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn program(mut self) -> Result<Program, String> {
        let mut program = Program::default();
        self.skip_ends();
        if self.take_keyword("when") {
            loop {
                program.txn.guard.push(self.condition()?);
                if !self.take_keyword("and") {
                    break;
                }
            }
            self.end("and, or ;")?;
        }
        let guarded = !program.txn.guard.is_empty();
        let mut in_else = false;
        loop {
            self.skip_ends();
            if guarded && !in_else && self.take_keyword("else") {
                in_else = true;
                continue;
            }
            if self.tokens.len() == self.at {
                break;
            }
            let (step, label) = self.step()?;
            let (steps, labels) = match in_else {
                false => (&mut program.txn.then, &mut program.then),
                true => (&mut program.txn.otherwise, &mut program.otherwise),
            };
            steps.push(step);
            labels.push(label);
            self.end("; or the end")?;
        }
        if program.then.is_empty() && program.otherwise.is_empty() {
            return Err("there is no step: `accord txn --help` shows how to write some".to_owned());
        }
        Ok(program)
    }

    fn skip_ends(&mut self) {
        while let Some(Token::End(_)) = self.tokens.get(self.at) {
            self.at += 1;
        }
    }

    /// The end of a statement; `else` may follow without a semicolon.
    fn end(&mut self, expected: &str) -> Result<(), String> {
        match self.tokens.get(self.at) {
            None | Some(Token::End(_)) => Ok(()),
            Some(Token::Word(_, word)) if word == b"else" => Ok(()),
            Some(_) => Err(self.expected(expected)),
        }
    }

    fn expected(&self, what: &str) -> String {
        match self.tokens.get(self.at) {
            Some(Token::Word(at, word)) => {
                format!("at {at}: expected {what}, found {}", named(word))
            }
            Some(Token::End(at)) => format!("at {at}: expected {what}, found the statement's end"),
            None => format!("at the end: expected {what}"),
        }
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let taken = matches!(self.tokens.get(self.at),
            Some(Token::Word(_, word)) if word == keyword.as_bytes());
        self.at += usize::from(taken);
        taken
    }

    fn has_word(&self) -> bool {
        matches!(self.tokens.get(self.at), Some(Token::Word(..)))
    }

    fn word(&mut self, what: &str) -> Result<Bytes, String> {
        let Some(Token::Word(_, word)) = self.tokens.get(self.at) else {
            return Err(self.expected(what));
        };
        let word = Bytes::copy_from_slice(word);
        self.at += 1;
        Ok(word)
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, String> {
        let before = self.at;
        let word = self.word(what)?;
        let number = str::from_utf8(&word).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| {
            self.at = before;
            self.expected(what)
        })
    }

    /// One of some words; a word that is none of them is named with the closest.
    fn one_of(&mut self, what: &str, known: &[&'static str]) -> Result<&'static str, String> {
        let found = match self.tokens.get(self.at) {
            Some(Token::Word(_, word)) => String::from_utf8_lossy(word).into_owned(),
            _ => return Err(self.expected(&format!("{what} ({})", known.join(", ")))),
        };
        if let Some(known) = known.iter().find(|known| **known == found) {
            self.at += 1;
            return Ok(known);
        }
        let close = closest(&found, known.iter().copied());
        let hint = close.map_or(String::new(), |close| format!("; did you mean {close}?"));
        Err(format!("{}{hint}", self.expected(&format!("{what} ({})", known.join(", ")))))
    }

    fn relation(&mut self) -> Result<Relation, String> {
        let known = ["=", "!=", "<", "<=", ">", ">="];
        Ok(match self.one_of("a relation", &known)? {
            "=" => Relation::Equal,
            "!=" => Relation::Unequal,
            "<" => Relation::Less,
            "<=" => Relation::AtMost,
            ">" => Relation::Greater,
            _ => Relation::AtLeast,
        })
    }

    fn condition(&mut self) -> Result<Compare, String> {
        let kind = self.one_of("a condition", &CONDITIONS)?;
        let key = self.word("a key")?;
        Ok(match kind {
            "value" => {
                Compare::Value { key, relation: self.relation()?, value: self.word("a value")? }
            }
            "version" => {
                let relation = self.relation()?;
                Compare::Version { key, relation, version: self.number("a version")? }
            }
            "created" => {
                let relation = self.relation()?;
                Compare::Created { key, relation, revision: Revision(self.number("a revision")?) }
            }
            "modified" => {
                let relation = self.relation()?;
                Compare::Modified { key, relation, revision: Revision(self.number("a revision")?) }
            }
            "same" => Compare::Keys { key, relation: Relation::Equal, other: self.word("a key")? },
            "exists" => Compare::Exists { key },
            _ => Compare::Missing { key },
        })
    }

    fn step(&mut self) -> Result<(Step, String), String> {
        let kind = self.one_of("a step", &STEPS)?;
        if kind == "check" {
            let from = self.at;
            let condition = self.condition()?;
            let words = self.tokens[from..self.at].iter().map(|token| match token {
                Token::Word(_, word) => quoted(word),
                Token::End(_) => String::new(),
            });
            let label = format!("check {}", words.collect::<Vec<_>>().join(" "));
            return Ok((Step::Compare(condition), label));
        }
        let key = self.word(if kind == "list" { "a prefix" } else { "a key" })?;
        let mut label = format!("{kind} {}", quoted(&key));
        let write = |flags| (flags, 0);
        let written = match kind {
            "put" => Some(write(Flags::CREATE | Flags::REPLACE)),
            "create" => Some(write(Flags::CREATE | Flags::EXCLUSIVE)),
            "update" => Some(write(Flags::REPLACE)),
            "append" => Some(write(Flags::CREATE | Flags::APPEND)),
            _ => None,
        };
        if let Some((flags, offset)) = written {
            let value = self.word("a value")?;
            return Ok((Step::Write { key, value, offset, flags }, label));
        }
        let step = match kind {
            "get" => Step::Read { key, offset: 0, length_max: u64::MAX },
            "del" => Step::Delete { key },
            "copy" => {
                let target = self.word("the key to copy to")?;
                label = format!("{label} {}", quoted(&target));
                Step::Copy { source: key, target, flags: Flags::CREATE }
            }
            "incr" => {
                let more = self.has_word();
                let delta = if more { self.number("a number to add, or ;")? } else { 1 };
                let (offset, width, flags) = (None, Width::Eight, Flags::CREATE);
                Step::Increment { key, delta, offset, width, flags }
            }
            _ => {
                let more = self.has_word();
                let limit = if more { self.number("a limit, or ;")? } else { 1000 };
                let range = Range::Prefix(key);
                Step::List(ListQuery { range, after: None, limit, keys_only: false })
            }
        };
        Ok((step, label))
    }
}

#[cfg(test)]
mod tests {
    use super::super::print::shown;
    use super::*;
    use accord_net::client::txn::{Steps, Txn, exists, missing, same, value, version};

    fn core(txn: impl Into<Txn>) -> CoreTxn {
        txn.into().as_core().clone()
    }

    #[test]
    fn what_is_typed_is_what_is_built() {
        let guarded = Txn::when(value("a").equals("1")).and(exists("b"));
        for (text, expected) in [
            ("put a 1", core(Steps::new().put("a", "1"))),
            ("put a 1; get b;", core(Steps::new().put("a", "1").get("b"))),
            (
                " \n put a 'x y'\n# no more\ndel b # gone",
                core(Steps::new().put("a", "x y").delete("b")),
            ),
            ("append \"\\x00\\n\" \u{e9}", core(Steps::new().append([0, 10], "\u{e9}"))),
            ("create a b;update a c", core(Steps::new().create("a", "b").update("a", "c"))),
            (
                "copy a b; incr n; incr n -5",
                core(Steps::new().copy("a", "b").increment("n", 1).increment("n", -5)),
            ),
            ("list '' 3; list p", core(Steps::new().list("", 3).list("p", 1000))),
            (
                "check version a >= 3",
                core(Steps::new().check(version("a").is(Relation::AtLeast, 3))),
            ),
            (
                "when value a = 1 and exists b; put a 2; else get a",
                core(
                    guarded
                        .clone()
                        .then(Steps::new().put("a", "2"))
                        .otherwise(Steps::new().get("a")),
                ),
            ),
            (
                "when value a = 1 and exists b; put a 2 else get a; get b",
                core(
                    guarded
                        .then(Steps::new().put("a", "2"))
                        .otherwise(Steps::new().get("a").get("b")),
                ),
            ),
            (
                "when same a b; del a",
                core(Txn::when(same("a", "b")).then(Steps::new().delete("a"))),
            ),
            (
                "when missing else; put else when",
                core(Txn::when(missing("else")).then(Steps::new().put("else", "when"))),
            ),
        ] {
            assert_eq!(parse(text).map(|program| program.txn), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_typed_again() {
        let mut all: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        for first in 0..=255_u8 {
            all.extend(
                [[first, b'"'], [first, b'\\'], [b'\\', first], [first, 0x80]].map(Vec::from),
            );
        }
        let more =
            ["", "a b", "x\\ry", "x\ry", "\u{fc}\u{200b}", "\u{2028}", "\\xff", "a'b", "# ;"];
        all.extend(more.map(|text| text.as_bytes().to_vec()));
        let mut seen = std::collections::BTreeMap::new();
        for bytes in all {
            let word = quoted(&bytes);
            let key = Bytes::from(bytes.clone());
            let txn = core(Steps::new().get(key));
            assert_eq!(parse(&format!("get {word}")).map(|p| p.txn), Ok(txn), "{word}");
            assert_eq!(unescaped(&word), Ok(bytes.clone()), "{word}");
            assert_eq!(unescaped(&shown(&bytes, false).replace('"', "\\\"")), Ok(bytes.clone()));
            if let Some(other) = seen.insert(word.clone(), bytes.clone()) {
                assert_eq!(other, bytes, "both are shown as {word}");
            }
        }
    }

    #[test]
    fn escapes_that_are_none_are_named_with_their_place() {
        for (text, expected) in [
            ("a\\q", "at 2: expected \\n"),
            ("\\x0", "at 1: expected \\n"),
            ("\"a", "at 1: the quote \" is not closed"),
            ("\"a\"b", "at 4: expected the end behind the quote"),
        ] {
            let error = unescaped(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn arguments_are_words() {
        let words = ["put", "a", "x; y", ";", "get", "a"].map(str::to_owned);
        let expected = core(Steps::new().put("a", "x; y").get("a"));
        assert_eq!(parse_words(&words).map(|program| program.txn), Ok(expected));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, expected) in [
            ("", "there is no step"),
            ("when exists a;", "there is no step"),
            (
                "putt a 1",
                "at 1: expected a step (put, create, update, append, get, del, copy, incr, list, check), found putt; did you mean put?",
            ),
            ("put a", "at the end: expected a value"),
            ("put a; get b", "at 6: expected a value, found the statement's end"),
            ("put a 1 2", "at 9: expected ; or the end, found 2"),
            (
                "when value a == 1; get a",
                "at 14: expected a relation (=, !=, <, <=, >, >=), found ==",
            ),
            ("when version a = x; get a", "at 18: expected a version, found x"),
            ("get 'a", "at 5: the quote ' is not closed"),
            ("get \"\\q\"", "at 6: expected \\n"),
            ("get a; else get b", "at 8: expected a step"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
