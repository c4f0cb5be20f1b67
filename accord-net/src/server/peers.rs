//! Streams between servers, for what does not go through the order: transfers of logs and state.
//!
//! Each server dials each other one and sends over what it dialled; what it accepted, it only
//! reads. Both ends prove that they hold the cluster's key, and each message carries a code made
//! with a key of the stream, so that a stranger can neither speak nor change what is said. What
//! cannot be sent is dropped: the fetching server asks again.
//!
//! A stream on which something was sent while the network was cut comes back only when TCP tries
//! again, which it does ever more rarely: seconds after the cut is healed. So when the group has a
//! server back, the stream to it is given up for a new one.
//!
//! The handshake: the preface both ways; the dialling end sends its number and a nonce; the other
//! answers with its number, a nonce and a code over all of that; the dialling end answers with its
//! code. Codes are BLAKE3 keyed with the cluster's key, over a label and both halves.

use super::driver::Driver;
use super::metrics::Reason;
use super::peer_handshake::{CODE_BYTES, HALF_BYTES, Half, Halves, StreamKey, same};
use super::peer_outbox::PeerOutbox;
use super::roster;
use super::slots::Slot;
use crate::env::Env;
use crate::storage::cluster_label;
use crate::transport::{READ_BYTES, Transport, in_time};
use accord_core::ids::NodeId;
use accord_core::stream::{FrameReader, Kind, PREFACE_BYTES, Preface, PrefaceError, write_message};
use accord_core::time::Duration;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The version of this protocol.
const VERSION: u8 = 3;
/// The most bytes of one message: a chunk of a transfer, or a live frame behind one.
const MESSAGE_BYTES_MAX: usize = 96 << 20;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait before dialling again.
const REDIAL: Duration = Duration::from_millis(200);

/// What a message between servers is about: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// Replication: for the core.
    Replica = 0,
    /// Which servers there are.
    Roster = 1,
}

const PREFACE: Preface = Preface { kind: Kind::Peer, version: VERSION };

/// What this server says of itself on a new stream.
fn own_half<E: Env>(driver: &Driver<E>) -> Half {
    let options = driver.options();
    Half::new(options.node, cluster_label(&options.cluster), || driver.env().draw())
}

fn refused(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.to_string())
}

/// Sends what waits for one server, until it does not belong to the cluster any more.
pub(super) async fn dial<E: Env>(driver: Rc<Driver<E>>, outbox: Rc<PeerOutbox>, key: [u8; 32]) {
    while !outbox.is_done() {
        if outbox.is_empty() {
            outbox.more().await;
            continue;
        }
        let Some(sent) = outbox.unless_renewed(send_all(&driver, &outbox, &key)).await else {
            tracing::debug!(peer = %outbox.node(), "it is back in the group: a new stream");
            continue;
        };
        if let Err(error) = sent {
            tracing::debug!(peer = %outbox.node(), %error, "stream to another server");
        }
        outbox.on_broken();
        // Who goes is told once.
        if outbox.is_closed() {
            return;
        }
        let redial_at = driver.env().now() + REDIAL;
        outbox.unless_renewed(driver.env().sleep_until(redial_at)).await;
    }
}

async fn send_all<E: Env>(
    driver: &Driver<E>,
    outbox: &PeerOutbox,
    key: &[u8; 32],
) -> io::Result<()> {
    let opening = async {
        let mut stream = Transport::connect(driver.env(), outbox.address()).await?;
        let stream_key = introduce(driver, outbox.node(), key, &mut stream).await?;
        Ok((stream, stream_key))
    };
    let (mut stream, mut stream_key) = in_time(driver.env(), HANDSHAKE_TIMEOUT, opening).await?;
    let mut frame = Vec::new();
    let mut seal = |about: About, message: &Bytes, frame: &mut Vec<u8>| {
        frame.clear();
        write_message(frame, |out| {
            out.push(about as u8);
            out.extend_from_slice(message);
            out.extend_from_slice(&stream_key.code(about as u8, message));
        });
    };
    loop {
        let roster = outbox.roster();
        if let Some(roster) = &roster {
            seal(About::Roster, roster, &mut frame);
            stream.write_all(&frame).await?;
        }
        while let Some(message) = outbox.pop() {
            seal(About::Replica, &message, &mut frame);
            stream.write_all(&frame).await?;
        }
        stream.flush().await?;
        if let Some(roster) = &roster {
            outbox.roster_sent(roster);
        }
        if outbox.is_done() {
            return Ok(());
        }
        // The other end says nothing more: reading tells when it is gone.
        tokio::select! {
            biased;
            () = outbox.more() => {}
            gone = stream.read_u8() => {
                return Err(gone.err().unwrap_or_else(|| io::ErrorKind::InvalidData.into()));
            }
        }
    }
}

async fn introduce<E: Env>(
    driver: &Driver<E>,
    peer: NodeId,
    key: &[u8; 32],
    stream: &mut Transport<E>,
) -> io::Result<StreamKey> {
    let dialler = own_half(driver);
    stream.write_all(&PREFACE.to_bytes()).await?;
    stream.write_all(&dialler.to_bytes()).await?;
    stream.flush().await?;
    let (mut preface, mut half, mut code) = ([0; PREFACE_BYTES], [0; HALF_BYTES], [0; CODE_BYTES]);
    stream.read_exact(&mut preface).await?;
    let found = Preface::from_bytes(preface).and_then(|found| found.expect(PREFACE));
    found.map_err(refused)?;
    stream.read_exact(&mut half).await?;
    stream.read_exact(&mut code).await?;
    let halves = Halves { dialler, acceptor: Half::from_bytes(half) };
    if halves.acceptor.cluster != halves.dialler.cluster {
        return Err(refused("it is of a cluster with another name"));
    }
    if halves.acceptor.node != peer || !same(halves.acceptor_code(key), code) {
        return Err(refused("it is another server, or has another key"));
    }
    stream.write_all(&halves.dialler_code(key)).await?;
    stream.flush().await?;
    Ok(halves.stream_key(key))
}

