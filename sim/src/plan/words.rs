//! What each kind of fault takes and does, in words: for `accord-sim faults` and docs/plans.md.
//!
//! Tests hold the words to the code: every example is read as a fault of its kind, stands in the
//! page, and runs.

use super::Kind;

/// How a kind of fault is written and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// What follows the word for the kind; empty if nothing does.
    pub arguments: &'static str,
    /// What it does.
    pub says: &'static str,
    /// A line of a plan.
    pub example: &'static str,
}

/// Every kind, in the order of the report.
const WORDS: [(Kind, Words); Kind::ALL.len()] = [
    (
        Kind::Partition,
        words(
            "SERVERS",
            "these servers and the others do not hear each other",
            "at 1200ms for 800ms partition 1,3",
        ),
    ),
    (
        Kind::OneWay,
        words(
            "SERVERS to SERVERS",
            "what the first send does not reach the second; what the second send does",
            "at 1s for 500ms oneway 1 to 2,3",
        ),
    ),
    (
        Kind::Sever,
        words(
            "SERVER SERVER",
            "these two do not hear each other, while the others hear both",
            "at 1s for 2s sever 1 2",
        ),
    ),
    (
        Kind::Loss,
        words(
            "PERCENT",
            "this percentage of the packets between servers is lost",
            "at 500ms for 3s loss 20%",
        ),
    ),
    (
        Kind::Duplicate,
        words(
            "PERCENT",
            "this percentage of the packets between servers comes twice",
            "at 500ms for 3s duplicate 20%",
        ),
    ),
    (
        Kind::Reorder,
        words(
            "PERCENT",
            "this percentage of the packets between servers is overtaken by later ones",
            "at 500ms for 3s reorder 40%",
        ),
    ),
    (
        Kind::Delay,
        words(
            "SPAN",
            "every packet between servers takes up to this much longer",
            "at 1s for 2s delay 30ms",
        ),
    ),
    (
        Kind::Crash,
        words(
            "SERVER",
            "the process dies and starts again at the end, with what it had written; in memory mode as wipe",
            "at 1s for 300ms crash 1",
        ),
    ),
    (
        Kind::PowerLoss,
        words(
            "SERVER",
            "the machine loses power: what was not synced is lost or torn",
            "at 1s for 300ms powerloss 2",
        ),
    ),
    (
        Kind::Blackout,
        words(
            "",
            "all servers lose power at once, and have it again at the end",
            "at 1s for 300ms blackout",
        ),
    ),
    (
        Kind::StartKill,
        words(
            "SERVER",
            "the process is killed, and again in the middle of its next start; it starts again at the end",
            "at 1s for 300ms startkill 2",
        ),
    ),
    (
        Kind::StartLoss,
        words(
            "SERVER",
            "the process is killed, and the machine loses power in the middle of its next start",
            "at 1s for 300ms startloss 2",
        ),
    ),
    (
        Kind::Wipe,
        words(
            "SERVER",
            "the machine dies and comes back with an empty disk; skipped if a majority would no longer remember",
            "at 1s for 300ms wipe 3",
        ),
    ),
    (
        Kind::Rot,
        words(
            "SERVER",
            "the process dies, and before it starts again a bit of its disk has turned; skipped as wipe is",
            "at 1s for 300ms rot 1",
        ),
    ),
    (
        Kind::Swap,
        words(
            "SERVER",
            "the machine comes back with an empty disk at once, and at the end with its old one; skipped as wipe is",
            "at 1s for 2s swap 2",
        ),
    ),
    (
        Kind::Pause,
        words(
            "SERVER",
            "the process stands still, and so does all that it should hear; its clock goes on",
            "at 1s for 700ms pause 1",
        ),
    ),
    (
        Kind::ClockRate,
        words(
            "SERVER PERCENT",
            "the server's clock runs at this percentage of the true pace, up to 10000%",
            "at 1s for 3s clockrate 2 300%",
        ),
    ),
    (
        Kind::ClockLeap,
        words("SERVER SPAN", "the server's clock leaps ahead by this much", "at 2s clockleap 2 4s"),
    ),
    (
        Kind::SlowDisk,
        words(
            "SERVER SPAN",
            "each sync of the server's disk takes this much longer",
            "at 1s for 2s slowdisk 3 117ms",
        ),
    ),
    (
        Kind::FailDisk,
        words(
            "SERVER",
            "every sync of the server's disk fails: the server stops itself and is started again",
            "at 1s for 100ms faildisk 1",
        ),
    ),
    (
        Kind::AddVoter,
        words(
            "SERVER",
            "an operator asks that the observer become a voter; skipped while no server is primary",
            "at 1s addvoter 4",
        ),
    ),
    (
        Kind::RemoveVoter,
        words(
            "SERVER",
            "an operator asks that the voter become an observer; skipped as wipe is, or if it is the last",
            "at 1s removevoter 3",
        ),
    ),
    (
        Kind::HangUp,
        words(
            "SERVER",
            "the server hangs up on all its clients; skipped if it has none",
            "at 1s hangup 1",
        ),
    ),
    (
        Kind::Unreachable,
        words(
            "SERVER",
            "no client reaches this server, nor does it reach them; nobody is told until the end",
            "at 1s for 2s unreachable 1",
        ),
    ),
    (
        Kind::Isolate,
        words(
            "CLIENT",
            "this client reaches no server, nor do they reach it; nobody is told until the end",
            "at 1s for 2s isolate 2",
        ),
    ),
    (
        Kind::Gone,
        words(
            "CLIENT",
            "the client is gone without a word, and another comes in its place",
            "at 1s gone 1",
        ),
    ),
    (
        Kind::Amnesia,
        words(
            "",
            "in memory mode: a majority loses its memory at once; the cluster must stop and say so",
            "at 1500ms for 300ms amnesia",
        ),
    ),
    (
        Kind::Oblivion,
        words(
            "",
            "all servers lose their memory at once; they must not begin again by themselves",
            "at 1500ms for 300ms oblivion",
        ),
    ),
    (
        Kind::Recover,
        words(
            "",
            "a majority of the voters is lost, the operator recovers the cluster from the rest, and the lost ones come back",
            "at 1s for 2s recover",
        ),
    ),
    (
        Kind::Damage,
        words(
            "SERVER",
            "the state in the server's memory is damaged: it must stop itself, and nobody else may; see below when it is skipped",
            "at 1s damage 2",
        ),
    ),
];

