//! The reader: one pass over the characters, recursive, with the depth counted.

use std::borrow::Cow;
use std::fmt;

use super::equal::repeated;
use super::{DEPTH_MAX, Name, Position, Value, number};

/// Why a text could not be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: expected {expected}, found {found}")]
pub struct ReadError {
    /// Where the reader stood.
    pub at: Position,
    /// What would have been right there.
    pub expected: String,
    /// What was there instead.
    pub found: String,
}

impl ReadError {
    /// An error at `at`.
    pub fn new(at: Position, expected: impl Into<String>, found: impl fmt::Display) -> Self {
        Self { at, expected: expected.into(), found: shorten(&found.to_string()) }
    }
}

/// Reads one value; anything but whitespace and comments after it is an error.
///
/// # Errors
/// If `text` is not exactly one well-formed value nested at most [`DEPTH_MAX`] deep.
pub fn read_value(text: &str) -> Result<Value, ReadError> {
    let mut reader = Reader::new(text);
    let value = reader.value("a value")?;
    reader.skip_blank()?;
    match reader.peek() {
        None => Ok(value),
        Some(c) => Err(ReadError::new(reader.at(), "the end of the text", Found(Some(c)))),
    }
}

/// Reads `bytes` as UTF-8.
///
/// # Errors
/// At the first byte that is not UTF-8.
pub fn utf8(bytes: &[u8]) -> Result<&str, ReadError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        let mut reader = Reader::new(good);
        while reader.bump().is_some() {}
        let byte = bytes[error.valid_up_to()];
        ReadError::new(reader.at(), "UTF-8 text", format!("the byte 0x{byte:02x}"))
    })
}

