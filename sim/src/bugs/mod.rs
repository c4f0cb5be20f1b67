//! Planted bugs: is the net that the simulator casts tight enough?
//!
//! `sim/bugs/*.patch` is a catalogue of known mistakes, each a small patch with its story. The core
//! carries none of them: each is applied to a copy of the sources, the copy is built, and its own
//! simulator goes through the seeds until one of them shows a violation. What no world shows in
//! time, the tests of the part that it is in must, or the exhaustive models. A patch that does not
//! apply, a copy that does not compile and a bug that is not found are failures. So is a seed that
//! fails without the bug as well, since it would prove nothing.
//!
//! Read in this order: [`accord_bugs::catalogue`] (what a bug is), [`accord_bugs::tree`] (the
//! copy), [`hunt`] (what runs in the copy), [`trial`] (one bug from patch to verdict), [`table`]
//! (what comes of all), [`shrunk_plan`] (the shrunk plans), [`layers`] (all bugs by all layers of
//! the tests).

pub mod hunt;
pub mod layers;
pub mod shrunk_plan;
pub mod table;
pub mod trial;

use crate::worlds::WorldKind;
use accord_bugs::catalogue::{Bug, Catalogue};
use accord_bugs::tree;
use hunt::Hunt;
use indicatif::{ProgressBar, ProgressStyle};
use layers::layer;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use trial::{Trial, Verdict};

/// What `accord-sim bugs` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Bugs to try, by the names of their patches; all if none is named.
    pub names: Vec<String>,
    /// Seconds to spend on hunting one bug, after it is built.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub budget_seconds: u64,
    /// Worlds side by side; as many as there are cores if not given.
    #[arg(long, value_name = "COUNT")]
    pub threads: Option<NonZero<usize>>,
    /// Write the table into this page, between `<!-- bugs:begin -->` and `<!-- bugs:end -->`.
    #[arg(long, value_name = "PAGE")]
    pub write_table: Option<PathBuf>,
    /// Shrink the plan that fails of each bug, keep it in this directory as BUG.plan, and show how
    /// many faults and operations are left.
    #[arg(long, value_name = "DIR")]
    pub shrink: Option<PathBuf>,
    /// Draw the run that shows each bug into this directory as BUG.html, for any browser; with
    /// --shrink, the run of its small plan.
    #[arg(long, value_name = "DIR")]
    pub html: Option<PathBuf>,
    /// Only see whether every patch applies: nothing is built and nothing runs.
    #[arg(long, conflicts_with = "write_table")]
    pub check: bool,
    /// Try the worlds only: what they do not find is not tried by tests and models.
    #[arg(long)]
    pub worlds_only: bool,
    /// Print the results as one object of JSON.
    #[arg(long)]
    pub json: bool,
    /// The table of all layers.
    #[command(flatten)]
    pub layers: layers::Options,
}

/// What worlds say of a bug that they are not asked for.
const NO_WORLDS: Verdict = Verdict::NotFound { seeds: 0 };
/// Bad input: nothing was tried.
const BAD_INPUT: u8 = 2;

/// Does what `accord-sim bugs` was asked. The exit code is 0 if all went well, 1 if a bug was not
/// found or could not be tried, 2 if the request makes no sense.
pub fn run(options: &Options) -> ExitCode {
    if options.layers.all_layers {
        let budget = Duration::from_secs(options.budget_seconds);
        let threads = options.threads.unwrap_or_else(hunt::threads_available);
        return layers::run(&options.layers, &options.names, budget, threads);
    }
    let chosen = tree::workspace().and_then(|root| {
        let catalogue = Catalogue::read(&root)?;
        catalogue.choose(&options.names).map(|bugs| (root, bugs))
    });
    let (root, bugs) = match chosen {
        Ok(chosen) => chosen,
        Err(error) => {
            complain!("error: {error}");
            return ExitCode::from(BAD_INPUT);
        }
    };
    if options.check { check(&root, &bugs) } else { try_all(&root, &bugs, options) }
}

/// Sees whether every patch applies.
fn check(root: &std::path::Path, bugs: &[Bug]) -> ExitCode {
    let failures: Vec<String> = bugs
        .iter()
        .filter_map(|bug| match (bug.apply(root), layer::Named::of(bug)) {
            (Err(error), _) => Some(error.to_string()),
            (_, Err(why)) => Some(why),
            (Ok(_), Ok(_)) => None,
        })
        .collect();
    failures.iter().for_each(|failure| complain!("{failure}"));
    say!("{} of {} patches apply", bugs.len() - failures.len(), bugs.len());
    ExitCode::from(u8::from(!failures.is_empty()))
}

