//! The replica's vocabulary: entries, disk records, actions, status.
//!
//! The driver's duties are written on each [`Action`]. Read [`super::message`] next for what
//! replicas say to each other.

use super::ends::EpochEnds;
use super::plan::Unformed;
use super::voters::{ChangeError, VoterSet};
use crate::group::{MEMBERS_MAX, Standing};
use crate::ids::{Epoch, Era, GroupId, Index, LogPosition, NodeId, Stamp, StoreId};
use crate::pieces::Pieces;
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use core::{fmt, iter};

/// An entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The epoch in which it was appended.
    pub epoch: Epoch,
    /// Its place in the log, from 1 without gaps.
    pub index: Index,
    /// What it says.
    pub body: Body,
}

impl Entry {
    /// Epoch and index.
    pub const fn position(&self) -> LogPosition {
        LogPosition { epoch: self.epoch, index: self.index }
    }

    /// About how much memory or disk the entry takes, in bytes.
    pub fn cost_bytes(&self) -> usize {
        let body = match &self.body {
            Body::Marker { members } => members.len() * 4,
            Body::Batch { commands, .. } => commands.len(),
            Body::Voters(set) => set.voters.len() * 12,
        };
        body + 64
    }
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// The epoch begins, with these members. The epoch's first entry, unless it forms the cluster:
    /// then the voters come first.
    Marker {
        /// Sorted.
        members: Vec<NodeId>,
    },
    /// Commands that one server packed together.
    Batch {
        /// That server.
        origin: NodeId,
        /// Drawn by the server at its start: numbers count within it.
        salt: u64,
        /// Counts the server's batches from 1. A number that was applied before is skipped.
        number: u64,
        /// What the server's clock showed when it first sent the batch.
        stamp: Stamp,
        /// Commands, each prefixed by its length as a varint. See [`commands`].
        commands: Bytes,
    },
    /// The voter set from here on, effective when appended.
    Voters(VoterSet),
}

/// The commands of a batch, in order. Ends early where the bytes are malformed, which only a server
/// that is itself broken can cause; all replicas then end at the same place.
pub fn commands(batch: &Bytes) -> impl Iterator<Item = Bytes> + use<> {
    let mut reader = Reader::new(batch.clone());
    core::iter::from_fn(move || next_command(&mut reader, Reader::rest))
}

/// Looks at the next command of a batch, if there is one: it is all that is left of the reader.
pub(crate) fn next_command<T>(
    batch: &mut Reader,
    look: impl FnOnce(&mut Reader) -> T,
) -> Option<T> {
    if batch.remaining() == 0 {
        return None;
    }
    let rest = batch.enter().ok()?;
    let seen = look(batch);
    batch.leave(rest);
    Some(seen)
}

/// The version of the encoding of what an entry says.
const BODY_VERSION: u8 = 1;

impl Encode for Entry {
    fn encode(&self, out: &mut Writer) {
        self.epoch.encode(out);
        self.index.encode(out);
        out.u8(BODY_VERSION);
        match &self.body {
            Body::Marker { members } => {
                out.u8(0);
                out.varint(members.len() as u64);
                members.iter().for_each(|node| node.encode(out));
            }
            Body::Batch { origin, salt, number, stamp, commands } => {
                out.u8(1);
                origin.encode(out);
                out.u64(*salt);
                out.varint(*number);
                stamp.encode(out);
                out.bytes(commands);
            }
            Body::Voters(set) => {
                out.u8(2);
                set.encode(out);
            }
        }
    }
}

impl Decode for Entry {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let epoch = Epoch::decode(input)?;
        let index = Index::decode(input)?;
        input.version(BODY_VERSION)?;
        let body = match input.u8()? {
            0 => {
                let count = input.count("members", MEMBERS_MAX, 1)?;
                let members = (0..count).map(|_| NodeId::decode(input));
                Body::Marker { members: members.collect::<Result<_, _>>()? }
            }
            1 => Body::Batch {
                origin: NodeId::decode(input)?,
                salt: input.u64()?,
                number: input.varint()?,
                stamp: Stamp::decode(input)?,
                commands: input.bytes("batch", usize::MAX)?,
            },
            2 => Body::Voters(VoterSet::decode(input)?),
            tag => return Err(WireError::UnknownTag { what: "entry", tag: u64::from(tag) }),
        };
        Ok(Self { epoch, index, body })
    }
}

