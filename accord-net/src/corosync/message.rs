//! What servers say to each other in a process group.
//!
//! Every message begins with four letters, a version and a kind, so that what a stranger or a
//! server of a newer release sends is told apart from damage. What decides who is in a view
//! ([`Sync`], [`Message::Call`]) carries a code made with the cluster's key over the sender's
//! address in the process group, which Corosync vouches for: a stranger can neither make one nor
//! repeat another's. Messages of a view name it by its salt, which cannot be known before the view
//! exists.

use accord_core::wire::{Decode, Encode, Reader, WireError, Writer};
use bytes::Bytes;

const MAGIC: [u8; 4] = *b"AcCp";
/// The version of this protocol.
pub const VERSION: u8 = 1;
/// The most members of a process group that a view is made of.
pub const MEMBERS_MAX: usize = accord_core::group::MEMBERS_MAX;
const CODE_BYTES: usize = 16;
/// The most bytes of a chunk that are not pieces: magic, version, kind, view and two counts.
pub const CHUNK_OVERHEAD_BYTES: usize = 4 + 1 + 1 + 8 + 10 + 10;
/// The most bytes that stand before the bytes of a piece.
pub const PIECE_OVERHEAD_BYTES: usize = 1 + 10 + 10;

/// A process in a group, as Corosync names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The number of its daemon.
    pub node: u32,
    /// Its number on that machine.
    pub pid: u32,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} of node {}", self.pid, self.node)
    }
}

/// A message of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// "I am here, and this is how I left the last view." One from every member makes a view.
    Sync(Sync),
    /// "Let us not wait for others": the view is to be made of those whose nonces are listed.
    Form(Vec<u64>),
    /// "Let us make a new view."
    Call,
    /// A part of a view's order.
    Chunk(Chunk),
    /// How much of a view's order its sender has been delivered.
    Seen(Seen),
}

/// How a member left the view before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sync {
    /// Drawn for this message.
    pub nonce: u64,
    /// The largest number of any view that the member was in.
    pub seq: u64,
    /// The salt of the view that it was in last; 0 if in none that it shared.
    pub view: u64,
    /// How many chunks of that view it took as delivered.
    pub taken: u64,
}

/// A part of a view's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The salt of the view.
    pub view: u64,
    /// Counts the sender's chunks in the view, from 1.
    pub number: u64,
    /// How many chunks of the view had been delivered to the sender when it sent this.
    pub seen: u64,
    /// Encoded pieces.
    pub pieces: Bytes,
}

/// How much a member has been delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The salt of the view.
    pub view: u64,
    /// How many of its chunks.
    pub seen: u64,
}

/// Why a message is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// It is no message of Accord.
    Foreign,
    /// Another release made it.
    Version(u8),
    /// It claims to be of this cluster and is not: another key, or somebody else's message.
    Unauthentic,
    /// It makes no sense.
    Malformed,
}

impl From<WireError> for MessageError {
    fn from(_: WireError) -> Self {
        Self::Malformed
    }
}

impl Message {
    /// Its bytes, sent from `from`.
    pub fn encode(&self, key: &[u8; 32], from: Address) -> Bytes {
        let mut out = Writer::new();
        out.raw(&MAGIC);
        out.u8(VERSION);
        match self {
            Self::Sync(sync) => {
                out.u8(0);
                [sync.nonce, sync.seq, sync.view, sync.taken].iter().for_each(|n| out.u64(*n));
                let code = code(key, from, out.as_slice());
                out.raw(&code);
            }
            Self::Form(nonces) => {
                out.u8(1);
                out.varint(nonces.len() as u64);
                nonces.iter().for_each(|nonce| out.u64(*nonce));
            }
            Self::Call => {
                out.u8(2);
                let code = code(key, from, out.as_slice());
                out.raw(&code);
            }
            Self::Chunk(chunk) => {
                out.u8(3);
                out.u64(chunk.view);
                out.varint(chunk.number);
                out.varint(chunk.seen);
                out.raw(&chunk.pieces);
            }
            Self::Seen(seen) => {
                out.u8(4);
                out.u64(seen.view);
                out.varint(seen.seen);
            }
        }
        out.finish()
    }

    /// What these bytes, sent from `from`, say.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(key: &[u8; 32], from: Address, bytes: &Bytes) -> Result<Self, MessageError> {
        if bytes.len() < MAGIC.len() + 2 || bytes[..MAGIC.len()] != MAGIC {
            return Err(MessageError::Foreign);
        }
        if bytes[MAGIC.len()] != VERSION {
            return Err(MessageError::Version(bytes[MAGIC.len()]));
        }
        let mut input = Reader::new(bytes.slice(MAGIC.len() + 1..));
        let message = match input.u8()? {
            0 => {
                let sync = Sync {
                    nonce: input.u64()?,
                    seq: input.u64()?,
                    view: input.u64()?,
                    taken: input.u64()?,
                };
                check_code(key, from, bytes, &mut input)?;
                Self::Sync(sync)
            }
            1 => {
                let count = input.count("members", MEMBERS_MAX, 8)?;
                let nonces = (0..count).map(|_| input.u64()).collect::<Result<_, _>>()?;
                Self::Form(nonces)
            }
            2 => {
                check_code(key, from, bytes, &mut input)?;
                Self::Call
            }
            3 => Self::Chunk(Chunk {
                view: input.u64()?,
                number: input.varint()?,
                seen: input.varint()?,
                pieces: input.rest(),
            }),
            4 => Self::Seen(Seen { view: input.u64()?, seen: input.varint()? }),
            _ => return Err(MessageError::Malformed),
        };
        input.finish()?;
        Ok(message)
    }
}

