//! Who claims to be a server.

use crate::raw::{Noise, Raw};
use crate::siege::{Siege, TIMEOUT, counted, until};
use accord_core::protocol::PROTOCOL_VERSION;
use accord_core::stream::{Kind, Preface};
use accord_net::server::GroupOptions;
use std::net::SocketAddr;
use tokio::net::UdpSocket;

/// The version of what servers say to each other.
const PEER_VERSION: u8 = 3;

/// The number, the cluster, the nonce and the code of a handshake, all made up but the cluster.
fn made_up(node: u32, noise: &mut Noise) -> Vec<u8> {
    [&node.to_le_bytes()[..], &[0; 8], &noise.bytes(32), &noise.bytes(16)].concat()
}

#[tokio::test]
async fn a_stream_without_the_key_is_refused() {
    let siege = Siege::begin(|_| {}).await;
    let at = siege.target().ring_addr().expect("it has a ring");
    let mut noise = Noise::new(6);
    let refused = "accord_peers_refused_total{reason=\"unauthentic\"}";
    // Garbage, a client at the wrong port, servers of the version before and of a later one.
    for preface in [
        noise.bytes(500),
        Preface { kind: Kind::Client, version: PROTOCOL_VERSION }.to_bytes().to_vec(),
        Preface { kind: Kind::Peer, version: PEER_VERSION - 1 }.to_bytes().to_vec(),
        Preface { kind: Kind::Peer, version: 99 }.to_bytes().to_vec(),
    ] {
        let mut raw = Raw::connect(at).await;
        raw.say(&preface).await;
        raw.end().await;
    }
    // A server with another key, under every number.
    for node in 0..5 {
        let mut raw = Raw::greeted(at, Kind::Peer, PEER_VERSION).await;
        raw.say(&made_up(node, &mut noise)).await;
        raw.end().await;
    }
    siege.until_counted(refused, 7).await;
    siege.until_counted("accord_peers_refused_total{reason=\"version\"}", 2).await;
    // Half-open ones.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(Raw::connect(at).await);
        silent.push(Raw::greeted(at, Kind::Peer, PEER_VERSION).await);
    }
    siege.good_go_on().await;
    for raw in silent {
        raw.end().await;
    }
    siege.until_counted("accord_peers_refused_total{reason=\"silent\"}", 40).await;
    siege.lift().await;
}

async fn flood(socket: &UdpSocket, at: SocketAddr, noise: &mut Noise) {
    for number in 0..2000_usize {
        // A full buffer may refuse one; there are more.
        let _ = socket.send_to(&noise.bytes(number * 7 % 1500), at).await;
    }
    for bytes in [0, 1, 65_000] {
        let _ = socket.send_to(&noise.bytes(bytes), at).await;
    }
}

#[tokio::test]
async fn datagrams_of_garbage_are_ignored() {
    let mut siege = Siege::begin(|_| {}).await;
    let at = siege.target().ring_addr().expect("it has a ring");
    let mut noise = Noise::new(7);
    let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("there is a free port");
    flood(&stranger, at, &mut noise).await;
    siege.until_counted("accord_datagrams_refused_total{reason=\"unknown_address\"}", 100).await;
    siege.good_go_on().await;
    // The same from the address of a server that is not there.
    let address = siege.cluster.servers()[2].ring_addr().expect("it has a ring");
    siege.cluster.kill(3);
    let impostor = UdpSocket::bind(address).await.expect("its port is free");
    flood(&impostor, at, &mut noise).await;
    siege.until_counted("accord_datagrams_refused_total{reason=\"unauthentic\"}", 100).await;
    siege.lift().await;
}

#[tokio::test]
async fn a_server_with_another_key_stays_alone() {
    let mut siege = Siege::begin(|_| {}).await;
    siege.cluster.kill(3);
    let restarted = siege.cluster.restart_with(3, |options| {
        if let GroupOptions::Ring(ring) = &mut options.group {
            ring.key = [0; 32];
        }
    });
    restarted.expect("it starts");
    siege.until_counted("accord_datagrams_refused_total{reason=\"unauthentic\"}", 1).await;
    let rogue = &siege.cluster.servers()[2];
    let refuses = until(|| async {
        counted(rogue, "accord_datagrams_refused_total{reason=\"unauthentic\"}").await > 0
    });
    tokio::time::timeout(TIMEOUT, refuses).await.expect("it cannot understand anybody either");
    let status = rogue.status().await.expect("it runs");
    assert!(!status.primary && status.reason.is_some(), "it serves nobody: {status}");
    siege.lift().await;
}
