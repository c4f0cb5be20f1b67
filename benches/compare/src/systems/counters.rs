//! What servers count themselves, asked over their own ports.
//!
//! A system call that a program makes is not to be seen from outside without tracing it, which
//! would change what is measured. So syncs are those that each system says it made of its log.

use super::System;
use accord_testbed::ask::{ask, get};
use std::net::SocketAddr;

/// How often the servers at these addresses have synced their logs since they began, together. None
/// if one does not say.
pub fn log_syncs(system: System, addresses: &[SocketAddr]) -> Option<u64> {
    let read = |address: &SocketAddr| match system {
        System::Accord | System::Corosync | System::Library => {
            count(&get(*address, "/metrics")?, "accord_log_syncs_total")
        }
        System::Zookeeper => count(&ask(*address, "mntr")?, "zk_cnt_fsynctime"),
        System::Etcd => {
            count(&get(*address, "/metrics")?, "etcd_disk_wal_fsync_duration_seconds_count")
        }
    };
    match addresses {
        [] => None,
        all => all.iter().map(read).sum(),
    }
}

/// The number after a name at the beginning of a line.
fn count(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_found_by_its_whole_name() {
        let text = "# HELP a_total\na_total_more 5\na_total 17\r\nb\t4\n";
        assert_eq!(count(text, "a_total"), Some(17));
        assert_eq!(count(text, "b"), Some(4));
        assert_eq!((count(text, "c"), count("b x", "b")), (None, None));
    }
}
