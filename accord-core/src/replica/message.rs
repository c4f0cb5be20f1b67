//! Messages between replicas: through the group ([`GroupMessage`]) and from server to server
//! ([`PeerMessage`]).
//!
//! Reports and promises are tagged with the view they rely on, frames with the epoch: the view in
//! which a message is delivered need not be the one in which it was sent. A [`Frame`] carries
//! everything that one server has to say at one moment, so that an acknowledgement costs no message
//! of its own while there is work. Its commands come first, so that they are packed in place,
//! without a copy.

use super::ends::EpochEnds;
use super::io::{Entry, Ticket};
use super::voters::{VoterChange, VoterSet};
use crate::group::ViewId;
use crate::ids::{Epoch, GroupId, Index, LogPosition, NodeId, Stamp, StoreId};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::vec::Vec;
use bytes::Bytes;

/// The version of what replicas say to each other.
const VERSION: u8 = 3;
const ENTRIES_MAX: usize = 1 << 20;

/// What a member of a new view has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The view that it reports to.
    pub view: ViewId,
    /// Its incarnation.
    pub store: StoreId,
    /// The highest epoch it promised.
    pub promised: Epoch,
    /// The end of its log.
    pub last: LogPosition,
    /// What it knows to be committed.
    pub commit: Index,
    /// The latest voter set in its log.
    pub voters: VoterSet,
    /// True if its operator allowed it to form a new cluster.
    pub bootstrap: bool,
    /// True if its operator asks to recover the cluster from what it has.
    pub recover: bool,
    /// Initial servers as it knows them; only used to form a new cluster.
    pub initial: Vec<NodeId>,
}

/// Everything one server says within an epoch at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The epoch it belongs to. In any other it means nothing.
    pub epoch: Epoch,
    /// "I hold the log of this epoch durably up to here." Zero: nothing of this epoch.
    pub acked: Index,
    /// How many frames of this epoch the sender had seen when it sent this.
    pub seen: u64,
    /// True if the sender's reads wait until a majority has seen this frame.
    pub barrier: bool,
    /// Commands: the sender's salt, the batch's number and time, the packed commands.
    pub batch: Option<FrameBatch>,
    /// The digest of the sender's state after an index.
    pub digest: Option<(Index, u64)>,
    /// A change of voters, with the sender's number for it.
    pub change: Option<(u64, VoterChange)>,
}

/// The commands in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameBatch {
    /// Drawn by the sender at its start.
    pub salt: u64,
    /// Counts its batches from 1.
    pub number: u64,
    /// What the sender's clock showed when it first sent the batch.
    pub stamp: Stamp,
    /// The commands.
    pub commands: Bytes,
}

/// A message through the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupMessage {
    /// What a member of a new view has.
    Report(Report),
    /// "I have promised this epoch durably."
    Promise {
        /// The view in which the epoch was proposed.
        view: ViewId,
        /// The epoch.
        epoch: Epoch,
    },
    /// What a server says within an epoch.
    Frame(Frame),
}

const REPORT: u8 = 0;
const PROMISE: u8 = 1;
const FRAME: u8 = 2;
/// Version, kind, and the length of the commands in four bytes.
pub const FRAME_HEAD_BYTES: usize = 6;

impl Frame {
    /// Turns a buffer of packed commands into the message that carries them, without copying them.
    ///
    /// `buffer` begins with [`FRAME_HEAD_BYTES`] reserved bytes; see [`new_buffer`].
    pub fn seal(&self, mut buffer: Writer) -> Bytes {
        let commands_bytes = buffer.len() - FRAME_HEAD_BYTES;
        let length = u32::try_from(commands_bytes).expect("a batch is bounded far below 4 GiB");
        buffer.as_mut_slice()[2..FRAME_HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
        buffer.as_mut_slice()[..2].copy_from_slice(&[VERSION, FRAME]);
        self.epoch.encode(&mut buffer);
        self.acked.encode(&mut buffer);
        buffer.varint(self.seen);
        let flags = u8::from(self.barrier)
            | u8::from(self.batch.is_some()) << 1
            | u8::from(self.digest.is_some()) << 2
            | u8::from(self.change.is_some()) << 3;
        buffer.u8(flags);
        if let Some(batch) = &self.batch {
            buffer.u64(batch.salt);
            buffer.varint(batch.number);
            batch.stamp.encode(&mut buffer);
        }
        if let Some((index, digest)) = self.digest {
            index.encode(&mut buffer);
            buffer.u64(digest);
        }
        if let Some((request, change)) = self.change {
            buffer.varint(request);
            change.encode(&mut buffer);
        }
        buffer.finish()
    }

    /// The commands in a message that [`Self::seal`] made; they share its memory.
    pub(super) fn commands_in(payload: &Bytes) -> Bytes {
        let mut length = [0; 4];
        length.copy_from_slice(&payload[2..FRAME_HEAD_BYTES]);
        let end = FRAME_HEAD_BYTES + u32::from_le_bytes(length) as usize;
        payload.slice(FRAME_HEAD_BYTES..end)
    }

    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let commands_bytes = input.u32()? as usize;
        let commands = input.raw(commands_bytes)?;
        let epoch = Epoch::decode(input)?;
        let acked = Index::decode(input)?;
        let seen = input.varint()?;
        let flags = input.u8()?;
        if flags > 0b1111 || (flags & 2 == 0 && commands_bytes > 0) {
            return Err(WireError::Invalid { what: "frame flags" });
        }
        let batch = match flags & 2 {
            0 => None,
            _ => Some(FrameBatch {
                salt: input.u64()?,
                number: input.varint()?,
                stamp: Stamp::decode(input)?,
                commands,
            }),
        };
        let digest = match flags & 4 {
            0 => None,
            _ => Some((Index::decode(input)?, input.u64()?)),
        };
        let change = match flags & 8 {
            0 => None,
            _ => Some((input.varint()?, VoterChange::decode(input)?)),
        };
        Ok(Self { epoch, acked, seen, barrier: flags & 1 != 0, batch, digest, change })
    }
}

