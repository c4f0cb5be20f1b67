//! What plots show, and that they can be told apart in print.

use super::*;
use crate::load::Latency;
use crate::measure::Usage;
use crate::svg::{HEIGHT, WIDTH};
use crate::workload::Workload;

fn measurement(row: &str, system: System, round: usize, requests: u64) -> Measurement {
    let us = 1e6 / requests as f64;
    Measurement {
        row: row.to_owned(),
        round,
        system,
        mode: Mode::Memory,
        servers: 3,
        workload: Workload::default(),
        requests,
        reads: 0,
        seconds: 1.0,
        latency: Latency {
            p50_us: us,
            p90_us: us,
            p99_us: us,
            p999_us: us,
            max_us: us,
            mean_us: us,
        },
        servers_usage: Usage { cpu_seconds: 0.5, ..Usage::default() },
        log_syncs: None,
        daemons_seconds: 0.0,
        generator_seconds: 0.1,
    }
}

/// The texts of a picture, each with its place and anchor.
fn texts(svg: &str) -> Vec<(f64, f64, f64, String, String)> {
    let attribute = |line: &str, name: &str| {
        let from = line.find(&format!(" {name}=\"")).expect(name) + name.len() + 3;
        line[from..].split('"').next().expect("a value").to_owned()
    };
    let text = |line: &str| {
        let number = |name: &str| attribute(line, name).parse().expect("a number");
        let words = line.split('>').nth(1).and_then(|rest| rest.split('<').next()).expect("words");
        let size: f64 = number("font-size");
        (number("x"), number("y"), size, attribute(line, "text-anchor"), words.to_owned())
    };
    svg.lines().filter(|line| line.starts_with("<text ")).map(text).collect()
}

/// No text is cut by the edge of the picture, and all can be read in print.
fn is_readable(svg: &str) {
    for (x, y, size, anchor, words) in texts(svg) {
        assert!(size >= 12.0, "{words}: {size}");
        let width = words.len() as f64 * size * 0.5;
        let (left, right) = match anchor.as_str() {
            "start" => (x, x + width),
            "middle" => (x - width / 2.0, x + width / 2.0),
            _ => (x - width, x),
        };
        // The name of the vertical axis is turned: its place is the middle of its line.
        let turned = x < 30.0;
        assert!(turned || (left >= 0.0 && right <= WIDTH), "{words}: {left}-{right}");
        assert!((0.0..=HEIGHT).contains(&y), "{words}: {y}");
    }
}

#[test]
fn bounds_hold_all_positive_values() {
    let (low, high) = bounds([0.0, 5.0, f64::NAN, 500.0].into_iter());
    assert!(low > 0.0 && low < 5.0 && high > 500.0);
    assert_eq!(bounds(std::iter::empty()), (1.0, 10.0));
}

#[test]
fn rows_show_medians_intervals_and_names_and_the_legend_stands_beside_them() {
    let mut all = Vec::new();
    for round in 0..5 {
        let more = round as u64 * 1000;
        for row in rows() {
            all.push(measurement(row.name, System::Accord, round, 100_000 + more));
            all.push(measurement(row.name, System::Zookeeper, round, 30_000 + more));
        }
    }
    let of: Vec<&Measurement> = all.iter().collect();
    let svg = draw_rows(Mode::Memory, RATE, &of, Measurement::per_second);
    is_readable(&svg);
    let texts = texts(&svg);
    let count = |wanted: &str| texts.iter().filter(|text| text.4 == wanted).count();
    assert_eq!(count("102k"), rows().len(), "the medians are told");
    assert_eq!((count("Accord"), count("ZooKeeper"), count("etcd")), (1, 1, 0));
    assert_eq!(count(RATE), 1, "the title does not say it again");
    let legend = texts.iter().find(|text| text.4 == "Accord").expect("a legend");
    assert!(legend.0 > FIELD[1], "outside of the field");
    let ticks = texts.iter().filter(|text| text.3 == "end").map(|text| &text.4);
    let ticks: Vec<&String> = ticks.collect();
    let mut distinct = ticks.clone();
    distinct.sort();
    distinct.dedup();
    assert!(ticks.len() >= 4 && distinct.len() == ticks.len(), "{ticks:?}");

    let ratios = draw_ratios(Mode::Memory, &of).expect("there are pairs");
    is_readable(&ratios);
    assert!(ratios.contains("Accord / ZooKeeper") && ratios.contains("its interval"), "{ratios}");
    assert!(draw_ratios(Mode::Memory, &of[..1]).is_none(), "one side alone is no pair");
}

#[test]
fn marks_stand_around_the_middle_of_their_column_whichever_systems_are_there() {
    let middle = column(2, 8, 0, 1);
    let pair = [column(2, 8, 0, 2), column(2, 8, 1, 2)];
    assert!((f64::midpoint(pair[0], pair[1]) - middle).abs() < 1e-9);
    let three = [0, 1, 2].map(|place| column(2, 8, place, 3));
    assert!((three[1] - middle).abs() < 1e-9);
    assert!((three[1] - three[0] - (three[2] - three[1])).abs() < 1e-9, "equally far apart");
}

#[test]
fn a_curve_is_marked_where_it_was_measured_up_to_the_last_label() {
    let curve = Curve::of("value").expect("there is one");
    let mut all = Vec::new();
    for (at, bytes) in [8, 1 << 10, 100 << 10, 1 << 20].into_iter().enumerate() {
        for system in [System::Accord, System::Zookeeper] {
            for round in 0..3 {
                let requests = 100_000 / (at as u64 + 1) + round as u64;
                let mut of = measurement(&curve.row(), system, round, requests);
                of.workload.value_bytes = bytes;
                all.push(of);
            }
        }
    }
    let of: Vec<&Measurement> = all.iter().collect();
    let svg = draw_curve(curve, (RATE, Mode::Memory), &of, Measurement::per_second);
    is_readable(&svg);
    for label in ["8", "1,024", "102,400", "1,048,576"] {
        assert!(svg.contains(&format!(">{label}</text>")), "{label}");
    }
    assert!(svg.contains("smallest to"), "several measurements have an interval");
    let once: Vec<&Measurement> = of.iter().copied().filter(|of| of.round == 0).collect();
    let svg = draw_curve(curve, (RATE, Mode::Memory), &once, Measurement::per_second);
    assert!(svg.contains("one measurement") && !svg.contains("smallest to"));
}

#[test]
fn all_pictures_of_recorded_measurements_can_be_drawn_and_read() {
    let paper = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../paper");
    let dir = tempfile::tempdir().expect("a directory");
    for file in ["curves/results.csv", "comparison-5/memory/results.csv", "corosync/results.csv"] {
        let results = Results::read(&paper.join(file)).expect("it is recorded");
        let files = draw_all(&results, dir.path()).expect("they can be written");
        assert!(files.len() >= 3, "{file}");
        for path in files {
            is_readable(&std::fs::read_to_string(path).expect("it was written"));
        }
    }
}
