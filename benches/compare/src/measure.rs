//! What processes used: processor time, memory, bytes written, as Linux counts them.
//!
//! Processor time of servers counts all their threads, those that have ended too. That of the
//! generator is this process's. Neither depends on how busy the machine is otherwise, as rates do.

use crate::failure::{During, Result, wrong};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

/// Linux shows times to programs in hundredths of a second, whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// What some processes have used since they began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor seconds, in the system too.
    pub cpu_seconds: f64,
    /// Of those, in the system.
    pub system_seconds: f64,
    /// Bytes that were written to files.
    pub written_bytes: u64,
    /// Resident memory now, in bytes.
    pub resident_bytes: u64,
}

impl Usage {
    /// Of these processes together.
    ///
    /// # Errors
    /// If one has ended.
    pub fn of(pids: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let read = |name: &str| {
                let path = format!("/proc/{pid}/{name}");
                std::fs::read_to_string(&path).during(path)
            };
            let (user, system) =
                stat_seconds(&read("stat")?).ok_or_else(|| wrong("/proc/PID/stat is strange"))?;
            sum.cpu_seconds += user + system;
            sum.system_seconds += system;
            // Another user's process may not show it.
            let io = read("io").unwrap_or_default();
            sum.written_bytes += field(&io, "write_bytes:").unwrap_or(0);
            sum.resident_bytes += field(&read("status")?, "VmRSS:").unwrap_or(0) * 1024;
        }
        Ok(sum)
    }

    /// Processor seconds of this process.
    ///
    /// # Errors
    /// What the system says.
    pub fn of_self() -> Result<f64> {
        let usage = getrusage(UsageWho::RUSAGE_SELF).during("the generator's own use")?;
        let seconds =
            |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
    }

    /// What was used since `earlier`; memory as it is now.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
            system_seconds: self.system_seconds - earlier.system_seconds,
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
            resident_bytes: self.resident_bytes,
        }
    }
}

/// User and system time in `/proc/PID/stat`. The program's name may contain anything.
fn stat_seconds(stat: &str) -> Option<(f64, f64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some((next()?, next()?))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_name_does_not_move_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 9 0 0 0 150 250 0 0 20 0 3 0 99";
        assert_eq!(stat_seconds(stat), Some((1.5, 2.5)));
        assert_eq!(stat_seconds("7 (a) S 1"), None);
    }

    #[test]
    fn what_we_use_is_seen() {
        let pid = std::process::id();
        let before = Usage::of(&[pid]).unwrap();
        let began = Usage::of_self().unwrap();
        let mut sum = 0u64;
        while Usage::of_self().unwrap() - began < 0.05 {
            sum = std::hint::black_box(sum + 1);
        }
        let used = Usage::of(&[pid]).unwrap().since(before);
        assert!(used.cpu_seconds >= 0.03, "{used:?}");
        assert!(used.resident_bytes > 100_000);
    }
}
