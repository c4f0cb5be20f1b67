//! Pictures as SVG text, with axes that a reader of a printed page can read.
//!
//! Nothing here depends on a font that is installed: texts are placed by their middle or their end,
//! and room is kept for the longest. Every mark on an axis is chosen here, so no label stands twice
//! and none is cut.

use std::fmt::Write as _;

/// The picture's width, in pixels.
pub const WIDTH: f64 = 1000.0;
/// The picture's height, in pixels.
pub const HEIGHT: f64 = 560.0;
/// Where values are drawn: left, right, top, bottom. The legend stands to the right of it.
pub const FIELD: [f64; 4] = [92.0, 720.0, 56.0, 470.0];
/// The size of texts on axes and in the legend, in pixels.
pub const TICK_TEXT: u32 = 14;
/// Of the names of axes.
pub const NAME_TEXT: u32 = 15;
/// Of values beside their marks.
pub const VALUE_TEXT: u32 = 12;
const TITLE_TEXT: u32 = 18;
/// The fewest marks that an axis has, if its values allow.
const TICKS_MIN: usize = 4;
/// The most.
const TICKS_MAX: usize = 9;

/// On which side of its place a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// To the right of it.
    Start,
    /// Around it.
    Middle,
    /// To the left of it.
    End,
}

/// A picture that is being drawn.
#[derive(Debug)]
pub struct Picture {
    body: String,
    /// Places of values' labels, so that none covers another: left, right, middle.
    taken: Vec<[f64; 3]>,
}

impl Picture {
    /// An empty picture with a title.
    pub fn new(title: &str) -> Self {
        let mut picture = Self { body: String::new(), taken: Vec::new() };
        let middle = f64::midpoint(FIELD[0], FIELD[1]);
        picture.text((middle, 30.0), title, TITLE_TEXT, Anchor::Middle, "#000");
        picture
    }

    /// A text whose base line is at `y`.
    pub fn text(&mut self, (x, y): (f64, f64), text: &str, size: u32, anchor: Anchor, ink: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" \
             fill=\"{ink}\">{text}</text>"
        );
    }

    /// A value above its mark, unless another stands there.
    pub fn value(&mut self, (x, y): (f64, f64), text: &str, ink: &str) {
        // A digit of the usual fonts is about this wide.
        let half = text.len() as f64 * f64::from(VALUE_TEXT) * 0.3;
        let here = [x - half, x + half, y];
        let over = |other: &[f64; 3]| {
            (other[2] - y).abs() < f64::from(VALUE_TEXT) && other[0] < here[1] && here[0] < other[1]
        };
        if !self.taken.iter().any(over) {
            self.taken.push(here);
            self.text((x, y), text, VALUE_TEXT, Anchor::Middle, ink);
        }
    }

    /// A line through points.
    pub fn line(&mut self, points: &[(f64, f64)], width: f64, ink: &str) {
        let mut path = String::new();
        for (x, y) in points {
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        let _ = writeln!(
            self.body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{ink}\" stroke-width=\"{width}\"/>",
            path.trim_end()
        );
    }

    /// A mark, a shape of its own for each number, so that it can be told without colour.
    pub fn mark(&mut self, (x, y): (f64, f64), shape: usize, ink: &str) {
        let _ = match shape % 4 {
            0 => {
                writeln!(self.body, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{ink}\"/>")
            }
            1 => writeln!(
                self.body,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"9\" height=\"9\" fill=\"{ink}\"/>",
                x - 4.5,
                y - 4.5
            ),
            2 => self.polygon(&[(x, y - 6.0), (x + 5.5, y + 4.5), (x - 5.5, y + 4.5)], ink),
            _ => self.polygon(&[(x, y - 6.0), (x + 6.0, y), (x, y + 6.0), (x - 6.0, y)], ink),
        };
    }

    fn polygon(&mut self, points: &[(f64, f64)], ink: &str) -> std::fmt::Result {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(self.body, "<polygon points=\"{}\" fill=\"{ink}\"/>", points.join(" "))
    }

    /// A value from its least to its greatest, with ends that can be seen.
    pub fn interval(&mut self, x: f64, (low, high): (f64, f64), ink: &str) {
        self.line(&[(x, low), (x, high)], 2.0, ink);
        for y in [low, high] {
            self.line(&[(x - 4.0, y), (x + 4.0, y)], 2.0, ink);
        }
    }

    /// The names of what is drawn, beside the field, and below them what marks mean.
    pub fn legend(&mut self, names: &[(&str, usize, String)], notes: &[&str]) {
        let left = FIELD[1] + 24.0;
        let mut y = FIELD[2] + 12.0;
        for (name, shape, ink) in names {
            self.mark((left, y - 5.0), *shape, ink);
            self.text((left + 14.0, y), name, TICK_TEXT, Anchor::Start, "#000");
            y += 24.0;
        }
        y += 8.0;
        for note in notes {
            self.text((left - 6.0, y), note, VALUE_TEXT, Anchor::Start, "#444");
            y += 17.0;
        }
    }

    /// The frame of the field, and the names of its axes.
    pub fn frame(&mut self, x_name: &str, y_name: &str) {
        let [left, right, top, bottom] = FIELD;
        let around = [(left, top), (left, bottom), (right, bottom)];
        self.line(&around, 1.5, "#000");
        let middle = f64::midpoint(left, right);
        self.text((middle, HEIGHT - 22.0), x_name, NAME_TEXT, Anchor::Middle, "#000");
        let (x, y) = (22.0, f64::midpoint(top, bottom));
        let _ = writeln!(self.body, "<g transform=\"rotate(-90 {x} {y})\">");
        self.text((x, y), y_name, NAME_TEXT, Anchor::Middle, "#000");
        let _ = writeln!(self.body, "</g>");
    }

    /// The picture as a file.
    pub fn finish(self) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"Helvetica, Arial, sans-serif\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// An axis with powers: equal ratios are equally far apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// The values at its ends.
    pub bounds: (f64, f64),
    /// Where those are in the picture.
    pub pixels: (f64, f64),
}