/// A cursor over the text that knows its line and column.
pub struct Reader<'a> {
    rest: std::str::Chars<'a>,
    at: Position,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { rest: text.chars(), at: Position { line: 1, column: 1 }, depth: 0 }
    }

    /// Where the reader stands.
    pub const fn at(&self) -> Position {
        self.at
    }

    /// The next character, not consumed.
    pub fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn peek_second(&self) -> Option<char> {
        self.rest.clone().nth(1)
    }

    /// Consumes and returns the next character.
    pub fn bump(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.at.line = self.at.line.saturating_add(1);
            self.at.column = 1;
        } else {
            self.at.column = self.at.column.saturating_add(1);
        }
        Some(c)
    }

    /// Skips whitespace, commas, `; comments` and `#_` discarded values.
    ///
    /// # Errors
    /// If a discarded value is itself malformed.
    pub fn skip_blank(&mut self) -> Result<(), ReadError> {
        loop {
            match self.peek() {
                Some(c) if is_blank(c) => {
                    self.bump();
                }
                Some(';') => while !matches!(self.bump(), None | Some('\n')) {},
                Some('#') if self.peek_second() == Some('_') => {
                    self.bump();
                    self.bump();
                    self.value("a value to discard after #_")?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Reads the next value, skipping blanks before it.
    ///
    /// # Errors
    /// If there is none, or it is malformed, or it nests deeper than [`DEPTH_MAX`].
    pub fn value(&mut self, expected: &str) -> Result<Value, ReadError> {
        if self.depth >= DEPTH_MAX {
            let deep = format!("nesting of at most {DEPTH_MAX} levels");
            return Err(ReadError::new(self.at, deep, "a deeper one"));
        }
        self.depth += 1;
        let value = self.value_inner(expected);
        self.depth -= 1;
        value
    }

    fn value_inner(&mut self, expected: &str) -> Result<Value, ReadError> {
        self.skip_blank()?;
        let at = self.at;
        match self.peek() {
            Some('[') => Ok(Value::Vector(self.items(']')?)),
            Some('(') => Ok(Value::List(self.items(')')?)),
            Some('{') => Ok(Value::Map(self.entries()?)),
            Some('"') => self.text(),
            Some('\\') => self.character(),
            Some(':') => {
                self.bump();
                let is_inside = self.peek() == Some('#');
                Ok(Value::Keyword(self.name("a keyword's name", is_inside)?))
            }
            Some('#') => self.dispatch(),
            Some(c) if is_name_start(c) => self.token(at),
            found => Err(ReadError::new(at, expected, Found(found))),
        }
    }

    fn items(&mut self, close: char) -> Result<Vec<Value>, ReadError> {
        self.bump();
        let mut items = Vec::new();
        loop {
            self.skip_blank()?;
            if self.peek() == Some(close) {
                self.bump();
                return Ok(items);
            }
            items.push(self.value(&format!("a value or '{close}'"))?);
        }
    }

    fn entries(&mut self) -> Result<Vec<(Value, Value)>, ReadError> {
        self.bump();
        let (mut entries, mut places) = (Vec::new(), Vec::new());
        loop {
            self.skip_blank()?;
            if self.peek() == Some('}') {
                self.bump();
                break;
            }
            places.push(self.at);
            let key = self.value("a key or '}'")?;
            let value = self.value("the key's value")?;
            entries.push((key, value));
        }
        let keys: Vec<&Value> = entries.iter().map(|(key, _)| key).collect();
        match repeated(&keys) {
            Some(at) => Err(ReadError::new(places[at], "a key once in a map", keys[at])),
            None => Ok(entries),
        }
    }

    fn set(&mut self) -> Result<Value, ReadError> {
        let at = self.at;
        let items = self.items('}')?;
        match repeated(&items) {
            Some(twice) => {
                let found = format!("{} twice", items[twice]);
                Err(ReadError::new(at, "a value once in a set", found))
            }
            None => Ok(Value::Set(items)),
        }
    }

    /// What begins with `#`: a set, a number such as `##NaN`, a tagged value, a map with a
    /// namespace for its keys.
    fn dispatch(&mut self) -> Result<Value, ReadError> {
        let at = self.at;
        self.bump();
        match self.peek() {
            Some('{') => return self.set(),
            Some('#') => {
                self.bump();
                let name = self.take_name();
                return match name.as_str() {
                    "NaN" | "Inf" | "-Inf" => Ok(Value::Number(format!("##{name}"))),
                    _ => Err(ReadError::new(at, "##NaN, ##Inf or ##-Inf", format!("##{name}"))),
                };
            }
            Some(':') => {
                self.bump();
                let namespace = self.name("a namespace", false)?;
                self.skip_blank()?;
                if self.peek() != Some('{') {
                    return Err(ReadError::new(self.at, "a map", Found(self.peek())));
                }
                let entries = self.entries()?.into_iter();
                let entries = entries.map(|(key, value)| (qualified(key, &namespace), value));
                let entries: Vec<_> = entries.collect();
                let keys: Vec<&Value> = entries.iter().map(|(key, _)| key).collect();
                return match repeated(&keys) {
                    Some(twice) => Err(ReadError::new(at, "a key once in a map", keys[twice])),
                    None => Ok(Value::Map(entries)),
                };
            }
            _ => {}
        }
        let tag = self.name("a tag's name or '{'", false)?;
        let value = self.value("the tagged value")?;
        Ok(Value::Tagged(tag, Box::new(value)))
    }

    /// A name; `is_inside`: what cannot begin one may come first.
    fn name(&mut self, expected: &str, is_inside: bool) -> Result<Name, ReadError> {
        let at = self.at;
        let begins = self.peek().is_some_and(|c| is_inside || is_name_start(c));
        let text = if begins { self.take_name() } else { String::new() };
        if text.is_empty() {
            return Err(ReadError::new(at, expected, Found(self.peek())));
        }
        Ok(Cow::Owned(text))
    }

    pub(super) fn take_name(&mut self) -> String {
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| is_name_char(*c)) {
            text.push(c);
            self.bump();
        }
        text
    }

    fn token(&mut self, at: Position) -> Result<Value, ReadError> {
        let text = self.take_name();
        match text.as_str() {
            "nil" => return Ok(Value::Nil),
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            _ => {}
        }
        let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Value::Symbol(Cow::Owned(text)));
        }
        number::read(&text).ok_or_else(|| ReadError::new(at, number::NUMBER, text))
    }
}

