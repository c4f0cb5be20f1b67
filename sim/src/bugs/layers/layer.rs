//! The layers: what each runs on a bug, and how what it says is read.
//!
//! `tests` are those of the part that the bug is in; `bare`, `turmoil` and `madsim` are worlds of
//! the simulator, all run in the copy that has the bug; `stateright` is the exhaustive models, and
//! they make a copy of their own.
//!
//! Invariant: what fails without the bug as well is not counted, so it is looked at once without a
//! bug.

use super::super::hunt::{self, Found, Hunt};
use super::super::trial::{self, Verdict};
use crate::worlds::WorldKind;
use accord_bugs::catalogue::{Bug, Patched};
use accord_bugs::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A layer of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Tests of the part that the bug is in: core, storage, checkers.
    Tests,
    /// The bare simulated world.
    Bare,
    /// The driver in turmoil's world.
    Turmoil,
    /// The driver in madsim's world.
    Madsim,
    /// The exhaustive models.
    Stateright,
}

impl Layer {
    /// Every layer, in the order of the table.
    pub const ALL: [Self; 5] =
        [Self::Tests, Self::Bare, Self::Turmoil, Self::Madsim, Self::Stateright];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tests => "tests",
            Self::Bare => "bare",
            Self::Turmoil => "turmoil",
            Self::Madsim => "madsim",
            Self::Stateright => "stateright",
        }
    }

    /// The world that it runs.
    pub const fn world(self) -> Option<WorldKind> {
        match self {
            Self::Bare => Some(WorldKind::Bare),
            Self::Turmoil => Some(WorldKind::Turmoil),
            Self::Madsim => Some(WorldKind::Madsim),
            Self::Tests | Self::Stateright => None,
        }
    }

    /// True if what it does depends on a seed.
    pub const fn draws_seeds(self) -> bool {
        self.world().is_some()
    }

    /// True if it runs whole servers, in a simulator of sockets.
    pub const fn needs_simulators(self) -> bool {
        matches!(self.world(), Some(WorldKind::Turmoil | WorldKind::Madsim))
    }

    /// Reads the word for a layer.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|layer| layer.name() == text);
        named.ok_or_else(|| format!("expected some of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// The layer that a patch names, and in it the tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The layer.
    pub layer: Layer,
    /// The package of the tests and what cargo is told besides, if the layer is the tests and the
    /// patch says which.
    suite: Option<Suite>,
}

impl Named {
    /// Where a bug is tried first. Without a word in its patch that is the bare world.
    ///
    /// # Errors
    /// For people: what its patch should say.
    pub fn of(bug: &Bug) -> Result<Self, String> {
        let Some(text) = &bug.found_by else {
            return Ok(Self { layer: Layer::Bare, suite: None });
        };
        let mut words = text.split_whitespace();
        let layer = Layer::parse(words.next().unwrap_or_default());
        let layer = layer.map_err(|why| format!("{}.patch: Found by: {why}", bug.name))?;
        let suite = words.next().filter(|_| layer == Layer::Tests).map(|package| Suite {
            package: package.to_owned(),
            arguments: words.map(str::to_owned).collect(),
        });
        Ok(Self { layer, suite })
    }
}

/// One bug in one layer from one first seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The bug.
    pub bug: String,
    /// The layer.
    pub layer: Layer,
    /// The first seed; zero where there are none.
    pub from: u64,
    /// How long it may take, without the build.
    pub budget_seconds: u64,
}

impl Cell {
    /// The one command that does it again.
    pub fn command(&self) -> String {
        let Self { bug, layer, from, budget_seconds } = self;
        match layer {
            Layer::Bare => {
                format!("cargo sim bugs {bug} --from {from} --budget-seconds {budget_seconds}")
            }
            Layer::Stateright => {
                format!("cargo run --release -p accord-explore -- verify --planted {bug}")
            }
            Layer::Tests => {
                format!("cargo sim bugs {bug} --all-layers --layers tests --again")
            }
            layer => format!(
                "cargo sim bugs {bug} --all-layers --layers {} --tries 1 --from {from} \
                 --budget-seconds {budget_seconds} --again",
                layer.name()
            ),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.bug, self.layer.name())?;
        if self.layer.draws_seeds() { write!(f, " from seed {}", self.from) } else { Ok(()) }
    }
}

/// A bug that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// By which property or which tests.
    pub by: String,
    /// After how many seeds; zero where there are none.
    pub seeds: u64,
    /// After how many seconds, without the build.
    pub seconds: f64,
}