fn code(key: &[u8; 32], from: Address, bytes: &[u8]) -> [u8; CODE_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(b"accord corosync");
    hasher.update(&from.node.to_le_bytes());
    hasher.update(&from.pid.to_le_bytes());
    hasher.update(bytes);
    let mut code = [0; CODE_BYTES];
    code.copy_from_slice(&hasher.finalize().as_bytes()[..CODE_BYTES]);
    code
}

fn check_code(
    key: &[u8; 32],
    from: Address,
    bytes: &Bytes,
    input: &mut Reader,
) -> Result<(), MessageError> {
    let found = input.raw(CODE_BYTES)?;
    let expected = code(key, from, &bytes[..bytes.len() - input.remaining() - CODE_BYTES]);
    let differs = found.iter().zip(expected).fold(0, |differs, (a, b)| differs | (a ^ b));
    if differs == 0 { Ok(()) } else { Err(MessageError::Unauthentic) }
}

/// A message of the replica, or a part of one, in a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// All of it.
    Whole(Bytes),
    /// The beginning of one, with its bytes in all.
    First(u64, Bytes),
    /// What follows. The rest of the bytes, or not all of it.
    Next(Bytes),
}

impl Encode for Piece {
    fn encode(&self, out: &mut Writer) {
        let bytes = match self {
            Self::Whole(bytes) => {
                out.u8(0);
                bytes
            }
            Self::First(total, bytes) => {
                out.u8(1);
                out.varint(*total);
                bytes
            }
            Self::Next(bytes) => {
                out.u8(2);
                bytes
            }
        };
        out.bytes(bytes);
    }
}

impl Decode for Piece {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let tag = input.u8()?;
        let total = if tag == 1 { input.varint()? } else { 0 };
        let bytes = input.bytes("piece", usize::MAX)?;
        match tag {
            0 => Ok(Self::Whole(bytes)),
            1 => Ok(Self::First(total, bytes)),
            2 => Ok(Self::Next(bytes)),
            tag => Err(WireError::UnknownTag { what: "piece", tag: u64::from(tag) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: [u8; 32] = [7; 32];
    const FROM: Address = Address { node: 1, pid: 100 };

    fn examples() -> Vec<Message> {
        vec![
            Message::Sync(Sync { nonce: 1, seq: 2, view: 3, taken: u64::MAX }),
            Message::Form(vec![1, u64::MAX]),
            Message::Call,
            Message::Chunk(Chunk { view: 9, number: 1, seen: 300, pieces: "abc".into() }),
            Message::Seen(Seen { view: 9, seen: 300 }),
        ]
    }

    #[test]
    fn messages_survive_the_way_through_bytes() {
        for message in examples() {
            let bytes = message.encode(&KEY, FROM);
            assert_eq!(Message::decode(&KEY, FROM, &bytes), Ok(message));
        }
    }

    #[test]
    fn strangers_and_other_releases_are_told_apart() {
        let foreign = Message::decode(&KEY, FROM, &Bytes::from_static(b"hello, group"));
        assert_eq!(foreign, Err(MessageError::Foreign));
        assert_eq!(Message::decode(&KEY, FROM, &Bytes::new()), Err(MessageError::Foreign));
        let mut newer = Message::Call.encode(&KEY, FROM).to_vec();
        newer[4] = VERSION + 1;
        let newer = Message::decode(&KEY, FROM, &newer.into());
        assert_eq!(newer, Err(MessageError::Version(VERSION + 1)));
    }

    #[test]
    fn what_makes_views_is_proved_and_cannot_be_repeated_by_another_process() {
        for message in [examples().remove(0), Message::Call] {
            let bytes = message.encode(&KEY, FROM);
            let other = Address { node: 1, pid: 101 };
            let unauthentic = Err(MessageError::Unauthentic);
            assert_eq!(Message::decode(&KEY, other, &bytes), unauthentic);
            assert_eq!(Message::decode(&[8; 32], FROM, &bytes), unauthentic);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_message_or_an_error(
            at in 0_usize..5,
            cut in 0_usize..80,
            flips in proptest::collection::vec((0_usize..80, any::<u8>()), 0..4),
            tail in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = examples()[at].encode(&KEY, FROM).to_vec();
            bytes.truncate(cut);
            bytes.extend(tail);
            for (at, value) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= value;
                }
            }
            if let Ok(message) = Message::decode(&KEY, FROM, &bytes.clone().into()) {
                prop_assert_eq!(message.encode(&KEY, FROM), Bytes::from(bytes));
            }
        }
    }
}
