//! What servers count themselves, asked over their own ports.
//!
//! A system call that a program makes is not to be seen from outside without tracing it, which
//! would change what is measured. So syncs are those that each system says it made of its log.

use super::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends a request and reads all that comes until the other side ends the connection. None if the
/// server is not there or does not end.
pub(super) fn ask(address: &SocketAddr, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// A request of HTTP for a path.
pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")
}

/// How often the servers at these addresses have synced their logs since they began, together. None
/// if one does not say.
pub fn log_syncs(system: System, addresses: &[SocketAddr]) -> Option<u64> {
    let (request, name) = match system {
        System::Accord | System::Corosync | System::Library => {
            (get("/metrics"), "accord_log_syncs_total")
        }
        System::Zookeeper => ("mntr".to_owned(), "zk_cnt_fsynctime"),
        System::Etcd => (get("/metrics"), "etcd_disk_wal_fsync_duration_seconds_count"),
    };
    match addresses {
        [] => None,
        all => all.iter().map(|address| count(&ask(address, &request)?, name)).sum(),
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