/// A buffer in which commands are packed for [`Frame::seal`].
pub fn new_buffer(commands_bytes: usize) -> Writer {
    let mut buffer = Writer::with_capacity(FRAME_HEAD_BYTES + commands_bytes + 64);
    buffer.raw(&[0; FRAME_HEAD_BYTES]);
    buffer
}

impl GroupMessage {
    /// The message as it goes to the group layer.
    pub fn to_payload(&self) -> Bytes {
        let mut out = Writer::new();
        match self {
            Self::Report(report) => {
                out.raw(&[VERSION, REPORT]);
                report.view.encode(&mut out);
                report.store.encode(&mut out);
                report.promised.encode(&mut out);
                report.last.encode(&mut out);
                report.commit.encode(&mut out);
                report.voters.encode(&mut out);
                out.bool(report.bootstrap);
                out.bool(report.recover);
                out.varint(report.initial.len() as u64);
                report.initial.iter().for_each(|node| node.encode(&mut out));
            }
            Self::Promise { view, epoch } => {
                out.raw(&[VERSION, PROMISE]);
                view.encode(&mut out);
                epoch.encode(&mut out);
            }
            Self::Frame(frame) => {
                let commands = frame.batch.as_ref().map_or(&[][..], |batch| &batch.commands);
                let mut buffer = new_buffer(commands.len());
                buffer.raw(commands);
                return frame.seal(buffer);
            }
        }
        out.finish()
    }

    /// Reads a message that came from the group layer.
    ///
    /// # Errors
    /// A [`WireError`] if the bytes are not a message of this version.
    pub fn from_payload(payload: &Bytes) -> Result<Self, WireError> {
        let mut input = Reader::new(payload.clone());
        input.version(VERSION)?;
        let message = match input.u8()? {
            REPORT => Self::Report(decode_report(&mut input)?),
            PROMISE => Self::Promise {
                view: ViewId::decode(&mut input)?,
                epoch: Epoch::decode(&mut input)?,
            },
            FRAME => Self::Frame(Frame::decode(&mut input)?),
            tag => return Err(WireError::UnknownTag { what: "message", tag: u64::from(tag) }),
        };
        input.finish()?;
        Ok(message)
    }
}

fn decode_report(input: &mut Reader) -> Result<Report, WireError> {
    Ok(Report {
        view: ViewId::decode(input)?,
        store: StoreId::decode(input)?,
        promised: Epoch::decode(input)?,
        last: LogPosition::decode(input)?,
        commit: Index::decode(input)?,
        voters: VoterSet::decode(input)?,
        bootstrap: input.bool()?,
        recover: input.bool()?,
        initial: {
            let count = input.count("initial servers", crate::group::MEMBERS_MAX, 1)?;
            (0..count).map(|_| NodeId::decode(input)).collect::<Result<_, _>>()?
        },
    })
}

/// A message from server to server, outside the group's order: the transfer of what one lacks.
///
/// Each request can be answered without memory of earlier ones, except that the pieces of a
/// snapshot come from one image while the sender keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// "Here is how my log ends: send me what follows where we agree, up to `until`."
    FetchLog {
        /// The open epoch; in any other the request means nothing.
        epoch: Epoch,
        /// Number of the request, echoed in the answer.
        request: Ticket,
        /// Where the epochs of the requester's log end.
        ends: EpochEnds,
        /// What the requester knows to be committed, and so agreed.
        commit: Index,
        /// The last entry wanted.
        until: Index,
    },
    /// Entries that follow the common part of both logs.
    LogChunk {
        /// As asked.
        epoch: Epoch,
        /// As asked.
        request: Ticket,
        /// Where the logs agree.
        common: Index,
        /// What follows, without gaps.
        entries: Vec<Entry>,
    },
    /// "My log no longer reaches back so far: fetch a snapshot."
    UseSnapshot {
        /// As asked.
        epoch: Epoch,
        /// As asked.
        request: Ticket,
        /// Where the logs agree, if that can still be told.
        common: Option<Index>,
    },
    /// "Send me a piece of a snapshot."
    FetchSnapshot {
        /// The open epoch.
        epoch: Epoch,
        /// Number of the request, echoed in the answer.
        request: Ticket,
        /// Which image; the zero position for any.
        image: LogPosition,
        /// From which byte on.
        offset: u64,
    },
    /// A piece of an encoded [`super::io::Snapshot`].
    SnapshotChunk {
        /// As asked.
        epoch: Epoch,
        /// As asked.
        request: Ticket,
        /// Which image this is: perhaps a newer one than was asked for, then from its start.
        image: LogPosition,
        /// Its whole size.
        total_bytes: u64,
        /// Where `data` belongs.
        offset: u64,
        /// The piece.
        data: Bytes,
    },
    /// "I cannot help now; ask another, or later."
    NotReady {
        /// As asked.
        epoch: Epoch,
        /// As asked.
        request: Ticket,
    },
}