/// What came of a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is found.
    Found(Detection),
    /// It is not, within so many seeds and seconds.
    Missed {
        /// Seeds that held; zero where there are none.
        seeds: u64,
        /// Seconds.
        seconds: f64,
    },
    /// The layer is not part of this build.
    NotBuilt(String),
    /// It could not be tried.
    Broken(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(Detection { by, seeds, seconds }) => {
                write!(f, "found by {by}, {seeds} seeds, {seconds:.1} s")
            }
            Self::Missed { seeds, seconds } => {
                write!(f, "not found, {seeds} seeds, {seconds:.1} s")
            }
            Self::NotBuilt(why) => write!(f, "not built here: {why}"),
            Self::Broken(why) => write!(f, "CANNOT BE TRIED: {why}"),
        }
    }
}

/// The copy's program.
struct Built {
    bug: String,
    all_worlds: bool,
    program: PathBuf,
}

/// Runs cells.
pub struct Runner {
    root: PathBuf,
    tree: Tree,
    threads: NonZero<usize>,
    /// Whether every program is built with all worlds.
    all_worlds: bool,
    /// The bug that the copy has.
    built: Option<Built>,
    /// Tests that fail without a bug, once they were looked at.
    failing_anyway: BTreeMap<Suite, BTreeSet<String>>,
}

impl Runner {
    /// A runner of cells of these layers, and seldom of others, of the sources at `root`.
    pub fn new(root: &Path, threads: NonZero<usize>, layers: &[Layer]) -> Self {
        // One build of all worlds for each bug, not a second one besides that of the bare world.
        let all_worlds = layers.iter().any(|layer| layer.needs_simulators());
        let (root, tree) = (root.to_owned(), Tree::of(root));
        Self { root, tree, threads, all_worlds, built: None, failing_anyway: BTreeMap::new() }
    }

    /// Runs one cell.
    pub fn run(&mut self, bug: &Bug, cell: &Cell, tell: &dyn Fn(&str)) -> Outcome {
        let outcome = match (cell.layer.world(), cell.layer) {
            (Some(world), _) => self.world(world, (bug, cell), tell),
            (None, Layer::Stateright) => self.stateright(cell, tell),
            (None, _) => self.tests(bug, None, tell),
        };
        outcome.unwrap_or_else(Outcome::Broken)
    }

    /// The program of the copy that has the bug, with this world in it.
    fn program(
        &mut self,
        bug: &Bug,
        world: WorldKind,
        tell: &dyn Fn(&str),
    ) -> Result<PathBuf, String> {
        let all_worlds = self.all_worlds || world != WorldKind::Bare;
        if let Some(built) = &self.built
            && built.bug == bug.name
            && (built.all_worlds || !all_worlds)
        {
            return Ok(built.program.clone());
        }
        self.built = None;
        tell("building");
        let tree = if all_worlds { Tree::with_worlds(&self.root) } else { Tree::of(&self.root) };
        let program = accord_bugs::build(&tree, &self.root, bug)?;
        let built = Built { bug: bug.name.clone(), all_worlds, program: program.clone() };
        self.built = Some(built);
        Ok(program)
    }

    /// Tries a bug in the layer that its patch names. `None`: it is not found there.
    ///
    /// # Errors
    /// For people: what could not be tried.
    pub fn named(
        &mut self,
        bug: &Bug,
        named: &Named,
        (from, budget_seconds): (u64, u64),
        tell: &dyn Fn(&str),
    ) -> Result<Option<String>, String> {
        let layer = named.layer;
        let outcome = match &named.suite {
            Some(suite) => self.tests(bug, Some(suite.clone()), tell)?,
            None => {
                let cell = Cell { bug: bug.name.clone(), layer, from, budget_seconds };
                self.run(bug, &cell, tell)
            }
        };
        match outcome {
            Outcome::Found(Detection { by, .. }) => Ok(Some(format!("{}: {by}", layer.name()))),
            Outcome::Missed { .. } => Ok(None),
            Outcome::NotBuilt(why) | Outcome::Broken(why) => Err(why),
        }
    }

    /// Which layer other than the worlds finds the bug: the tests of its part, then the models.
    ///
    /// # Errors
    /// For people: what could not be tried.
    pub fn beside_worlds(
        &mut self,
        bug: &Bug,
        tell: &dyn Fn(&str),
    ) -> Result<Option<String>, String> {
        for layer in [Layer::Tests, Layer::Stateright] {
            let cell = Cell { bug: bug.name.clone(), layer, from: 0, budget_seconds: 0 };
            match self.run(bug, &cell, tell) {
                Outcome::Found(Detection { by, .. }) => {
                    return Ok(Some(format!("{}: {by}", layer.name())));
                }
                Outcome::Missed { .. } | Outcome::NotBuilt(_) => {}
                Outcome::Broken(why) => return Err(why),
            }
        }
        Ok(None)
    }