/// Takes what another server sends over a stream that it opened, until it ends.
pub(super) async fn accept<E: Env>(
    driver: Rc<Driver<E>>,
    mut stream: Transport<E>,
    key: [u8; 32],
    unidentified: Slot,
) {
    let from = stream.remote();
    let admitting = admit(&driver, &key, &mut stream);
    let admitted = in_time(driver.env(), HANDSHAKE_TIMEOUT, admitting).await;
    drop(unidentified);
    let ended = match admitted {
        Ok((node, stream_key)) => receive_all(&driver, &mut stream, node, stream_key).await,
        Err(error) => {
            if is_other_version(&error) {
                return complain_of_version(&driver, from, &error);
            }
            let reason = match error.kind() {
                io::ErrorKind::PermissionDenied => "unauthentic",
                io::ErrorKind::TimedOut => "silent",
                _ => "hung_up",
            };
            driver.metrics().peers_refused.get_or_create(&Reason::of(reason)).inc();
            // Every server of another cluster tries again, five times a second.
            match driver.complaints().strangers.due(driver.env().now()) {
                Some(times) => tracing::warn!(
                    %from, %error, times,
                    "refused streams that are no server's of this cluster: a server with another \
                     key (key_file) or another name of the cluster?"
                ),
                None => tracing::debug!(%from, %error, "refused a stream"),
            }
            return;
        }
    };
    match ended {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            driver.metrics().peers_refused.get_or_create(&Reason::of("malformed")).inc();
            if let Some(times) = driver.complaints().nonsense.due(driver.env().now()) {
                tracing::warn!(%from, %error, times, "a stream from another server makes no sense");
            }
        }
        Err(error) => tracing::debug!(%from, %error, "a stream from another server ended"),
        Ok(()) => {}
    }
}

/// True if the other end is a server of another version.
fn is_other_version(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<PrefaceError>());
    matches!(inner, Some(PrefaceError::Version { .. }))
}

fn complain_of_version<E: Env>(driver: &Driver<E>, from: SocketAddr, error: &io::Error) {
    driver.metrics().peers_refused.get_or_create(&Reason::of("version")).inc();
    match driver.complaints().versions.due(driver.env().now()) {
        Some(times) => tracing::warn!(
            %from, %error, times,
            "refused streams of servers of another version: run one release on all servers"
        ),
        None => tracing::debug!(%from, %error, "refused a stream"),
    }
}

async fn receive_all<E: Env>(
    driver: &Rc<Driver<E>>,
    stream: &mut Transport<E>,
    node: NodeId,
    mut stream_key: StreamKey,
) -> io::Result<()> {
    let invalid =
        |error: &dyn ToString| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let mut frames = FrameReader::new(1 + MESSAGE_BYTES_MAX + CODE_BYTES);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let bytes = stream.read(&mut buffer).await?;
        if bytes == 0 {
            return Ok(());
        }
        frames.push(Bytes::copy_from_slice(&buffer[..bytes]));
        while let Some(mut message) = frames.next_message().map_err(|error| invalid(&error))? {
            if message.len() < 1 + CODE_BYTES {
                return Err(invalid(&"a message without a code"));
            }
            let code = message.split_off(message.len() - CODE_BYTES);
            let about = message.split_to(1)[0];
            if stream_key.code(about, &message)[..] != code[..] {
                return Err(invalid(&"a message with a wrong code"));
            }
            match about {
                _ if about == About::Replica as u8 => driver.on_peer(node, message),
                _ if about == About::Roster as u8 => {
                    roster::on_roster(driver, node, &message).map_err(|error| invalid(&error))?;
                }
                _ => return Err(invalid(&"a message about nothing that is known")),
            }
        }
    }
}

async fn admit<E: Env>(
    driver: &Driver<E>,
    key: &[u8; 32],
    stream: &mut Transport<E>,
) -> io::Result<(NodeId, StreamKey)> {
    let (mut preface, mut half, mut code) = ([0; PREFACE_BYTES], [0; HALF_BYTES], [0; CODE_BYTES]);
    stream.read_exact(&mut preface).await?;
    stream.write_all(&PREFACE.to_bytes()).await?;
    stream.flush().await?;
    let found = Preface::from_bytes(preface).and_then(|found| found.expect(PREFACE));
    found.map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why))?;
    stream.read_exact(&mut half).await?;
    let halves = Halves { dialler: Half::from_bytes(half), acceptor: own_half(driver) };
    stream.write_all(&halves.acceptor.to_bytes()).await?;
    stream.write_all(&halves.acceptor_code(key)).await?;
    stream.flush().await?;
    stream.read_exact(&mut code).await?;
    if !same(halves.dialler_code(key), code) {
        return Err(refused("it has another key: all servers of a cluster share one"));
    }
    if halves.acceptor.cluster != halves.dialler.cluster {
        return Err(refused("it is of a cluster with another name: see its setting `cluster`"));
    }
    if halves.dialler.node == driver.options().node {
        return Err(refused("it has this server's own number: numbers are unique in a cluster"));
    }
    Ok((halves.dialler.node, halves.stream_key(key)))
}
