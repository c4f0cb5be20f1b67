//! Values as text, such that reading the text gives the value again.

use std::fmt::{self, Display, Formatter, Write};

use super::Value;
use super::text::NAMED;

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Number(digits) => f.write_str(digits),
            Self::Char(c) => write_char(f, *c),
            Self::Text(text) => write_text(f, text),
            Self::Keyword(name) => write!(f, ":{name}"),
            Self::Symbol(name) => f.write_str(name),
            Self::List(items) => write_items(f, "(", items, ")"),
            Self::Vector(items) => write_items(f, "[", items, "]"),
            Self::Set(items) => write_items(f, "#{", items, "}"),
            Self::Map(entries) => write_entries(f, entries),
            Self::Tagged(tag, inner) => write!(f, "#{tag} {inner}"),
        }
    }
}

fn write_char(f: &mut Formatter<'_>, c: char) -> fmt::Result {
    match NAMED.iter().find(|(_, named)| *named == c) {
        Some((name, _)) => write!(f, "\\{name}"),
        None if (c.is_control() || c.is_whitespace()) && (c as u32) < 0x10000 => {
            write!(f, "\\u{:04x}", c as u32)
        }
        None => write!(f, "\\{c}"),
    }
}

fn write_items(f: &mut Formatter<'_>, open: &str, items: &[Value], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_char(' ')?;
        }
        Display::fmt(item, f)?;
    }
    f.write_str(close)
}

fn write_entries(f: &mut Formatter<'_>, entries: &[(Value, Value)]) -> fmt::Result {
    f.write_char('{')?;
    for (i, (key, value)) in entries.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{key} {value}")?;
    }
    f.write_char('}')
}

fn write_text(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() && (c as u32) < 0x10000 => write!(f, "\\u{:04x}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