fn try_all(root: &std::path::Path, bugs: &[Bug], options: &Options) -> ExitCode {
    let hunt = Hunt {
        world: WorldKind::Bare,
        from: options.layers.from,
        budget: Duration::from_secs(options.budget_seconds),
        threads: options.threads.unwrap_or_else(hunt::threads_available),
        shrink: options.shrink.is_some(),
    };
    let mut runner = layer::Runner::new(root, hunt.threads, &[]);
    let bar = progress_bar(bugs.len());
    let mut trials = Vec::new();
    let mut kept = Ok(());
    for bug in bugs {
        let tell = |now: &str| bar.set_message(format!("{}: {now}", bug.name));
        let (trial, remark) = try_bug(root, bug, hunt, options, &mut runner, &tell);
        if let Some(remark) = remark {
            bar.suspend(|| complain!("{}.patch: {remark}", bug.name));
        }
        bar.inc(1);
        bar.suspend(|| complain!("{trial}"));
        if let Some(directory) = &options.shrink {
            kept = kept.and(shrunk_plan::keep(directory, &trial));
        }
        trials.push(trial);
    }
    bar.finish_and_clear();
    if options.json {
        say!("{}", table::json(&trials));
    } else {
        say_text!("\n{}", table::text(&trials));
        if options.shrink.is_some() {
            say_text!("\n{}", shrunk_plan::markdown(&trials));
        }
    }
    if !options.json {
        say_text!("{}", hint(&trials, options));
    }
    let well = trials.iter().all(|trial| trial.verdict.is_found());
    let written = options.write_table.as_ref().map_or(Ok(()), |page| table::write(page, &trials));
    let errors = [written.err().map(|error| error.to_string()), kept.err()];
    errors.iter().flatten().for_each(|error| complain!("error: {error}"));
    ExitCode::from(u8::from(!well || errors.iter().any(Option::is_some)))
}

/// Tries one bug in the layer that its patch names, then in the others. Returns with it what the
/// patch should say instead, if another layer found it.
fn try_bug(
    root: &std::path::Path,
    bug: &Bug,
    hunt: Hunt,
    options: &Options,
    runner: &mut layer::Runner,
    tell: &dyn Fn(&str),
) -> (Trial, Option<String>) {
    let trial = |verdict, hunted| Trial { bug: bug.clone(), verdict, hunted };
    let named = match layer::Named::of(bug) {
        Ok(named) => named,
        Err(why) => return (trial(Verdict::Broken(why), Duration::ZERO), None),
    };
    // Plans and pages are of the bare world.
    let of_worlds = options.worlds_only || options.shrink.is_some() || options.html.is_some();
    let elsewhere = named.layer != layer::Layer::Bare && !of_worlds;
    let mut remark = None;
    if elsewhere {
        let begun = Instant::now();
        match runner.named(bug, &named, (hunt.from, options.budget_seconds), tell) {
            Ok(Some(by)) => return (trial(Verdict::FoundBeside { by }, begun.elapsed()), None),
            Ok(None) => remark = Some(format!("{} does not find it", named.layer.name())),
            Err(why) => return (trial(Verdict::Broken(why), begun.elapsed()), None),
        }
    }
    let in_checkers = bug.apply(root).is_ok_and(|patched| layer::is_in_checkers(&patched));
    let mut tried = match in_checkers {
        true => trial(NO_WORLDS, Duration::ZERO),
        false => Trial::run(root, bug, hunt, options.html.as_deref(), tell),
    };
    if !options.worlds_only && matches!(tried.verdict, Verdict::NotFound { .. }) {
        match runner.beside_worlds(bug, tell) {
            Ok(Some(by)) => {
                let layer = by.split(':').next().unwrap_or_default();
                remark = Some(format!("its head should say: Found by: {layer}"));
                tried.verdict = Verdict::FoundBeside { by };
            }
            Ok(None) => {}
            Err(why) => tried.verdict = Verdict::Broken(why),
        }
    }
    (tried, remark)
}

/// How to see what was found, if nobody asked for it.
fn hint(trials: &[Trial], options: &Options) -> String {
    let found = trials.iter().find(|trial| matches!(trial.verdict, Verdict::Found(_)));
    match (found, &options.html) {
        (Some(trial), None) => format!(
            "\nto see how one shows: accord-sim bugs {} --shrink DIR --html DIR\n\
             (--shrink keeps its small plan, --html draws its run as a page)\n",
            trial.bug.name
        ),
        (Some(_), Some(pages)) => format!("\npages: {}\n", pages.display()),
        (None, _) => String::new(),
    }
}

fn progress_bar(bugs: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:20} {pos}/{len} {elapsed} {msg}");
    let bar = ProgressBar::new(bugs as u64).with_style(style.expect("a template of ours"));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn what_was_found_can_be_seen_and_how_is_said() {
        let bug = Bug::parse("some-bug".into(), "# It is.\n".into()).expect("it has a story");
        let verdict = Verdict::Found(hunt::Found::default());
        let found = [Trial { bug, verdict, hunted: Duration::ZERO }];
        let asked = |words: &[&str]| Line::parse_from([&["bugs"], words].concat()).options;
        let said = hint(&found, &asked(&[]));
        assert!(said.contains("bugs some-bug --shrink DIR --html DIR"), "{said}");
        assert_eq!(hint(&found, &asked(&["--html", "pages"])), "\npages: pages\n");
        assert_eq!(hint(&[], &asked(&[])), "");
    }
}