/// The last batch applied of one server: what makes a batch apply at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The salt of the server's start.
    pub salt: u64,
    /// The number of its last applied batch.
    pub number: u64,
}

/// Everything up to a point of the log, in one piece.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The last entry that it contains.
    pub last: LogPosition,
    /// Where the epochs of the log up to there end.
    pub ends: EpochEnds,
    /// The voter set at that point.
    pub voters: VoterSet,
    /// The last applied batch of each server.
    pub origins: BTreeMap<NodeId, Origin>,
    /// The replicated state, opaque to the replica.
    pub state: Pieces,
}

const SNAPSHOT_VERSION: u8 = 3;
const ORIGINS_MAX: usize = 1 << 20;

impl Snapshot {
    /// All before the state.
    fn encode_head(&self, out: &mut Writer) {
        out.u8(SNAPSHOT_VERSION);
        self.last.encode(out);
        self.ends.encode(out);
        self.voters.encode(out);
        out.varint(self.origins.len() as u64);
        for (node, origin) in &self.origins {
            node.encode(out);
            out.u64(origin.salt);
            out.varint(origin.number);
        }
    }

    /// The encoding, and the part of it that is the state. It shares the state: a second copy of
    /// all data would be no small thing.
    pub(super) fn encoded(&self) -> (Pieces, Pieces) {
        let mut head = Writer::new();
        self.encode_head(&mut head);
        head.varint(self.state.len() as u64);
        let head = head.finish();
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&head);
        self.state.iter().for_each(|piece| checksum.update(&piece));
        let checksum = Bytes::copy_from_slice(&checksum.finalize().to_le_bytes());
        let state = head.len()..head.len() + self.state.len();
        let all: Pieces = iter::once(head).chain(self.state.iter()).chain([checksum]).collect();
        let state = all.part(state);
        (all, state)
    }
}

impl Encode for Snapshot {
    fn encode(&self, out: &mut Writer) {
        self.encoded().0.iter().for_each(|piece| out.raw(&piece));
    }
}

impl Decode for Snapshot {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let mut checked = input.clone();
        let whole = checked.rest();
        let start = input.position();
        input.version(SNAPSHOT_VERSION)?;
        let last = LogPosition::decode(input)?;
        let ends = EpochEnds::decode(input)?;
        if ends.last() != last {
            return Err(WireError::Invalid { what: "ends of epochs of a snapshot" });
        }
        let voters = VoterSet::decode(input)?;
        if !voters.history.contains(last.epoch) {
            return Err(WireError::Invalid { what: "history of a snapshot" });
        }
        let mut origins = BTreeMap::new();
        for _ in 0..input.count("origins", ORIGINS_MAX, 10)? {
            let node = NodeId::decode(input)?;
            let origin = Origin { salt: input.u64()?, number: input.varint()? };
            origins.insert(node, origin);
        }
        let state = input.bytes("state", usize::MAX)?.into();
        let body = input.position() - start;
        if input.u32()? != crc32fast::hash(&whole[..body]) {
            return Err(WireError::Invalid { what: "snapshot checksum" });
        }
        Ok(Self { last, ends, voters, origins, state })
    }
}

/// Numbers the writes to the disk, ascending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a persistent server writes, in this order, to its disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// The first record: whose disk this is.
    Identity {
        /// The server.
        node: NodeId,
        /// The incarnation of this disk.
        store: StoreId,
        /// True if the operator said that a new cluster may be formed with this disk.
        bootstrap: bool,
    },
    /// The highest epoch promised.
    Promise(Epoch),
    /// The entry that follows the last one.
    Append(Entry),
    /// Entries from here on are no longer part of the log.
    Truncate(Index),
    /// The log up to `last` may be forgotten: here is what it led to.
    Checkpoint(Snapshot),
    /// Everything before is replaced by what another server had.
    Install(Snapshot),
}

