//! Which layer of the tests finds which bug, and how fast: the table of all bugs by all layers.
//!
//! A cell is one bug in one layer from one first seed. Layers that draw seeds are tried several
//! times, from seeds that lie far apart, so that the table tells luck from power. It takes hours:
//! what is done is kept ([`state`]) and not done again, and can be interrupted at any time.
//!
//! Read in this order: [`layer`] (what is run, and how what it says is read), [`state`] (what is
//! kept), [`summary`] (cells to rows, as text and CSV), [`plot`] (as a picture).

pub mod layer;
pub mod plot;
pub mod state;
pub mod summary;

use crate::worlds::WorldKind;
use accord_bugs::catalogue::{Bug, Catalogue, CatalogueError};
use accord_bugs::tree;
use indicatif::{ProgressBar, ProgressStyle};
use layer::{Cell, Layer, Outcome, Runner};
use state::State;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// First seeds of two tries lie this far apart: no try reaches the worlds of the next.
const SEEDS_APART: u64 = 1_000_000;

/// What `accord-sim bugs --all-layers` takes.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "layers-options")]
pub struct Options {
    /// Try each bug in every layer of the tests, and write the table of all.
    #[arg(long)]
    pub all_layers: bool,
    /// Only these layers, separated by commas: tests, bare, turmoil, madsim, stateright.
    #[arg(long, value_name = "LIST", requires = "all_layers", value_delimiter = ',',
        value_parser = Layer::parse)]
    pub layers: Vec<Layer>,
    /// Tries of each bug in a layer that draws seeds, each from another first seed.
    #[arg(long, value_name = "N", requires = "all_layers", default_value_t = 3,
        value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub tries: u64,
    /// The first seed of the first try.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub from: u64,
    /// Keep what is done in this file, and do not do it again. Below target/bugs if not given.
    #[arg(long, value_name = "FILE", requires = "all_layers")]
    pub state: Option<PathBuf>,
    /// Do what is asked again, though it is done.
    #[arg(long, requires = "all_layers")]
    pub again: bool,
    /// Write layers.csv and layers.svg to this directory. It is target/bugs if not given.
    #[arg(long, value_name = "DIR", requires = "all_layers")]
    pub table: Option<PathBuf>,
}

/// Fills the table. The exit code is 0 if every cell could be tried, 1 if one could not, 2 if the
/// request makes no sense.
pub fn run(
    options: &Options,
    names: &[String],
    budget: Duration,
    threads: NonZero<usize>,
) -> ExitCode {
    match fill(options, names, budget, threads) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            complain!("error: {message}");
            ExitCode::from(super::BAD_INPUT)
        }
    }
}