    fn world(
        &mut self,
        world: WorldKind,
        (bug, cell): (&Bug, &Cell),
        tell: &dyn Fn(&str),
    ) -> Result<Outcome, String> {
        if let Some(why) = world.missing() {
            return Ok(Outcome::NotBuilt(why));
        }
        let program = self.program(bug, world, tell)?;
        let hunt = Hunt {
            world,
            from: cell.from,
            budget: Duration::from_secs(cell.budget_seconds),
            threads: self.threads,
            shrink: false,
        };
        let begun = Instant::now();
        let report = trial::hunt_in(&program, hunt, &tell)?;
        let seconds = begun.elapsed().as_secs_f64();
        let verdict = trial::judge(report, |seed| hunt::try_seed(world, seed));
        Ok(read_verdict(verdict, cell.from, seconds))
    }

    /// Tries a bug by a suite, or by the tests of the part that it is in.
    fn tests(
        &mut self,
        bug: &Bug,
        suite: Option<Suite>,
        tell: &dyn Fn(&str),
    ) -> Result<Outcome, String> {
        let patched = bug.apply(&self.root).map_err(|error| error.to_string())?;
        let suite = suite.unwrap_or_else(|| Suite::of(&patched));
        if !self.failing_anyway.contains_key(&suite) {
            tell("testing without a bug");
            let (failing, _) = self.failing_tests(&suite, &Patched::new())?;
            self.failing_anyway.insert(suite.clone(), failing);
        }
        tell("testing");
        let (failing, seconds) = self.failing_tests(&suite, &patched)?;
        let by: Vec<&String> = failing.difference(&self.failing_anyway[&suite]).collect();
        Ok(match by.split_first() {
            None => Outcome::Missed { seeds: 0, seconds },
            Some((first, rest)) => {
                let more = if rest.is_empty() {
                    String::new()
                } else {
                    format!(" and {} more", rest.len())
                };
                Outcome::Found(Detection { by: format!("{first}{more}"), seeds: 0, seconds })
            }
        })
    }

    /// The tests that fail in the copy, and how long they took after the build.
    fn failing_tests(
        &mut self,
        suite: &Suite,
        patched: &Patched,
    ) -> Result<(BTreeSet<String>, f64), String> {
        self.built = None;
        self.tree.sync(patched).map_err(|error| format!("the copy cannot be written: {error}"))?;
        let cargo = |arguments: &[&str]| {
            self.tree
                .cargo(&["test", "--offline", "--package", &suite.package])
                .args(&suite.arguments)
                .args(arguments)
                .output()
                .map_err(|error| format!("cargo cannot be run: {error}"))
        };
        let built = cargo(&["--no-run"])?;
        if !built.status.success() {
            return Err(format!("the tests do not build:\n{}", last_lines(&text(&built.stderr))));
        }
        let begun = Instant::now();
        let output = cargo(&["--no-fail-fast"])?;
        let seconds = begun.elapsed().as_secs_f64();
        let said = text(&output.stdout);
        if !said.contains("test result: ") {
            return Err(format!("no test ran:\n{}", last_lines(&text(&output.stderr))));
        }
        Ok((failed_tests(&said), seconds))
    }

    fn stateright(&self, cell: &Cell, tell: &dyn Fn(&str)) -> Result<Outcome, String> {
        tell("going through the models");
        let begun = Instant::now();
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["run", "--release", "--quiet", "--package", "accord-explore"])
            .args(["--", "verify", "--planted", &cell.bug])
            .current_dir(&self.root)
            // The program only drives a copy: optimizing it as a whole takes longer than it runs.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cargo cannot be run: {error}"))?;
        let seconds = begun.elapsed().as_secs_f64();
        Ok(read_models(&text(&output.stdout), &text(&output.stderr), seconds))
    }
}

/// The tests of the part that a bug is in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Suite {
    package: String,
    arguments: Vec<String>,
}

/// True if a bug lies in the checkers alone: no world comes to anything else with it.
pub fn is_in_checkers(patched: &Patched) -> bool {
    patched.keys().all(|path| path.starts_with("models"))
}

impl Suite {
    fn of(patched: &Patched) -> Self {
        let touches = |part: &str| patched.keys().any(|path| path.starts_with(part));
        if touches("accord-net/storage") {
            return Self::new("accord-storage", &["--lib", "--test", "store"]);
        }
        if touches("accord-net") {
            return Self::new("accord-net", &["--lib", "--test", "directory"]);
        }
        let package = if is_in_checkers(patched) { "accord-models" } else { "accord-core" };
        Self::new(package, &[])
    }

