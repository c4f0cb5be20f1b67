//! The table as a picture: a row for each bug, a column for each layer.
//!
//! What is found is green, the darker the faster, with the median of the seconds and, where seeds
//! are drawn, of the seeds; what is not found is orange; what was not tried is empty. Colours
//! differ in brightness as well, for those who see few of them.

use super::summary::{Row, Spread};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const NAME_WIDTH: i32 = 240;
const CELL_WIDTH: i32 = 150;
const ROW_HEIGHT: i32 = 26;
const HEAD: i32 = 40;
const FOOT: i32 = 30;
/// Seconds from which a bug counts as found slowly.
const SLOW_SECONDS: f64 = 300.0;

/// The picture, as SVG.
///
/// # Errors
/// For people: why it cannot be drawn.
pub fn svg(rows: &[Row]) -> Result<String, String> {
    let mut bugs: Vec<&str> = rows.iter().map(|row| row.bug.as_str()).collect();
    bugs.dedup();
    let mut layers: Vec<_> = rows.iter().map(|row| row.layer).collect();
    layers.sort();
    layers.dedup();
    let width = NAME_WIDTH + CELL_WIDTH * layers.len() as i32 + 10;
    let height = HEAD + ROW_HEIGHT * bugs.len() as i32 + FOOT;
    let mut out = String::new();
    {
        let area = SVGBackend::with_string(&mut out, (width as u32, height as u32));
        let area = area.into_drawing_area();
        draw(&area, rows, &bugs, &layers).map_err(|error| error.to_string())?;
        area.present().map_err(|error| error.to_string())?;
    }
    Ok(out)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw<'a>(
    area: &Area<'a>,
    rows: &[Row],
    bugs: &[&str],
    layers: &[super::layer::Layer],
) -> Drawn<'a> {
    area.fill(&WHITE)?;
    let column = |layer| layers.iter().position(|other| *other == layer).unwrap_or_default() as i32;
    let line = |bug: &str| bugs.iter().position(|other| *other == bug).unwrap_or_default() as i32;
    for layer in layers {
        let x = NAME_WIDTH + CELL_WIDTH * column(*layer) + CELL_WIDTH / 2;
        write(area, layer.name(), (x, HEAD / 2), HPos::Center, 15)?;
    }
    for bug in bugs {
        let y = HEAD + ROW_HEIGHT * line(bug) + ROW_HEIGHT / 2;
        write(area, bug, (NAME_WIDTH - 8, y), HPos::Right, 13)?;
    }
    for row in rows {
        let x = NAME_WIDTH + CELL_WIDTH * column(row.layer);
        let y = HEAD + ROW_HEIGHT * line(&row.bug);
        let corners = [(x + 1, y + 1), (x + CELL_WIDTH - 1, y + ROW_HEIGHT - 1)];
        let colour = colour(row);
        area.draw(&Rectangle::new(corners, colour.filled()))?;
        area.draw(&Rectangle::new(corners, RGBColor(200, 200, 200)))?;
        let middle = (x + CELL_WIDTH / 2, y + ROW_HEIGHT / 2);
        write(area, &words(row), middle, HPos::Center, 12)?;
    }
    let y = HEAD + ROW_HEIGHT * bugs.len() as i32 + FOOT / 2;
    let legend = "found of tries; median seconds / seeds. Green: found, the darker the faster. \
                  Orange: not found.";
    write(area, legend, (8, y), HPos::Left, 12)
}

fn write<'a>(area: &Area<'a>, words: &str, at: (i32, i32), side: HPos, size: i32) -> Drawn<'a> {
    let style = ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(words.to_owned(), at, style))
}

fn colour(row: &Row) -> RGBColor {
    match (row.tries, row.found, row.seconds) {
        (0, ..) => RGBColor(246, 246, 246),
        (_, 0, _) => RGBColor(252, 190, 120),
        (_, _, seconds) => {
            let seconds = seconds.map_or(0.0, |Spread { median, .. }| median).max(0.1);
            let slow = ((seconds / 0.1).ln() / (SLOW_SECONDS / 0.1).ln()).clamp(0.0, 1.0);
            let shade = |fast: f64, late: f64| (fast + (late - fast) * slow) as u8;
            RGBColor(shade(90.0, 215.0), shade(175.0, 240.0), shade(110.0, 215.0))
        }
    }
}

fn words(row: &Row) -> String {
    match (row.tries, &row.not_built, row.seconds, row.seeds) {
        (0, Some(_), ..) => "not built".to_owned(),
        (0, None, ..) | (_, _, None, _) => String::new(),
        (tries, _, Some(seconds), seeds) => {
            let mut words = format!("{}/{tries}; {:.1} s", row.found, seconds.median);
            if let Some(seeds) = seeds {
                words.push_str(&format!(" / {:.0}", seeds.median));
            }
            words
        }
    }
}
