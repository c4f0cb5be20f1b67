//! Streams between servers, for what does not go through the order: transfers of logs and state.
//!
//! Each server dials each other one and sends over what it dialled; what it accepted, it only
//! reads. Both ends prove that they hold the cluster's key, and each message carries a code made
//! with a key of the stream, so that a stranger can neither speak nor change what is said. What
//! cannot be sent is dropped: whoever transfers asks again.
//!
//! A stream on which something was sent while the network was cut comes back only when TCP tries
//! again, which it does ever more rarely: seconds after the cut is healed. So when the group has a
//! server back, the stream to it is given up for a new one.
//!
//! The handshake: the preface both ways; the dialling end sends its number and a nonce; the other
//! answers with its number, a nonce and a code over all of that; the dialling end answers with its
//! code. Codes are BLAKE3 keyed with the cluster's key, over a label and both halves.

use super::Stranger;
use super::conns::READ_BYTES;
use super::driver::Driver;
use super::metrics::Reason;
use crate::env::Env;
use crate::frame::{FrameReader, Kind, PREFACE_BYTES, Preface, write_message};
use crate::storage::cluster_label;
use crate::transport::{Transport, in_time};
use accord_core::ids::NodeId;
use accord_core::time::Duration;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

/// The version of this protocol.
const VERSION: u8 = 2;
const NONCE_BYTES: usize = 32;
const CODE_BYTES: usize = 16;
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

/// What waits to be sent to one server.
#[derive(Debug)]
pub(super) struct PeerOutbox {
    node: NodeId,
    address: SocketAddr,
    /// It does not belong to the cluster any more, or is elsewhere: what waits is the last.
    closed: Cell<bool>,
    queue: RefCell<VecDeque<Bytes>>,
    /// Invariant: the sum of the queue's lengths.
    bytes: Cell<usize>,
    bytes_max: usize,
    /// Which servers there are, until it is sent. Tried for ever: who does not know is kept out.
    roster: RefCell<Option<Bytes>>,
    /// What was sent of it over the present stream: sent again over the next one.
    told: RefCell<Option<Bytes>>,
    more: Notify,
    /// Its server was in the group's last view.
    present: Cell<bool>,
    /// The present stream is to be given up.
    renewed: Notify,
}

impl PeerOutbox {
    pub(super) fn new(node: NodeId, address: SocketAddr, bytes_max: usize) -> Self {
        Self {
            node,
            address,
            closed: Cell::new(false),
            queue: RefCell::default(),
            bytes: Cell::new(0),
            bytes_max,
            roster: RefCell::default(),
            told: RefCell::default(),
            more: Notify::new(),
            present: Cell::new(false),
            renewed: Notify::new(),
        }
    }

    /// Its server is in the group's view, or not. If it is back, what waits for it is stale, and
    /// the stream may hang.
    fn note_presence(&self, present: bool) {
        let was_present = self.present.replace(present);
        if present && !was_present {
            self.on_broken();
            self.renewed.notify_waiters();
        }
    }

    /// Queues a message. False if it was dropped, because too much waits.
    pub(super) fn push(&self, message: Bytes) -> bool {
        let bytes = self.bytes.get() + message.len();
        if self.bytes.get() > 0 && bytes > self.bytes_max {
            return false;
        }
        self.bytes.set(bytes);
        self.queue.borrow_mut().push_back(message);
        self.more.notify_one();
        true
    }

    fn pop(&self) -> Option<Bytes> {
        let message = self.queue.borrow_mut().pop_front()?;
        self.bytes.set(self.bytes.get() - message.len());
        Some(message)
    }

    /// Lets it know which servers there are, in the place of what it was not told yet.
    pub(super) fn push_roster(&self, message: Bytes) {
        *self.roster.borrow_mut() = Some(message);
        self.more.notify_one();
    }

    /// This was sent. It may have been replaced meanwhile.
    fn roster_sent(&self, sent: &Bytes) {
        self.roster.borrow_mut().take_if(|roster| roster == sent);
        *self.told.borrow_mut() = Some(sent.clone());
    }

    /// The stream broke: what was on its way is lost, and what waited is stale by the time that
    /// another one stands. Which servers there are is told again.
    fn on_broken(&self) {
        while self.pop().is_some() {}
        let told = self.told.borrow_mut().take();
        let roster = &mut *self.roster.borrow_mut();
        *roster = roster.take().or(told);
    }

    fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty() && self.roster.borrow().is_none()
    }

    /// Where it is taken to be.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the stream once what waits is sent.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.more.notify_one();
    }

    fn is_done(&self) -> bool {
        self.closed.get() && self.is_empty()
    }
}

