//! What the system knows of this process, by the names that every exporter for Prometheus gives it.
//!
//! Linux alone is asked. Elsewhere, and for what cannot be read, there is nothing.

use std::fmt::Write as _;
use std::fs;

/// Ticks in a second in `/proc`: the same on all architectures that Linux still has.
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds to metrics in the text format of OpenMetrics, before their end.
pub(super) fn add(metrics: &mut String) {
    let end = metrics.len() - "# EOF\n".len();
    assert_eq!(&metrics[end..], "# EOF\n", "the metrics have an end");
    metrics.truncate(end);
    if let Some(figures) = Figures::read() {
        figures.encode(metrics);
    }
    metrics.push_str("# EOF\n");
}

/// Figures of a process.
#[derive(Debug)]
struct Figures {
    cpu_seconds: f64,
    start_time_seconds: f64,
    resident_memory_bytes: u64,
    virtual_memory_bytes: u64,
    threads: u64,
    open_fds: u64,
    max_fds: Option<u64>,
}

impl Figures {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program, in parentheses, may have anything in it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // Fields are counted from 1 in proc(5); the state, which comes first here, is the third.
        let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let system = fs::read_to_string("/proc/stat").ok()?;
        let booted: f64 = word_after(&system, "btime ")?.parse().ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let kib = |name: &str| word_after(&status, name)?.parse::<u64>().ok();
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        Some(Self {
            cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND,
            start_time_seconds: booted + ticks(22)? / TICKS_PER_SECOND,
            resident_memory_bytes: kib("VmRSS:")? << 10,
            virtual_memory_bytes: kib("VmSize:")? << 10,
            threads: kib("Threads:")?,
            // One is open to count them.
            open_fds: (fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1),
            max_fds: word_after(&limits, "Max open files").and_then(|word| word.parse().ok()),
        })
    }

    fn encode(&self, out: &mut String) {
        let mut family = |name: &str, kind: &str, help: &str, value: String| {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let _ = write!(
                out,
                "# HELP process_{name} {help}.\n# TYPE process_{name} {kind}\n\
                 process_{name}{suffix} {value}\n"
            );
        };
        let help = "User and system time of the processors";
        family("cpu_seconds", "counter", help, format!("{:.2}", self.cpu_seconds));
        let help = "When the process began, in seconds of Unix time";
        family("start_time_seconds", "gauge", help, format!("{:.2}", self.start_time_seconds));
        let help = "Memory that is there, of the process";
        family("resident_memory_bytes", "gauge", help, self.resident_memory_bytes.to_string());
        let help = "Addresses that the process has mapped";
        family("virtual_memory_bytes", "gauge", help, self.virtual_memory_bytes.to_string());
        family("threads", "gauge", "Threads", self.threads.to_string());
        family("open_fds", "gauge", "File descriptors that are open", self.open_fds.to_string());
        if let Some(max) = self.max_fds {
            let help = "File descriptors that may be open";
            family("max_fds", "gauge", help, max.to_string());
        }
    }
}

/// The word behind the first line's beginning that is this.
fn word_after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_is_described_before_the_end() {
        let mut text = "accord_views_total 1\n# EOF\n".to_owned();
        add(&mut text);
        assert!(
            text.starts_with("accord_views_total 1\n") && text.ends_with("\n# EOF\n"),
            "{text}"
        );
        let value = |name: &str| {
            let word = word_after(&text, &format!("{name} ")).expect("it is there");
            word.parse::<f64>().expect("a number")
        };
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        // Later than the year 2020.
        assert!(value("process_start_time_seconds") > 1.577e9, "{text}");
    }
}