const RECORD_VERSION: u8 = 3;

impl Encode for Record {
    fn encode(&self, out: &mut Writer) {
        out.u8(RECORD_VERSION);
        GroupId::ONLY.encode(out);
        match self {
            Self::Identity { node, store, bootstrap } => {
                out.u8(0);
                node.encode(out);
                store.encode(out);
                out.bool(*bootstrap);
            }
            Self::Promise(epoch) => {
                out.u8(1);
                epoch.encode(out);
            }
            Self::Append(entry) => {
                out.u8(2);
                entry.encode(out);
            }
            Self::Truncate(index) => {
                out.u8(3);
                index.encode(out);
            }
            Self::Checkpoint(snapshot) => {
                out.u8(4);
                snapshot.encode(out);
            }
            Self::Install(snapshot) => {
                out.u8(5);
                snapshot.encode(out);
            }
        }
    }
}

impl Decode for Record {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        input.version(RECORD_VERSION)?;
        GroupId::decode(input)?;
        Ok(match input.u8()? {
            0 => Self::Identity {
                node: Decode::decode(input)?,
                store: Decode::decode(input)?,
                bootstrap: input.bool()?,
            },
            1 => Self::Promise(Decode::decode(input)?),
            2 => Self::Append(Decode::decode(input)?),
            3 => Self::Truncate(Decode::decode(input)?),
            4 => Self::Checkpoint(Decode::decode(input)?),
            5 => Self::Install(Decode::decode(input)?),
            tag => return Err(WireError::UnknownTag { what: "record", tag: u64::from(tag) }),
        })
    }
}

/// Identifies a group of linearizable reads that wait for one barrier. Ascending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BarrierId(pub u64);

/// What the replica asks of its driver. The order of actions is a promise: carry them out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Submit to the group layer. If it is full, keep the message and try again; never reorder.
    Multicast(Bytes),
    /// Write to the disk after all earlier records; report the ticket when it and all earlier ones
    /// are durable. Never emitted in memory mode.
    Persist {
        /// To be handed back.
        ticket: Ticket,
        /// What to write.
        record: Record,
    },
    /// Send to one server, outside the order. May be lost or delivered twice.
    Peer {
        /// To whom.
        to: NodeId,
        /// An encoded [`super::message::PeerMessage`].
        message: Bytes,
    },
    /// The entry is committed: apply it. Entries come in order of their index, without gaps, each
    /// once, except over an `Install`.
    Commit(Entry),
    /// This server is in the primary component and up to date with the epoch's beginning.
    Opened {
        /// The new epoch.
        epoch: Epoch,
        /// The members of its view.
        members: Vec<NodeId>,
    },
    /// This server is not, or not any more, in a primary component.
    Closed(ClosedReason),
    /// The barriers up to this one are passed: a read may be served from a state that contains the
    /// entry at `index`.
    BarrierDone {
        /// This and all earlier ones.
        up_to: BarrierId,
        /// What must be applied first.
        index: Index,
    },
    /// Tell the group layer, if it asks for such: this is what the end of the log says of the vote.
    Standing(Standing),
    /// Call [`super::Replica::provide_snapshot`] with the state as of the last committed entry that
    /// was handed out, now or later.
    SnapshotWanted,
    /// Another server's snapshot has arrived: decode it, see whether its state can be restored, and
    /// call [`super::Replica::handle_received`], now or later.
    SnapshotReceived {
        /// To be handed back.
        number: u64,
        /// An encoded [`Snapshot`], or what it became on its way.
        bytes: Bytes,
    },
    /// Replace the state: it contains everything up to the index.
    Install {
        /// The last entry contained.
        index: Index,
        /// The state, as another server provided it.
        state: Bytes,
    },
    /// A change asked for by [`super::Replica::change_voters`] is committed, or refused.
    VotersChanged {
        /// The caller's number.
        request: u64,
        /// What came of it.
        result: Result<(), ChangeError>,
    },
    /// The server must stop: going on could do harm. Nothing follows.
    Halt(HaltReason),
}

