//! Results as pictures: rates and processor time of each row, the ratios that are claimed with
//! their intervals, and curves. See [`crate::svg`] for how they are drawn.

use crate::curves::{CURVES, Curve};
use crate::failure::{During, Failure, Result};
use crate::load::Measurement;
use crate::plan::rows;
use crate::report::{Figure, Side, compared, sides};
use crate::results::Results;
use crate::stats::Ratio;
use crate::svg::{Anchor, Axis, FIELD, Picture, TICK_TEXT, short};
use crate::systems::{Mode, System};
use std::path::{Path, PathBuf};

const INK: &str = "#000";

const fn ink(system: System) -> &'static str {
    match system {
        System::Accord => "#1b6ec2",
        System::Corosync => "#7a4fb5",
        System::Library => "#4c9bd6",
        System::Zookeeper => "#d06a1d",
        System::Etcd => "#3a8f4f",
    }
}

const RATE: &str = "requests a second";
const PROCESSOR: &str = "processor time for a request, us";
const MEDIANS: [&str; 3] = ["mark: median", "line: smallest to", "largest measured"];
const RATIOS: [&str; 5] = [
    "mark: median ratio of",
    "pairs measured in turns",
    "line: its interval",
    "(see report.md);",
    "over 1: no difference",
];

/// Draws all there is to draw, and says which files it wrote.
///
/// # Errors
/// If the directory cannot be written.
pub fn draw_all(results: &Results, dir: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir).during(dir.display())?;
    let mut files = Vec::new();
    let mut keep = |name: String, svg: String| {
        let path = dir.join(format!("{name}.svg"));
        std::fs::write(&path, svg).during(path.display())?;
        files.push(path);
        Ok::<_, Failure>(())
    };
    for mode in [Mode::Memory, Mode::Persistent] {
        let of: Vec<_> = results.measurements.iter().filter(|of| of.mode == mode).collect();
        let name = mode.name();
        let figures: [(&str, &str, Figure); 2] =
            [("rate", RATE, Measurement::per_second), ("cpu", PROCESSOR, Measurement::servers_us)];
        if of.iter().any(|of| rows().iter().any(|row| row.name == of.row)) {
            for (what, says, figure) in figures {
                keep(format!("{name}-{what}"), draw_rows(mode, says, &of, figure))?;
            }
            if let Some(svg) = draw_ratios(mode, &of) {
                keep(format!("{name}-ratio"), svg)?;
            }
        }
        for curve in CURVES {
            let row = curve.row();
            let points: Vec<_> = of.iter().copied().filter(|of| of.row == row).collect();
            if points.is_empty() {
                continue;
            }
            let figures: [(&str, &str, Figure); 2] = match curve.name {
                "load" => [
                    ("p50", "median latency, us", |of| of.latency.p50_us),
                    ("p99", "99th percentile of latency, us", |of| of.latency.p99_us),
                ],
                _ => figures,
            };
            for (what, says, figure) in figures {
                let svg = draw_curve(curve, (says, mode), &points, figure);
                keep(format!("{name}-{}-{what}", curve.name), svg)?;
            }
        }
    }
    Ok(files)
}

/// Bounds of an axis with powers, so that all values are well within.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let positive = values.filter(|value| value.is_finite() && *value > 0.0);
    let (low, high) =
        positive.fold((f64::MAX, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    match low < f64::MAX {
        true => (low / 1.25, high * 1.4),
        false => (1.0, 10.0),
    }
}

fn y_axis(bounds: (f64, f64)) -> Axis {
    Axis { bounds, pixels: (FIELD[3], FIELD[2]) }
}

/// Rows that were measured, in their order.
fn present(of: &[&Measurement]) -> Vec<&'static str> {
    let names = rows().into_iter().map(|row| row.name);
    names.filter(|name| of.iter().any(|of| of.row == *name)).collect()
}

/// Where the mark at `place` of `count` stands in the column of a row: around its middle, whichever
/// systems the other rows have.
fn column(row: usize, rows: usize, place: usize, count: usize) -> f64 {
    let width = (FIELD[1] - FIELD[0]) / rows.max(1) as f64;
    let middle = FIELD[0] + width * (row as f64 + 0.5);
    let apart = (width * 0.8 / count.max(1) as f64).min(46.0);
    middle + (place as f64 - (count as f64 - 1.0) / 2.0) * apart
}

/// The names of rows below their columns, a word a line if they are long.
fn name_rows(picture: &mut Picture, names: &[&str]) {
    for (at, name) in names.iter().enumerate() {
        let x = column(at, names.len(), 0, 1);
        for (line, word) in name.split('-').enumerate() {
            let y = FIELD[3] + 22.0 + line as f64 * 17.0;
            picture.text((x, y), word, TICK_TEXT, Anchor::Middle, INK);
        }
    }
}

