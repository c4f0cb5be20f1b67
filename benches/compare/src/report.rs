//! Results as tables in Markdown: medians and spreads, and the ratios to each other system.

use crate::load::Measurement;
use crate::plan::rows;
use crate::progress::Progress;
use crate::results::Results;
use crate::stats::{Ratio, Spread, ratio, spread};
use crate::systems::{Mode, System};
use std::fmt::Write as _;

/// A figure of a measurement.
pub type Figure = fn(&Measurement) -> f64;

/// Measurements that belong together: one system's in one row.
#[derive(Debug)]
pub struct Side<'a> {
    /// Which system.
    pub system: System,
    /// Its measurements, by round.
    pub measurements: Vec<&'a Measurement>,
}

impl Side<'_> {
    /// The spread of a figure.
    pub fn spread(&self, figure: impl Fn(&Measurement) -> f64) -> Spread {
        let values: Vec<f64> = self.measurements.iter().map(|of| figure(of)).collect();
        spread(&values).unwrap_or(Spread { median: f64::NAN, min: f64::NAN, max: f64::NAN })
    }

    /// The windows it was measured with: one, unless the system refused what came with the first.
    pub fn windows(&self) -> String {
        let mut windows: Vec<_> = self.measurements.iter().map(|of| of.workload.window).collect();
        windows.dedup();
        windows.iter().map(usize::to_string).collect::<Vec<_>>().join(", then ")
    }

    /// How many times more of a figure than the other side, in the same rounds.
    pub fn ratio(&self, other: &Self, figure: impl Fn(&Measurement) -> f64) -> Option<Ratio> {
        let partner = |of: &Measurement| {
            let same = other.measurements.iter().find(|other| other.round == of.round)?;
            Some((figure(of), figure(same)))
        };
        let pairs: Vec<_> = self.measurements.iter().filter_map(|of| partner(of)).collect();
        ratio(&pairs)
    }
}

/// Sorts measurements by system.
pub fn sides<'a>(measurements: impl Iterator<Item = &'a Measurement>) -> Vec<Side<'a>> {
    let mut sides: Vec<Side<'a>> = Vec::new();
    for of in measurements {
        match sides.iter_mut().find(|side| side.system == of.system) {
            Some(side) => side.measurements.push(of),
            None => sides.push(Side { system: of.system, measurements: vec![of] }),
        }
    }
    sides.sort_by_key(|side| side.system);
    sides
}

/// Whole numbers with commas.
pub fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 && digit.is_ascii_digit() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in microseconds, in the unit that reads best.
pub fn time(us: f64) -> String {
    match us {
        us if us < 1_000.0 => format!("{us:.0} us"),
        us if us < 100_000.0 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.0} ms", us / 1e3),
    }
}

fn ratio_text(ratio: Option<Ratio>) -> String {
    match ratio {
        Some(Ratio { median, low, high, .. }) => format!("{median:.2} ({low:.2}-{high:.2})"),
        None => "-".to_owned(),
    }
}

/// Tells how a row came out, as soon as it has.
pub fn say_row(measurements: &[Measurement], progress: &Progress) {
    let Some(first) = measurements.first() else { return };
    let sides = sides(measurements.iter());
    let mut text = format!("{}, {}:", first.mode.name(), title(&first.row));
    for side in &sides {
        let rate = grouped(side.spread(Measurement::per_second).median);
        let us = side.spread(Measurement::servers_us).median;
        let window = side.windows();
        let p50 = time(side.spread(|of| of.latency.p50_us).median);
        let name = side.system.name();
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {name}: {rate}/s, {us:.2} us/op in the servers, ");
        let _ = write!(text, "median {p50}, window {window}");
    }
    for (accord, other) in compared(&sides) {
        let ratio = ratio_text(accord.ratio(other, Measurement::per_second));
        let (name, other) = (accord.system.name(), other.system.name());
        let _ = write!(text, "\n  {name} / {other}: {ratio} times the rate");
    }
    progress.note(&text);
}

/// What is compared: Accord with all others, and Accord over Corosync with other systems.
pub fn compared<'a, 'b>(
    sides: &'a [Side<'b>],
) -> impl Iterator<Item = (&'a Side<'b>, &'a Side<'b>)> {
    sides.iter().flat_map(move |one| {
        let others = sides.iter().filter(move |other| match one.system {
            System::Accord => other.system != System::Accord,
            System::Corosync => matches!(other.system, System::Zookeeper | System::Etcd),
            System::Library | System::Zookeeper | System::Etcd => false,
        });
        others.map(move |other| (one, other))
    })
}

/// What a row is called in tables.
pub fn title(name: &str) -> String {
    let row = rows().into_iter().find(|row| row.name == name);
    row.map_or_else(|| name.to_owned(), |row| row.title.to_owned())
}

/// All tables.
pub fn markdown(results: &Results) -> String {
    let mut text = String::from("# Accord beside other systems\n");
    head(results, &mut text);
    for mode in [Mode::Memory, Mode::Persistent] {
        let of: Vec<_> = results.measurements.iter().filter(|of| of.mode == mode).collect();
        let compared: Vec<_> = of.into_iter().filter(|of| is_compared(&of.row)).collect();
        if !compared.is_empty() {
            let _ = write!(text, "\n## In {} mode\n\n", mode.name());
            mode_tables(&compared, &mut text);
        }
    }
    crate::curves::tables(results, &mut text);
    text
}