impl Axis {
    /// Where a value stands.
    pub fn at(&self, value: f64) -> f64 {
        let (low, high) = (self.bounds.0.ln(), self.bounds.1.ln());
        let share = (value.max(f64::MIN_POSITIVE).ln() - low) / (high - low);
        self.pixels.0 + share.clamp(0.0, 1.0) * (self.pixels.1 - self.pixels.0)
    }

    /// The values at which it is marked, ascending, with their labels. No label stands twice.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let (low, high) = self.bounds;
        for steps in [&[1.0][..], &[1.0, 3.0], &[1.0, 2.0, 5.0], &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0]] {
            let ticks = powers(low, high, steps);
            if ticks.len() >= TICKS_MIN {
                let every = ticks.len().div_ceil(TICKS_MAX);
                return labelled(ticks.into_iter().step_by(every));
            }
        }
        labelled(even(low, high).into_iter())
    }

    /// Draws it to the left of the field, with a line of the grid at each mark.
    pub fn draw_y(&self, picture: &mut Picture) {
        let [left, right, ..] = FIELD;
        for (value, label) in self.ticks() {
            let y = self.at(value);
            picture.line(&[(left, y), (right, y)], 0.8, "#ddd");
            let place = (left - 8.0, y + 5.0);
            picture.text(place, &label, TICK_TEXT, Anchor::End, "#000");
        }
    }

    /// Draws it below the field, at these values.
    pub fn draw_x(&self, picture: &mut Picture, values: &[(f64, String)]) {
        let bottom = FIELD[3];
        for (value, label) in values {
            let x = self.at(*value);
            picture.line(&[(x, bottom), (x, bottom + 5.0)], 1.5, "#000");
            picture.text((x, bottom + 22.0), label, TICK_TEXT, Anchor::Middle, "#000");
        }
    }
}

/// The multiples of powers of ten within bounds.
fn powers(low: f64, high: f64, steps: &[f64]) -> Vec<f64> {
    let first = low.log10().floor() as i32;
    let last = high.log10().ceil() as i32;
    let all = (first..=last).flat_map(|power| {
        steps.iter().map(move |step| step * 10f64.powi(power)).collect::<Vec<_>>()
    });
    all.filter(|value| (low..=high).contains(value)).collect()
}

