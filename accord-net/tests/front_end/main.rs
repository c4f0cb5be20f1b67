//! A front-end of another protocol, over real sockets, at a server that also speaks its own.
//!
//! The protocol is whole in `lines.rs`. What the tests show is what every front-end is promised.

mod lines;

use accord_core::ids::NodeId;
use accord_net::client::{Client, ClientOptions};
use accord_net::env::real::Real;
use accord_net::server::{GroupOptions, Running, ServerOptions, start};
use lines::{LINE_BYTES_MAX, Lines};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server of one, which speaks lines at the address.
struct Served {
    running: Running<Real>,
    at: SocketAddr,
}

impl Served {
    async fn start(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let mut options = ServerOptions::new(NodeId(1), ANY, GroupOptions::Solo);
        options.bootstrap = true;
        change(&mut options);
        let running = start(Real, options, None, Arc::default()).await.unwrap();
        let at = running.listen(ANY, Rc::new(|| Box::new(Lines::default()))).await.unwrap();
        Self { running, at }
    }

    /// A client without a session.
    async fn begin(&self) -> Talk {
        Talk(BufReader::new(TcpStream::connect(self.at).await.unwrap()))
    }

    async fn connect(&self) -> Talk {
        self.open().await.0
    }

    /// A client with a session, and what attaches it again.
    async fn open(&self) -> (Talk, String) {
        let mut talk = self.begin().await;
        talk.send("session\n").await;
        let line = talk.line().await;
        let words = line.strip_prefix("session ").expect("a session");
        (talk, format!("attach {words}\n"))
    }
}

/// A client that speaks lines.
struct Talk(BufReader<TcpStream>);

impl Talk {
    async fn send(&mut self, lines: &str) {
        self.0.write_all(lines.as_bytes()).await.unwrap();
    }

    async fn expect(&mut self, lines: &[&str]) {
        for expected in lines {
            assert_eq!(self.line().await, *expected);
        }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }
}

#[tokio::test]
async fn a_read_stands_behind_the_writes_that_were_sent_before_it() {
    LocalSet::new()
        .run_until(async {
            let served = Served::start(|_| {}).await;
            let mut talk = served.connect().await;
            // All in one piece: the server gives the numbers and keeps the order.
            talk.send("get k\nput k 1\nput k 2\nget k\nput k 3\nget k\n").await;
            talk.expect(&["none", "ok", "ok", "value 2", "ok", "value 3"]).await;
        })
        .await;
}

#[tokio::test]
async fn a_client_that_was_cut_off_attaches_and_its_writes_are_new_ones() {
    LocalSet::new()
        .run_until(async {
            let served = Served::start(|_| {}).await;
            let (mut talk, attach) = served.open().await;
            let mut other = served.connect().await;
            for round in 0..20 {
                // Some of these are under way when the connection breaks.
                talk.send(&format!("put before {round}\n").repeat(30)).await;
                drop(talk);
                talk = served.begin().await;
                talk.send(&attach).await;
                talk.expect(&["attached"]).await;
                talk.send(&format!("put after {round}\nget after\n")).await;
                talk.expect(&["ok", &format!("value {round}")]).await;
                other.send("get after\n").await;
                other.expect(&[&format!("value {round}")]).await;
            }
        })
        .await;
}

#[tokio::test]
async fn a_watch_tells_the_value_then_every_change_and_an_event_comes_before_its_result() {
    LocalSet::new()
        .run_until(async {
            let served = Served::start(|_| {}).await;
            let mut talk = served.connect().await;
            talk.send("put k 1\nwatch k\nput k 2\nget k\n").await;
            talk.expect(&["ok", "value 1", "event 2", "ok", "value 2"]).await;
            // A client of the native protocol, at the same server.
            let native = ClientOptions::new([served.running.client_addr()]);
            let native = Client::connect(native).await.unwrap();
            native.put("k", "3").await.unwrap();
            talk.expect(&["event 3"]).await;
            talk.send("put other 1\nput k 4\n").await;
            talk.expect(&["ok", "event 4", "ok"]).await;
            assert_eq!(native.get("k").await.unwrap().expect("it was put").value, "4");
        })
        .await;
}

#[tokio::test]
async fn a_client_that_is_ahead_waits_in_its_socket_and_nothing_is_refused() {
    const WRITES: usize = 500;
    LocalSet::new()
        .run_until(async {
            let served = Served::start(|options| options.limits.requests_per_conn_max = 2).await;
            let mut talk = served.connect().await;
            talk.send(&"put k v\n".repeat(WRITES)).await;
            talk.send("get k\n").await;
            talk.expect(&["ok"; WRITES]).await;
            talk.expect(&["value v"]).await;
        })
        .await;
}

#[tokio::test]
async fn what_is_malformed_or_too_long_ends_its_connection_and_no_other() {
    LocalSet::new()
        .run_until(async {
            let served = Served::start(|_| {}).await;
            let mut other = served.connect().await;
            for nonsense in ["dance\n".to_owned(), "x".repeat(LINE_BYTES_MAX + 1)] {
                let mut talk = served.connect().await;
                talk.send(&nonsense).await;
                let mut rest = Vec::new();
                // A reset is an end as well.
                let _ = talk.0.read_to_end(&mut rest).await;
                assert_eq!(String::from_utf8_lossy(&rest), "");
            }
            let ends = "accord_connection_ends_total{reason=\"malformed_line\"} 2";
            assert!(served.running.metrics().contains(ends), "{}", served.running.metrics());
            other.send("put k 1\nget k\n").await;
            other.expect(&["ok", "value 1"]).await;
        })
        .await;
}
