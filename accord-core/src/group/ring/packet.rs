//! The datagrams of a ring: their layout, and the code that proves that a member made them.
//!
//! Every datagram is `version, kind, group, sender (node, salt)`, a body by kind, and 16 bytes of
//! BLAKE3 keyed with the group's secret over all before. Nothing is decoded before the code was
//! verified, and decoding is total all the same. Data datagrams are kept and retransmitted
//! unchanged, also by other members, so their sender is always their maker.

use super::rows::{Row, decode_rows, encode_rows};
use crate::group::{MEMBERS_MAX, ViewId};
use crate::ids::{GroupId, NodeId};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

/// The version of the layout.
const VERSION: u8 = 3;
/// How much of the BLAKE3 output authenticates a datagram.
const CODE_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + 1 + 4 + 4 + 8;
const VIEW_ID_BYTES: usize = 8 + 4 + 8;
/// Bytes before the body of a data datagram: header, ring, sequence number, flags.
const DATA_HEADER_BYTES: usize = HEADER_BYTES + VIEW_ID_BYTES + 8 + 1;
/// Bytes of a data datagram that are not chunks, wrapped once more for recovery.
pub(super) const DATA_OVERHEAD_BYTES: usize = 2 * (DATA_HEADER_BYTES + CODE_BYTES);
/// Bytes before each chunk: its length and flags, and the message's length in a first fragment.
pub(super) const FRAGMENT_HEADER_BYTES: usize = 4 + 8;
/// The most missing datagrams that a token asks for.
pub(super) const REQUESTS_MAX: usize = 256;

/// One run of one node. A restarted node is another processor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proc {
    /// The node.
    pub node: NodeId,
    /// Drawn at the start of the run.
    pub salt: u64,
}

impl fmt::Debug for Proc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:04x}", self.node, self.salt >> 48)
    }
}

/// What a datagram says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Data(Data),
    Token(Token),
    Commit(Commit),
    Presence(Vec<Row>),
    /// The representative shall not keep the token: somebody has something to send.
    HoldCancel(ViewId),
    /// The sender leaves for good.
    Leave,
}

const KIND_DATA: u8 = 1;
const KIND_TOKEN: u8 = 2;
const KIND_COMMIT: u8 = 3;
const KIND_PRESENCE: u8 = 4;
const KIND_HOLD_CANCEL: u8 = 5;
const KIND_LEAVE: u8 = 6;

/// A numbered datagram of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) ring: ViewId,
    pub(super) seq: u64,
    pub(super) packet: Packet,
}

/// A data datagram as it is kept: for delivery, and to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) origin: Proc,
    /// The body is a datagram of the ring before, carried over by recovery.
    pub(super) wrapped: bool,
    pub(super) datagram: Bytes,
}

impl Packet {
    /// The chunks, or the wrapped datagram; shares the datagram's memory.
    pub(super) fn body(&self) -> Bytes {
        self.datagram.slice(DATA_HEADER_BYTES..self.datagram.len() - CODE_BYTES)
    }
}

/// The token: who holds it may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) ring: ViewId,
    /// Counts hand-overs, so that a copy is known for one.
    pub(super) hop: u64,
    /// The highest number given to a datagram.
    pub(super) seq: u64,
    /// All members have all up to here, once it was seen twice.
    pub(super) aru: u64,
    /// Who lowered `aru` last.
    pub(super) aru_setter: Option<NodeId>,
    /// Datagrams sent by all in the last rotation.
    pub(super) sent: u32,
    /// Hand-overs in a row without anything to do.
    pub(super) idle: u32,
    /// During recovery: members in a row that have sent and received all there is.
    pub(super) ready: u32,
    /// Numbers that somebody misses.
    /// Invariant: sorted, at most [`REQUESTS_MAX`].
    pub(super) requests: Vec<u64>,
}

/// The token of a ring that is being formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) ring: ViewId,
    pub(super) hop: u32,
    /// Invariant: sorted, no two of one node.
    pub(super) members: Vec<Proc>,
    /// What the members in order, as far as the token got, bring along.
    pub(super) entries: Vec<Origin>,
}

/// Where a member of a new ring comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// Its ring before.
    pub(super) ring: ViewId,
    /// It has all of that ring's datagrams up to here.
    pub(super) aru: u64,
}

/// Why bytes are not a datagram of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenError {
    /// The code is wrong: a stranger, another key, or damage.
    Unauthentic,
    /// Authentic, but not in this layout.
    Malformed,
}