/// The key of a map that is written with a namespace for all its keys: those that have one keep it,
/// `_` stands for none.
fn qualified(key: Value, namespace: &str) -> Value {
    let qualify = |name: Name| match name.split_once('/') {
        Some(("_", name)) => Cow::Owned(name.to_owned()),
        Some(_) => name,
        None => Cow::Owned(format!("{namespace}/{name}")),
    };
    match key {
        Value::Keyword(name) => Value::Keyword(qualify(name)),
        Value::Symbol(name) => Value::Symbol(qualify(name)),
        other => other,
    }
}

pub(super) const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | ',' | '\x0c')
}

/// Whether a name may begin with it.
fn is_name_start(c: char) -> bool {
    is_name_char(c) && !matches!(c, ':' | '#' | '\'')
}

/// Whether it may stand in a name.
fn is_name_char(c: char) -> bool {
    !is_blank(c) && !c.is_control() && !"()[]{}\"\\;@^`~".contains(c)
}

/// A character, or the end, as an error names it.
pub(super) struct Found(pub(super) Option<char>);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(c) => write!(f, "{c:?}"),
            None => f.write_str("the end of the text"),
        }
    }
}

/// At most 60 characters of `text`: errors quote what they refuse, and that may be long.
fn shorten(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(SHOWN_CHARS_MAX).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_history_holds_reads_and_prints_the_same() {
        let text = r#"{:type :ok, :value [[:append "a\n" 1] nil true -5 2.5 #{1 :b} (x \c)]}"#;
        assert_eq!(read_value(text).unwrap().to_string(), text);
        let noisy = " ; story\n #_ {:left :out} #jepsen.history.Op{:time 9N}";
        assert_eq!(read_value(noisy).unwrap().to_string(), "#jepsen.history.Op {:time 9}");
    }

    #[test]
    fn what_clojure_prints_is_read() {
        let prints = [
            (
                r#"#object[java.lang.Object 0x7c2e1f1c "x"]"#,
                r#"#object [java.lang.Object 2083397404 "x"]"#,
            ),
            (r##"{"n1" ##NaN, "n2" ##-Inf}"##, r##"{"n1" ##NaN, "n2" ##-Inf}"##),
            ("[:a:b x# :x#y a:b :#k #:n{:a 1}]", "[:a:b x# :x#y a:b :#k {:n/a 1}]"),
            ("#user.Op{:f :read}", "#user.Op {:f :read}"),
            ("[0x10 017 36rZ 2/4 1.50M 1e400M 7N]", "[16 15 35 1/2 15e-1M 1e400M 7]"),
        ];
        for (text, printed) in prints {
            let value = read_value(text).unwrap();
            assert_eq!(value.to_string(), printed);
            assert_eq!(read_value(printed).unwrap(), value);
        }
    }

    #[test]
    fn nothing_is_twice_in_a_map_or_a_set() {
        let refused = |text: &str| read_value(text).unwrap_err().to_string();
        assert_eq!(refused("{:a 1, :b 2, :a 3}"), "1:14: expected a key once in a map, found :a");
        assert!(refused("[{[1] 1 (1N) 2}]").contains("a key once in a map, found (1)"));
        assert!(refused("#{1 2 0x1}").contains("a value once in a set, found 1 twice"));
        assert!(refused("#:n{:a 1 :n/a 2}").contains("a key once in a map, found :n/a"));
    }

    #[test]
    fn an_error_names_the_place_and_what_was_expected() {
        let error = read_value("{:a 1\n :b ]}").unwrap_err();
        assert_eq!(error.to_string(), "2:5: expected the key's value, found ']'");
        let error = read_value("[1 \"open").unwrap_err();
        assert_eq!(error.at, Position { line: 1, column: 4 });
        assert_eq!(utf8(b"ab\n\xff").unwrap_err().at, Position { line: 2, column: 1 });
        assert!(read_value("12abc").unwrap_err().expected.contains("number"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(read_value(&nest(DEPTH_MAX)).is_ok());
        assert!(read_value(&nest(DEPTH_MAX + 1)).unwrap_err().expected.contains("64 levels"));
        assert!(read_value(&"#_".repeat(100_000)).is_err());
        assert!(read_value(&"#a ".repeat(100_000)).is_err());
    }
}
