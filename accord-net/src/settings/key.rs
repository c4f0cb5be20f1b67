//! The secret of a cluster: 32 random bytes, written as hexadecimal digits.

use crate::env::real::draw;
use std::fmt::Write as _;

/// The bytes of a key.
const KEY_BYTES: usize = 32;

/// A fresh key, as hexadecimal digits.
pub fn new_key() -> String {
    let mut text = String::with_capacity(2 * KEY_BYTES);
    for _ in 0..KEY_BYTES / 8 {
        let _ = write!(text, "{:016x}", draw());
    }
    text
}

/// Reads a key; white space around it does not matter.
///
/// # Errors
/// What is expected instead.
pub fn key_from_hex(text: &str) -> Result<[u8; KEY_BYTES], String> {
    let text = text.trim();
    let digits = text.chars().count();
    if digits != 2 * KEY_BYTES {
        return Err(format!(
            "a key has {} hexadecimal digits, this one has {digits}: make one with `accord key`",
            2 * KEY_BYTES
        ));
    }
    let mut key = [0; KEY_BYTES];
    for (at, byte) in key.iter_mut().enumerate() {
        let digits = text.get(2 * at..2 * at + 2).filter(|two| !two.starts_with('+'));
        let parsed = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        *byte = parsed.ok_or("a key has hexadecimal digits only: make one with `accord key`")?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_reads_back_and_is_new() {
        let (one, other) = (new_key(), new_key());
        assert_ne!(one, other);
        let bytes = key_from_hex(&format!(" {one}\n")).unwrap();
        assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), one);
    }

    #[test]
    fn what_is_no_key_is_named() {
        for (text, expected) in [
            ("", "this one has 0"),
            ("00", "this one has 2"),
            (&"x".repeat(64), "hexadecimal digits only"),
            (&"+1".repeat(32), "hexadecimal digits only"),
            (&"\u{e9}0".repeat(32), "hexadecimal digits only"),
        ] {
            let error = key_from_hex(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
