//! Keys, prefixes, names and values as arguments: any bytes.

use super::{Failure, lang};
use clap::Args;
use std::ffi::OsString;

/// An argument as it was given, text or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word(Vec<u8>);

impl From<OsString> for Word {
    fn from(given: OsString) -> Self {
        Self(given.into_encoded_bytes())
    }
}

impl Word {
    /// True if it is this text.
    pub fn is(&self, text: &str) -> bool {
        self.0 == text.as_bytes()
    }
}

/// Whether arguments have escapes.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Escapes {
    /// Read keys and values that are arguments as they are printed: \n \r \t \" \\ \xff, in double
    /// quotes or without. Otherwise they are taken as they are.
    #[arg(long, global = true)]
    escaped: bool,
}

impl Escapes {
    /// The bytes that an argument stands for.
    ///
    /// # Errors
    /// [`Failure::misused`].
    pub fn bytes(self, word: &Word) -> Result<Vec<u8>, Failure> {
        if !self.escaped {
            return Ok(word.0.clone());
        }
        let wrong = |why: &str| Failure::misused(format!("--escaped: {why}"));
        let text = str::from_utf8(&word.0).map_err(|_| wrong("expected text with escapes"))?;
        lang::unescaped(text).map_err(|why| wrong(&why))
    }

    /// The bytes of an argument that may be absent.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn maybe(self, word: Option<&Word>) -> Result<Option<Vec<u8>>, Failure> {
        word.map(|word| self.bytes(word)).transpose()
    }
}