/// Round values at equal distances within bounds.
fn even(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / TICKS_MIN as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [5.0, 2.0, 1.0].map(|step| step * power).into_iter().find(|step| *step <= rough);
    let step = step.unwrap_or(power);
    let first = (low / step).ceil() as u64;
    let ticks = (first..).map(|number| number as f64 * step);
    ticks.take_while(|value| *value <= high).take(TICKS_MAX * 2).collect()
}

/// Values with the shortest labels that tell them apart.
fn labelled(values: impl Iterator<Item = f64>) -> Vec<(f64, String)> {
    let values: Vec<f64> = values.collect();
    for digits in 0..=6 {
        let labels: Vec<String> = values.iter().map(|value| number(*value, digits)).collect();
        let mut distinct = labels.clone();
        distinct.dedup();
        let exact = values.iter().zip(&labels).all(|(value, label)| {
            let read: f64 = label.replace(',', "").parse().unwrap_or(f64::NAN);
            (read - value).abs() <= value.abs() * 1e-6
        });
        if distinct.len() == labels.len() && exact {
            return values.into_iter().zip(labels).collect();
        }
    }
    values.iter().map(|value| (*value, value.to_string())).collect()
}

/// A number with so many digits after the point, and commas before it.
fn number(value: f64, digits: usize) -> String {
    if digits == 0 {
        return crate::report::grouped(value);
    }
    format!("{value:.digits$}")
}

/// A number as short as a mark has room for: three digits and a unit.
pub fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 999_500.0 => (value / 1e6, "M"),
        value if value >= 9_995.0 => (value / 1e3, "k"),
        value => (value, ""),
    };
    match value {
        value if value >= 99.95 => format!("{value:.0}{unit}"),
        value if value >= 9.995 => format!("{value:.1}{unit}"),
        value => format!("{value:.2}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64) -> Vec<String> {
        let axis = Axis { bounds: (low, high), pixels: (0.0, 100.0) };
        axis.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn an_axis_has_a_few_marks_and_no_label_twice_however_short_or_long_its_range() {
        assert_eq!(labels(5.0, 2e5), ["10", "100", "1,000", "10,000", "100,000"]);
        assert_eq!(labels(60.0, 900.0), ["70", "100", "150", "200", "300", "500", "700"]);
        assert_eq!(labels(0.9, 1.3), ["0.9", "1.0", "1.1", "1.2", "1.3"]);
        for (low, high) in [(95_000.0, 105_000.0), (1e-4, 1e9), (0.995, 1.005), (7.0, 7.5)] {
            let labels = labels(low, high);
            let mut distinct = labels.clone();
            distinct.dedup();
            assert_eq!(labels, distinct);
            assert!((2..=2 * TICKS_MAX).contains(&labels.len()), "{low}-{high}: {labels:?}");
        }
    }

    #[test]
    fn equal_ratios_are_equally_far_apart() {
        let axis = Axis { bounds: (1.0, 100.0), pixels: (0.0, 200.0) };
        let places = [1.0, 10.0, 100.0].map(|value| axis.at(value).round());
        assert_eq!(places, [0.0, 100.0, 200.0]);
        assert_eq!(axis.at(1000.0), 200.0, "within the field");
    }

    #[test]
    fn values_are_short_and_stand_over_no_other() {
        let short =
            [0.0, 1.234, 12.34, 123.4, 5_432.1, 43_858.9, 123_456.0, 1_234_567.0].map(short);
        assert_eq!(short, ["0.00", "1.23", "12.3", "123", "5432", "43.9k", "123k", "1.23M"]);
        let mut picture = Picture::new("t < u");
        picture.value((100.0, 100.0), "123k", "#000");
        picture.value((104.0, 103.0), "124k", "#000");
        picture.value((104.0, 120.0), "125k", "#000");
        let svg = picture.finish();
        assert!(svg.contains("123k") && svg.contains("125k") && !svg.contains("124k"));
        assert!(svg.contains("t &lt; u"));
    }
}
