//! The state of a cluster as it is shown: live lines on a terminal, else a line for each change.

use crate::out;
use accord_net::operator::StatusReport;
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
            let at = if place.is_empty() { String::new() } else { format!(" at {place}") };
            let line = format!("accord: server {id}{at}: {state}\n");
            if self.shown.insert(id, line.clone()).as_ref() != Some(&line) {
                out::print_text(&line);
            }
            return;
        };
        let bar = self.lines.entry(id).or_insert_with(|| {
            // No wider than the terminal: a line that wraps cannot be drawn over.
            let style = ProgressStyle::with_template("{wide_msg}").expect("it is well-formed");
            live.add(ProgressBar::new_spinner().with_style(style))
        });
        bar.set_message(row(id, place, state, details));
        bar.tick();
    }

    /// A server is gone: its live line says so. Lines that stay say why.
    pub fn note_end(&mut self, id: u32, what: &str) {
        if self.live.is_some() {
            self.show(id, "", what, "");
        }
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

/// The rest, for those who look at it live; `http`: where it is served.
pub fn details(report: &StatusReport, http: &str) -> String {
    let port = http.rsplit_once(':').map_or(http.to_owned(), |(_, port)| format!(":{port}"));
    let StatusReport { revision, records, sessions, .. } = report;
    format!("rev {revision}, {records} records, {sessions} sessions, http {port}")
}

/// A live line.
fn row(id: u32, place: &str, state: &str, details: &str) -> String {
    format!("server {id:<2} {place:<15}  {state:<7}  {details}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_line_fits_into_eighty_columns() {
        let details = "rev 1234, 56 records, 7 sessions, http :9190";
        for (id, place) in [(1, "127.0.0.1:9090"), (15, "127.0.0.1:59090")] {
            let line = row(id, place, "serving", details);
            assert!(line.len() <= 80, "{} columns: {line}", line.len());
        }
    }
}
