//! A campaign with a live display, a table at the end, and everything about a violation.

use super::args::{RunArgs, SEEDS_DEFAULT, read_plan};
use super::nightly::Regression;
use super::replay::{run_told, save_histories};
use super::{HELD, INTERRUPTED, VIOLATED};
use crate::campaign::interrupt::Stop;
use crate::campaign::shrink::{RUNS_MAX, shrink};
use crate::campaign::{Campaign, Outcome, seeds_from};
use crate::judge::Violation;
use crate::plan::Plan;
use crate::report::junit;
use crate::report::typed::{this_program, typed_path};
use crate::report::{self, Failure, Report};
use crate::worlds::{self, WorldKind, fit};
use indicatif::{ProgressBar, ProgressStyle};
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Instant;

/// What was run, and what came of it.
struct Done {
    outcome: Outcome,
    threads: NonZero<usize>,
    /// The world that failed.
    failed: Option<Failed>,
    /// The lines of the regressions that were run.
    regressions: Vec<String>,
    time_is_over: bool,
}

/// A world that failed, and how it is called.
struct Failed {
    plan: Plan,
    violation: Violation,
    command: String,
    /// The line that makes it a regression; `None`: it is one, or a plan of its own.
    line: Option<String>,
}

/// Runs a campaign and prints its report.
///
/// # Errors
/// For people: what is wrong with the arguments, the plan or the files.
pub fn run(args: &RunArgs) -> Result<u8, String> {
    let began = Instant::now();
    let stop = Stop::at_signals().map_err(|error| format!("signals: {error}"))?;
    let done = match &args.plan {
        Some(path) => {
            run_plan(args.kind, &read_plan(path)?, format!("--plan {}", typed_path(path)))
        }
        None => run_nightly(args, &stop)?,
    };
    let wall = began.elapsed();
    let failure = match &done.failed {
        None => None,
        Some(failed) => Some(explain(args, failed, &stop)?),
    };
    let report = Report {
        world: args.kind,
        outcome: &done.outcome,
        wall,
        threads: done.threads,
        failure: failure.as_ref(),
        regressions: done.regressions.len() as u64,
        time_is_over: done.time_is_over,
        is_interrupted: stop.is_asked(),
    };
    publish(args, &report, &done.regressions)?;
    Ok(match (&done.failed, stop.is_asked()) {
        (Some(_), _) => VIOLATED,
        (None, true) => INTERRUPTED,
        (None, false) => HELD,
    })
}

