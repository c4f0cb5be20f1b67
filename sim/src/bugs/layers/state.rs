//! What is done of the table, in a file of JSON: an entry for each cell.
//!
//! Invariant: the file is complete at any time, since it is written beside and then put in place.
//! What could not be tried is not kept: it is tried again.

use super::layer::{Cell, Detection, Outcome};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What is done.
#[derive(Clone, Debug)]
pub struct State {
    file: PathBuf,
    cells: Map<String, Value>,
    /// Why a layer is not built, by cell; of this run only.
    not_built: Map<String, Value>,
}

/// What distinguishes a cell: seeds and time only where they decide anything.
fn key(cell: &Cell) -> String {
    let Cell { bug, layer, from, budget_seconds } = cell;
    match layer.draws_seeds() {
        true => format!("{bug} {} {from} {budget_seconds}s", layer.name()),
        false => format!("{bug} {}", layer.name()),
    }
}

impl State {
    /// Reads the file; nothing is done if there is none.
    ///
    /// # Errors
    /// For people: why the file cannot be read.
    pub fn read(file: &Path) -> Result<Self, String> {
        let wrong = |why: String| {
            format!("{}: {why}; it is not a table of layers, or move it away", file.display())
        };
        let cells = match fs::read_to_string(file) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
            Err(error) => return Err(wrong(error.to_string())),
        };
        Ok(Self { file: file.to_owned(), cells, not_built: Map::new() })
    }

    /// What came of a cell, if it is done.
    pub fn get(&self, cell: &Cell) -> Option<Outcome> {
        let key = key(cell);
        if let Some(why) = self.not_built.get(&key) {
            return Some(Outcome::NotBuilt(why.as_str().unwrap_or_default().to_owned()));
        }
        let value = self.cells.get(&key)?;
        let seconds = value.get("seconds")?.as_f64()?;
        let seeds = value.get("seeds")?.as_u64()?;
        Some(match value.get("by").and_then(Value::as_str) {
            Some(by) => Outcome::Found(Detection { by: by.to_owned(), seeds, seconds }),
            None => Outcome::Missed { seeds, seconds },
        })
    }

    /// Keeps what came of a cell.
    ///
    /// # Errors
    /// For people: why the file cannot be written.
    pub fn keep(&mut self, cell: &Cell, outcome: Outcome) -> Result<(), String> {
        let value = match outcome {
            Outcome::Found(Detection { by, seeds, seconds }) => {
                json!({"by": by, "seeds": seeds, "seconds": seconds})
            }
            Outcome::Missed { seeds, seconds } => {
                json!({"by": null, "seeds": seeds, "seconds": seconds})
            }
            Outcome::NotBuilt(why) => {
                self.not_built.insert(key(cell), json!(why));
                return Ok(());
            }
            Outcome::Broken(_) => return Ok(()),
        };
        self.cells.insert(key(cell), value);
        let beside = self.file.with_extension("new");
        let text = format!("{:#}\n", Value::Object(self.cells.clone()));
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, &self.file))
            .map_err(|error| format!("{}: {error}", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_none_of_ours_is_refused_with_its_name() {
        let file = std::env::temp_dir().join(format!("state-{}.json", std::process::id()));
        fs::write(&file, "not json").expect("it can be written");
        let said = State::read(&file).expect_err("it is refused");
        assert!(said.contains("state-") && said.contains("move it away"), "{said}");
        fs::remove_file(&file).expect("it is there");
    }
}
