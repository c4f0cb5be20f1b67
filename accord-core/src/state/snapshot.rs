//! Snapshots: the whole state as bytes, the same on every replica that applied the same.
//!
//! ```text
//! magic "ACDS" | version 1 byte | chunk ... | trailer chunk
//! chunk:   kind 1 byte | payload length 4 bytes | CRC-32 of kind and payload 4 bytes | payload
//! head:    limits' fingerprint | revision | stamp | digest | sessions | objects
//! object:  kind 1 byte | by kind; of the key-value object: next sequence number | records;
//!          of the tree: access control lists | znodes
//! items:   of the object before; of the key-value object, by key:
//!          (flags | key | value | version | created | modified | owner if flag 1)*
//!          of the tree, first each list once: (entries: permissions | identity)*
//!          then by path: (flags | path | data unless flag 1 | place of the list | czxid | mzxid |
//!          pzxid | ctime | mtime | version | creations | aversion | lifetime | children)*
//! sessions, by id:
//!          (id | principal | hash of the secret | owner | generation | timeout | last |
//!           acked_below | recorded outcomes)*
//! trailer: xxh3 of everything before it, which is [`State::digest_full`]
//! ```
//!
//! Integers are little-endian or varints, as in [`crate::wire`]. A chunk ends with the first item
//! that fills 64 KiB. Flags other than 1 are kept for what records and znodes may become. Restoring
//! is total: bytes that are no snapshot, were damaged, or describe a state that breaks an invariant
//! are refused.

use super::State;
use super::digest::Digest;
use super::kv::Kv;
use super::kv::section::{FrozenKv, KvHead, SnapshotRecord};
use super::outcome::Outcome;
use super::session::{Recorded, Session};
use super::tree::Tree;
use super::tree::section::{FrozenTree, SnapshotZnode, TreeHead, decode_acl, encode_acl};
use crate::ids::{NodeId, RequestId, Revision, SessionId, Stamp};
use crate::limits::Limits;
use crate::pieces::{Part, Pieces, PiecesWriter};
use crate::wire::{
    Decode, Encode, Reader, WireError, Writer, decode_counter, decode_option, encode_option,
};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

const MAGIC: [u8; 4] = *b"ACDS";
/// The version of the snapshot encoding that this build writes and reads.
pub const SNAPSHOT_VERSION: u8 = 3;
/// A chunk ends with the first item that makes its payload this large.
const CHUNK_BYTES: usize = 64 << 10;

mod kind {
    pub(super) const HEAD: u8 = 1;
    pub(super) const OBJECT: u8 = 2;
    pub(super) const ITEMS: u8 = 3;
    pub(super) const SESSIONS: u8 = 4;
    pub(super) const TRAILER: u8 = 5;
}

/// How many objects there are: one of each kind.
const OBJECTS: u8 = 2;

/// Why bytes could not be restored. Nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// They do not begin as a snapshot does.
    #[error("not a snapshot")]
    Magic,
    /// An encoding is cut short or is none.
    #[error("chunk {chunk}: {error}")]
    Wire {
        /// Which chunk, from 0.
        chunk: usize,
        /// What is wrong.
        error: WireError,
    },
    /// A chunk's checksum does not match: the bytes were damaged.
    #[error("chunk {chunk} is damaged: its checksum does not match")]
    Checksum {
        /// Which chunk, from 0.
        chunk: usize,
    },
    /// The chunks are each intact, but are not those that were written together.
    #[error("the snapshot was put together from parts that do not belong together")]
    Mixed,
    /// It is of a cluster with other limits.
    #[error("the snapshot was taken under other limits")]
    Limits,
    /// It describes what cannot be the state of a replica.
    #[error("the snapshot breaks an invariant: {what}")]
    Invalid {
        /// The part of the state that contradicts itself.
        what: &'static str,
    },
}

/// A state as it was at one moment. It shares what it has in common with the living state.
///
/// Taking it costs one reference for some thousand records, and a copy of the sessions. What is
/// slow, making bytes of it, can be done on any thread.
#[derive(Clone, Debug)]
pub struct Frozen {
    fingerprint: u64,
    revision: Revision,
    stamp: Stamp,
    digest: u64,
    kv: FrozenKv,
    tree: FrozenTree,
    sessions: BTreeMap<SessionId, Session>,
}