impl From<WireError> for OpenError {
    fn from(_: WireError) -> Self {
        Self::Malformed
    }
}

/// Makes and opens datagrams with the group's key.
#[derive(Clone)]
pub(super) struct Seal {
    key: [u8; 32],
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    pub(super) const fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    fn code(&self, bytes: &[u8]) -> [u8; CODE_BYTES] {
        let mut code = [0; CODE_BYTES];
        code.copy_from_slice(&blake3::keyed_hash(&self.key, bytes).as_bytes()[..CODE_BYTES]);
        code
    }

    fn close(&self, mut out: Writer) -> Bytes {
        let code = self.code(out.as_slice());
        out.raw(&code);
        out.finish()
    }

    /// The datagram of anything but data.
    pub(super) fn control(&self, sender: Proc, body: &Body) -> Bytes {
        let mut out = Writer::with_capacity(256);
        match body {
            Body::Data(_) => unreachable!("data is made by `data`"),
            Body::Token(token) => {
                header(&mut out, KIND_TOKEN, sender);
                encode_token(token, &mut out);
            }
            Body::Commit(commit) => {
                header(&mut out, KIND_COMMIT, sender);
                encode_commit(commit, &mut out);
            }
            Body::Presence(rows) => {
                header(&mut out, KIND_PRESENCE, sender);
                encode_rows(rows, &mut out);
            }
            Body::HoldCancel(ring) => {
                header(&mut out, KIND_HOLD_CANCEL, sender);
                ring.encode(&mut out);
            }
            Body::Leave => header(&mut out, KIND_LEAVE, sender),
        }
        self.close(out)
    }

    /// A data datagram whose body `fill` writes; `capacity_bytes` is a good guess of its size.
    pub(super) fn data(
        &self,
        sender: Proc,
        (ring, seq): (ViewId, u64),
        wrapped: bool,
        capacity_bytes: usize,
        fill: impl FnOnce(&mut Writer),
    ) -> Packet {
        let mut out = Writer::with_capacity(capacity_bytes);
        header(&mut out, KIND_DATA, sender);
        out.u64(ring.seq);
        out.u32(ring.representative.0);
        out.u64(ring.salt);
        out.u64(seq);
        out.bool(wrapped);
        assert_eq!(out.len(), DATA_HEADER_BYTES);
        fill(&mut out);
        Packet { origin: sender, wrapped, datagram: self.close(out) }
    }

    /// Checks and decodes a datagram.
    pub(super) fn open(&self, datagram: &Bytes) -> Result<(Proc, Body), OpenError> {
        let Some(length) = datagram.len().checked_sub(CODE_BYTES) else {
            return Err(OpenError::Unauthentic);
        };
        let expected = self.code(&datagram[..length]);
        let differing =
            expected.iter().zip(&datagram[length..]).fold(0, |acc, (a, b)| acc | (a ^ b));
        if differing != 0 {
            return Err(OpenError::Unauthentic);
        }
        decode(datagram)
    }

    /// Decodes a wrapped datagram, which the wrapper's code vouches for.
    pub(super) fn unwrap(datagram: &Bytes) -> Option<Data> {
        if datagram.len() < DATA_HEADER_BYTES + CODE_BYTES {
            return None;
        }
        match decode(datagram) {
            Ok((_, Body::Data(data))) => Some(data),
            _ => None,
        }
    }
}

/// What a datagram says it is, in a word, for those who watch a network: nothing is authenticated.
pub fn datagram_kind(datagram: &[u8]) -> &'static str {
    match datagram.get(1) {
        Some(&KIND_DATA) => "data",
        Some(&KIND_TOKEN) => "token",
        Some(&KIND_COMMIT) => "commit token",
        Some(&KIND_PRESENCE) => "presence",
        Some(&KIND_HOLD_CANCEL) => "hold cancelled",
        Some(&KIND_LEAVE) => "leave",
        _ => "no datagram of a ring",
    }
}

fn header(out: &mut Writer, kind: u8, sender: Proc) {
    out.u8(VERSION);
    out.u8(kind);
    GroupId::ONLY.encode(out);
    out.u32(sender.node.0);
    out.u64(sender.salt);
}

