//! What a team's nightly run asks besides: worlds that differ from commit to commit, a budget of
//! time, regressions that run first, reports in files.
//!
//! A file of regressions has a line for each world that once failed: `seed 42`, with what the
//! campaign fixed (`seed 42 --servers 5 --set limits=tiny`), or `plan some.plan`, from the file's
//! own directory. Empty lines and what follows a `#` are for people.

use super::args::{WorldArgs, read_plan};
use crate::plan::Plan;
use crate::report::typed::typed_path;
use clap::{Args, Parser};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// What a nightly run needs.
#[derive(Clone, Debug, Default, Args)]
pub struct NightlyArgs {
    /// Derive the first seed from any text, such as a commit's hash: other worlds for each commit,
    /// the same for the same one.
    #[arg(long, value_name = "TEXT", conflicts_with = "seed")]
    pub seeds_from: Option<String>,
    /// Begin no world after this time, such as 90s, 10m or 2h; those under way are finished.
    #[arg(long, value_name = "TIME", value_parser = budget)]
    pub budget: Option<Duration>,
    /// Run the worlds of this file first: a line `seed 42` or `plan FILE` for each.
    #[arg(long, value_name = "FILE", conflicts_with = "plan")]
    pub regressions: Option<PathBuf>,
    /// Write the outcome as JSON: to this file, or instead of the tables if none is named.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Write the outcome in JUnit's form, which most services for continuous integration show.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

/// A world that once failed.
#[derive(Clone, Debug)]
pub struct Regression {
    /// Its line in the file.
    pub line: String,
    /// Its plan.
    pub plan: Plan,
    /// What `replay` is told to run it.
    pub command: String,
}

/// The words of a line, as they would stand on the command line.
#[derive(Parser)]
#[command(name = "regressions", no_binary_name = true, disable_help_flag = true)]
enum Line {
    Seed {
        seed: u64,
        #[command(flatten)]
        world: WorldArgs,
    },
    Plan {
        file: PathBuf,
    },
}

impl NightlyArgs {
    /// True if the tables give way to JSON on the standard output.
    pub fn prints_json(&self) -> bool {
        self.json.as_deref() == Some(Path::new("-"))
    }

    /// The first seed, if it comes from a text. Below 2^32, so that people can type it.
    pub fn first_seed(&self) -> Option<u64> {
        self.seeds_from.as_ref().map(|text| xxh3_64(text.as_bytes()) >> 32)
    }

    /// The worlds that run first.
    ///
    /// # Errors
    /// For people: which line is wrong, and what was expected.
    pub fn read_regressions(&self) -> Result<Vec<Regression>, String> {
        let Some(path) = &self.regressions else { return Ok(Vec::new()) };
        let shown = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        let mut regressions = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                let wrong = |why| format!("{shown}: line {}: {why}", number + 1);
                let directory = path.parent().unwrap_or(Path::new("."));
                regressions.push(regression(directory, line).map_err(wrong)?);
            }
        }
        Ok(regressions)
    }
}

fn regression(directory: &Path, line: &str) -> Result<Regression, String> {
    let parsed = Line::try_parse_from(line.split_whitespace()).map_err(|error| {
        let said = error.to_string();
        let said = said.lines().next().unwrap_or_default().to_owned();
        format!("expected `seed S` with options of worlds, or `plan FILE`: {said}")
    })?;
    let (plan, command) = match parsed {
        Line::Seed { seed, world } => {
            let command = format!("--seed {seed}{}", world.typed());
            (Plan::draw(seed, &world.overrides()?), command)
        }
        Line::Plan { file } => {
            let file = directory.join(file);
            (read_plan(&file)?, format!("--plan {}", typed_path(&file)))
        }
    };
    Ok(Regression { line: line.to_owned(), plan, command })
}

/// Reads a budget of time.
fn budget(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    let whole = count.parse().ok().and_then(|count: u64| count.checked_mul(seconds));
    let some = whole.filter(|seconds| *seconds > 0).map(Duration::from_secs);
    some.ok_or_else(|| "expected a time such as 90s, 10m or 2h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_whole_number_with_a_unit() {
        assert_eq!(budget("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(budget("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(budget("2h"), Ok(Duration::from_secs(7200)));
        for text in ["", "10", "m", "0s", "1.5h", "-1s", "10min"] {
            assert!(budget(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_text_gives_always_the_same_seed_and_another_text_another() {
        let seed = |text: &str| {
            NightlyArgs { seeds_from: Some(text.to_owned()), ..NightlyArgs::default() }.first_seed()
        };
        assert_eq!(seed("0c1d"), seed("0c1d"));
        assert_ne!(seed("0c1d"), seed("0c1e"));
        assert!(seed("0c1d").is_some_and(|seed| seed < 1 << 32));
    }

    #[test]
    fn a_line_is_a_seed_with_what_was_fixed_or_a_plan() {
        let here = Path::new(".");
        let found = regression(here, "seed 7 --servers 5 --set operations=9").expect("a good line");
        assert_eq!((found.plan.options.seed, found.plan.options.servers), (7, 5));
        assert_eq!(found.plan.options.operations, 9);
        assert_eq!(found.command, "--seed 7 --servers 5 --set operations=9");
        for (line, named) in [
            ("seed", "expected `seed S`"),
            ("seed x", "invalid value 'x'"),
            ("seed 7 --colour red", "--colour"),
            ("plan no-such.plan", "no-such.plan"),
            ("42", "expected `seed S`"),
        ] {
            let said = regression(here, line).expect_err(line);
            assert!(said.contains(named), "{line}: {said}");
        }
    }
}
