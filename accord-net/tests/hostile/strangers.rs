//! Who never says properly what a connection is for.

use crate::raw::{Noise, Raw};
use crate::siege::Siege;
use accord_core::protocol::{ClientMessage, PROTOCOL_VERSION};
use accord_core::stream::{Kind, Preface};
use accord_net::client::{Client, ClientOptions, ConnectError};
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

#[tokio::test]
async fn garbage_instead_of_a_preface_is_hung_up_on() {
    let siege = Siege::begin(|_| {}).await;
    let at = siege.target().client_addr();
    let mut noise = Noise::new(1);
    let mut kinds: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: accord\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
        vec![0; 64],
        vec![0xff; 100_000],
        b"ACRDX\x01\0\0".to_vec(),
        b"acrdC\x01\0\0".to_vec(),
    ];
    kinds.extend((0..40).map(|size| noise.bytes(8 + 100 * size)));
    let count = kinds.len() as u64;
    for kind in kinds {
        let mut raw = Raw::connect(at).await;
        raw.say(&kind).await;
        raw.end().await;
    }
    let name = "accord_prefaces_refused_total{reason=\"stranger\"}";
    siege.until_counted(name, count - 1).await;
    siege.until_counted("accord_prefaces_refused_total{reason=\"wrong_kind\"}", 1).await;
    siege.lift().await;
}

#[tokio::test]
async fn who_connects_and_says_nothing_is_hung_up_on() {
    let siege = Siege::begin(|_| {}).await;
    let at = siege.target().client_addr();
    let preface = Preface { kind: Kind::Client, version: PROTOCOL_VERSION }.to_bytes();
    let mut silent = Vec::new();
    for said in [0, 1, 4, 7].repeat(25) {
        let mut raw = Raw::connect(at).await;
        raw.say(&preface[..said]).await;
        silent.push(raw);
    }
    siege.good_go_on().await;
    for raw in silent {
        raw.end().await;
    }
    siege.until_counted("accord_prefaces_refused_total{reason=\"silent\"}", 100).await;
    // A slow one gains nothing by being slow: the time is for the whole preface.
    let never = preface[..4].iter().copied();
    Raw::connect(at).await.drip(never.chain(std::iter::repeat(b'C'))).await;
    siege.lift().await;
}

#[tokio::test]
async fn who_hangs_up_at_once_costs_nothing() {
    let siege = Siege::begin(|_| {}).await;
    let at = siege.target().client_addr();
    for _ in 0..300 {
        let mut raw = Raw::connect(at).await;
        raw.say(b"ACR").await;
        raw.stream.shutdown().await.expect("it is connected");
    }
    siege.until_counted("accord_prefaces_refused_total{reason=\"hung_up\"}", 300).await;
    siege.lift().await;
}

// Claims: C-bounds
#[tokio::test]
async fn a_flood_of_connections_is_bounded() {
    let siege = Siege::begin(|options| {
        options.net.strangers_max = 50;
        // Longer than it takes to open them all.
        options.net.sessionless_timeout = accord_core::time::Duration::from_secs(3);
        options.limits.conns_max = 60;
    })
    .await;
    let at = siege.target().client_addr();
    let mut flood = Vec::new();
    for _ in 0..400 {
        flood.push(Raw::connect(at).await);
    }
    siege.until_counted("accord_prefaces_refused_total{reason=\"too_many\"}", 1).await;
    siege.good_go_on().await;
    for raw in flood {
        raw.end().await;
    }
    // Those that say the right thing are bounded as well, and end if nothing follows.
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(Raw::client(at).await);
    }
    siege.until_counted("accord_hung_up_total{reason=\"too_many_connections\"}", 100).await;
    assert!(siege.counted("accord_connections").await <= 60);
    siege.good_go_on().await;
    for raw in flood {
        raw.end().await;
    }
    siege.until_counted("accord_connection_ends_total{reason=\"sessionless\"}", 1).await;
    let late = Client::connect(ClientOptions::new(vec![at])).await.expect("there is room again");
    late.put("late", "but served").await.expect("the server serves");
    siege.lift().await;
}

#[tokio::test]
async fn a_client_of_a_future_version_is_told_ours() {
    let siege = Siege::begin(|_| {}).await;
    let at = siege.target().client_addr();
    for version in [0, PROTOCOL_VERSION + 1, 99, 255] {
        // It is told which version is spoken here, even if it did not wait for that.
        let mut raw = Raw::connect(at).await;
        let mut eager = Preface { kind: Kind::Client, version }.to_bytes().to_vec();
        eager.extend_from_slice(&[9, 0, 0, 0, version, 1, 2, 3, 4, 5, 6, 7, 8]);
        raw.say(&eager).await;
        raw.end().await;
        let told = Raw::greeted(at, Kind::Client, version).await;
        told.end().await;
    }
    siege.until_counted("accord_prefaces_refused_total{reason=\"version\"}", 8).await;
    // A message of another version than the preface promised.
    let mut raw = Raw::client(at).await;
    let mut message = accord_core::protocol::encode_client(&ClientMessage::Close).to_vec();
    message[0] = PROTOCOL_VERSION + 1;
    raw.say_message(&message).await;
    raw.end().await;
    siege.until_counted("accord_connection_ends_total{reason=\"malformed_message\"}", 1).await;
    siege.lift().await;
}

/// A server that answers everybody with these bytes.
async fn impostor(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let at = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(answer).await;
        }
    });
    at
}

#[tokio::test]
async fn the_client_library_says_what_is_wrong_with_a_server() {
    for (answer, expected) in [
        (&b"ACRDC\x09\0\0"[..], "bring both to the same release"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is this the right port?"),
        (b"ACRDO\x01\0\0", "does not serve"),
    ] {
        let mut options = ClientOptions::new(vec![impostor(answer).await]);
        options.connect_timeout = accord_core::time::Duration::from_millis(300);
        let error = Client::connect(options).await.expect_err("it is no server");
        assert!(matches!(error, ConnectError::Timeout { .. }));
        assert!(error.to_string().contains(expected), "{error}");
    }
}
