//! The worlds there are: the bare one, and two simulators in which whole servers and clients run.
//!
//! In the bare world ([`crate::world`]) the core's machines are driven directly. In the others the
//! driver of `accord-net` runs as it is: sockets, frames, connections, streams between servers,
//! timers, the journal. They share plans, workloads, checkers and the trace with the bare world.
//!
//! The bare world needs the core and the storage. The simulators also need servers, clients, tokio,
//! turmoil and madsim, which take longer to build. So only a build with the feature `worlds` has
//! them, as that of `cargo sim` (`docs/decisions/0039-a-slim-simulator.md`).
//!
//! Read [`fit`] (what a world can express), then `simulators`. Why it is built so:
//! `docs/decisions/0015-worlds.md`.

pub mod fit;
#[cfg(feature = "worlds")]
mod simulators;
/// In the place of the simulators where they are not built.
#[cfg(not(feature = "worlds"))]
mod simulators {
    use super::{Plan, Run, Story, WorldKind};

    pub(super) fn run(world: WorldKind, _: Plan, _: Option<Story>) -> Run {
        panic!("this build has no {}", world.name())
    }
}

use crate::plan::Plan;
use crate::report::typed;
use crate::world::trace::Story;
use crate::world::{self, Run};

/// A world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorldKind {
    /// The core's machines, driven directly.
    #[default]
    Bare,
    /// Servers and clients of `accord-net` in turmoil.
    Turmoil,
    /// Servers and clients of `accord-net` in madsim.
    Madsim,
}

impl WorldKind {
    /// Every world.
    pub const ALL: [Self; 3] = [Self::Bare, Self::Turmoil, Self::Madsim];

    /// The word for it on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Turmoil => "turmoil",
            Self::Madsim => "madsim",
        }
    }

    /// Reads the name of a world that this build has.
    ///
    /// # Errors
    /// For people: what was expected, or what is missing.
    pub fn parse(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|world| world.name() == name);
        let world = found.ok_or_else(|| "bare, turmoil or madsim".to_owned())?;
        world.missing().map_or(Ok(world), Err)
    }

    /// What this build lacks to run the world, and the command that has it. `None`: nothing.
    pub fn missing(self) -> Option<String> {
        self.missing_in(cfg!(feature = "worlds"), cfg!(madsim), typed::arguments)
    }

    fn missing_in(
        self,
        simulators: bool,
        madsim: bool,
        arguments: impl Fn() -> String,
    ) -> Option<String> {
        if self == Self::Bare {
            return None;
        }
        if !simulators {
            return Some(format!(
                "this program was built for the bare world alone. In Accord's sources, \
                 `cargo sim{}` builds it with all worlds and runs this",
                arguments()
            ));
        }
        (self == Self::Madsim && !madsim).then(|| {
            "a build with `--cfg madsim`, which .cargo/config.toml sets unless the environment \
             variable RUSTFLAGS takes its host: build again with it unset, or with `--cfg madsim` \
             in it"
                .to_owned()
        })
    }
}

/// Runs the world of a plan to its end. The story goes to `story`, if it is to be told.
///
/// # Panics
/// If this build does not have the world; [`WorldKind::parse`] says so first.
pub fn run(world: WorldKind, plan: &Plan, story: Option<Story>) -> Run {
    if world == WorldKind::Bare {
        return world::run(plan, story);
    }
    let (plan, left_out) = fit::fit(world, plan);
    let mut run = simulators::run(world, plan, story);
    run.counts.faults_skipped += left_out;
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_a_world_says_which_command_has_it() {
        let typed = || " run --world turmoil --seeds 5".to_owned();
        let missing =
            |world: WorldKind, simulators, madsim| world.missing_in(simulators, madsim, typed);
        let said = missing(WorldKind::Turmoil, false, true).expect("it has no simulator");
        assert!(said.contains("`cargo sim run --world turmoil --seeds 5`"), "{said}");
        assert_eq!(
            missing(WorldKind::Madsim, false, false),
            missing(WorldKind::Madsim, false, true)
        );
        assert!(missing(WorldKind::Madsim, true, false).is_some_and(|it| it.contains("RUSTFLAGS")));
        for world in WorldKind::ALL {
            assert_eq!(missing(world, true, true), None);
        }
        assert_eq!(missing(WorldKind::Bare, false, false), None);
        assert_eq!(WorldKind::parse("mars"), Err("bare, turmoil or madsim".to_owned()));
    }
}
