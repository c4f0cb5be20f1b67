//! Where settings come from: a file, the environment, flags. Each value keeps its place, so that
//! whatever turns out to be wrong with it can be named there.

use super::schema::{SECTIONS, Settings, is_setting, join, paths, section_at};
use super::suggest::closest;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// The variables of the environment that begin with this are settings.
const PREFIX: &str = "ACCORD_";
/// The variable for the list of servers; `ACCORD_SERVERS` tells clients where to connect.
const MEMBERS: &str = "ACCORD_MEMBERS";
/// Variables that mean something else.
const NOT_SETTINGS: [&str; 5] = [
    "ACCORD_SERVERS",
    "ACCORD_CONFIG",
    "ACCORD_TIMEOUT_MS",
    "ACCORD_FENCING_TOKEN",
    "ACCORD_LOCK_KEY",
];

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A place in the configuration file, both numbers from 1.
    File {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: usize,
        /// Which column.
        column: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// A flag, as it was typed.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// What is wrong with the settings, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// Where; none if it is about a default, or about the settings as a whole.
    pub place: Option<Place>,
    /// What, and what is allowed.
    pub message: String,
}

impl SettingsError {
    pub(super) fn new(place: Option<Place>, message: impl Into<String>) -> Self {
        Self { place, message: message.into() }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}
impl std::error::Error for SettingsError {}

/// A setting that was given outside of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// How: for messages.
    pub place: Place,
    /// Which setting, such as `ring.timeouts.token_loss_ms`.
    pub path: String,
    /// Its value as text. Servers are written `1=host:port,2=host:port`.
    pub text: String,
}

/// Where to look for settings.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// The flags, in order: a later one wins.
    pub flags: Vec<Given>,
}

/// The settings, and where each that is not a default comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What is odd, but not wrong.
    pub warnings: Vec<String>,
    pub(super) places: BTreeMap<String, Place>,
}

impl Sources {
    /// Puts the settings together.
    ///
    /// # Errors
    /// [`SettingsError`]: what is wrong with the form of a setting.
    pub fn load(&self) -> Result<Loaded, SettingsError> {
        let mut layers = Layers::default();
        if let Some(path) = &self.file {
            layers.read_file(path)?;
        }
        let known = variables();
        let mut warnings = Vec::new();
        for (name, text) in &self.environment {
            if !name.starts_with(PREFIX) || NOT_SETTINGS.contains(&name.as_str()) {
                continue;
            }
            match known.get(name) {
                Some(path) => layers.give(&Given {
                    place: Place::Variable(name.clone()),
                    path: path.clone(),
                    text: text.clone(),
                })?,
                // Container platforms set variables of their own, named after a service.
                None => warnings.push(unknown_variable(name, &known)),
            }
        }
        for given in &self.flags {
            layers.give(given)?;
        }
        let settings = Settings::deserialize(layers.table)
            .map_err(|error| SettingsError::new(None, error.message()))?;
        Ok(Loaded { settings, warnings, places: layers.places })
    }
}

/// The variables of the environment that are settings.
fn variables() -> BTreeMap<String, String> {
    let name = |path: &str| match path {
        "servers" => MEMBERS.to_owned(),
        path => format!("{PREFIX}{}", path.replace('.', "__").to_uppercase()),
    };
    paths().map(|path| (name(&path), path)).collect()
}

fn unknown_variable(name: &str, known: &BTreeMap<String, String>) -> String {
    let close = closest(name, known.keys().map(String::as_str));
    let hint = close.map_or(String::new(), |close| format!("; did you mean {close}?"));
    format!("environment variable {name} is no setting and is not looked at{hint}")
}

#[derive(Default)]
struct Layers {
    table: Table,
    places: BTreeMap<String, Place>,
}

/// A file under inspection.
struct File<'a> {
    path: &'a std::path::Path,
    text: &'a str,
    /// Each setting, with the spans of its name and of its value.
    found: Vec<(String, Range<usize>, Range<usize>)>,
}

impl Layers {
    fn read_file(&mut self, path: &std::path::Path) -> Result<(), SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let shown = path.display();
            let hint = "`accord config > accord.toml` writes one with all defaults";
            SettingsError::new(None, format!("cannot read {shown}: {error}. {hint}"))
        })?;
        let mut file = File { path, text: &text, found: Vec::new() };
        let parsed = DeTable::parse(&text).map_err(|error| file.error(&error))?;
        file.walk(parsed.get_ref(), "")?;
        toml::from_str::<Settings>(&text).map_err(|error| file.error(&error))?;
        self.table = toml::from_str(&text).map_err(|error| file.error(&error))?;
        for (path, name, _) in &file.found {
            self.places.insert(path.clone(), file.place(name.start));
        }
        Ok(())
    }

    fn give(&mut self, given: &Given) -> Result<(), SettingsError> {
        let wrong = |message: String| SettingsError::new(Some(given.place.clone()), message);
        if !is_setting(&given.path) {
            return Err(wrong(unknown_path(&given.path)));
        }
        let value = read_value(&given.path, given.text.trim()).map_err(wrong)?;
        let mut alone = Table::new();
        insert(&mut alone, &given.path, value.clone());
        Settings::deserialize(alone)
            .map_err(|error| wrong(format!("{}: {}", given.path, plain(error.message()))))?;
        insert(&mut self.table, &given.path, value);
        self.places.insert(given.path.clone(), given.place.clone());
        Ok(())
    }
}

