//! What can be said on the command line, and what it means.

use super::nightly::NightlyArgs;
use crate::plan::options::{NAMES, Options};
use crate::plan::{FaultMix, Overrides, Plan, draw, text};
use crate::worlds::WorldKind;
use clap::{Args, Parser, Subcommand};
use std::num::NonZero;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  accord-sim                                     the default campaign: 1000 worlds, every fault
  accord-sim run --seeds 5000 --servers 5        more worlds, all of five servers
  accord-sim run --seeds 100 --faults powerloss,faildisk,rot --mode persistent
                                                 only what disks do, to servers that have some
  accord-sim run --seeds 50 --faults none        does it work when nothing goes wrong?
  accord-sim run --set limits=tiny --set group=adversary
                                                 any option of a plan can be fixed
  cargo sim run --world turmoil --seeds 300      whole servers and clients of accord-net, in a
                                                 simulator of sockets and timers
  accord-sim plan --seed 42 > my.plan            the plan of a seed, as text to be edited
  accord-sim run --plan my.plan                  the world of a plan
  accord-sim faults                              what can go wrong in a plan, and how it is written
  accord-sim replay --seed 42 --trace 42.trace   one world again, with its story
  accord-sim replay --seed 42 --html 42.html     one world again, as a picture for a browser
  accord-sim run --seeds-from $GITHUB_SHA --budget 10m --regressions sim.seeds --junit sim.xml
                                                 a nightly run, of other worlds for each commit

A world is a function of its plan, and a plan of its seed (and of the options given here): the
same seed gives the same events in every build and at every number of threads.

The worlds of turmoil and madsim are in builds with the feature `worlds` only: `cargo sim ARGS`, or
`cargo build --release -p accord-sim --features worlds`. Other builds have the bare world alone, and
are ready sooner.

Exit code: 0, every property that was judged held; 1, one was violated: the shrunk plan, the trace,
the history and one command that reproduces it are printed; 2, an option or a plan is wrong; 130, it
was interrupted, and what was done until then violated nothing.";

/// Simulated worlds that hunt faults in Accord.
///
/// Whole clusters of the real core (server, ring, client) run on simulated networks, disks and
/// clocks while a plan of faults goes wrong around them; properties judge every step. Without a
/// command, the default campaign runs.
#[derive(Debug, Parser)]
#[command(name = "accord-sim", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a campaign: many worlds, on all cores.
    #[command(after_help = EXAMPLES)]
    Run(RunArgs),
    /// Run one world again and print its digest; with its story, if asked.
    Replay(ReplayArgs),
    /// Print the plan of a seed: the world's options and everything that goes wrong in it.
    Plan(PlanArgs),
    /// Print which worlds there are, and what of a plan each can express.
    Worlds,
    /// Print every kind of fault: what it takes, what goes wrong, an example.
    Faults,
    /// Plant known bugs in a copy of the core, and show which property finds each, and how fast.
    Bugs(crate::bugs::Options),
    /// Go through the seeds until one fails or the time is over: what `bugs` runs in the copy.
    #[command(hide = true)]
    Hunt(crate::bugs::hunt::Options),
}

/// What fixes a part of every world; the seed decides the rest.
#[derive(Clone, Debug, Default, Args)]
pub struct WorldArgs {
    /// Servers that form the cluster (1 to 63). Drawn if not given: mostly 3 or 5.
    #[arg(long, value_name = "N")]
    pub servers: Option<String>,
    /// Clients (1 to 64).
    #[arg(long, value_name = "N")]
    pub clients: Option<String>,
    /// What "durable" means.
    #[arg(long, value_name = "memory|persistent")]
    pub mode: Option<String>,
    /// What clients do: workloads separated by commas.
    #[arg(long, value_name = "LIST")]
    pub workload: Option<String>,
    /// How long things go wrong in each world, in simulated minutes.
    #[arg(long, value_name = "N")]
    pub minutes: Option<u32>,
    /// What goes wrong: `swarm` (each world draws its part of all), `all`, `none`, or kinds
    /// separated by commas, such as `partition,crash`.
    #[arg(long, value_name = "MIX")]
    pub faults: Option<String>,
    /// Fix any option of a plan; `accord-sim plan --seed 1` shows them all. May be repeated.
    #[arg(long = "set", value_name = "OPTION=VALUE")]
    pub set: Vec<String>,
}

/// A campaign.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Which world: the core's machines alone (`bare`), or whole servers and clients in a
    /// simulator of sockets and timers (`turmoil`, `madsim`; in builds of `cargo sim`).
    #[arg(long = "world", value_name = WORLDS, default_value = "bare", value_parser = WorldKind::parse)]
    pub kind: WorldKind,
    /// How many worlds: 1000 if not given, or as many as the time of --budget allows.
    #[arg(long, value_name = "N")]
    pub seeds: Option<u64>,
    /// The first seed; the others follow it.
    #[arg(long, value_name = "S", default_value_t = 0, alias = "first-seed")]
    pub seed: u64,
    /// What is the same in every world.
    #[command(flatten)]
    pub world: WorldArgs,
    /// Run the world of this plan instead.
    #[arg(long, value_name = "FILE",
        conflicts_with_all = ["seeds", "seed", "seeds_from", "budget", "WorldArgs"])]
    pub plan: Option<PathBuf>,
    /// Worlds at once. As many as there are cores if not given; changes nothing but the time.
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZero<usize>>,
    /// What a nightly run needs.
    #[command(flatten)]
    pub nightly: NightlyArgs,
    /// Where plans, traces and histories of violations go.
    #[arg(long, value_name = "DIR", default_value = OUT_DEFAULT)]
    pub out: PathBuf,
}

