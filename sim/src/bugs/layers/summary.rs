//! Cells to rows: a bug in a layer over all its tries, as text and as CSV.
//!
//! Spread is told by the least and the most beside the median: there are too few tries for more.
//! Seeds and seconds are those of the tries that found the bug.

use super::layer::{Cell, Detection, Layer, Outcome};
use super::state::State;
use std::fmt::Write;

/// The least, the median and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The median; the lower one of two.
    pub median: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Self { min, median: values[(values.len() - 1) / 2], max })
    }
}

/// A bug in a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The bug.
    pub bug: String,
    /// The layer.
    pub layer: Layer,
    /// Tries that are done.
    pub tries: usize,
    /// Those that found it.
    pub found: usize,
    /// By which properties or tests, each once.
    pub by: Vec<String>,
    /// Seeds until it was found.
    pub seeds: Option<Spread>,
    /// Seconds until it was found; if it never was, seconds spent.
    pub seconds: Option<Spread>,
    /// The first seeds of the tries.
    pub from: Vec<u64>,
    /// Why the layer is not built, if it is not.
    pub not_built: Option<String>,
    /// The command that does the first try again.
    pub command: String,
}

/// The rows of `cells`, in their order.
pub fn rows(cells: &[Cell], state: &State) -> Vec<Row> {
    let of_row = |a: &Cell, b: &Cell| a.bug == b.bug && a.layer == b.layer;
    cells.chunk_by(of_row).map(|tries| row(tries, state)).collect()
}

fn row(cells: &[Cell], state: &State) -> Row {
    let (mut found, mut missed, mut not_built) = (Vec::new(), Vec::new(), None);
    let mut from = Vec::new();
    for cell in cells {
        match state.get(cell) {
            Some(Outcome::Found(it)) => found.push(it),
            Some(Outcome::Missed { seconds, .. }) => missed.push(seconds),
            Some(Outcome::NotBuilt(why)) => {
                not_built = Some(why);
                continue;
            }
            Some(Outcome::Broken(_)) | None => continue,
        }
        from.push(cell.from);
    }
    let draws = cells[0].layer.draws_seeds();
    let seeds = found.iter().filter(|_| draws).map(|it| it.seeds as f64).collect();
    let seconds = found.iter().map(|Detection { seconds, .. }| *seconds).collect();
    let mut by: Vec<String> = found.iter().map(|it| it.by.clone()).collect();
    by.sort();
    by.dedup();
    Row {
        bug: cells[0].bug.clone(),
        layer: cells[0].layer,
        tries: found.len() + missed.len(),
        found: found.len(),
        by,
        seeds: Spread::of(seeds),
        seconds: Spread::of(seconds).or_else(|| Spread::of(missed)),
        from,
        not_built,
        command: cells[0].command(),
    }
}

fn told(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or("-".to_owned(), |Spread { min, median, max }| {
        format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
    })
}

fn verdict(row: &Row) -> String {
    match (row.tries, row.found) {
        (0, _) if row.not_built.is_some() => "not built here".to_owned(),
        (0, _) => "-".to_owned(),
        (tries, found) => format!("{found} of {tries}"),
    }
}

/// The table for a terminal.
pub fn text(rows: &[Row]) -> String {
    let mut out = format!(
        "{:31} {:10} {:14} {:>22} {:>24}  by\n",
        "bug", "layer", "found", "seeds", "seconds"
    );
    for row in rows {
        let (seeds, seconds) = (told(row.seeds, 0), told(row.seconds, 1));
        let (bug, layer, verdict, by) =
            (&row.bug, row.layer.name(), verdict(row), row.by.join("; "));
        writeln!(out, "{bug:31} {layer:10} {verdict:14} {seeds:>22} {seconds:>24}  {by}")
            .expect("a string takes all");
    }
    out
}

/// The table for programs.
pub fn csv(rows: &[Row]) -> String {
    let mut out = String::from(
        "bug,layer,tries,found,by,seeds_median,seeds_min,seeds_max,\
         seconds_median,seconds_min,seconds_max,first_seeds,command\n",
    );
    let spread = |spread: Option<Spread>| match spread {
        None => [String::new(), String::new(), String::new()],
        Some(Spread { min, median, max }) => [median, min, max].map(|value| format!("{value:.3}")),
    };
    for row in rows {
        let from: Vec<String> = row.from.iter().map(u64::to_string).collect();
        let mut cells = vec![row.bug.clone(), row.layer.name().to_owned()];
        match row.tries {
            0 => cells.extend([verdict(row), String::new()]),
            tries => cells.extend([tries.to_string(), row.found.to_string()]),
        }
        cells.push(row.by.join("; "));
        cells.extend(spread(row.seeds));
        cells.extend(spread(row.seconds));
        cells.extend([from.join(" "), row.command.clone()]);
        let quoted: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        out.push_str(&quoted.join(","));
        out.push('\n');
    }
    out
}

/// A cell as RFC 4180 has it.
fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_least_median_and_most() {
        let spread = Spread::of(vec![9.0, 1.0, 4.0]).expect("there are values");
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 4.0, 9.0));
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn a_row_counts_the_tries_that_found_the_bug() {
        let file = std::env::temp_dir().join(format!("summary-{}.json", std::process::id()));
        let mut state = State::read(&file).expect("an empty state");
        let cell = |from, layer| Cell { bug: "one".into(), layer, from, budget_seconds: 5 };
        let cells = [cell(0, Layer::Bare), cell(10, Layer::Bare), cell(20, Layer::Bare)];
        for (cell, seeds) in cells.iter().zip([4, 8]) {
            let found = Detection { by: "a, \"b\"".into(), seeds, seconds: seeds as f64 };
            state.keep(cell, Outcome::Found(found)).expect("it is kept");
        }
        state.keep(&cells[2], Outcome::Missed { seeds: 99, seconds: 5.0 }).expect("it is kept");
        let rows = rows(&cells, &state);
        assert_eq!((rows.len(), rows[0].tries, rows[0].found), (1, 3, 2));
        assert_eq!(rows[0].seeds.map(|it| (it.min, it.median, it.max)), Some((4.0, 4.0, 8.0)));
        let csv = csv(&rows);
        let row = "one,bare,3,2,\"a, \"\"b\"\"\",4.000,4.000,8.000,4.000,4.000,8.000,0 10 20,\
                   cargo sim bugs one --from 0 --budget-seconds 5\n";
        assert!(csv.ends_with(row), "{csv}");
        assert!(text(&rows).contains("2 of 3"));
        std::fs::remove_file(&file).expect("it is there");
    }
}