impl State {
    /// The state as it is now; what is applied later does not change it.
    pub fn freeze(&self) -> Frozen {
        Frozen {
            fingerprint: self.limits.fingerprint(),
            revision: self.revision,
            stamp: self.stamp,
            digest: self.digest.0,
            kv: self.kv.freeze(),
            tree: self.tree.freeze(),
            sessions: self.sessions.clone(),
        }
    }

    /// The whole state as bytes. Replicas that applied the same commands give the same bytes.
    pub fn snapshot(&self) -> Bytes {
        self.freeze().snapshot()
    }

    /// The digest over the whole content, as of a snapshot: for replicas that do not agree, or for
    /// a check that their memory still holds what they applied. Takes as long as a snapshot.
    pub fn digest_full(&self) -> u64 {
        self.freeze().digest_full()
    }

    /// The state of which `bytes` is the snapshot.
    ///
    /// # Errors
    /// A [`SnapshotError`] for any other bytes.
    ///
    /// # Panics
    /// If the limits do not fit each other ([`Limits::check`]).
    pub fn restore(bytes: &Bytes, limits: Limits) -> Result<Self, SnapshotError> {
        limits.check();
        let mut chunks = Chunks::new(bytes)?;
        let head = chunks.next(kind::HEAD, Head::decode)?;
        if head.fingerprint != limits.fingerprint() {
            return Err(SnapshotError::Limits);
        }
        let object = chunks.next(kind::OBJECT, KvHead::decode)?;
        let records = chunks.items(kind::ITEMS, object.records, SnapshotRecord::decode)?;
        let tree = restore_tree(&mut chunks)?;
        let sessions = chunks.items(kind::SESSIONS, head.sessions, decode_session)?;
        let hash = chunks.hash();
        if chunks.next(kind::TRAILER, Reader::u64)? != hash {
            return Err(SnapshotError::Mixed);
        }
        chunks.finish()?;
        if !sessions.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(SnapshotError::Invalid { what: "sessions ascend" });
        }
        let invalid = |what| SnapshotError::Invalid { what };
        let kv = Kv::restore(object.sequence, records).map_err(invalid)?;
        let state = Self {
            revision: head.revision,
            stamp: head.stamp,
            digest: Digest(head.digest),
            kv,
            tree,
            sessions: sessions.into_iter().collect::<BTreeMap<_, _>>(),
            limits,
        };
        match state.fault() {
            None => Ok(state),
            Some(what) => Err(SnapshotError::Invalid { what }),
        }
    }
}

impl Frozen {
    /// Its keys and values, and the paths and data of its znodes, in bytes.
    pub const fn bytes(&self) -> u64 {
        self.kv.bytes + self.tree.bytes
    }

    /// The whole state as bytes. Replicas that applied the same commands give the same bytes.
    pub fn snapshot(&self) -> Bytes {
        self.image().whole()
    }

    /// As [`Self::snapshot`], but large values are not copied: the image keeps them in memory as
    /// long as it lives, also if the state replaces them.
    pub fn image(&self) -> Pieces {
        let copied = self.kv.copied_bytes() + self.tree.copied_bytes();
        let mut all = PiecesWriter::with_capacity(copied + CHUNK_BYTES);
        let digest = self.write_chunks(|part| all.part(part));
        let mut trailer = Chunk::new(kind::TRAILER);
        trailer.payload.copied.u64(digest);
        trailer.emit(&mut |part| all.part(part));
        all.finish()
    }

    /// As [`State::digest_full`].
    pub fn digest_full(&self) -> u64 {
        self.write_chunks(|_| {})
    }

