//! The page of a run, drawn by a real browser without a window: that it draws all that there is,
//! marks what is wrong, and meets no error of its own.
//!
//! Needs Chromium (`apt-get install chromium`), by one of its usual names or as `ACCORD_CHROMIUM`
//! says; without one the tests say so and pass.

use accord_models::Recorder;
use accord_models::edn::Value;
use accord_sim::judge::{Property, Violation};
use accord_sim::plan::options::Options;
use accord_sim::plan::{Overrides, Plan};
use accord_sim::world::clock::WorldTime;
use accord_sim::world::{self, Run};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The browser, if there is one.
fn chromium() -> Option<PathBuf> {
    if let Some(named) = env::var_os("ACCORD_CHROMIUM") {
        return Some(PathBuf::from(named));
    }
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = env::var_os("PATH")?;
    let found = env::split_paths(&path)
        .flat_map(|directory| names.map(|name| directory.join(name)))
        .find(|program| program.is_file());
    if found.is_none() {
        eprintln!("skipped: no Chromium here; set ACCORD_CHROMIUM to one, or install chromium");
    }
    found
}

/// What a browser makes of a page: the document after its scripts ran.
struct Shown {
    dom: String,
    told: BTreeMap<String, String>,
}

impl Shown {
    /// The page of a run, opened at `hash`.
    fn of(browser: &Path, name: &str, plan: &Plan, run: &Run, hash: &str) -> Self {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
        fs::create_dir_all(&place).expect("a directory for pages");
        let page = place.join(format!("{name}.html"));
        fs::write(&page, accord_sim::report::page::html(plan, run)).expect("a page");
        let profile = place.join(format!("{name}.profile"));
        let output = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1500,1000"])
            .args(["--virtual-time-budget=5000", "--dump-dom"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("file://{}#{hash}", page.display()))
            .stdin(Stdio::null())
            .output()
            .expect("the browser runs");
        let dom = String::from_utf8_lossy(&output.stdout).into_owned();
        let body = dom.split_once("<body").and_then(|(_, rest)| rest.split_once('>'));
        let body = body.unwrap_or_else(|| panic!("no document: {output:?}")).0;
        let told = body.split("data-").skip(1).filter_map(|attribute| {
            let (name, value) = attribute.trim().split_once("=\"")?;
            Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
        });
        Self { told: told.collect(), dom }
    }

    /// The number that the page tells by this name.
    fn number(&self, name: &str) -> u64 {
        let told = self.told.get(name).unwrap_or_else(|| panic!("{name} in {:?}", self.told));
        told.parse().expect("a number")
    }

    fn count(&self, what: &str) -> usize {
        // Scripts are part of the document: what they would make is not what they made.
        self.dom.split("<script").next().unwrap_or_default().matches(what).count()
    }

    fn went_well(&self) {
        assert_eq!((self.number("ready"), self.number("errors")), (1, 0), "{:?}", self.told);
    }
}

fn storm() -> Plan {
    let overrides = Overrides {
        options: [("servers", "5"), ("workloads", "register,queue"), ("operations", "220")]
            .map(|(name, text)| (name, text.to_owned()))
            .to_vec(),
        ..Overrides::default()
    };
    Plan::draw(5, &overrides)
}

#[test]
fn a_good_run_of_five_servers_and_ten_thousand_events_is_drawn() {
    let Some(browser) = chromium() else { return };
    let plan = storm();
    let run = world::run_recorded(&plan, None);
    assert_eq!(run.violation, None);
    let record = run.record.as_ref().expect("it was recorded");
    let events = record.events.len() as u64;
    assert!((8_000..20_000).contains(&events), "{events}");
    let lanes = 1 + plan.options.nodes() + plan.options.clients;
    let operations = run.counts.operations();
    let all = Shown::of(&browser, "good", &plan, &run, "");
    all.went_well();
    assert_eq!(all.number("lanes"), u64::from(lanes));
    assert_eq!(all.count("class=\"lane\""), lanes as usize);
    assert_eq!((all.number("events"), all.number("drawn-events")), (events, events));
    assert_eq!(all.number("messages") as usize, record.messages.len() + record.datagrams.len());
    assert_eq!(
        (all.number("operations"), all.number("drawn-operations")),
        (operations, operations)
    );
    assert!(all.number("drawn-bundles") > 100, "so much is drawn in bundles");
    assert_eq!((all.number("offending"), all.count("class=\"offending\"")), (0, 0));
    assert!(all.dom.contains("every property that was judged held"));

    // A hundredth of it: one by one, with labels; and after three steps, details.
    let near = Shown::of(&browser, "near", &plan, &run, "from=0.2&to=0.22&step=3");
    near.went_well();
    let drawn = near.number("drawn-events");
    assert!(drawn > 0 && drawn < events / 10, "{drawn} of {events}");
    assert_eq!(near.number("drawn-bundles"), 0);
    assert!(near.number("drawn-labels") > 10);
    assert!(near.count("id=\"neighbours\"") == 1 && near.count("class=\"here\"") == 1);

    // Words choose among all.
    let found = Shown::of(&browser, "found", &plan, &run, "q=commits");
    found.went_well();
    let commits = record.events.iter().filter(|told| told.text.contains("commits")).count();
    assert!(commits > 50, "{commits}");
    assert!(found.number("steps") >= commits as u64 && found.number("steps") < events / 2);
}

#[test]
fn a_violation_is_shown_with_the_operations_in_question() {
    let Some(browser) = chromium() else { return };
    let canary = Some(Property::ExactlyOnce);
    let options = Options { servers: 5, operations: 60, canary, ..Options::default() };
    let plan = Plan { options, faults: Vec::new() };
    let run = world::run_recorded(&plan, None);
    assert!(run.violation.is_some());
    let shown = Shown::of(&browser, "violation", &plan, &run, "violation=1");
    shown.went_well();
    let offending = shown.number("offending");
    assert!(offending >= 1);
    assert_eq!(shown.count("class=\"offending\"") as u64, offending);
    assert!(shown.dom.contains("VIOLATION of exactly-once"));
    assert!(shown.dom.contains("the canary sings"));
}

#[test]
fn a_refused_history_is_shown_with_its_conflict() {
    let Some(browser) = chromium() else { return };
    let plan = Plan { options: Options::default(), faults: Vec::new() };
    let mut run = world::run_recorded(&plan, None);
    let pair = |value: Value| Value::vector([Value::Int(7), value]);
    let mut recorder = Recorder::new(4);
    let write = recorder.invoke(1, 1_000_000, "write", pair(Value::Int(1)));
    recorder.ok(write, 2_000_000, pair(Value::Int(1)));
    let read = recorder.invoke(2, 3_000_000, "read", pair(Value::Nil));
    // What is said must not end the element that it stands in.
    recorder.ok(read, 4_000_000, pair(Value::text("</script><b id=\"out\">")));
    run.histories = vec![("register", recorder.finish())];
    let at = WorldTime::from_nanos(5_000_000);
    let detail = "register: </script>".to_owned();
    run.violation = Some(Violation { property: Property::Workload, at, detail });
    let shown = Shown::of(&browser, "conflict", &plan, &run, "");
    shown.went_well();
    assert_eq!(shown.number("operations"), 2);
    assert!(shown.number("offending") >= 1, "{:?}", shown.told);
    assert!(shown.dom.contains("not-linearizable"), "the checker's word for it");
    assert_eq!(shown.count("<b id=\"out\">"), 0);
}