const fn words(arguments: &'static str, says: &'static str, example: &'static str) -> Words {
    Words { arguments, says, example }
}

impl Kind {
    /// How it is written and what it does.
    ///
    /// # Panics
    /// If a kind was added without words for it, which the tests see.
    pub fn words(self) -> Words {
        let found = WORDS.iter().find(|(kind, _)| *kind == self);
        found.expect("each kind has its words").1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, text};
    use crate::world;

    const PAGE: &str = include_str!("../../../docs/plans.md");

    /// A short plan with one fault.
    fn plan(line: &str, mode: &str) -> Plan {
        let head =
            "accord-sim plan 1\nservers 3\nobservers 1\nclients 12\noperations 60\nsafety 4s\n";
        let words = format!("{head}mode {mode}\n{line}\nend\n");
        text::read(&words).unwrap_or_else(|error| panic!("{words}: {error}"))
    }

    #[test]
    fn each_example_is_a_fault_of_its_kind_stands_in_the_page_and_takes_place() {
        for kind in Kind::ALL {
            let Words { arguments, says, example } = kind.words();
            let forgets = matches!(kind, Kind::Amnesia | Kind::Oblivion);
            let plan = plan(example, if forgets { "memory" } else { "persistent" });
            assert_eq!(plan.faults[0].kind.kind(), kind, "{example}");
            assert_eq!(plan.faults[0].to_string(), example);
            let run = world::run(&plan, None);
            assert_eq!(run.violation, None, "{example}");
            assert_eq!(run.counts.faults.get(&kind), Some(&1), "{example}");
            let name = kind.name();
            let written = format!("{name} {arguments}");
            let row = format!("| `{}` | {says} | `{example}` |", written.trim_end());
            assert!(PAGE.contains(&row), "docs/plans.md lacks the row\n{row}");
        }
    }

    #[test]
    fn each_plan_in_the_page_runs_and_holds() {
        let blocks: Vec<&str> =
            PAGE.split("```\n").filter(|it| it.starts_with("accord-sim plan")).collect();
        assert!(blocks.len() >= 2, "{}", blocks.len());
        for words in blocks {
            let plan = text::read(words).unwrap_or_else(|error| panic!("{words}: {error}"));
            let run = world::run(&plan, None);
            assert_eq!((run.violation, run.counts.faults_skipped), (None, 0), "{words}");
        }
    }

    #[test]
    fn each_option_stands_in_the_page_with_its_default() {
        let options = crate::plan::options::Options::default();
        for name in crate::plan::options::NAMES {
            let row = format!("| `{name}` | {} |", options.get(name));
            assert!(PAGE.contains(&row), "docs/plans.md lacks a row that begins with\n{row}");
        }
    }
}