/// The secret of one stream, and how many messages it has proved.
struct StreamKey {
    key: [u8; 32],
    count: u64,
}

impl StreamKey {
    /// The code of the next message, which goes on behind its first byte.
    fn code(&mut self, about: u8, message: &[u8]) -> [u8; CODE_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&self.count.to_le_bytes());
        hasher.update(&[about]);
        hasher.update(message);
        self.count += 1;
        first_bytes(hasher.finalize())
    }
}

fn first_bytes(hash: blake3::Hash) -> [u8; CODE_BYTES] {
    let mut code = [0; CODE_BYTES];
    code.copy_from_slice(&hash.as_bytes()[..CODE_BYTES]);
    code
}

/// What both ends have said of themselves.
struct Halves {
    dialler: Half,
    acceptor: Half,
}

#[derive(Clone, Copy)]
struct Half {
    node: NodeId,
    /// The label of its cluster.
    cluster: u64,
    nonce: [u8; NONCE_BYTES],
}

const HALF_BYTES: usize = 4 + 8 + NONCE_BYTES;

impl Half {
    fn new<E: Env>(driver: &Driver<E>) -> Self {
        let mut nonce = [0; NONCE_BYTES];
        nonce.chunks_mut(8).for_each(|part| part.copy_from_slice(&driver.env.draw().to_le_bytes()));
        Self { node: driver.options.node, cluster: cluster_label(&driver.options.cluster), nonce }
    }

    fn to_bytes(self) -> [u8; HALF_BYTES] {
        let mut bytes = [0; HALF_BYTES];
        bytes[..4].copy_from_slice(&self.node.0.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.cluster.to_le_bytes());
        bytes[12..].copy_from_slice(&self.nonce);
        bytes
    }

    fn from_bytes(bytes: [u8; HALF_BYTES]) -> Self {
        let (mut node, mut cluster, mut nonce) = ([0; 4], [0; 8], [0; NONCE_BYTES]);
        node.copy_from_slice(&bytes[..4]);
        cluster.copy_from_slice(&bytes[4..12]);
        nonce.copy_from_slice(&bytes[12..]);
        let node = NodeId(u32::from_le_bytes(node));
        Self { node, cluster: u64::from_le_bytes(cluster), nonce }
    }
}

impl Halves {
    fn hash(&self, key: &[u8; 32], label: &str) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(label.as_bytes());
        hasher.update(&self.dialler.to_bytes());
        hasher.update(&self.acceptor.to_bytes());
        hasher.finalize()
    }

    fn acceptor_code(&self, key: &[u8; 32]) -> [u8; CODE_BYTES] {
        first_bytes(self.hash(key, "accord peer acceptor"))
    }

    fn dialler_code(&self, key: &[u8; 32]) -> [u8; CODE_BYTES] {
        first_bytes(self.hash(key, "accord peer dialler"))
    }

    fn stream_key(&self, key: &[u8; 32]) -> StreamKey {
        StreamKey { key: *self.hash(key, "accord peer stream").as_bytes(), count: 0 }
    }
}

const PREFACE: Preface = Preface { kind: Kind::Peer, version: VERSION };

fn refused(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.to_string())
}

/// Compares in a time that does not depend on where codes differ.
fn same(mine: [u8; CODE_BYTES], theirs: [u8; CODE_BYTES]) -> bool {
    mine.iter().zip(theirs).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Sends what waits for one server, until it does not belong to the cluster any more.
pub(super) async fn dial<E: Env>(driver: Rc<Driver<E>>, outbox: Rc<PeerOutbox>, key: [u8; 32]) {
    while !outbox.is_done() {
        if outbox.is_empty() {
            outbox.more.notified().await;
            continue;
        }
        let Some(sent) = unless_renewed(&outbox, send_all(&driver, &outbox, &key)).await else {
            tracing::debug!(peer = %outbox.node, "it is back in the group: a new stream");
            continue;
        };
        if let Err(error) = sent {
            tracing::debug!(peer = %outbox.node, %error, "stream to another server");
        }
        outbox.on_broken();
        // Who goes is told once.
        if outbox.closed.get() {
            return;
        }
        let redial_at = driver.env.now() + REDIAL;
        unless_renewed(&outbox, driver.env.sleep_until(redial_at)).await;
    }
}

/// Does something that concerns the present stream; `None` if that is to be given up instead.
async fn unless_renewed<T>(outbox: &PeerOutbox, attempt: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = outbox.renewed.notified() => None,
        done = attempt => Some(done),
    }
}

