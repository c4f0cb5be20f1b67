//! The ordering contract: all that the replica relies on, whichever layer stands below.
//!
//! A group layer delivers [`GroupEvent`]s to each member. The promises, checked for every
//! implementation by one conformance suite (`conformance`, feature `testing`):
//!
//! - **Views.** A [`View`] always contains oneself. Partitions may make several disjoint views at
//!   once. A view's id is never used for two different views, and no member installs the same view
//!   twice.
//! - **Total order, without holes.** A view has one order of messages; what a member delivers in
//!   the view is a prefix of it. (So the k-th message of a view is the same for everyone who has
//!   one.)
//! - **Virtual synchrony.** Members that move together from view V to V' delivered the same
//!   messages in V.
//! - **Sender order.** The messages of one sender are delivered in the order it submitted them.
//! - **Self-delivery.** What a live member submits is delivered to it. If the view changes before
//!   that, the message may come in a later view, or be lost with the old one.
//! - **No duplicates, no inventions.**
//! - **Back-pressure.** `submit` refuses when the layer is full; nothing is dropped silently.
//!
//! **Not promised**: that a message delivered here was, or ever will be, delivered anywhere else
//! (*agreed*, not *safe* delivery); nor that it is delivered in the view in which it was submitted.
//!
//! Holes matter because positions in the order become positions in a log. Totem at a change of
//! view, and Corosync with it, delivers what lies *beyond* a missing message if its sender moves
//! along, so that `a b d` here and `a b c` there would both be three entries long. An
//! implementation must stop at the hole instead, and lose its own messages beyond it with the view:
//! to send them again would deliver them twice to members of the old view that have them.
//!
//! Sources: Amir et al., "The Totem single-ring ordering and membership protocol", TOCS 1995; Moser
//! et al., "Extended virtual synchrony", ICDCS 1994. Read [`crate::replica`] next for what is built
//! on it.

#[cfg(feature = "testing")]
pub mod adversary;
#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "testing")]
pub mod contract;
pub mod ring;
pub mod solo;

use crate::ids::{LogPosition, NodeId};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

/// The most members a view can have.
pub const MEMBERS_MAX: usize = 128;

/// Identifies a view, over all partitions and restarts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ViewId {
    /// Larger than that of any view its members were in before (unless a member forgot).
    pub seq: u64,
    /// The member that formed the view: two sides of a partition may bear the same `seq`.
    pub representative: NodeId,
    /// Drawn by the representative at its start, since a restarted one may have forgotten `seq`.
    pub salt: u64,
}

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.seq, self.representative)
    }
}
impl fmt::Debug for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl Encode for ViewId {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.seq);
        self.representative.encode(out);
        out.u64(self.salt);
    }
}
impl Decode for ViewId {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            seq: input.varint()?,
            representative: Decode::decode(input)?,
            salt: input.u64()?,
        })
    }
}

/// Who is in the group now, as far as this member can tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Which view this is.
    pub id: ViewId,
    /// Invariant: sorted, without duplicates, contains oneself, at most [`MEMBERS_MAX`].
    pub members: Vec<NodeId>,
}

impl View {
    /// True if `node` is in the view.
    pub fn contains(&self, node: NodeId) -> bool {
        self.members.binary_search(&node).is_ok()
    }
}

/// What the group layer may know of a member's vote, so that where not all can be together it keeps
/// a majority of the voters together rather than the most members. A wish: nothing relies on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Standing {
    /// Where in the log the voters are these: of two that differ the later counts.
    pub known_at: LogPosition,
    /// Who votes, as this member knows. Sorted, at most [`MEMBERS_MAX`].
    pub voters: Vec<NodeId>,
    /// True if this member's present incarnation votes.
    pub votes: bool,
}

/// What a group layer tells its member, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// The membership is now this. Later deliveries belong to this view, until the next.
    View(View),
    /// A message in the total order of the current view.
    Deliver {
        /// The member that submitted it.
        from: NodeId,
        /// What it submitted.
        payload: Bytes,
    },
}

/// Why a message was not accepted for ordering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The layer holds as much as it may: try again after the next delivery of an own message.
    #[error("the group layer is full; try again after the next delivery")]
    Full,
    /// The message is larger than the layer carries at all.
    #[error("a message of {bytes} bytes exceeds the limit of {bytes_max}")]
    TooLarge {
        /// Bytes of the message.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
}
