//! A campaign with a live display, a table at the end, and everything about a violation.

use super::args::{RunArgs, read_plan};
use super::replay::{run_told, save_histories};
use super::{HELD, VIOLATED};
use crate::campaign::{Campaign, Outcome};
use crate::plan::Plan;
use crate::properties::Violation;
use crate::report::{self, Failure, Report};
use crate::shrink::{RUNS_MAX, shrink};
use crate::worlds::{self, WorldKind, fit};
use indicatif::{ProgressBar, ProgressStyle};
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Instant;

/// Runs a campaign and prints its report.
///
/// # Errors
/// For people: what is wrong with the arguments, the plan or the files.
pub fn run(args: &RunArgs) -> Result<u8, String> {
    let began = Instant::now();
    let (outcome, threads) = match &args.plan {
        Some(path) => (run_plan(args.kind, &read_plan(path)?), NonZero::<usize>::MIN),
        None => run_seeds(args)?,
    };
    let wall = began.elapsed();
    let failure = match &outcome.failure {
        None => None,
        Some((seed, violation)) => Some(explain(args, *seed, violation)?),
    };
    let failure = failure.as_ref();
    let report = Report { world: args.kind, outcome: &outcome, wall, threads, failure };
    if args.json {
        println!("{:#}", report.to_json());
    } else {
        print!("{}", report.to_text());
    }
    Ok(if outcome.failure.is_some() { VIOLATED } else { HELD })
}

fn run_plan(world: WorldKind, plan: &Plan) -> Outcome {
    let run = worlds::run(world, plan, None);
    let seed = plan.options.seed;
    Outcome {
        worlds: 1,
        digest: run.digest,
        failure: run.violation.map(|violation| (seed, violation)),
        undecided: run.undecided.into_iter().map(|why| (seed, why)).collect(),
        counts: run.counts,
    }
}

fn run_seeds(args: &RunArgs) -> Result<(Outcome, NonZero<usize>), String> {
    let overrides = args.world.overrides()?;
    if args.seeds == 0 {
        return Err("--seeds 0: expected at least 1 world".to_owned());
    }
    let threads =
        args.threads.or_else(|| available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN);
    let campaign =
        Campaign { world: args.kind, first: args.seed, count: args.seeds, overrides, threads };
    let bar = ProgressBar::new(args.seeds);
    let style = ProgressStyle::with_template(
        "{elapsed_precise} [{bar:30}] {pos}/{len} worlds, {msg}, {eta} left",
    );
    bar.set_style(style.expect("the template is well-formed").progress_chars("=> "));
    let outcome = campaign.run(|outcome| {
        bar.set_message(report::progress_line(&outcome.counts));
        bar.inc(1);
    });
    bar.finish_and_clear();
    Ok((outcome, threads))
}

/// Shrinks a failing world, tells its story, and says how to reproduce it.
fn explain(args: &RunArgs, seed: u64, violation: &Violation) -> Result<Failure, String> {
    let plan = match &args.plan {
        Some(path) => read_plan(path)?,
        None => Plan::draw(seed, &args.world.overrides()?),
    };
    eprintln!("{violation}\nshrinking the plan of seed {seed} ...");
    let plan = fit::fit(args.kind, &plan).0;
    let runs = if args.kind == WorldKind::Bare { RUNS_MAX } else { RUNS_MAX / 8 };
    let again = |plan: &Plan| worlds::run(args.kind, plan, None).violation;
    let shrunk = shrink(&plan, violation, runs, again);
    let problem = |error: std::io::Error| format!("{}: {error}", args.out.display());
    std::fs::create_dir_all(&args.out).map_err(problem)?;
    let plan_path = args.out.join(format!("seed-{seed}.plan"));
    let trace_path = args.out.join(format!("seed-{seed}.trace"));
    std::fs::write(&plan_path, shrunk.plan.to_string()).map_err(problem)?;
    let told = run_told(args.kind, &shrunk.plan, Some(&trace_path))?;
    let histories = save_histories(&args.out, &shrunk.plan, &told)?;
    let world = match args.kind {
        WorldKind::Bare => String::new(),
        world => format!(" --world {}", world.name()),
    };
    Ok(Failure {
        seed,
        original: violation.clone(),
        faults_before: plan.faults.len(),
        whole: match &args.plan {
            Some(path) => format!("cargo sim replay{world} --plan {}", path.display()),
            None => format!("cargo sim replay{world} --seed {seed}{}", args.world.typed()),
        },
        reproduce: format!("cargo sim replay{world} --plan {}", plan_path.display()),
        shrunk,
        plan_path,
        trace_path,
        histories,
    })
}