    fn new(package: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        Self { package: package.to_owned(), arguments }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// The names in lines such as `test log::tests::ends ... FAILED`.
fn failed_tests(said: &str) -> BTreeSet<String> {
    said.lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .map(str::to_owned)
        .collect()
}

/// What came of a cell whose hunt came to this.
fn read_verdict(verdict: Verdict, from: u64, seconds: f64) -> Outcome {
    match verdict {
        Verdict::Found(Found { seed, property, .. }) => {
            Outcome::Found(Detection { by: property, seeds: seed - from + 1, seconds })
        }
        Verdict::FoundBeside { by } => Outcome::Found(Detection { by, seeds: 0, seconds }),
        Verdict::NotFound { seeds } => Outcome::Missed { seeds, seconds },
        Verdict::FailsAnyway(Found { seed, .. }) => {
            Outcome::Broken(format!("seed {seed} fails without the bug as well"))
        }
        Verdict::Broken(why) => Outcome::Broken(why),
    }
}

/// What `accord-explore verify --planted` says. The build is part of the time.
fn read_models(said: &str, wrong: &str, seconds: f64) -> Outcome {
    let property = said.lines().find_map(|line| {
        let (name, rest) = line.strip_suffix(" does not hold:")?.split_once(": ")?;
        Some(format!("{rest} ({name})"))
    });
    let has = |what: &str| said.lines().any(|line| line.contains(what));
    if let Some(line) = said.lines().find(|line| line.contains(": CANNOT BE TRIED: ")) {
        return Outcome::Broken(line.to_owned());
    }
    match property {
        Some(by) if has(": found, ") => Outcome::Found(Detection { by, seeds: 0, seconds }),
        _ if has(": NOT FOUND in ") => Outcome::Missed { seeds: 0, seconds },
        _ => Outcome::Broken(format!("it ended without a word on the bug:\n{}", last_lines(wrong))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_tried_by_the_tests_of_its_part() {
        let package = |paths: &[&str]| {
            let patched = paths.iter().map(|path| (PathBuf::from(path), String::new()));
            Suite::of(&patched.collect()).package
        };
        assert_eq!(package(&["models/src/check/lock.rs"]), "accord-models");
        assert_eq!(package(&["models/src/check/lock.rs", "accord-core/src/x.rs"]), "accord-core");
        assert_eq!(package(&["accord-net/storage/src/log.rs"]), "accord-storage");
        assert_eq!(package(&["accord-net/src/server/mod.rs"]), "accord-net");
    }

    #[test]
    fn a_patch_names_the_layer_that_is_tried_first() {
        let named = |line: &str| {
            let text = format!("# It is.\n{line}--- a/x\n");
            Named::of(&Bug::parse("x".to_owned(), text).expect("it has a story"))
        };
        assert_eq!(named(""), Ok(Named { layer: Layer::Bare, suite: None }));
        let turmoil = named("# Found by: turmoil\n");
        assert_eq!(turmoil, Ok(Named { layer: Layer::Turmoil, suite: None }));
        let suite = Some(Suite::new("accord-core", &["--test", "traces"]));
        let tests = named("# Found by: tests accord-core --test traces\n");
        assert_eq!(tests, Ok(Named { layer: Layer::Tests, suite }));
        assert!(named("# Found by: luck\n").is_err_and(|why| why.contains("x.patch")));
    }

    #[test]
    fn failed_tests_are_told_by_their_names() {
        let said =
            "running 2 tests\ntest a::b ... ok\ntest c::d ... FAILED\n\ntest result: FAILED.";
        assert_eq!(failed_tests(said).into_iter().collect::<Vec<_>>(), ["c::d"]);
    }

    #[test]
    fn a_seed_that_fails_without_the_bug_is_no_find() {
        let catch = Found { seed: 12, property: "reads-fresh".into(), ..Found::default() };
        let found = Detection { by: "reads-fresh".into(), seeds: 3, seconds: 1.0 };
        let verdict = Verdict::Found(catch.clone());
        assert_eq!(read_verdict(verdict, 10, 1.0), Outcome::Found(found));
        let anyway = read_verdict(Verdict::FailsAnyway(catch), 10, 1.0);
        assert!(matches!(anyway, Outcome::Broken(_)), "{anyway}");
        let missed = Outcome::Missed { seeds: 30, seconds: 1.0 };
        assert_eq!(read_verdict(Verdict::NotFound { seeds: 30 }, 10, 1.0), missed);
    }

    #[test]
    fn what_the_models_say_is_read() {
        let said = "x: It is.\nmodel ...\n\nreplica-3: one log does not hold:\n\
                    1. begins\nx: found, 12 s with the build\n";
        let found = Detection { by: "one log (replica-3)".into(), seeds: 0, seconds: 2.0 };
        assert_eq!(read_models(said, "", 2.0), Outcome::Found(found));
        let missed = Outcome::Missed { seeds: 0, seconds: 2.0 };
        assert_eq!(read_models("x: NOT FOUND in 9 s\n", "", 2.0), missed);
        for said in ["", "x: CANNOT BE TRIED: no\n"] {
            assert!(matches!(read_models(said, "", 2.0), Outcome::Broken(_)), "{said}");
        }
    }
}
