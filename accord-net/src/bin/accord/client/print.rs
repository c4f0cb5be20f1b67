//! Keys and values on a terminal and in JSON.
//!
//! Text is shown as it is. Bytes that are no text, or would play tricks on a terminal, are escaped
//! (`\x00`); JSON has them as hexadecimal digits under `NAME_hex` instead of `NAME`.

use accord_net::client::Stat;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// A JSON object under construction.
pub type Object = Map<String, Value>;

/// Bytes for a terminal. `lines`: they may be of several lines.
pub fn shown(bytes: &[u8], lines: bool) -> String {
    let harmless = |c: char| !c.is_control() || (lines && (c == '\n' || c == '\t'));
    match str::from_utf8(bytes) {
        Ok(text) if text.chars().all(harmless) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

/// Bytes as they can be typed again in a transaction: quoted, if they must be.
pub fn quoted(bytes: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"'\\;#".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return shown(bytes, false);
    }
    format!("\"{}\"", shown(bytes, false))
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
        ] {
            assert_eq!(shown(bytes, false), expected);
        }
        assert_eq!(shown(b"two\nlines", true), "two\nlines");
    }

    #[test]
    fn json_tells_text_and_bytes_apart() {
        let mut object = Object::new();
        put_bytes(&mut object, "key", b"a");
        put_bytes(&mut object, "value", b"\xff\x00");
        assert_eq!(line(object), "{\"key\":\"a\",\"value_hex\":\"ff00\"}\n");
    }
}
