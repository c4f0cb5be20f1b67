//! Results as pictures: SVG that shows in any browser, drawn without any font being installed.

use crate::curves::{CURVES, Curve};
use crate::failure::{During, Result, wrong};
use crate::load::Measurement;
use crate::plan::rows;
use crate::report::{Figure, grouped, sides};
use crate::results::Results;
use crate::systems::{Mode, System};
use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::*;
use std::path::{Path, PathBuf};

const SIZE: (u32, u32) = (800, 500);
const FONT: &str = "sans-serif";

const fn color(system: System) -> RGBColor {
    match system {
        System::Accord => RGBColor(0x1b, 0x6e, 0xc2),
        System::Corosync => RGBColor(0x7a, 0x4f, 0xb5),
        System::Library => RGBColor(0x6b, 0xb1, 0xe8),
        System::Zookeeper => RGBColor(0xd0, 0x6a, 0x1d),
        System::Etcd => RGBColor(0x3a, 0x8f, 0x4f),
    }
}

/// Draws all there is to draw, and says which files it wrote.
///
/// # Errors
/// If the directory cannot be written.
pub fn draw_all(results: &Results, dir: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir).during(dir.display())?;
    let mut files = Vec::new();
    for mode in [Mode::Memory, Mode::Persistent] {
        let of: Vec<_> = results.measurements.iter().filter(|of| of.mode == mode).collect();
        let figures: [(&str, &str, Figure); 2] = [
            ("rate", "requests a second", Measurement::per_second),
            (
                "cpu",
                "microseconds of the servers' processors for a request",
                Measurement::servers_us,
            ),
        ];
        for (name, says, figure) in figures {
            if of.iter().any(|of| rows().iter().any(|row| row.name == of.row)) {
                let path = dir.join(format!("{}-{name}.svg", mode.name()));
                draw_bars(&path, &format!("{says}, {} mode", mode.name()), &of, figure)?;
                files.push(path);
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
                    ("p50", "median latency in microseconds", |of| of.latency.p50_us),
                    ("p99", "p99 latency in microseconds", |of| of.latency.p99_us),
                ],
                _ => figures,
            };
            for (name, says, figure) in figures {
                let path = dir.join(format!("{}-{}-{name}.svg", mode.name(), curve.name));
                draw_curve(&path, curve, (says, mode), &points, figure)?;
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// Bounds of an axis with powers, so that all values are well within.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let positive = values.filter(|value| *value > 0.0);
    let (low, high) =
        positive.fold((f64::MAX, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    match low < f64::MAX {
        true => (low / 1.6, high * 1.6),
        false => (1.0, 10.0),
    }
}

/// A number on an axis.
fn number(value: f64) -> String {
    if value >= 1.0 { grouped(value) } else { format!("{value}") }
}

fn area(path: &Path) -> Result<DrawingArea<SVGBackend<'_>, Shift>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(wrong)?;
    Ok(area)
}

/// Rows side by side, a mark for the median of each system and a line from the smallest to the
/// largest. The axis has powers, so that equal ratios are equally far apart.
fn draw_bars(path: &Path, says: &str, of: &[&Measurement], figure: Figure) -> Result<()> {
    let names: Vec<&str> = rows().iter().map(|row| row.name).collect();
    let present: Vec<&str> =
        names.into_iter().filter(|name| of.iter().any(|of| of.row == *name)).collect();
    let compared = of.iter().filter(|of| present.contains(&of.row.as_str()));
    let (low, high) = bounds(compared.clone().map(|of| figure(of)));
    let area = area(path)?;
    let count = present.len();
    let mut chart = ChartBuilder::on(&area)
        .caption(says, (FONT, 18))
        .margin(12)
        .x_label_area_size(70)
        .y_label_area_size(70)
        .build_cartesian_2d(-0.5..count as f64 - 0.5, (low..high).log_scale())
        .map_err(wrong)?;
    let label = |at: &f64| {
        let near = (at - at.round()).abs() < 0.01 && *at >= 0.0;
        let name = if near { present.get(at.round() as usize) } else { None };
        name.map_or_else(String::new, |name| (*name).to_owned())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(count * 2 + 1)
        .x_label_formatter(&label)
        .y_desc(says)
        .y_label_formatter(&|y| number(*y))
        .label_style((FONT, 12))
        .draw()
        .map_err(wrong)?;
    for side in sides(compared.copied()) {
        let style = color(side.system);
        let mut marks = Vec::new();
        for (at, name) in present.iter().enumerate() {
            let here = sides(side.measurements.iter().copied().filter(|of| of.row == *name));
            let Some(here) = here.first() else { continue };
            let spread = here.spread(figure);
            let x = at as f64 + (side.system as usize as f64 - 1.5) * 0.12;
            marks.push((x, spread));
        }
        let lines = marks.iter().map(|(x, spread)| {
            PathElement::new(vec![(*x, spread.min), (*x, spread.max)], style.stroke_width(3))
        });
        chart.draw_series(lines).map_err(wrong)?;
        let dots =
            marks.iter().map(|(x, spread)| Circle::new((*x, spread.median), 5, style.filled()));
        chart
            .draw_series(dots)
            .map_err(wrong)?
            .label(side.system.name())
            .legend(move |at| Circle::new(at, 5, style.filled()));
    }
    legend(&mut chart)?;
    area.present().map_err(wrong)
}

/// Draws what belongs to which colour.
fn legend<'a, X: plotters::coord::ranged1d::Ranged, Y: plotters::coord::ranged1d::Ranged>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
) -> Result<()> {
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .label_font((FONT, 13))
        .draw()
        .map_err(wrong)
}

/// One thing varied: a line for each system, both axes with powers.
fn draw_curve(
    path: &Path,
    curve: Curve,
    (says, mode): (&str, Mode),
    of: &[&Measurement],
    figure: Figure,
) -> Result<()> {
    let x = bounds(of.iter().map(|of| curve.x(of)));
    let y = bounds(of.iter().map(|of| figure(of)));
    let area = area(path)?;
    let caption = format!("{}: {says}, {} mode", curve.title, mode.name());
    let mut chart = ChartBuilder::on(&area)
        .caption(caption, (FONT, 16))
        .margin(12)
        .x_label_area_size(45)
        .y_label_area_size(70)
        .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())
        .map_err(wrong)?;
    chart
        .configure_mesh()
        .x_desc(curve.axis)
        .y_desc(says)
        .x_label_formatter(&|x| number(*x))
        .y_label_formatter(&|y| number(*y))
        .label_style((FONT, 12))
        .draw()
        .map_err(wrong)?;
    for side in sides(of.iter().copied()) {
        let style = color(side.system);
        let mut points: Vec<(f64, f64)> =
            side.measurements.iter().map(|of| (curve.x(of), figure(of))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let series = LineSeries::new(points, style.stroke_width(2)).point_size(4);
        chart
            .draw_series(series)
            .map_err(wrong)?
            .label(side.system.name())
            .legend(move |at| Circle::new(at, 5, style.filled()));
    }
    legend(&mut chart)?;
    area.present().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_all_positive_values() {
        let (low, high) = bounds([0.0, 5.0, 500.0].into_iter());
        assert!(low > 0.0 && low < 5.0 && high > 500.0);
        assert_eq!(bounds(std::iter::empty()), (1.0, 10.0));
    }
}
