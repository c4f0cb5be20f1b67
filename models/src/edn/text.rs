//! Strings and characters, with the escapes that Clojure prints and reads.

use super::Value;
use super::read::{Found, ReadError, Reader, is_blank};

/// Characters that have names.
pub(super) const NAMED: [(&str, char); 6] = [
    ("newline", '\n'),
    ("space", ' '),
    ("tab", '\t'),
    ("return", '\r'),
    ("formfeed", '\x0c'),
    ("backspace", '\x08'),
];

const ESCAPES: &str = r#"one of \n \t \r \f \b \" \\ \uXXXX \0 to \377"#;
const CHARACTER: &str = r"a character such as \a, \newline, \u0041 or \o101";

impl Reader<'_> {
    /// A string, from its opening quote on.
    pub(super) fn text(&mut self) -> Result<Value, ReadError> {
        let start = self.at();
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                Some('"') => return Ok(Value::Text(text)),
                Some('\\') => text.push(self.escape()?),
                Some(c) => text.push(c),
                None => return Err(ReadError::new(start, "a string that ends", "none that does")),
            }
        }
    }

    /// What stands after a backslash in a string.
    fn escape(&mut self) -> Result<char, ReadError> {
        let at = self.at();
        match self.bump() {
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some('f') => Ok('\x0c'),
            Some('b') => Ok('\x08'),
            Some(c @ ('"' | '\\')) => Ok(c),
            Some('u') => self.unicode(),
            Some(c) if c.is_digit(8) => {
                let mut code = c.to_digit(8).unwrap_or(0);
                let mut length = 1;
                while let Some(digit) = self.peek().and_then(|c| c.to_digit(8))
                    && length < 3
                {
                    code = code * 8 + digit;
                    length += 1;
                    self.bump();
                }
                let wrong = || ReadError::new(at, r"\0 to \377", format!("\\{code:o}"));
                u8::try_from(code).map(char::from).map_err(|_| wrong())
            }
            found => Err(ReadError::new(at, ESCAPES, Found(found))),
        }
    }

    /// A character after `\u`: four digits, or twice four for one past 16 bits.
    fn unicode(&mut self) -> Result<char, ReadError> {
        let at = self.at();
        let first = self.four_digits()?;
        let mut units = vec![first];
        if (0xd800..0xdc00).contains(&first) && self.peek() == Some('\\') {
            self.bump();
            if self.bump() == Some('u') {
                units.push(self.four_digits()?);
            }
        }
        match char::decode_utf16(units.iter().copied()).collect::<Result<Vec<char>, _>>().as_deref()
        {
            Ok([c]) => Ok(*c),
            _ => {
                let found = format!("\\u{first:04x}, half a surrogate pair");
                Err(ReadError::new(at, "a character's code", found))
            }
        }
    }

    fn four_digits(&mut self) -> Result<u16, ReadError> {
        let mut code = 0;
        for _ in 0..4 {
            let at = self.at();
            let digit = self.bump();
            let value = digit.and_then(|c| c.to_digit(16));
            let wrong = || ReadError::new(at, "four hexadecimal digits", Found(digit));
            code = code * 16 + value.ok_or_else(wrong)?;
        }
        Ok(code as u16)
    }

    /// A character, from its backslash on.
    pub(super) fn character(&mut self) -> Result<Value, ReadError> {
        self.bump();
        let at = self.at();
        let Some(first) = self.bump() else {
            return Err(ReadError::new(at, "a character after '\\'", Found(None)));
        };
        if is_blank(first) && first != ',' {
            return Err(ReadError::new(at, "a character after '\\'", Found(Some(first))));
        }
        let rest = self.take_name();
        if rest.is_empty() {
            return Ok(Value::Char(first));
        }
        let name = format!("{first}{rest}");
        let named = NAMED.iter().find(|(known, _)| *known == name).map(|(_, c)| *c);
        let coded = |digits: usize, radix: u32, max: u32| {
            let is_code = rest.len() <= digits && rest.chars().all(|c| c.is_digit(radix));
            let code =
                u32::from_str_radix(&rest, radix).ok().filter(|code| is_code && *code <= max);
            code.and_then(char::from_u32)
        };
        let c = named.or_else(|| match first {
            'u' if rest.len() == 4 => coded(4, 16, 0xffff),
            'o' => coded(3, 8, 0o377),
            _ => None,
        });
        c.map(Value::Char).ok_or_else(|| ReadError::new(at, CHARACTER, format!("\\{name}")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::read_value;
    use super::*;

    #[test]
    fn every_escape_of_a_string_is_read() {
        let read = |text: &str| match read_value(text) {
            Ok(Value::Text(text)) => text,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(read(r#""\n\t\r\f\b\"\\""#), "\n\t\r\x0c\x08\"\\");
        assert_eq!(read(r#""\0\12\1234\377z""#), "\0\nS4\u{ff}z");
        assert_eq!(read(r#""\u0041\ud83d\ude00""#), "A\u{1f600}");
        let refused = |text: &str| read_value(text).unwrap_err().to_string();
        assert_eq!(
            refused(r#""\ud83d""#),
            r"1:4: expected a character's code, found \ud83d, half a surrogate pair"
        );
        assert!(refused(r#""\ud83d\n""#).contains("half a surrogate pair"));
        assert!(refused(r#""\ude00\ud83d""#).contains("half a surrogate pair"));
        assert!(refused(r#""\ud83d\u0041""#).contains("half a surrogate pair"));
        assert_eq!(refused(r#""\400""#), r"1:3: expected \0 to \377, found \400");
        assert!(refused(r#""\x""#).contains(ESCAPES));
        assert!(refused(r#""\u00g0""#).starts_with("1:6: expected four hexadecimal digits"));
    }

    #[test]
    fn characters_have_names_and_codes() {
        let pairs = [
            (r"\a", 'a'),
            (r"\\", '\\'),
            (r"\(", '('),
            (r"\,", ','),
            (r"\newline", '\n'),
            (r"\u0041", 'A'),
            (r"\o101", 'A'),
            (r"\o0", '\0'),
            (r"\u", 'u'),
            (r"\o", 'o'),
            (r"\backspace", '\x08'),
        ];
        for (text, c) in pairs {
            let value = read_value(text).unwrap();
            assert_eq!(value, Value::Char(c), "{text}");
            assert_eq!(read_value(&value.to_string()).unwrap(), value, "{text}");
        }
        for wrong in [r"\foo", r"\u004", r"\ud800", r"\o400", r"\o8", r"\u00411"] {
            assert!(read_value(wrong).unwrap_err().expected == CHARACTER, "{wrong}");
        }
    }
}