fn systems_legend(picture: &mut Picture, sides: &[Side<'_>], notes: &[&str]) {
    let names: Vec<(&str, usize, String)> = sides
        .iter()
        .map(|side| (side.system.name(), side.system as usize, ink(side.system).to_owned()))
        .collect();
    picture.legend(&names, notes);
}

/// Rows side by side, a mark for the median of each system and a line from the smallest to the
/// largest.
fn draw_rows(mode: Mode, says: &str, of: &[&Measurement], figure: Figure) -> String {
    let names = present(of);
    let shown: Vec<&Measurement> =
        of.iter().copied().filter(|of| names.contains(&of.row.as_str())).collect();
    let axis = y_axis(bounds(shown.iter().map(|of| figure(of))));
    let mut picture = Picture::new(&format!("Workloads in {} mode", mode.name()));
    axis.draw_y(&mut picture);
    for (row, name) in names.iter().enumerate() {
        let here = sides(shown.iter().copied().filter(|of| of.row == *name));
        for (place, side) in here.iter().enumerate() {
            let x = column(row, names.len(), place, here.len());
            let spread = side.spread(figure);
            let (low, high) = (axis.at(spread.min), axis.at(spread.max));
            picture.interval(x, (low, high), ink(side.system));
            picture.mark((x, axis.at(spread.median)), side.system as usize, ink(side.system));
            picture.value((x, high - 9.0), &short(spread.median), ink(side.system));
        }
    }
    picture.frame("", says);
    name_rows(&mut picture, &names);
    systems_legend(&mut picture, &sides(shown.into_iter()), &MEDIANS);
    picture.finish()
}

/// A ratio, and where it stands: in which row, and in which of how many places of its column.
struct Beside {
    row: usize,
    place: usize,
    count: usize,
    pair: (System, System),
    ratio: Ratio,
}

/// How many times the rate of the other system one has, with the interval. None without pairs.
fn draw_ratios(mode: Mode, of: &[&Measurement]) -> Option<String> {
    let names = present(of);
    let mut found = Vec::new();
    for (row, name) in names.iter().enumerate() {
        let here = sides(of.iter().copied().filter(|of| of.row == *name));
        let ratios: Vec<_> = compared(&here)
            .filter_map(|(one, other)| {
                let ratio = one.ratio(other, Measurement::per_second)?;
                Some(((one.system, other.system), ratio))
            })
            .collect();
        let count = ratios.len();
        let all = ratios.into_iter().enumerate();
        let beside = |(place, (pair, ratio))| Beside { row, place, count, pair, ratio };
        found.extend(all.map(beside));
    }
    let ends = found.iter().flat_map(|Beside { ratio, .. }| [ratio.low, ratio.high, 1.0]);
    let axis = y_axis(bounds(ends));
    let mut pairs: Vec<(System, System)> = found.iter().map(|beside| beside.pair).collect();
    pairs.sort_unstable();
    pairs.dedup();
    (!pairs.is_empty()).then(|| {
        let mut picture = Picture::new(&format!("Rates beside each other, {} mode", mode.name()));
        axis.draw_y(&mut picture);
        picture.line(&[(FIELD[0], axis.at(1.0)), (FIELD[1], axis.at(1.0))], 1.5, "#666");
        for Beside { row, place, count, pair, ratio } in found {
            let x = column(row, names.len(), place, count);
            let shape = pairs.iter().position(|one| *one == pair).unwrap_or_default();
            let high = axis.at(ratio.high);
            picture.interval(x, (axis.at(ratio.low), high), ink(pair.1));
            picture.mark((x, axis.at(ratio.median)), shape, ink(pair.1));
            picture.value((x, high - 9.0), &short(ratio.median), ink(pair.1));
        }
        picture.frame("", "times the requests a second");
        name_rows(&mut picture, &names);
        let named: Vec<String> =
            pairs.iter().map(|(one, other)| format!("{} / {}", one.name(), other.name())).collect();
        let legend: Vec<(&str, usize, String)> = named
            .iter()
            .zip(&pairs)
            .enumerate()
            .map(|(at, (name, pair))| (name.as_str(), at, ink(pair.1).to_owned()))
            .collect();
        picture.legend(&legend, &RATIOS);
        picture.finish()
    })
}

/// One thing varied: a line for each system through the medians, both axes with powers.
fn draw_curve(
    curve: Curve,
    (says, mode): (&str, Mode),
    of: &[&Measurement],
    figure: Figure,
) -> String {
    let x = bounds(of.iter().map(|of| curve.x(of)));
    let x_axis = Axis { bounds: x, pixels: (FIELD[0], FIELD[1]) };
    let axis = y_axis(bounds(of.iter().map(|of| figure(of))));
    let mut picture = Picture::new(&format!("{}, {} mode", curve.title, mode.name()));
    axis.draw_y(&mut picture);
    let mut measured: Vec<f64> = of.iter().map(|of| curve.x(of)).collect();
    measured.sort_by(f64::total_cmp);
    measured.dedup();
    // Loads differ from system to system: only what is the same for all is marked by its value.
    let ticks = match measured.len() <= 7 {
        true => measured.iter().map(|value| (*value, crate::report::grouped(*value))).collect(),
        false => x_axis.ticks(),
    };
    x_axis.draw_x(&mut picture, &ticks);
    let sides = sides(of.iter().copied());
    let mut repeated = false;
    for side in &sides {
        let (color, shape) = (ink(side.system), side.system as usize);
        let mut line = Vec::new();
        for value in &measured {
            let here: Vec<_> =
                side.measurements.iter().copied().filter(|of| curve.x(of) == *value).collect();
            if here.is_empty() {
                continue;
            }
            repeated |= here.len() > 1;
            let spread = Side { system: side.system, measurements: here }.spread(figure);
            line.push((x_axis.at(*value), spread));
        }
        let middle: Vec<(f64, f64)> =
            line.iter().map(|(x, spread)| (*x, axis.at(spread.median))).collect();
        picture.line(&middle, 2.0, color);
        for (x, spread) in line {
            let high = axis.at(spread.max);
            picture.interval(x, (axis.at(spread.min), high), color);
            picture.mark((x, axis.at(spread.median)), shape, color);
            picture.value((x, high - 9.0), &short(spread.median), color);
        }
    }
    picture.frame(curve.axis, says);
    let notes: &[&str] = if repeated { &MEDIANS } else { &["one measurement", "for each mark"] };
    systems_legend(&mut picture, &sides, notes);
    picture.finish()
}

#[cfg(test)]
mod tests;