impl super::driver::Inner {
    /// The group's view has these members.
    pub(super) fn note_presence(&self, members: &[NodeId]) {
        for (node, peer) in &self.peers {
            peer.note_presence(members.contains(node));
        }
    }
}

async fn send_all<E: Env>(
    driver: &Driver<E>,
    outbox: &PeerOutbox,
    key: &[u8; 32],
) -> io::Result<()> {
    let opening = async {
        let mut stream = Transport::connect(&driver.env, outbox.address).await?;
        let stream_key = introduce(driver, outbox.node, key, &mut stream).await?;
        Ok((stream, stream_key))
    };
    let (mut stream, mut stream_key) = in_time(&driver.env, HANDSHAKE_TIMEOUT, opening).await?;
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
        let roster = outbox.roster.borrow().clone();
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
            () = outbox.more.notified() => {}
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
    let dialler = Half::new(driver);
    stream.write_all(&PREFACE.to_bytes()).await?;
    stream.write_all(&dialler.to_bytes()).await?;
    stream.flush().await?;
    let (mut preface, mut half, mut code) = ([0; PREFACE_BYTES], [0; HALF_BYTES], [0; CODE_BYTES]);
    stream.read_exact(&mut preface).await?;
    Preface::from_bytes(preface).and_then(|found| found.expect(PREFACE)).map_err(refused)?;
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
    stranger: Stranger,
) {
    let from = stream.remote();
    let admitting = admit(&driver, &key, &mut stream);
    let admitted = in_time(&driver.env, HANDSHAKE_TIMEOUT, admitting).await;
    drop(stranger);
    let ended = match admitted {
        Ok((node, stream_key)) => receive_all(&driver, &mut stream, node, stream_key).await,
        Err(error) => {
            let reason = match error.kind() {
                io::ErrorKind::PermissionDenied => "unauthentic",
                io::ErrorKind::TimedOut => "silent",
                _ => "hung_up",
            };
            driver.metrics.peers_refused.get_or_create(&Reason::of(reason)).inc();
            // Every server of another cluster tries again, five times a second.
            match driver.complaints.strangers.due(driver.env.now()) {
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
            driver.metrics.peers_refused.get_or_create(&Reason::of("malformed")).inc();
            if let Some(times) = driver.complaints.nonsense.due(driver.env.now()) {
                tracing::warn!(%from, %error, times, "a stream from another server makes no sense");
            }
        }
        Err(error) => tracing::debug!(%from, %error, "a stream from another server ended"),
        Ok(()) => {}
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
                    driver.on_roster(node, &message).map_err(|error| invalid(&error))?;
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
    Preface::from_bytes(preface).and_then(|found| found.expect(PREFACE)).map_err(refused)?;
    stream.read_exact(&mut half).await?;
    let halves = Halves { dialler: Half::from_bytes(half), acceptor: Half::new(driver) };
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
    if halves.dialler.node == driver.options.node {
        return Err(refused("it has this server's own number: numbers are unique in a cluster"));
    }
    Ok((halves.dialler.node, halves.stream_key(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_hangs_is_given_up_when_its_server_is_back_in_the_group() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let outbox = PeerOutbox::new(NodeId(2), address, 1 << 20);
        let roster = Bytes::from_static(b"roster");
        outbox.note_presence(true);
        outbox.push_roster(roster.clone());
        outbox.roster_sent(&roster);
        outbox.note_presence(false);
        outbox.push(Bytes::from_static(b"stale"));
        let back = async {
            outbox.note_presence(true);
            outbox.push(Bytes::from_static(b"asked anew"));
        };
        let (stream, ()) =
            tokio::join!(unless_renewed(&outbox, std::future::pending::<()>()), back);
        assert_eq!(stream, None);
        assert_eq!(outbox.pop(), Some(Bytes::from_static(b"asked anew")));
        assert_eq!((outbox.pop(), outbox.roster.borrow().clone()), (None, Some(roster)));
    }

    #[tokio::test]
    async fn a_stream_is_kept_while_its_server_stays_in_the_group() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let outbox = PeerOutbox::new(NodeId(2), address, 1 << 20);
        outbox.note_presence(true);
        outbox.push(Bytes::from_static(b"kept"));
        let stays = async { outbox.note_presence(true) };
        let work = async { tokio::task::yield_now().await };
        let (stream, ()) = tokio::join!(unless_renewed(&outbox, work), stays);
        assert_eq!((stream, outbox.pop()), (Some(()), Some(Bytes::from_static(b"kept"))));
    }
}