/// Why there is no primary component here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClosedReason {
    /// The membership has changed and the members are still exchanging reports.
    #[error("the group's membership has just changed; reports are being exchanged")]
    Gathering,
    /// The voters in the view are no majority.
    #[error(
        "{intact} of {voters} voters are connected with their memory intact, {quorum} are needed{}",
        if forgotten.is_empty() { "" } else { "; some servers have lost their memory" }
    )]
    NoQuorum {
        /// Voters connected with the incarnation that votes.
        intact: usize,
        /// Size of the voter set.
        voters: usize,
        /// How many are needed.
        quorum: usize,
        /// Voters that are connected but came back with another, empty memory. If too many did,
        /// only an operator's recovery starts the cluster again.
        forgotten: Vec<NodeId>,
    },
    /// No cluster has been formed, and not all who are to form it are here and may do so.
    #[error("no cluster is formed: {}", Unformed(missing, forbidden))]
    NotFormed {
        /// Initial servers that are not connected.
        missing: Vec<NodeId>,
        /// Initial servers that are connected, and were not started with permission to bootstrap.
        forbidden: Vec<NodeId>,
    },
    /// The cluster was recovered without this server, which holds entries that it has not.
    #[error(
        "the cluster was recovered without this server ({era}, going on from {fork}), which holds \
         entries up to {last} that the cluster has not: keep this data for inspection, and start \
         with an empty directory to join it"
    )]
    LeftBehind {
        /// What the recovery began.
        era: Era,
        /// Where the recovered log forked from this server's.
        fork: LogPosition,
        /// Where this server's log ends.
        last: LogPosition,
    },
    /// This server has met a recovered cluster, of which no member is in this view.
    #[error(
        "this server has met the cluster as it was recovered ({era}) and serves nothing older: \
         connect it to that cluster, or recover from here if that is lost for good"
    )]
    PromisedLater {
        /// What that recovery began.
        era: Era,
    },
    /// Servers hear each other that were recovered apart from each other.
    #[error(
        "servers of two histories hear each other: the cluster was recovered more than once, apart; \
         stop the servers of one history, keep their data, and start them with empty directories"
    )]
    MixedHistories,
    /// Servers of different clusters hear each other.
    #[error("servers of different clusters hear each other; give each cluster its own key")]
    MixedClusters,
}

impl ClosedReason {
    /// True if an operator's recovery can end this: it lacks voters, and nothing else is wrong.
    pub const fn is_recoverable(&self) -> bool {
        matches!(self, Self::NoQuorum { .. } | Self::NotFormed { .. } | Self::PromisedLater { .. })
    }
}

/// Why the server stopped itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HaltReason {
    /// Committed entries of this server are not part of the cluster's log.
    #[error(
        "this server has committed up to {committed}, the cluster's log agrees only up to {common}: \
         histories diverged; keep this data for inspection and start with an empty directory"
    )]
    Diverged {
        /// Committed here.
        committed: Index,
        /// Where the logs agree.
        common: Index,
    },
    /// The state differs from that of the other servers.
    #[error("the state at {index} has digest {mine:016x}, others have {theirs:016x}")]
    DigestMismatch {
        /// After which entry.
        index: Index,
        /// This server's value.
        mine: u64,
        /// The others' value.
        theirs: u64,
    },
    /// The disk failed; what was written last may or may not be there.
    #[error("a write to the disk failed; what was written last may be lost")]
    StorageFailed,
    /// A state that another server sent cannot be read.
    #[error("the state received from another server cannot be read")]
    BadSnapshot,
}