fn fill(
    options: &Options,
    names: &[String],
    budget: Duration,
    threads: NonZero<usize>,
) -> Result<bool, String> {
    let told = |error: CatalogueError| error.to_string();
    let root = tree::workspace().map_err(told)?;
    let bugs = Catalogue::read(&root).and_then(|all| all.choose(names)).map_err(told)?;
    let place = root.join("target/bugs");
    let table = options.table.clone().unwrap_or_else(|| place.clone());
    for directory in [&place, &table] {
        fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    let file = options.state.clone().unwrap_or_else(|| place.join("layers.json"));
    let mut state = State::read(&file)?;
    let layers =
        if options.layers.is_empty() { Layer::ALL.to_vec() } else { options.layers.clone() };
    // Said before hours go into the other layers.
    if layers.iter().any(|layer| layer.needs_simulators())
        && let Some(why) = WorldKind::Turmoil.missing()
    {
        return Err(why);
    }
    if options.from.checked_add(options.tries * SEEDS_APART).is_none() {
        return Err(format!("--from {}: the last try would be past the last seed", options.from));
    }
    let cells = cells(&bugs, &layers, options, budget);
    let mut runner = Runner::new(&root, threads, &layers);
    let well = fill_cells(&cells, &mut state, options.again, |bug, cell, tell| {
        runner.run(bug, cell, tell)
    })?;
    let wanted: Vec<Cell> = cells.into_iter().map(|(_, cell)| cell).collect();
    let rows = summary::rows(&wanted, &state);
    say_text!("\n{}", summary::text(&rows));
    write(&table.join("layers.csv"), &summary::csv(&rows))?;
    write(&table.join("layers.svg"), &plot::svg(&rows)?)?;
    complain!("table: {}", table.join("layers.csv").display());
    Ok(well)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// All cells, a bug's one after the other, so that its copy is built once.
fn cells<'a>(
    bugs: &'a [Bug],
    layers: &[Layer],
    options: &Options,
    budget: Duration,
) -> Vec<(&'a Bug, Cell)> {
    let mut cells = Vec::new();
    for bug in bugs {
        for layer in layers {
            let tries = if layer.draws_seeds() { options.tries } else { 1 };
            cells.extend((0..tries).map(|number| {
                let from = options.from + number * SEEDS_APART;
                let budget_seconds = budget.as_secs();
                (bug, Cell { bug: bug.name.clone(), layer: *layer, from, budget_seconds })
            }));
        }
    }
    cells
}

/// Does what is not done, and keeps each result at once. False if something could not be tried.
fn fill_cells(
    cells: &[(&Bug, Cell)],
    state: &mut State,
    again: bool,
    mut run: impl FnMut(&Bug, &Cell, &dyn Fn(&str)) -> Outcome,
) -> Result<bool, String> {
    let bar = ProgressBar::new(cells.len() as u64);
    let style = ProgressStyle::with_template("{bar:20} {pos}/{len} {elapsed} {msg}, {eta} left");
    bar.set_style(style.expect("it is well-formed"));
    bar.enable_steady_tick(Duration::from_secs(1));
    let mut well = true;
    for (bug, cell) in cells {
        if again || state.get(cell).is_none() {
            let outcome = run(bug, cell, &|now| bar.set_message(format!("{cell}: {now}")));
            bar.suspend(|| complain!("{cell}: {outcome}"));
            well &= !matches!(outcome, Outcome::Broken(_));
            state.keep(cell, outcome)?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(well)
}

#[cfg(test)]
mod tests {
    use super::layer::Detection;
    use super::*;
    use std::cell::RefCell;

    fn options() -> Options {
        Options {
            all_layers: true,
            layers: Vec::new(),
            tries: 2,
            from: 7,
            state: None,
            again: false,
            table: None,
        }
    }

    #[test]
    fn what_is_done_is_not_done_again_and_what_could_not_be_tried_is() {
        let bug =
            |name: &str| Bug::parse(name.into(), "# It is.\n".into()).expect("it has a story");
        let bugs = [bug("one"), bug("two")];
        let layers = [Layer::Tests, Layer::Bare, Layer::Turmoil];
        let cells = cells(&bugs, &layers, &options(), Duration::from_secs(5));
        assert_eq!(cells.len(), 2 * (1 + 2 + 2));
        assert_eq!(cells[2].1.from, 7 + SEEDS_APART);
        let file = std::env::temp_dir().join(format!("layers-{}.json", std::process::id()));
        let ran = RefCell::new(0);
        let fake = |_: &Bug, cell: &Cell, _: &dyn Fn(&str)| {
            *ran.borrow_mut() += 1;
            match cell.layer {
                Layer::Tests => Outcome::Broken("no".into()),
                Layer::Bare => Outcome::Found(Detection { by: "x".into(), seeds: 3, seconds: 0.5 }),
                _ => Outcome::NotBuilt("no such world".into()),
            }
        };
        let mut state = State::read(&file).expect("an empty state");
        assert_eq!(fill_cells(&cells, &mut state, false, fake), Ok(false));
        assert_eq!(*ran.borrow(), 10);
        let mut state = State::read(&file).expect("its own file");
        assert_eq!(fill_cells(&cells, &mut state, false, fake), Ok(false));
        assert_eq!(*ran.borrow(), 10 + 2 + 4, "the cells that came to nothing");
        assert_eq!(fill_cells(&cells[1..3], &mut state, true, fake), Ok(true));
        assert_eq!(*ran.borrow(), 16 + 2, "asked for again");
        let wanted: Vec<Cell> = cells.into_iter().map(|(_, cell)| cell).collect();
        let rows = summary::rows(&wanted, &state);
        assert_eq!(rows.len(), 6, "a row for each bug in each layer");
        let svg = plot::svg(&rows).expect("it can be drawn");
        assert!(svg.contains("<svg") && svg.contains("two") && svg.contains("turmoil"), "{svg}");
        fs::remove_file(&file).expect("it was written");
    }
}