fn is_compared(name: &str) -> bool {
    rows().iter().any(|row| row.name == name)
}

fn head(results: &Results, text: &mut String) {
    let manifest = &results.manifest;
    text.push('\n');
    let mut say = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "- {name}: {value}");
        }
    };
    say("machine", &format!("{}, {}", manifest.processor, manifest.kernel));
    say("commit", &manifest.commit);
    let versions: Vec<_> = manifest.versions.iter().map(|(of, is)| format!("{of} {is}")).collect();
    say("versions", &versions.join("; "));
    for (side, durability) in &manifest.durability {
        say(&format!("{side}: a write is answered when it is in"), durability);
    }
    for same in results.skipped.chunk_by(|one, next| one == next) {
        let times = if same.len() > 1 { format!(" ({} times)", same.len()) } else { String::new() };
        say("left out or repeated", &format!("{}{times}", same[0]));
    }
}

fn mode_tables(measurements: &[&Measurement], text: &mut String) {
    text.push_str(
        "Medians, with the smallest and the largest. Processor time is of all servers together, \
         and of the generator.\n\n\
         | workload | system | window | requests/s | median | p99 | servers us/op | \
         generator us/op |\n|---|---|---|---|---|---|---|---|\n",
    );
    let names: Vec<&str> = rows().iter().map(|row| row.name).collect();
    let of_row = |name: &str| sides(measurements.iter().copied().filter(move |of| of.row == name));
    for name in &names {
        for side in of_row(name) {
            let rate = side.spread(Measurement::per_second);
            let us = side.spread(Measurement::servers_us);
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} ({}-{}) | {} | {} | {:.2} ({:.2}-{:.2}) | {:.2} |",
                title(name),
                side.system.name(),
                side.windows(),
                grouped(rate.median),
                grouped(rate.min),
                grouped(rate.max),
                time(side.spread(|of| of.latency.p50_us).median),
                time(side.spread(|of| of.latency.p99_us).median),
                us.median,
                us.min,
                us.max,
                side.spread(Measurement::generator_us).median,
            );
        }
    }
    text.push_str(
        "\nHow many times as much a system does as the one beside it, over pairs that were measured \
         in turns: the median, and its interval with how sure that is.\n\n\
         | workload | system | beside | requests/s | requests for the same processor time of the \
         servers | pairs, sure |\n|---|---|---|---|---|---|\n",
    );
    for name in &names {
        ratio_lines(name, &of_row(name), text);
    }
    disk_table(measurements, text);
    for name in &names {
        for side in of_row(name).iter().filter(|side| side.system == System::Corosync) {
            let share =
                |of: &Measurement| of.daemons_seconds / of.servers_usage.cpu_seconds * 100.0;
            let Spread { median, min, max } = side.spread(share);
            let title = title(name);
            let _ = writeln!(
                text,
                "\n{title}: Corosync's daemons are {median:.0} % ({min:.0}-{max:.0}) of the \
                 processor time of Accord over Corosync.",
            );
        }
    }
}

/// What servers with disks asked of them.
fn disk_table(measurements: &[&Measurement], text: &mut String) {
    let of: Vec<&Measurement> =
        measurements.iter().copied().filter(|of| of.mode == Mode::Persistent).collect();
    if of.is_empty() {
        return;
    }
    text.push_str(
        "\nBytes that all servers write to files for one request that is not a read, and the number \
         of these requests that share one sync\nof one server's log, by the servers' own counts of \
         syncs (medians).\n\n\
         | workload | system | bytes/write | writes/sync |\n|---|---|---|---|\n",
    );
    for row in rows() {
        let writing = of.iter().copied().filter(|of| of.row == row.name && of.requests > of.reads);
        for side in sides(writing) {
            let writes = |of: &Measurement| (of.requests - of.reads) as f64;
            let bytes = side.spread(|of| of.servers_usage.written_bytes as f64 / writes(of));
            let told = side.measurements.iter().all(|of| of.log_syncs.is_some_and(|it| it > 0));
            // Each server syncs each write.
            let syncs_each =
                |of: &Measurement| of.log_syncs.unwrap_or_default() as f64 / of.servers as f64;
            let shared = side.spread(|of| writes(of) / syncs_each(of)).median;
            let shared = if told { grouped(shared) } else { "-".to_owned() };
            let (title, system, bytes) = (row.title, side.system.name(), grouped(bytes.median));
            let _ = writeln!(text, "| {title} | {system} | {bytes} | {shared} |");
        }
    }
}

fn ratio_lines(name: &str, sides: &[Side<'_>], text: &mut String) {
    for (accord, other) in compared(sides) {
        let rate = accord.ratio(other, Measurement::per_second);
        let us = accord.ratio(other, |of| 1.0 / of.servers_us());
        let sure = rate.map_or_else(String::new, |rate| {
            format!("{}, {:.0} %", rate.pairs, rate.confidence * 100.0)
        });
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {sure} |",
            title(name),
            accord.system.name(),
            other.system.name(),
            ratio_text(rate),
            ratio_text(us),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!((grouped(999.0), grouped(1000.0)), ("999".into(), "1,000".into()));
        assert_eq!((time(42.4), time(4_200.0)), ("42 us".into(), "4.2 ms".into()));
        assert_eq!(time(420_000.0), "420 ms");
    }
}
