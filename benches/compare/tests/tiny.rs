//! The whole of `accord-bench` in small: real servers, short measurements, the files that come of
//! it, and that nothing stays behind. What the figures are is not looked at, but that all work was
//! done and every answer judged: a wrong one fails the command.
//!
//! ZooKeeper and etcd are measured if they are installed.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

const BENCH: &str = env!("CARGO_BIN_EXE_accord-bench");

/// The accord program of the same build.
static ACCORD: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = Path::new(BENCH).parent().expect("it is in a directory");
    let mut build = Command::new(env!("CARGO"));
    // With the features of the whole workspace, as its tests have built it: nothing is built twice.
    // The feature is one of accord-sim, which its tests need.
    build.args(["build", "--workspace", "--features", "worlds", "--bin", "accord"]);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    let profile = dir.file_name().and_then(|name| name.to_str()).expect("a directory of a profile");
    if profile != "debug" {
        build.args(["--profile", profile]);
    }
    build.arg("--target-dir").arg(dir.parent().expect("it is in a target directory"));
    assert!(build.status().expect("cargo runs").success(), "accord builds");
    dir.join("accord")
});

fn place(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the target directory is writable");
    dir
}

fn bench(args: &[&str], place: &Path) -> Output {
    let mut command = Command::new(BENCH);
    command.args(args).arg("--data-dir").arg(place).arg("--accord").arg(&*ACCORD);
    command.output().expect("it runs")
}

fn succeeded(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &errors
}