    /// Hands all bytes before the trailer to `sink`, and returns their hash.
    fn write_chunks(&self, mut sink: impl FnMut(Part<'_>)) -> u64 {
        let mut hash = Xxh3::new();
        let mut sink = |part: Part<'_>| {
            hash.update(part.bytes());
            sink(part);
        };
        sink(Part::Copied(&MAGIC));
        sink(Part::Copied(&[SNAPSHOT_VERSION]));
        let mut chunk = Chunk::new(kind::HEAD);
        let head = &mut chunk.payload.copied;
        head.u64(self.fingerprint);
        self.revision.encode(head);
        self.stamp.encode(head);
        head.u64(self.digest);
        head.varint(self.sessions.len() as u64);
        head.u8(OBJECTS);
        chunk.emit(&mut sink);
        chunk.kind = kind::OBJECT;
        self.kv.encode_head(&mut chunk.payload.copied);
        chunk.emit(&mut sink);
        chunk.kind = kind::ITEMS;
        for record in self.kv.iter() {
            record.encode(&mut chunk.payload);
            chunk.emit_if_full(&mut sink);
        }
        chunk.emit(&mut sink);
        self.write_tree(&mut chunk, &mut sink);
        chunk.kind = kind::SESSIONS;
        for (id, session) in &self.sessions {
            encode_session(*id, session, &mut chunk.payload.copied);
            chunk.emit_if_full(&mut sink);
        }
        chunk.emit(&mut sink);
        hash.digest()
    }

    fn write_tree(&self, chunk: &mut Chunk, sink: &mut impl FnMut(Part<'_>)) {
        let lists = self.tree.lists();
        chunk.kind = kind::OBJECT;
        self.tree.encode_head(&lists, &mut chunk.payload.copied);
        chunk.emit(sink);
        chunk.kind = kind::ITEMS;
        for list in lists.iter() {
            encode_acl(list, &mut chunk.payload);
            chunk.emit_if_full(sink);
        }
        chunk.emit(sink);
        for node in self.tree.iter() {
            node.encode(&lists, &mut chunk.payload);
            chunk.emit_if_full(sink);
        }
        chunk.emit(sink);
    }
}

fn restore_tree(chunks: &mut Chunks<'_>) -> Result<Tree, SnapshotError> {
    let head = chunks.next(kind::OBJECT, TreeHead::decode)?;
    let lists = chunks.items(kind::ITEMS, head.lists, decode_acl)?;
    let nodes =
        chunks.items(kind::ITEMS, head.nodes, |input| SnapshotZnode::decode(input, &lists))?;
    Tree::restore(&lists, nodes).map_err(|what| SnapshotError::Invalid { what })
}

/// A chunk being filled.
struct Chunk {
    kind: u8,
    payload: PiecesWriter,
}

impl Chunk {
    fn new(kind: u8) -> Self {
        Self { kind, payload: PiecesWriter::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8) }
    }

    fn emit_if_full(&mut self, sink: &mut impl FnMut(Part<'_>)) {
        if self.payload.len() >= CHUNK_BYTES {
            self.emit(sink);
        }
    }

    /// Hands over the chunk, unless it is empty, and begins the next.
    fn emit(&mut self, sink: &mut impl FnMut(Part<'_>)) {
        if self.payload.len() == 0 {
            return;
        }
        let length = u32::try_from(self.payload.len()).expect("an item is far below 4 GiB");
        let parts = self.payload.parts();
        let checksum = checksum(self.kind, parts.map(Part::bytes));
        sink(Part::Copied(&[self.kind]));
        sink(Part::Copied(&length.to_le_bytes()));
        sink(Part::Copied(&checksum.to_le_bytes()));
        self.payload.parts().for_each(sink);
        self.payload.clear();
    }
}

fn checksum<'a>(kind: u8, payload: impl Iterator<Item = &'a [u8]>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    payload.for_each(|bytes| hasher.update(bytes));
    hasher.finalize()
}

/// The chunks of a snapshot being restored.
struct Chunks<'a> {
    bytes: &'a Bytes,
    input: Reader,
    /// How many were read.
    count: usize,
}

impl<'a> Chunks<'a> {
    fn new(bytes: &'a Bytes) -> Result<Self, SnapshotError> {
        let mut input = Reader::new(bytes.clone());
        let magic = input.raw(MAGIC.len()).map_err(|_| SnapshotError::Magic)?;
        if magic[..] != MAGIC {
            return Err(SnapshotError::Magic);
        }
        let chunks = |error| SnapshotError::Wire { chunk: 0, error };
        input.version(SNAPSHOT_VERSION).map_err(chunks)?;
        Ok(Self { bytes, input, count: 0 })
    }

