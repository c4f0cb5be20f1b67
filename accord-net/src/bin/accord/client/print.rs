//! Keys and values on a terminal, in pipes and in JSON.
//!
//! What is shown tells different bytes apart, and can be typed in a transaction again: what is no
//! text, or would play tricks on a terminal, is escaped (`\x00`), and so is the backslash. Into a
//! file or a pipe a value goes as it is. JSON has bytes that are no text as hexadecimal digits
//! under `NAME_hex` instead of `NAME`.

use crate::out;
use accord_net::client::Stat;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::io::{self, IsTerminal};

/// A JSON object under construction.
pub type Object = Map<String, Value>;

/// The most bytes of a value in a list.
pub const LISTED_BYTES_MAX: usize = 256;
/// The most bytes of a key in a message.
const NAMED_BYTES_MAX: usize = 64;

/// Bytes as text, with escapes; different ones for different bytes. `lines`: they may be of several
/// lines.
pub fn shown(bytes: &[u8], lines: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\n' | '\t' if lines => text.push(c),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c if c.is_control() || is_invisible(c) => {
                    escape(c.encode_utf8(&mut [0; 4]).as_bytes(), &mut text);
                }
                c => text.push(c),
            }
        }
        escape(chunk.invalid(), &mut text);
    }
    text
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// Characters that cannot be seen, or reverse the order of their neighbours.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Bytes as a word that can be typed again in a transaction: quoted, if they must be.
pub fn quoted(bytes: &[u8]) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !"\"'\\;#".contains(c) || c.is_alphanumeric();
    match str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        _ => in_quotes(bytes),
    }
}

fn in_quotes(bytes: &[u8]) -> String {
    format!("\"{}\"", shown(bytes, false).replace('"', "\\\""))
}

/// As [`quoted`]; of more than `bytes_max` bytes only the first, with the total.
pub fn shortened(bytes: &[u8], bytes_max: usize) -> String {
    if bytes.len() <= bytes_max {
        return quoted(bytes);
    }
    // No character is cut in two, if it is text.
    let boundary = |at: &usize| bytes[*at] & 0b1100_0000 != 0b1000_0000;
    let end = (bytes_max.saturating_sub(3)..=bytes_max).rev().find(boundary).unwrap_or(bytes_max);
    format!("{}... ({} bytes)", in_quotes(&bytes[..end]), bytes.len())
}

/// A key or a name in a message.
pub fn named(key: &[u8]) -> String {
    shortened(key, NAMED_BYTES_MAX)
}

/// The beginning of a step in a message; all of it, if it is not long.
pub fn cut(label: &str) -> String {
    match label.char_indices().nth(2 * NAMED_BYTES_MAX) {
        Some((end, _)) => format!("{}... ({} bytes)", &label[..end], label.len()),
        None => label.to_owned(),
    }
}

/// True for text that a terminal shows as it is.
fn is_text(bytes: &[u8]) -> bool {
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    str::from_utf8(bytes).is_ok_and(|text| text.chars().all(harmless))
}

/// What is printed of a value that was asked for: on a terminal its text, with escapes; elsewhere
/// the value as it is, and a new line only behind text that does not end in one.
fn output(value: &[u8], terminal: bool) -> Vec<u8> {
    if terminal {
        return format!("{}\n", shown(value, true)).into_bytes();
    }
    let mut bytes = value.to_vec();
    if is_text(value) && !value.ends_with(b"\n") {
        bytes.push(b'\n');
    }
    bytes
}

/// Prints a value that was asked for. `raw`: nothing but its bytes, wherever they go.
pub fn print_value(value: &[u8], raw: bool) -> u8 {
    match raw {
        true => out::print_bytes(value),
        false => out::print_bytes(&output(value, io::stdout().is_terminal())),
    }
}