/// Decodes a datagram of at least [`CODE_BYTES`], without a look at the code.
fn decode(datagram: &Bytes) -> Result<(Proc, Body), OpenError> {
    let mut input = Reader::new(datagram.slice(..datagram.len() - CODE_BYTES));
    input.version(VERSION)?;
    let kind = input.u8()?;
    GroupId::decode(&mut input)?;
    let sender = Proc { node: NodeId(input.u32()?), salt: input.u64()? };
    let body = match kind {
        KIND_DATA => {
            let seq = input.u64()?;
            let representative = NodeId(input.u32()?);
            let ring = ViewId { seq, representative, salt: input.u64()? };
            let seq = input.u64()?;
            let wrapped = input.bool()?;
            input.rest();
            let packet = Packet { origin: sender, wrapped, datagram: datagram.clone() };
            Body::Data(Data { ring, seq, packet })
        }
        KIND_TOKEN => Body::Token(decode_token(&mut input)?),
        KIND_COMMIT => Body::Commit(decode_commit(&mut input)?),
        KIND_PRESENCE => Body::Presence(decode_rows(&mut input)?),
        KIND_HOLD_CANCEL => Body::HoldCancel(ViewId::decode(&mut input)?),
        KIND_LEAVE => Body::Leave,
        _ => return Err(OpenError::Malformed),
    };
    input.finish()?;
    Ok((sender, body))
}

fn encode_token(token: &Token, out: &mut Writer) {
    token.ring.encode(out);
    out.varint(token.hop);
    out.varint(token.seq);
    out.varint(token.aru);
    out.bool(token.aru_setter.is_some());
    token.aru_setter.unwrap_or_default().encode(out);
    out.u32(token.sent);
    out.u32(token.idle);
    out.u32(token.ready);
    out.varint(token.requests.len() as u64);
    let mut last = 0;
    for seq in &token.requests {
        out.varint(seq - last);
        last = *seq;
    }
}

fn decode_token(input: &mut Reader) -> Result<Token, WireError> {
    let ring = ViewId::decode(input)?;
    let (hop, seq, aru) = (input.varint()?, input.varint()?, input.varint()?);
    let aru_set = input.bool()?;
    let aru_setter = Some(NodeId::decode(input)?).filter(|_| aru_set);
    let (sent, idle, ready) = (input.u32()?, input.u32()?, input.u32()?);
    let count = input.count("requests", REQUESTS_MAX, 1)?;
    let mut requests = Vec::with_capacity(count);
    let mut last = 0u64;
    for _ in 0..count {
        let step = input.varint()?;
        last = last.checked_add(step).filter(|_| step > 0).ok_or(invalid("request"))?;
        requests.push(last);
    }
    if aru > seq || last > seq {
        return Err(invalid("token"));
    }
    Ok(Token { ring, hop, seq, aru, aru_setter, sent, idle, ready, requests })
}

pub(super) const fn invalid(what: &'static str) -> WireError {
    WireError::Invalid { what }
}

fn encode_proc(proc: Proc, out: &mut Writer) {
    proc.node.encode(out);
    out.u64(proc.salt);
}

pub(super) fn encode_procs(procs: &[Proc], out: &mut Writer) {
    out.varint(procs.len() as u64);
    for proc in procs {
        encode_proc(*proc, out);
    }
}

/// Decodes processors, sorted and without duplicates.
pub(super) fn decode_procs(input: &mut Reader) -> Result<Vec<Proc>, WireError> {
    let count = input.count("processors", MEMBERS_MAX, 9)?;
    let mut procs = Vec::with_capacity(count);
    for _ in 0..count {
        let proc = Proc { node: Decode::decode(input)?, salt: input.u64()? };
        if procs.last().is_some_and(|last| *last >= proc) {
            return Err(invalid("processors"));
        }
        procs.push(proc);
    }
    Ok(procs)
}

fn encode_commit(commit: &Commit, out: &mut Writer) {
    commit.ring.encode(out);
    out.u32(commit.hop);
    encode_procs(&commit.members, out);
    out.varint(commit.entries.len() as u64);
    for entry in &commit.entries {
        entry.ring.encode(out);
        out.varint(entry.aru);
    }
}