    /// The hash of everything read so far.
    fn hash(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(&self.bytes[..self.input.position()]);
        hash.digest()
    }

    fn wire<T>(&self, result: Result<T, WireError>) -> Result<T, SnapshotError> {
        result.map_err(|error| SnapshotError::Wire { chunk: self.count, error })
    }

    /// The payload of the next chunk, which must be of this kind and intact.
    fn payload(&mut self, kind: u8) -> Result<Reader, SnapshotError> {
        let found = self.input.u8();
        let found = self.wire(found)?;
        let length = self.input.u32();
        let length = self.wire(length)? as usize;
        let expected = self.input.u32();
        let expected = self.wire(expected)?;
        let payload = self.input.raw(length);
        let payload = self.wire(payload)?;
        if checksum(found, core::iter::once(&payload[..])) != expected {
            return Err(SnapshotError::Checksum { chunk: self.count });
        }
        if found != kind {
            let error = WireError::UnknownTag { what: "chunk", tag: u64::from(found) };
            return self.wire(Err(error));
        }
        Ok(Reader::new(payload))
    }

    /// The next chunk, which is one value.
    fn next<T>(
        &mut self,
        kind: u8,
        decode: impl Fn(&mut Reader) -> Result<T, WireError>,
    ) -> Result<T, SnapshotError> {
        let mut payload = self.payload(kind)?;
        let value = decode(&mut payload).and_then(|value| payload.finish().map(|()| value));
        let value = self.wire(value)?;
        self.count += 1;
        Ok(value)
    }

    /// `count` items, over as many chunks as they fill.
    fn items<T>(
        &mut self,
        kind: u8,
        count: u64,
        decode: impl Fn(&mut Reader) -> Result<T, WireError>,
    ) -> Result<Vec<T>, SnapshotError> {
        let mut items = Vec::new();
        while (items.len() as u64) < count {
            let mut payload = self.payload(kind)?;
            while payload.remaining() > 0 {
                let item = decode(&mut payload);
                items.push(self.wire(item)?);
            }
            self.count += 1;
        }
        if items.len() as u64 == count {
            Ok(items)
        } else {
            Err(SnapshotError::Invalid { what: "as many items as the head says" })
        }
    }

    fn finish(&self) -> Result<(), SnapshotError> {
        self.wire(self.input.finish())
    }
}

struct Head {
    fingerprint: u64,
    revision: Revision,
    stamp: Stamp,
    digest: u64,
    sessions: u64,
}

impl Head {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let head = Self {
            fingerprint: input.u64()?,
            revision: Revision(decode_counter(input, "revision")?),
            stamp: Stamp::decode(input)?,
            digest: input.u64()?,
            sessions: input.varint()?,
        };
        match input.u8()? {
            OBJECTS => Ok(head),
            _ => Err(WireError::Invalid { what: "count of objects" }),
        }
    }
}

fn encode_session(id: SessionId, session: &Session, out: &mut Writer) {
    id.encode(out);
    session.holder.encode(out);
    encode_option(session.owner.as_ref(), out, NodeId::encode);
    out.varint(u64::from(session.generation));
    out.varint(u64::from(session.timeout_ms));
    session.last.encode(out);
    session.acked_below.encode(out);
    out.varint(session.outcomes.len() as u64);
    for recorded in &session.outcomes {
        recorded.request.encode(out);
        recorded.outcome().encode(out);
    }
}

fn decode_session(input: &mut Reader) -> Result<(SessionId, Session), WireError> {
    let id = Decode::decode(input)?;
    let mut session = Session {
        holder: Decode::decode(input)?,
        owner: decode_option(input, NodeId::decode)?,
        generation: input.varint_u32("generation")?,
        timeout_ms: input.varint_u32("timeout_ms")?,
        last: Decode::decode(input)?,
        acked_below: Decode::decode(input)?,
        outcomes: VecDeque::new(),
        outcome_bytes: 0,
    };
    for _ in 0..input.count("outcomes", usize::MAX / 16, 3)? {
        let request: RequestId = Decode::decode(input)?;
        session.keep(Recorded::new(request, &Outcome::decode(input)?.detached()));
    }
    Ok((id, session))
}