/// Processes that name a path in their command line.
fn processes_of(path: &Path) -> Vec<String> {
    let path = path.display().to_string();
    let processes = std::fs::read_dir("/proc").expect("there is /proc").flatten();
    let lines = processes.filter_map(|of| std::fs::read(of.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    // We ourselves and the command may name it; its servers have it before a file name.
    lines.filter(|line| line.contains(&format!("{path}/accord-bench-"))).collect()
}

const SHORT: [&str; 8] =
    ["--quick", "--rounds", "2", "--seconds", "0.3", "--warm-up", "0.5", "--connections=6"];

/// What the servers say themselves.
fn assert_only_persistent_servers_sync(measurements: &[serde_json::Value]) {
    let syncs = |mode: &str| -> Vec<u64> {
        let of_mode = measurements.iter().filter(|of| of["mode"] == mode);
        of_mode.map(|of| of["log_syncs"].as_u64().expect("the servers say it")).collect()
    };
    assert!(syncs("memory").iter().all(|syncs| *syncs == 0), "{:?}", syncs("memory"));
    assert!(syncs("persistent").iter().any(|syncs| *syncs > 0), "{:?}", syncs("persistent"));
}

#[test]
fn a_tiny_comparison_of_accord_writes_results_tables_and_plots() {
    let place = place("accord");
    let out = place.join("out");
    let rows = "write-fresh,mix-50,read-linearizable,one-outstanding";
    let what = ["compare", "--systems", "accord,library", "--rows", rows, "--out"];
    let out_text = out.display().to_string();
    succeeded(&bench(&[&what[..], &[&out_text], &SHORT].concat(), &place));
    let json = std::fs::read_to_string(out.join("results.json")).expect("there are results");
    let results: serde_json::Value = serde_json::from_str(&json).expect("they are JSON");
    let measurements = results["measurements"].as_array().expect("it is a list");
    assert_eq!(measurements.len(), 2 * 2 * 4 * 2, "systems, modes, rows, rounds");
    // On a busy machine a short round may see nothing: rows are looked at as a whole.
    for row in rows.split(',') {
        let of_row: Vec<_> = measurements.iter().filter(|of| of["row"] == row).collect();
        let sum = |name: &str| of_row.iter().filter_map(|of| of[name].as_u64()).sum::<u64>();
        let (requests, reads) = (sum("requests"), sum("reads"));
        assert!(requests > 0, "{row}");
        match row {
            "mix-50" => assert!(reads > 0 && reads < requests, "{reads} of {requests}"),
            "read-linearizable" => assert_eq!(reads, requests),
            _ => assert_eq!(reads, 0, "{row}"),
        }
        let slowest = of_row.iter().filter_map(|of| of["latency"]["max_us"].as_f64());
        assert!(slowest.fold(0.0, f64::max) > 0.0, "{row}");
    }
    let written = |of: &serde_json::Value| of["servers_usage"]["written_bytes"].as_u64();
    let disk = measurements.iter().filter(|of| of["mode"] == "persistent" && of["reads"] == 0);
    assert!(disk.clone().any(|of| written(of) > Some(0)), "persistent servers write");
    assert_only_persistent_servers_sync(measurements);
    let lines = std::fs::read_to_string(out.join("results.csv")).expect("there is a CSV");
    assert_eq!(lines.lines().count(), 1 + measurements.len());

    let again = place.join("again");
    let json = out.join("results.json");
    let mut report = Command::new(BENCH);
    report.arg("report").arg(&json).arg("--out").arg(&again);
    succeeded(&report.output().expect("it runs"));
    for name in ["results.csv", "results.json"] {
        let read = |dir: &Path| std::fs::read_to_string(dir.join(name)).expect("it is there");
        assert_eq!(read(&out).lines().count(), read(&again).lines().count(), "{name}");
    }
    let plots = place.join("plots");
    let mut report = Command::new(BENCH);
    report.arg("report").arg(out.join("results.csv")).arg("--out").arg(&plots);
    succeeded(&report.output().expect("it runs"));
    assert!(!plots.join("report.md").exists(), "a CSV does not say with what it was measured");
    let svg = |dir: &Path| std::fs::read_to_string(dir.join("memory-rate.svg")).expect("a plot");
    assert_eq!(svg(&out), svg(&plots), "it is the same of the CSV");
    for name in ["report.md", "memory-rate.svg", "memory-ratio.svg", "persistent-cpu.svg"] {
        let read = |dir: &Path| std::fs::read_to_string(dir.join(name)).expect("it is there");
        let text = read(&out);
        assert!(text.contains("Accord"), "{name}");
        assert_eq!(text, read(&again), "{name} is the same when it is drawn again");
    }
    assert_eq!(processes_of(&place), Vec::<String>::new());
    std::fs::remove_dir_all(&place).expect("it is ours");
}

#[test]
fn the_others_are_measured_if_they_are_installed() {
    let installed = |file: &str| Path::new(file).exists();
    for (system, there) in [
        ("zookeeper", installed("/usr/share/java/zookeeper.jar") && installed("/usr/bin/java")),
        ("etcd", installed("/usr/bin/etcd")),
    ] {
        let place = place(system);
        let out = place.join("out").display().to_string();
        let rows = "write-fresh,mix-50,read-linearizable";
        let what = ["compare", "--systems", system, "--rows", rows, "--out", &out];
        let text = succeeded(&bench(&[&what[..], &SHORT].concat(), &place));
        let json = std::fs::read_to_string(place.join("out/results.json"));
        match there {
            true => {
                let json = json.expect("there are results");
                let results: serde_json::Value = serde_json::from_str(&json).expect("JSON");
                let of = results["measurements"].as_array().expect("it is a list");
                assert_eq!(of.len(), 2 * 3 * 2, "modes, rows, rounds");
                // A virtual machine that has just begun, on a busy machine: not in every round.
                for row in rows.split(',') {
                    let of_row = of.iter().filter(|of| of["row"] == row);
                    let requests = of_row.filter_map(|of| of["requests"].as_u64());
                    assert!(requests.sum::<u64>() > 0, "{system}: {row}");
                }
                assert_only_persistent_servers_sync(of);
            }
            false => {
                println!("skipped: {system} is not installed");
                assert!(text.contains("apt-get install"), "{text}");
            }
        }
        assert_eq!(processes_of(&place), Vec::<String>::new());
        std::fs::remove_dir_all(&place).expect("it is ours");
    }
}

#[test]
fn watchers_are_told() {
    let place = place("watch");
    let what = ["watch", "--systems", "accord", "--watchers", "50", "--writes", "3"];
    let text = succeeded(&bench(&[&what[..], &["--rounds=1", "--quick"]].concat(), &place));
    assert!(text.contains("the last of 50 watchers"), "{text}");
    std::fs::remove_dir_all(&place).expect("it is ours");
}

#[test]
fn an_interrupt_ends_the_servers_and_removes_their_files() {
    let place = place("interrupt");
    let mut command = Command::new(BENCH);
    command.args(["load", "accord", "--mode", "persistent", "--seconds", "100"]);
    command.arg("--data-dir").arg(&place).arg("--accord").arg(&*ACCORD);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it runs");
    let errors = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut errors = errors.lines().map_while(Result::ok);
    let serves = errors.any(|line| line.contains("serves: processes"));
    assert!(serves, "it says that the servers serve");
    assert_eq!(processes_of(&place).len(), 3);
    let pid = i32::try_from(child.id()).expect("process numbers are small");
    kill(Pid::from_raw(pid), Signal::SIGINT).expect("it runs");
    let status = child.wait().expect("it ends");
    let said: Vec<String> = errors.collect();
    assert_eq!(status.code(), Some(1), "{said:?}");
    assert_eq!(processes_of(&place), Vec::<String>::new());
    let left = std::fs::read_dir(&place).expect("it is there").count();
    assert_eq!(left, 0, "files stay behind");
    std::fs::remove_dir_all(&place).expect("it is ours");
}

#[test]
fn a_server_program_that_is_missing_is_told_with_the_command_that_builds_it() {
    let mut command = Command::new(BENCH);
    let output = command.args(["load", "accord", "--accord", "/nowhere/accord"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("cargo build --profile dist"), "{errors}");
}