/// Puts bytes under this name, or as hexadecimal digits under `NAME_hex`.
pub fn put_bytes(object: &mut Object, name: &str, bytes: &[u8]) {
    match str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_hex"), hex(bytes).into()),
    };
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Puts what is known of a record.
pub fn put_stat(object: &mut Object, stat: &Stat) {
    object.insert("version".to_owned(), stat.version.into());
    object.insert("created".to_owned(), stat.created.0.into());
    object.insert("modified".to_owned(), stat.modified.0.into());
    object.insert("size".to_owned(), stat.size.into());
    if let Some(owner) = stat.owner {
        object.insert("owner".to_owned(), owner.0.into());
    }
}

/// What is known of a record, in a line.
pub fn stat_line(stat: &Stat) -> String {
    let owner =
        stat.owner.map_or(String::new(), |owner| format!(", dies with session {}", owner.0));
    format!(
        "version {}, created at {}, changed at {}, {} bytes{owner}",
        stat.version, stat.created.0, stat.modified.0, stat.size
    )
}

/// An object as a line.
pub fn line(object: Object) -> String {
    format!("{}\n", Value::Object(object))
}

/// A number that an increment made, of four or eight bytes, with its sign.
pub fn number(bytes: &[u8]) -> Option<i64> {
    if let Ok(bytes) = <[u8; 8]>::try_from(bytes) {
        return Some(i64::from_le_bytes(bytes));
    }
    <[u8; 4]>::try_from(bytes).ok().map(|bytes| i32::from_le_bytes(bytes).into())
}

/// A number of eight bytes as it is shown: below zero, it was counted down from zero.
pub const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_it_is_and_bytes_are_escaped() {
        for (bytes, expected) in [
            (&b"plain text"[..], "plain text"),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n"),
            (b"\x1b[2J", "\\x1b[2J"),
            (b"\xff\x00", "\\xff\\x00"),
            (b"two\nlines", "two\\nlines"),
            (b"x\ry", "x\\ry"),
            (b"x\\ry", "x\\\\ry"),
            ("\u{fc}\0".as_bytes(), "\u{fc}\\x00"),
            ("a\u{200b}b\u{202e}".as_bytes(), "a\\xe2\\x80\\x8bb\\xe2\\x80\\xae"),
        ] {
            assert_eq!(shown(bytes, false), expected);
        }
        assert_eq!(shown(b"two\nlines\r\n", true), "two\nlines\\r\n");
    }

    #[test]
    fn words_are_quoted_if_they_must_be_and_long_ones_are_cut() {
        for (bytes, expected) in [
            (&b"config/a"[..], "config/a"),
            (b"a = b", "\"a = b\""),
            (b"", "\"\""),
            (b"say \"so\"", "\"say \\\"so\\\"\""),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n"),
        ] {
            assert_eq!(quoted(bytes), expected);
        }
        assert_eq!(shortened(b"12345678", 8), "12345678");
        assert_eq!(shortened(b"123456789", 8), "\"12345678\"... (9 bytes)");
        assert_eq!(shortened("1234567\u{fc}".as_bytes(), 8), "\"1234567\"... (9 bytes)");
        assert_eq!(shortened(&[0xff; 9], 2), "\"\\xff\\xff\"... (9 bytes)");
        assert!(named(&[b'k'; 70_000]).ends_with("k\"... (70000 bytes)"));
    }

    #[test]
    fn into_a_pipe_a_value_goes_as_it_is() {
        for (value, piped) in [
            (&b"one\r\ntwo\r\n"[..], &b"one\r\ntwo\r\n"[..]),
            (b"a\\b", b"a\\b\n"),
            (b"\xff\xd8", b"\xff\xd8"),
            (b"\x05\0\0\0\0\0\0\0", b"\x05\0\0\0\0\0\0\0"),
            (b"", b"\n"),
        ] {
            assert_eq!(output(value, false), piped);
        }
        assert_eq!(output(b"one\r\n", true), b"one\\r\n\n");
    }

    #[test]
    fn json_tells_text_and_bytes_apart() {
        let mut object = Object::new();
        put_bytes(&mut object, "key", b"a");
        put_bytes(&mut object, "value", b"\xff\x00");
        assert_eq!(line(object), "{\"key\":\"a\",\"value_hex\":\"ff00\"}\n");
    }
}