fn decode_commit(input: &mut Reader) -> Result<Commit, WireError> {
    let ring = ViewId::decode(input)?;
    let hop = input.u32()?;
    let members = decode_procs(input)?;
    let one_run_each = members.windows(2).all(|pair| pair[0].node != pair[1].node);
    let by_first = members.first().is_some_and(|first| first.node == ring.representative);
    if !one_run_each || !by_first {
        return Err(invalid("commit members"));
    }
    let count = input.count("commit entries", members.len(), 11)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(Origin { ring: Decode::decode(input)?, aru: input.varint()? });
    }
    Ok(Commit { ring, hop, members, entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Standing;
    use crate::ids::{Epoch, Index, LogPosition};
    use alloc::vec;
    use proptest::prelude::*;

    const SEAL: Seal = Seal::new([3; 32]);
    const ME: Proc = Proc { node: NodeId(1), salt: 10 };
    const YOU: Proc = Proc { node: NodeId(2), salt: 20 };
    const RING: ViewId = ViewId { seq: 300, representative: NodeId(1), salt: u64::MAX };

    fn samples() -> Vec<Body> {
        let token = Token {
            ring: RING,
            hop: 9,
            seq: 1000,
            aru: 990,
            aru_setter: Some(NodeId(0)),
            sent: 3,
            idle: 2,
            ready: 1,
            requests: vec![991, 993, 1000],
        };
        let commit = Commit {
            ring: RING,
            hop: 4,
            members: vec![ME, YOU],
            entries: vec![Origin { ring: RING, aru: 5 }],
        };
        let row = Row {
            proc: YOU,
            version: 4,
            seq_max: 300,
            ring: RING,
            gathering: true,
            standing: Standing {
                known_at: LogPosition { epoch: Epoch(2), index: Index(9) },
                voters: vec![NodeId(1), NodeId(2)],
                votes: true,
            },
            hears: vec![ME],
            proposal: vec![ME, YOU],
        };
        vec![
            Body::Token(token),
            Body::Commit(commit),
            Body::Presence(vec![row]),
            Body::HoldCancel(RING),
            Body::Leave,
        ]
    }

    #[test]
    fn every_kind_round_trips() {
        for body in samples() {
            assert_eq!(SEAL.open(&SEAL.control(ME, &body)), Ok((ME, body)));
        }
        let packet = SEAL.data(ME, (RING, 7), true, 64, |out| out.raw(b"chunks"));
        assert_eq!(packet.body(), Bytes::from_static(b"chunks"));
        let data = Data { ring: RING, seq: 7, packet: packet.clone() };
        assert_eq!(Seal::unwrap(&packet.datagram), Some(data.clone()));
        assert_eq!(SEAL.open(&packet.datagram), Ok((ME, Body::Data(data))));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_refused() {
        for body in samples() {
            let good = SEAL.control(ME, &body);
            for at in 0..good.len() {
                let mut bad = good.to_vec();
                bad[at] ^= 1 << (at % 8);
                assert_eq!(SEAL.open(&Bytes::from(bad)), Err(OpenError::Unauthentic));
                assert_eq!(SEAL.open(&good.slice(..at)), Err(OpenError::Unauthentic));
            }
            assert_eq!(Seal::new([4; 32]).open(&good), Err(OpenError::Unauthentic));
        }
    }

    #[test]
    fn a_datagram_of_another_version_or_group_is_refused_by_name() {
        let refused = |at: usize, byte: u8| {
            let mut bytes = SEAL.control(ME, &Body::Leave).to_vec();
            bytes.truncate(bytes.len() - CODE_BYTES);
            bytes[at] = byte;
            SEAL.open(&SEAL.close(Writer::from(bytes)))
        };
        assert_eq!(refused(0, VERSION), Ok((ME, Body::Leave)));
        assert_eq!(refused(0, VERSION - 1), Err(OpenError::Malformed));
        assert_eq!(refused(2, 1), Err(OpenError::Malformed), "of group 1");
    }

    #[test]
    fn a_token_that_contradicts_itself_is_malformed() {
        let Some(Body::Token(token)) = samples().into_iter().next() else { unreachable!() };
        for bad in [
            Token { aru: 1001, ..token.clone() },
            Token { requests: vec![5, 5], ..token.clone() },
            Token { requests: vec![1001], ..token },
        ] {
            let datagram = SEAL.control(ME, &Body::Token(bad));
            assert_eq!(SEAL.open(&datagram), Err(OpenError::Malformed));
        }
    }

    proptest! {
        /// A member gone mad holds the key, so authentic nonsense must be harmless as well.
        #[test]
        fn authentic_nonsense_is_decoded_or_refused(
            kind in 0u8..8, bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let mut out = Writer::new();
            header(&mut out, kind, ME);
            out.raw(&bytes);
            let datagram = SEAL.close(out);
            if let Ok((sender, body)) = SEAL.open(&datagram) {
                prop_assert_eq!(sender, ME);
                if !matches!(body, Body::Data(_)) {
                    prop_assert_eq!(SEAL.open(&SEAL.control(ME, &body)), Ok((ME, body)));
                }
            }
            Seal::unwrap(&Bytes::from(bytes));
        }
    }
}