const WORLDS: &str = "bare|turmoil|madsim";
/// Worlds of a campaign that is bounded by nothing else.
pub const SEEDS_DEFAULT: u64 = 1000;
const OUT_DEFAULT: &str = "target/accord-sim";

impl Default for RunArgs {
    fn default() -> Self {
        Self {
            kind: WorldKind::Bare,
            seeds: None,
            seed: 0,
            world: WorldArgs::default(),
            plan: None,
            threads: None,
            nightly: NightlyArgs::default(),
            out: PathBuf::from(OUT_DEFAULT),
        }
    }
}

/// One world.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// Which world: bare, turmoil or madsim.
    #[arg(long = "world", value_name = WORLDS, default_value = "bare", value_parser = WorldKind::parse)]
    pub kind: WorldKind,
    /// Its seed.
    #[arg(long, value_name = "S", required_unless_present = "plan")]
    pub seed: Option<u64>,
    /// Or its plan.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "WorldArgs"])]
    pub plan: Option<PathBuf>,
    /// What the campaign fixed.
    #[command(flatten)]
    pub world: WorldArgs,
    /// Write the story of everything that happens to this file.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Draw the run of a bare world as a page: who said what to whom, what was wrong, and what
    /// clients saw. It needs no network: open it in any browser.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the histories of the clients to files in this directory, in Jepsen's form.
    #[arg(long, value_name = "DIR")]
    pub histories: Option<PathBuf>,
}

/// A plan to print.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// The world that it is fitted to: bare, turmoil or madsim.
    #[arg(long = "world", value_name = WORLDS, default_value = "bare", value_parser = WorldKind::parse)]
    pub kind: WorldKind,
    /// Its seed.
    #[arg(long, value_name = "S")]
    pub seed: u64,
    /// What is fixed.
    #[command(flatten)]
    pub world: WorldArgs,
}

impl WorldArgs {
    /// What these arguments fix in every world.
    ///
    /// # Errors
    /// For people: which argument is wrong, and what was expected.
    pub fn overrides(&self) -> Result<Overrides, String> {
        let mut overrides = Overrides::default();
        let named = [
            ("--servers", "servers", &self.servers),
            ("--clients", "clients", &self.clients),
            ("--mode", "mode", &self.mode),
            ("--workload", "workloads", &self.workload),
        ];
        for (flag, name, text) in named {
            if let Some(text) = text {
                add(&mut overrides, name, text)
                    .map_err(|expected| format!("{flag} {text}: expected {expected}"))?;
            }
        }
        if let Some(minutes) = self.minutes {
            let text = format!("{}s", u64::from(minutes) * 60);
            add(&mut overrides, "safety", &text)
                .map_err(|expected| format!("--minutes {minutes}: expected {expected}"))?;
        }
        for argument in &self.set {
            let (name, text) = argument
                .split_once('=')
                .ok_or_else(|| format!("--set {argument}: expected OPTION=VALUE"))?;
            add(&mut overrides, name, text)
                .map_err(|expected| format!("--set {argument}: expected {expected}"))?;
        }
        if let Some(mix) = &self.faults {
            overrides.faults = FaultMix::parse(mix)
                .map_err(|expected| format!("--faults {mix}: expected {expected}"))?;
        }
        // Whether options contradict each other may depend on what is drawn: a sample will tell.
        for seed in 0..64 {
            let drawn = draw::draw_options(seed, &overrides);
            if let Some((name, expected)) = drawn.problem() {
                let found = drawn.get(name);
                return Err(format!("{name} {found} (seed {seed}): expected {expected}"));
            }
        }
        Ok(overrides)
    }

    /// The arguments as they would be typed, to reproduce a run.
    pub fn typed(&self) -> String {
        let mut typed = String::new();
        let minutes = self.minutes.map(|minutes| minutes.to_string());
        let named = [
            ("servers", &self.servers),
            ("clients", &self.clients),
            ("mode", &self.mode),
            ("workload", &self.workload),
            ("minutes", &minutes),
            ("faults", &self.faults),
        ];
        for (name, text) in named {
            if let Some(text) = text {
                typed.push_str(&format!(" --{name} {text}"));
            }
        }
        for argument in &self.set {
            typed.push_str(&format!(" --set {argument}"));
        }
        typed
    }
}

fn add(overrides: &mut Overrides, name: &str, text: &str) -> Result<(), String> {
    let known = NAMES.into_iter().find(|known| *known == name);
    let known = known.ok_or_else(|| format!("an option: one of {}", NAMES.join(", ")))?;
    if known == "seed" {
        return Err("the seed as --seed S: a campaign gives each world its own".to_owned());
    }
    if overrides.options.iter().any(|(before, _)| *before == known) {
        return Err(format!("each option once: {known} was fixed before"));
    }
    Options::default().set(known, text)?;
    overrides.options.push((known, text.to_owned()));
    Ok(())
}

/// Reads a plan from a file.
///
/// # Errors
/// For people: why it cannot be read, with line and column.
pub fn read_plan(path: &Path) -> Result<Plan, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    text::read(&text).map_err(|error| format!("{shown}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
