//! The state of a cluster as it is shown: live lines on a terminal, else a line for each change.

use crate::out;
use accord_net::server::StatusReport;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

/// Shows the servers.
pub struct Display {
    live: Option<MultiProgress>,
    lines: BTreeMap<u32, ProgressBar>,
    shown: BTreeMap<u32, String>,
}

impl Display {
    /// Live on a terminal, unless `plain`.
    pub fn new(plain: bool) -> Self {
        let terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        let live = (terminal && !plain)
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5)));
        Self { live, lines: BTreeMap::new(), shown: BTreeMap::new() }
    }

    /// Shows how a server is: `state` in a word or two, `details` only where they are live.
    pub fn show(&mut self, id: u32, place: &str, state: &str, details: &str) {
        let Some(live) = &self.live else {
            let line = format!("accord: server {id} at {place}: {state}\n");
            if self.shown.insert(id, line.clone()).as_ref() != Some(&line) {
                out::print_text(&line);
            }
            return;
        };
        let bar = self.lines.entry(id).or_insert_with(|| {
            let style = ProgressStyle::with_template("{msg}").expect("it is well-formed");
            live.add(ProgressBar::new_spinner().with_style(style))
        });
        bar.set_message(format!("server {id}  {place:<21}  {state:<12}  {details}"));
        bar.tick();
    }

    /// Prints a line that stays.
    pub fn say(&self, line: &str) {
        match &self.live {
            Some(live) => {
                let _ = live.println(line);
            }
            None => {
                out::print_text(&format!("{line}\n"));
            }
        }
    }

    /// Takes the live lines off the screen: they are no longer true.
    pub fn finish(&mut self) {
        for bar in self.lines.values() {
            bar.finish_and_clear();
        }
    }
}

/// What a server is doing, in few words.
pub fn state(report: &StatusReport) -> String {
    match (report.draining, report.primary, report.synced) {
        (true, ..) => "stopping".to_owned(),
        (_, true, true) => "serving".to_owned(),
        (_, true, false) => "catching up".to_owned(),
        _ => match &report.reason {
            Some(reason) => format!("not serving: {reason}"),
            None => "not serving".to_owned(),
        },
    }
}

/// The rest, for those who look at it live.
pub fn details(report: &StatusReport, http: &str) -> String {
    format!(
        "{} connected, {} records, {} sessions ({} here), revision {}, http {http}",
        report.members.len(),
        report.records,
        report.sessions,
        report.attached,
        report.revision
    )
}
