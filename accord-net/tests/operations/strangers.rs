//! What a server says of those who are none of its cluster's, and how often.

use crate::{cluster, until_voting};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Every server with another key tries again five times a second.
#[tokio::test]
async fn streams_of_strangers_are_complained_of_once_with_a_word_of_keys() {
    let cluster = cluster(2, 2, false);
    until_voting(&cluster, &[1, 2]).await;
    for _ in 0..12 {
        let mut stream = TcpStream::connect(cluster.peer_address(0)).expect("it listens");
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it takes it");
        // It hangs up when it has said what it has to say.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let log = fs::read_to_string(cluster.dir().join("accord-1.log")).expect("it logs");
    let said: Vec<&str> = log.lines().filter(|line| line.contains("refused streams")).collect();
    assert_eq!(said.len(), 1, "{log}");
    assert!(said[0].contains("WARN") && said[0].contains("another key"), "{said:?}");
}