impl File<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = &self.text[..offset.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Place::File { path: self.path.to_owned(), line, column }
    }

    fn error(&self, error: &toml::de::Error) -> SettingsError {
        let span = error.span();
        let at = span.as_ref().map_or(0, |span| span.start);
        let setting = self.found.iter().find(|(_, _, value)| value.contains(&at));
        let named = setting.map_or(String::new(), |(path, ..)| format!("{path}: "));
        let place = span.map(|span| self.place(span.start));
        SettingsError::new(place, format!("{named}{}", plain(error.message())))
    }

    /// Notes where each setting is, and finds the first that there is not.
    fn walk(&mut self, table: &DeTable, section: &str) -> Result<(), SettingsError> {
        for (name, value) in table.iter() {
            let path = join(section, name.get_ref());
            let at = name.span();
            if section_at(&path).is_some() {
                match value.get_ref() {
                    DeValue::Table(inner) => self.walk(inner, &path)?,
                    _ => {
                        let message = format!("{path} is a section: write [{path}]");
                        return Err(SettingsError::new(Some(self.place(at.start)), message));
                    }
                }
            } else if is_setting(&path) {
                self.found.push((path, at, value.span()));
            } else {
                let message = unknown_path(&path);
                return Err(SettingsError::new(Some(self.place(at.start)), message));
            }
        }
        Ok(())
    }
}

/// Says that there is no such setting, and which there are.
fn unknown_path(path: &str) -> String {
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    let Some(found) = section_at(section) else {
        let sections = SECTIONS.iter().map(|section| section.path).filter(|path| !path.is_empty());
        let sections: Vec<_> = sections.collect();
        let close = closest(section, sections.iter().copied());
        let hint = close.map_or(String::new(), |close| format!("did you mean {close}? "));
        return format!("unknown section `{section}`; {hint}There are: {}", sections.join(", "));
    };
    let names: Vec<_> = found.fields.iter().map(|field| field.name).collect();
    let elsewhere = paths().find(|path| path.rsplit('.').next() == Some(name));
    let hint = match (closest(name, names.iter().copied()), elsewhere) {
        (Some(close), _) => format!("did you mean {}?", join(section, close)),
        (None, Some(path)) => match path.rsplit_once('.') {
            Some((section, _)) => format!("it belongs to the section [{section}]."),
            None => "it belongs before the first section.".to_owned(),
        },
        (None, None) => String::new(),
    };
    let place = if section.is_empty() { "here" } else { "in this section" };
    format!("unknown setting `{path}`; {hint} Allowed {place}: {}", names.join(", "))
        .replace(";  ", "; ")
}

/// A deserializer's message in words for the author of the file.
fn plain(message: &str) -> String {
    const NUMBER: &str = "expected a whole number, 0 or more";
    let mut plain = message.trim().to_owned();
    for kind in ["u32", "u64", "usize"] {
        plain = plain.replace(&format!("expected {kind}"), NUMBER);
    }
    plain
        .replace("expected a sequence", "expected [[servers]] with `id` and `ring`")
        .replace('\n', " ")
}

/// Reads a value that was given as text, as the type of its default tells.
fn read_value(path: &str, text: &str) -> Result<Value, String> {
    let defaults = Table::try_from(Settings::default()).map_err(|error| error.to_string())?;
    let expected = |what: &str| format!("{path}: expected {what}, found `{text}`");
    match value_at(&defaults, path) {
        Some(Value::Integer(_)) => {
            let digits = text.replace('_', "");
            let number = digits.parse::<u64>().ok().and_then(|n| i64::try_from(n).ok());
            number.map(Value::Integer).ok_or_else(|| expected("a whole number, 0 or more"))
        }
        Some(Value::Boolean(_)) => match text {
            "true" | "1" => Ok(Value::Boolean(true)),
            "false" | "0" => Ok(Value::Boolean(false)),
            _ => Err(expected("true or false")),
        },
        Some(Value::Array(_)) => read_members(text).ok_or_else(|| {
            expected("the servers as ID=HOST:PORT,ID=HOST:PORT (such as 1=10.0.0.1:7900)")
        }),
        _ => Ok(Value::String(text.to_owned())),
    }
}

fn read_members(text: &str) -> Option<Value> {
    let member = |part: &str| {
        let (id, ring) = part.split_once('=')?;
        let id = Value::Integer(i64::from(id.trim().parse::<u32>().ok()?));
        let ring = Value::String(ring.trim().to_owned());
        Some(Value::Table([("id".to_owned(), id), ("ring".to_owned(), ring)].into_iter().collect()))
    };
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    parts.map(member).collect::<Option<Vec<_>>>().map(Value::Array)
}

/// The value at a path.
pub(super) fn value_at<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = table.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

fn insert(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