impl PeerMessage {
    /// The epoch and request number that every message carries.
    pub const fn tag(&self) -> (Epoch, Ticket) {
        match *self {
            Self::FetchLog { epoch, request, .. }
            | Self::LogChunk { epoch, request, .. }
            | Self::UseSnapshot { epoch, request, .. }
            | Self::FetchSnapshot { epoch, request, .. }
            | Self::SnapshotChunk { epoch, request, .. }
            | Self::NotReady { epoch, request } => (epoch, request),
        }
    }
}

impl Encode for PeerMessage {
    fn encode(&self, out: &mut Writer) {
        let (epoch, request) = self.tag();
        let kind = match self {
            Self::FetchLog { .. } => 0,
            Self::LogChunk { .. } => 1,
            Self::UseSnapshot { .. } => 2,
            Self::FetchSnapshot { .. } => 3,
            Self::SnapshotChunk { .. } => 4,
            Self::NotReady { .. } => 5,
        };
        out.raw(&[VERSION, kind]);
        GroupId::ONLY.encode(out);
        epoch.encode(out);
        out.varint(request.0);
        match self {
            Self::FetchLog { ends, commit, until, .. } => {
                ends.encode(out);
                commit.encode(out);
                until.encode(out);
            }
            Self::LogChunk { common, entries, .. } => {
                common.encode(out);
                out.varint(entries.len() as u64);
                entries.iter().for_each(|entry| entry.encode(out));
            }
            Self::FetchSnapshot { image, offset, .. } => {
                image.encode(out);
                out.varint(*offset);
            }
            Self::SnapshotChunk { image, total_bytes, offset, data, .. } => {
                image.encode(out);
                out.varint(*total_bytes);
                out.varint(*offset);
                out.bytes(data);
            }
            Self::UseSnapshot { common, .. } => {
                out.bool(common.is_some());
                common.iter().for_each(|index| index.encode(out));
            }
            Self::NotReady { .. } => {}
        }
    }
}

impl Decode for PeerMessage {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        input.version(VERSION)?;
        let kind = input.u8()?;
        GroupId::decode(input)?;
        let epoch = Epoch::decode(input)?;
        let request = Ticket(input.varint()?);
        Ok(match kind {
            0 => Self::FetchLog {
                epoch,
                request,
                ends: EpochEnds::decode(input)?,
                commit: Index::decode(input)?,
                until: Index::decode(input)?,
            },
            1 => {
                let common = Index::decode(input)?;
                let count = input.count("entries", ENTRIES_MAX, 5)?;
                let entries = (0..count).map(|_| Entry::decode(input));
                Self::LogChunk {
                    epoch,
                    request,
                    common,
                    entries: entries.collect::<Result<_, _>>()?,
                }
            }
            2 => {
                let told = input.bool()?;
                let common = told.then(|| Index::decode(input)).transpose()?;
                Self::UseSnapshot { epoch, request, common }
            }
            3 => Self::FetchSnapshot {
                epoch,
                request,
                image: LogPosition::decode(input)?,
                offset: input.varint()?,
            },
            4 => Self::SnapshotChunk {
                epoch,
                request,
                image: LogPosition::decode(input)?,
                total_bytes: input.varint()?,
                offset: input.varint()?,
                data: input.bytes("chunk", usize::MAX)?,
            },
            5 => Self::NotReady { epoch, request },
            tag => return Err(WireError::UnknownTag { what: "peer message", tag: u64::from(tag) }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_another_version_or_group_is_refused_by_name() {
        let message = PeerMessage::NotReady { epoch: Epoch(1), request: Ticket(2) };
        let refused = |at: usize, byte: u8| {
            let mut bytes = message.to_bytes().to_vec();
            bytes[at] = byte;
            PeerMessage::from_bytes(&Bytes::from(bytes))
        };
        assert_eq!(refused(0, VERSION), Ok(message.clone()));
        let older = WireError::Version { found: 2, known: u64::from(VERSION) };
        assert_eq!(refused(0, 2), Err(older));
        assert_eq!(refused(2, 9), Err(WireError::Group { found: 9 }));
    }
}