/// What the replica is doing, for people and for checkers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// This incarnation.
    pub store: StoreId,
    /// The open epoch, if this server is in a primary component.
    pub epoch: Option<Epoch>,
    /// Why not, otherwise.
    pub closed: Option<ClosedReason>,
    /// True if this server has the log of the open epoch.
    pub synced: bool,
    /// Highest epoch promised.
    pub promised: Epoch,
    /// Members of the present view.
    pub members: Vec<NodeId>,
    /// The incarnation of every member, while there is an open epoch.
    pub stores: BTreeMap<NodeId, StoreId>,
    /// The latest voter set in the log.
    pub voters: VoterSet,
    /// This server's digests of its state at indices at which all servers take one, the latest
    /// last.
    pub digests: Vec<(Index, u64)>,
    /// End of the log.
    pub last: LogPosition,
    /// End of the durable log.
    pub durable: Index,
    /// Known to be committed.
    pub commit: Index,
    /// Handed out to be applied.
    pub applied: Index,
    /// First entry still in memory.
    pub log_start: Index,
    /// The disk no longer needs the log up to here; zero in memory mode.
    pub checkpointed: Index,
    /// Bytes of commands that wait for commitment.
    pub proposals_bytes: usize,
    /// Messages that were not understood or not of the open epoch.
    pub messages_ignored: u64,
    /// True if the server stopped itself.
    pub halted: bool,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_version_or_group_is_refused_by_name() {
        let refused = |at: usize, byte: u8| {
            let mut bytes = Record::Promise(Epoch(1)).to_bytes().to_vec();
            bytes[at] = byte;
            Record::from_bytes(&Bytes::from(bytes))
        };
        assert_eq!(refused(0, RECORD_VERSION), Ok(Record::Promise(Epoch(1))));
        let older = WireError::Version { found: 2, known: u64::from(RECORD_VERSION) };
        assert_eq!(refused(0, 2), Err(older));
        assert_eq!(refused(1, 9), Err(WireError::Group { found: 9 }));
    }

    #[test]
    fn what_an_entry_says_has_a_version_and_a_time_within_its_bound() {
        let entry = |stamp| Entry {
            epoch: Epoch(1),
            index: Index(1),
            body: Body::Batch {
                origin: NodeId(1),
                salt: 2,
                number: 3,
                stamp,
                commands: Bytes::new(),
            },
        };
        let bytes = entry(Stamp::MAX).to_bytes();
        assert_eq!(Entry::from_bytes(&bytes), Ok(entry(Stamp::MAX)));
        let found = Stamp::MAX.0 + 1;
        let error = WireError::OverLimit { what: "stamp", found, max: Stamp::MAX.0 };
        assert_eq!(Entry::from_bytes(&entry(Stamp(found)).to_bytes()), Err(error));
        let mut later = bytes.to_vec();
        later[2] = BODY_VERSION + 1;
        let error = WireError::Version { found: 2, known: u64::from(BODY_VERSION) };
        assert_eq!(Entry::from_bytes(&Bytes::from(later)), Err(error));
    }

    #[test]
    fn a_snapshot_is_encoded_the_same_whatever_the_pieces_of_its_state() {
        let voters = VoterSet::from_bytes(&VoterSet::default().to_bytes()).unwrap();
        for bytes in [0, 1, 127, 128, 70_000] {
            let state: Bytes = (0..bytes).map(|byte| byte as u8).collect();
            let origins = BTreeMap::from([(NodeId(1), Origin { salt: 7, number: 300 })]);
            let last = LogPosition { epoch: Epoch(2), index: Index(9) };
            let voters = voters.clone();
            let ends = EpochEnds::only(last);
            let whole = Snapshot { last, ends, voters, origins, state: state.clone().into() };
            let halves = [state.slice(..bytes / 2), state.slice(bytes / 2..)];
            let halves = Snapshot { state: halves.into_iter().collect(), ..whole.clone() };
            assert_eq!(halves.to_bytes(), whole.to_bytes());
            assert_eq!(halves.encoded().0.whole(), whole.to_bytes());
            assert_eq!(halves.encoded().1, whole.state);
            assert_eq!(Snapshot::from_bytes(&halves.to_bytes()), Ok(whole));
        }
    }
}