/// Prints the report, and writes it to the files that were asked for.
fn publish(args: &RunArgs, report: &Report<'_>, regressions: &[String]) -> Result<(), String> {
    let nightly = &args.nightly;
    if nightly.prints_json() {
        say!("{:#}", report.to_json());
    } else {
        say_text!("{}", report.to_text());
    }
    if let Some(path) = nightly.json.as_ref().filter(|_| !nightly.prints_json()) {
        std::fs::write(path, format!("{:#}\n", report.to_json()))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(path) = &nightly.junit {
        junit::xml(report, regressions)
            .and_then(|xml| std::fs::write(path, xml))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Runs one world. `command` is what `replay` is told to run it again.
fn run_plan(world: WorldKind, plan: &Plan, command: String) -> Done {
    let run = worlds::run(world, plan, None);
    let seed = plan.options.seed;
    let failed = run.violation.clone().map(|violation| Failed {
        plan: plan.clone(),
        violation,
        command,
        line: None,
    });
    let outcome = Outcome {
        worlds: 1,
        digest: run.digest,
        failure: run.violation.map(|violation| (seed, violation)),
        undecided: run.undecided.into_iter().map(|why| (seed, why)).collect(),
        counts: run.counts,
    };
    Done {
        outcome,
        threads: NonZero::<usize>::MIN,
        failed,
        regressions: Vec::new(),
        time_is_over: false,
    }
}

/// Runs the regressions and, if they all hold, the campaign.
fn run_nightly(args: &RunArgs, stop: &Stop) -> Result<Done, String> {
    let mut lines = Vec::new();
    for Regression { line, plan, command } in args.nightly.read_regressions()? {
        complain!("regression: {line}");
        lines.push(line);
        let done = run_plan(args.kind, &plan, command);
        if done.failed.is_some() {
            return Ok(Done { regressions: lines, ..done });
        }
    }
    Ok(Done { regressions: lines, ..run_seeds(args, stop)? })
}

fn run_seeds(args: &RunArgs, stop: &Stop) -> Result<Done, String> {
    let overrides = args.world.overrides()?;
    let budget = args.nightly.budget;
    let count = args.seeds.unwrap_or(if budget.is_some() { u64::MAX } else { SEEDS_DEFAULT });
    if count == 0 {
        return Err("--seeds 0: expected at least 1 world".to_owned());
    }
    let threads =
        args.threads.or_else(|| available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN);
    let first = args.nightly.first_seed().unwrap_or(args.seed);
    // Without a number of its own, a campaign takes what seeds there are.
    let count = if args.seeds.is_none() { count.min(seeds_from(first)) } else { count };
    if count > seeds_from(first) {
        let (left, last) = (seeds_from(first), u64::MAX);
        return Err(format!(
            "--seeds {count}: from {first} on there are {left} seeds up to {last}"
        ));
    }
    let (world, stop) = (args.kind, stop.clone());
    let campaign = Campaign { world, first, count, overrides, threads, budget, stop };
    let bar = progress_bar(args);
    let outcome = campaign.run(|outcome| {
        bar.set_message(report::progress_line(&outcome.counts));
        bar.inc(1);
    });
    bar.finish_and_clear();
    let failed = outcome.failure.clone().map(|(seed, violation)| Failed {
        plan: Plan::draw(seed, &campaign.overrides),
        violation,
        command: format!("--seed {seed}{}", args.world.typed()),
        line: Some(format!("seed {seed}{}", args.world.typed())),
    });
    let interrupted = campaign.stop.is_asked();
    let time_is_over = failed.is_none() && !interrupted && outcome.worlds < count;
    Ok(Done { outcome, threads, failed, regressions: Vec::new(), time_is_over })
}

fn progress_bar(args: &RunArgs) -> ProgressBar {
    let style = |template| ProgressStyle::with_template(template).expect("it is well-formed");
    match (args.seeds, args.nightly.budget) {
        (None, Some(budget)) => {
            let template = format!("{{elapsed_precise}} of {budget:?}: {{pos}} worlds, {{msg}}");
            ProgressBar::no_length().with_style(style(&template))
        }
        (seeds, _) => {
            let template = "{elapsed_precise} [{bar:30}] {pos}/{len} worlds, {msg}, {eta} left";
            let bar = ProgressBar::new(seeds.unwrap_or(SEEDS_DEFAULT));
            bar.with_style(style(template).progress_chars("=> "))
        }
    }
}

/// Shrinks a failing world, tells its story, and says how to reproduce it.
fn explain(args: &RunArgs, failed: &Failed, stop: &Stop) -> Result<Failure, String> {
    let Failed { plan, violation, command, line } = failed;
    let seed = plan.options.seed;
    complain!("{violation}");
    let plan = fit::fit(args.kind, plan).0;
    // Whole servers take longer.
    let runs = if args.kind == WorldKind::Bare { RUNS_MAX } else { RUNS_MAX / 8 };
    let bar = ProgressBar::new(u64::from(runs));
    let template = "{elapsed_precise} shrinking the plan: {pos} worlds of at most {len}, {msg}";
    bar.set_style(ProgressStyle::with_template(template).expect("it is well-formed"));
    let shrunk = shrink(&plan, violation, runs, |plan| {
        bar.inc(1);
        bar.set_message(format!("trying one of {} faults", plan.faults.len()));
        // Who has no patience for a smaller plan has the one there is.
        let go_on = !stop.is_asked();
        go_on.then(|| worlds::run(args.kind, plan, None).violation).flatten()
    });
    bar.finish_and_clear();
    let problem = |error: std::io::Error| format!("{}: {error}", args.out.display());
    std::fs::create_dir_all(&args.out).map_err(problem)?;
    let plan_path = args.out.join(format!("seed-{seed}.plan"));
    let trace_path = args.out.join(format!("seed-{seed}.trace"));
    // The smaller world may have another seed; the files are called by the one that was found.
    let story = format!("# shrunk from seed {seed}; violates {}\n", shrunk.violation.property);
    std::fs::write(&plan_path, format!("{story}{}", shrunk.plan)).map_err(problem)?;
    let again = |plan: &Plan, story| worlds::run(args.kind, plan, story);
    let told = run_told(&shrunk.plan, Some(&trace_path), again)?;
    let histories = save_histories(&args.out, seed, &told)?;
    let world = match args.kind {
        WorldKind::Bare => String::new(),
        world => format!(" --world {}", world.name()),
    };
    let program = this_program();
    Ok(Failure {
        seed,
        original: violation.clone(),
        faults_before: plan.faults.len(),
        whole: format!("{program} replay{world} {command}"),
        reproduce: format!("{program} replay{world} --plan {}", typed_path(&plan_path)),
        shrunk,
        plan_path,
        trace_path,
        histories,
        regression: line.clone(),
    })
}
