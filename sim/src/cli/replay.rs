//! One world again; the plan of a seed.

use super::args::{PlanArgs, ReplayArgs, read_plan};
use super::{HELD, VIOLATED};
use crate::judge::Property;
use crate::judge::counts::Counts;
use crate::plan::{Kind, Plan, Words};
use crate::report;
use crate::report::page;
use crate::world::trace::Story;
use crate::world::{self, Run};
use crate::worlds::fit::{self, Expressed};
use crate::worlds::{self, WorldKind};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// Runs one world and prints what came of it.
///
/// # Errors
/// For people: what is wrong with the arguments, the plan or the files.
pub fn run(args: &ReplayArgs) -> Result<u8, String> {
    let plan = match (&args.plan, args.seed) {
        (Some(path), _) => read_plan(path)?,
        (None, Some(seed)) => Plan::draw(seed, &args.world.overrides()?),
        (None, None) => return Err("expected --seed S or --plan FILE".to_owned()),
    };
    let run = match &args.html {
        None => {
            let again = |plan: &Plan, story| worlds::run(args.kind, plan, story);
            run_told(&plan, args.trace.as_deref(), again)?
        }
        Some(path) => {
            if args.kind != WorldKind::Bare {
                return Err(
                    "--html: only the bare world can be drawn; --trace tells the story of \
                            the others"
                        .to_owned(),
                );
            }
            let run = run_told(&plan, args.trace.as_deref(), world::run_recorded)?;
            std::fs::write(path, page::html(&plan, &run))
                .map_err(|error| format!("{}: {error}", path.display()))?;
            run
        }
    };
    say!("seed {} digest {:016x}", plan.options.seed, run.digest);
    say_text!("{}", report::counts_table(&run.counts));
    if let Some(dir) = &args.histories {
        for path in save_histories(dir, plan.options.seed, &run)? {
            say!("history: {}", path.display());
        }
    }
    if let Some(trace) = &args.trace {
        say!("trace: {}", trace.display());
    }
    if let Some(page) = &args.html {
        say!("page: {}", page.display());
    }
    for why in &run.undecided {
        say!("undecided: {why}");
    }
    Ok(match &run.violation {
        None => {
            say!("{}", held(&run.counts));
            HELD
        }
        Some(violation) => {
            say!("VIOLATION of {violation}");
            VIOLATED
        }
    })
}

/// Says which properties held: those that were judged.
fn held(counts: &Counts) -> String {
    let missing = Property::ALL.into_iter().filter(|property| !counts.is_judged(*property));
    let missing: Vec<&str> = missing.map(Property::name).collect();
    if missing.is_empty() {
        return "every property held".to_owned();
    }
    format!("every property that was judged held; not judged: {}", missing.join(", "))
}

/// Runs the world of a plan by `run`, with its story in `trace` if that is given.
///
/// # Errors
/// If the story cannot be written.
pub fn run_told(
    plan: &Plan,
    trace: Option<&Path>,
    run: impl FnOnce(&Plan, Option<Story>) -> Run,
) -> Result<Run, String> {
    let wrong = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let story = match trace {
        None => None,
        Some(path) => {
            let file = File::create(path).map_err(|error| wrong(path, error))?;
            Some(Box::new(BufWriter::new(file)) as Story)
        }
    };
    let mut run = run(plan, story);
    match (std::mem::replace(&mut run.story, Ok(())), trace) {
        (Err(error), Some(path)) => Err(wrong(path, error)),
        _ => Ok(run),
    }
}

/// Saves the histories of a run, one file each, under the name of a seed. Returns their paths.
///
/// # Errors
/// If one cannot be written.
pub fn save_histories(dir: &Path, seed: u64, run: &Run) -> Result<Vec<PathBuf>, String> {
    std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let save = |(name, history): &(&'static str, accord_models::History)| {
        let path = dir.join(format!("seed-{seed}.{name}.edn"));
        std::fs::write(&path, history.to_string())
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    };
    run.histories.iter().map(save).collect()
}

/// Prints the plan of a seed.
///
/// # Errors
/// For people: what is wrong with the arguments.
pub fn print_plan(args: &PlanArgs) -> Result<u8, String> {
    let plan = Plan::draw(args.seed, &args.world.overrides()?);
    say_text!("{}", fit::fit(args.kind, &plan).0);
    Ok(HELD)
}

/// Prints which worlds there are, and what each can express.
pub fn print_worlds() -> u8 {
    for world in WorldKind::ALL {
        let here = if world.missing().is_none() { "" } else { " (not in this build)" };
        say!("{}: {}{here}", world.name(), says(world));
        for kind in Kind::ALL {
            match fit::expressed(world, kind) {
                Expressed::Fully => say!("  {:<12} as a plan says it", kind.name()),
                Expressed::With(how) => say!("  {:<12} {how}", kind.name()),
                Expressed::Not(why) => say!("  {:<12} left out: {why}", kind.name()),
            }
        }
        for lost in fit::options_lost(world) {
            say!("  not here     {lost}");
        }
    }
    say!("what each kind does and takes: accord-sim faults");
    HELD
}

const fn says(world: WorldKind) -> &'static str {
    match world {
        WorldKind::Bare => "the core's machines, driven directly",
        WorldKind::Turmoil => "whole servers and clients of accord-net in turmoil",
        WorldKind::Madsim => "whole servers and clients of accord-net in madsim",
    }
}

/// Prints every kind of fault.
pub fn print_faults() -> u8 {
    say!(
        "`for SPAN` stands before what lasts; what has none is over at once. docs/plans.md says more."
    );
    for kind in Kind::ALL {
        let Words { arguments, says, example } = kind.words();
        say!("{} {arguments}", kind.name());
        say!("    {says}");
        say!("    {example}");
    }
    HELD
}
