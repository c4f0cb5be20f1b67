//! The part of EDN (extensible data notation) that histories are written in.
//!
//! Histories come from files, so reading is total: any bytes give a [`Value`] or a [`ReadError`]
//! that names the line, the column and what was expected. Nesting is bounded by [`DEPTH_MAX`] and
//! memory by a constant multiple of the input. What Clojure prints is read, `#object[...]`, `##NaN`
//! and `#:namespace{...}` among it. Refused are: a key or element twice in a map or set, half a
//! surrogate pair, numbers that Clojure refuses (`08`), ratios past 128 bits, numbers of more than
//! 1,024 characters, and what only Clojure's reader for programs takes: `'x`, `@x`, `^{..} x`,
//! `#(..)`, `#'x`, `#"regex"`, `::k`.
//!
//! Values are equal by what they are, not by how they are written ([`Value`]). Continue in [`read`]
//! for the grammar, or in [`crate::history`] for what is made of the values.
//!
//! Invariant: [`read::read_value`] of a printed value gives the same value.

mod equal;
mod number;
mod print;
pub mod read;
mod text;

use std::borrow::Cow;
use std::fmt;

pub use read::ReadError;

/// How deeply collections may nest. Histories need about five levels.
pub const DEPTH_MAX: usize = 64;

/// A keyword, symbol or tag without its `:` or `#`; borrowed when the program itself wrote it.
pub type Name = Cow<'static, str>;

/// An EDN value.
///
/// Equality is EDN's: maps and sets whatever the order of their entries, lists and vectors with
/// equal items, one number in several spellings (`1` and `1N`, `1.50` and `1.5`), nested values and
/// keys too. As with Clojure's `=`, a whole number, a float (`1.0`) and a decimal (`1M`) are never
/// equal. The order is total, stable and agrees with equality, so that values can be keys of
/// ordered maps. Maps and sets keep the order in which they were written.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// `nil`: nothing, absent, not known.
    #[default]
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number of 64 bits.
    Int(i64),
    /// Any other number, in the one spelling that all its equals have: floats, decimals, ratios,
    /// numbers past 64 bits, `##NaN`, `##Inf` and `##-Inf`.
    Number(String),
    /// A character.
    Char(char),
    /// A string.
    Text(String),
    /// `:keyword`.
    Keyword(Name),
    /// `symbol`.
    Symbol(Name),
    /// `(a b)`.
    List(Vec<Value>),
    /// `[a b]`.
    Vector(Vec<Value>),
    /// `{k v}`, in the order written.
    Map(Vec<(Value, Value)>),
    /// `#{a b}`, in the order written.
    Set(Vec<Value>),
    /// `#tag value`.
    Tagged(Name, Box<Value>),
}

impl Value {
    /// The keyword `:name`.
    pub const fn keyword(name: &'static str) -> Self {
        Self::Keyword(Cow::Borrowed(name))
    }

    /// The vector of `items`.
    pub fn vector(items: impl IntoIterator<Item = Self>) -> Self {
        Self::Vector(items.into_iter().collect())
    }

    /// The map whose keys are the keywords `entries.0`.
    pub fn map(entries: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        Self::Map(entries.into_iter().map(|(k, v)| (Self::keyword(k), v)).collect())
    }

    /// The string `text`.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Whether this is `nil`.
    pub const fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }

    /// The number, if this is a whole number of 64 bits.
    pub const fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The number, if this is a whole number that is not negative.
    pub fn as_count(&self) -> Option<u64> {
        self.as_int().and_then(|n| u64::try_from(n).ok())
    }

    /// The name, if this is a keyword.
    pub fn as_keyword(&self) -> Option<&str> {
        match self {
            Self::Keyword(name) => Some(name),
            _ => None,
        }
    }

    /// The items of a vector or list; a tag before it (`#jepsen.independent/tuple`) is overlooked.
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::Vector(items) | Self::List(items) => Some(items),
            Self::Tagged(_, inner) => inner.items(),
            _ => None,
        }
    }

    /// The value at the keyword `key` of a map; `None` if this is no map or has no such key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => {
                entries.iter().find(|(k, _)| k.as_keyword() == Some(key)).map(|(_, v)| v)
            }
            Self::Tagged(_, inner) => inner.get(key),
            _ => None,
        }
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<u64> for Value {
    /// Numbers past `i64::MAX` become a [`Value::Number`].
    fn from(n: u64) -> Self {
        i64::try_from(n).map_or_else(|_| Self::Number(format!("{n}N")), Self::Int)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

/// A place in the text that was read: line and column, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The line, from 1; 0 for what was recorded by a program and never read from text.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}
