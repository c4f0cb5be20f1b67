//! Operations on the tree: what a client may change, and how it is written down.
//!
//! An operation is one step, or several of which all take effect or none. The identities of the
//! client come with it: they are established by its front-end, which alone may say them.

use super::acl::{
    Acl, Identity, decode_all, decode_identities, decode_list, encode_identities, encode_list,
};
use super::stat::decode_i32;
use crate::wire::{Decode, Encode, Reader, WireError, Writer, decode_option, encode_option};
use alloc::vec::Vec;
use bytes::Bytes;

/// The most steps of an operation that are decoded; the limits decide how many are carried out.
const STEPS_DECODED_MAX: usize = 65_535;

/// An operation on the tree, and who asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeOp {
    /// Who the client is, as its front-end found out.
    pub identities: Vec<Identity>,
    /// What it asks for.
    pub change: TreeChange,
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeChange {
    /// One step.
    One(TreeStep),
    /// Steps in order, each of which sees the ones before: all of them take effect, or none.
    Multi(Vec<TreeStep>),
}

/// One step. A version of -1 stands for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeStep {
    /// Creates a znode.
    Create {
        /// Its path; for a sequential one, what stands before the number.
        path: Bytes,
        /// Its data, which may be null.
        data: Option<Bytes>,
        /// Its access control list. `auth` stands for the client's own identities.
        acl: Vec<Acl>,
        /// What kind of znode it is to be.
        mode: CreateMode,
    },
    /// Deletes a znode that has no children.
    Delete {
        /// Its path.
        path: Bytes,
        /// The version that it must have.
        version: i32,
    },
    /// Sets the data of a znode.
    SetData {
        /// Its path.
        path: Bytes,
        /// The data, which may be null.
        data: Option<Bytes>,
        /// The version that the znode must have.
        version: i32,
    },
    /// Sets the access control list of a znode.
    SetAcl {
        /// Its path.
        path: Bytes,
        /// The list, as of [`TreeStep::Create`].
        acl: Vec<Acl>,
        /// The version that the list must have.
        version: i32,
    },
    /// Checks that a znode exists.
    Check {
        /// Its path.
        path: Bytes,
        /// The version that it must have.
        version: i32,
    },
}

/// What kind of znode is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CreateMode {
    /// How long it is to live.
    pub life: Life,
    /// Append a number to the path, which grows with each child of the parent.
    pub sequential: bool,
}

/// How long a znode that is created is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// Until it is deleted.
    Persistent,
    /// Until the session that creates it ends.
    Ephemeral,
    /// Until it has no children any more.
    Container,
    /// Until it was not set and had no children for this long, in milliseconds: from 1 to
    /// [`TTL_MS_MAX`](super::stat::TTL_MS_MAX).
    Ttl(i64),
    /// What a request in a multi cannot ask for: the whole multi fails when its turn comes.
    Unfit,
    /// What ZooKeeper does not know. It is refused when its turn comes, as a step of an operation
    /// may be that an earlier one has failed before.
    Unknown,
}

/// Which of ZooKeeper's requests creates a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CreateRequest {
    /// `create` or `create2`.
    Plain,
    /// `createContainer`.
    Container,
    /// `createTTL`, with the time to live in milliseconds.
    Ttl(i64),
}

impl CreateMode {
    /// A persistent znode that is not sequential.
    pub const PERSISTENT: Self = Self { life: Life::Persistent, sequential: false };

    /// What ZooKeeper creates for a request with these flags.
    ///
    /// Flags: 0 persistent, 1 ephemeral, 2 sequential, 3 both, 4 container, 5 with a time to live,
    /// 6 that and sequential. The kind of request and the flags need not agree: what ZooKeeper then
    /// does is not always what one would expect.
    pub const fn from_request(request: CreateRequest, flags: i32) -> Self {
        let sequential = matches!(flags, 2 | 3 | 6);
        let life = match (request, flags) {
            (CreateRequest::Plain, 0 | 2 | 4) => Life::Persistent,
            (CreateRequest::Plain, 1 | 3) => Life::Ephemeral,
            (CreateRequest::Container, 0..=4) => Life::Container,
            (CreateRequest::Ttl(ms), 5 | 6) => Life::Ttl(ms),
            _ => Life::Unknown,
        };
        Self { life, sequential }
    }

    /// What ZooKeeper creates for such a request inside of a multi, where the flags alone decide.
    pub const fn in_multi(request: CreateRequest, flags: i32) -> Self {
        match (request, flags) {
            (_, 4) => Self { life: Life::Container, sequential: false },
            (CreateRequest::Ttl(_), 5 | 6) => Self::from_request(request, flags),
            (_, 5 | 6) => Self { life: Life::Unfit, sequential: false },
            _ => Self::from_request(CreateRequest::Plain, flags),
        }
    }
}

mod tag {
    pub(super) const CREATE: u8 = 1;
    pub(super) const DELETE: u8 = 2;
    pub(super) const SET_DATA: u8 = 3;
    pub(super) const SET_ACL: u8 = 4;
    pub(super) const CHECK: u8 = 5;
    /// In place of a step's tag: several steps follow.
    pub(super) const MULTI: u8 = 16;
    /// Added to the tag of a life: the znode is sequential.
    pub(super) const SEQUENTIAL: u8 = 0x80;
}

impl TreeChange {
    /// The steps, in order.
    pub fn steps(&self) -> &[TreeStep] {
        match self {
            Self::One(step) => core::slice::from_ref(step),
            Self::Multi(steps) => steps,
        }
    }
}

impl Encode for TreeOp {
    fn encode(&self, out: &mut Writer) {
        encode_identities(&self.identities, out);
        match &self.change {
            TreeChange::One(step) => step.encode(out),
            TreeChange::Multi(steps) => {
                out.u8(tag::MULTI);
                out.varint(steps.len() as u64);
                steps.iter().for_each(|step| step.encode(out));
            }
        }
    }
}
impl Decode for TreeOp {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let identities = decode_identities(input)?;
        let change = if input.skip_if(&[tag::MULTI]) {
            TreeChange::Multi(decode_all(input, "steps", STEPS_DECODED_MAX, 3)?)
        } else {
            TreeChange::One(Decode::decode(input)?)
        };
        Ok(Self { identities, change })
    }
}

impl Encode for TreeStep {
    fn encode(&self, out: &mut Writer) {
        let head = |tag, path: &Bytes, out: &mut Writer| {
            out.u8(tag);
            out.bytes(path);
        };
        match self {
            Self::Create { path, data, acl, mode } => {
                head(tag::CREATE, path, out);
                mode.encode(out);
                encode_data(data.as_ref(), out);
                encode_list(acl, out);
            }
            Self::Delete { path, version } => {
                head(tag::DELETE, path, out);
                out.varint_signed(i64::from(*version));
            }
            Self::SetData { path, data, version } => {
                head(tag::SET_DATA, path, out);
                encode_data(data.as_ref(), out);
                out.varint_signed(i64::from(*version));
            }
            Self::SetAcl { path, acl, version } => {
                head(tag::SET_ACL, path, out);
                encode_list(acl, out);
                out.varint_signed(i64::from(*version));
            }
            Self::Check { path, version } => {
                head(tag::CHECK, path, out);
                out.varint_signed(i64::from(*version));
            }
        }
    }
}
impl Decode for TreeStep {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let found = input.u8()?;
        let path = decode_path(input)?;
        let version = |input: &mut Reader| decode_i32(input, "version");
        Ok(match found {
            tag::CREATE => {
                let (mode, data) = (Decode::decode(input)?, decode_data(input)?);
                Self::Create { path, data, acl: decode_list(input)?, mode }
            }
            tag::DELETE => Self::Delete { path, version: version(input)? },
            tag::SET_DATA => {
                Self::SetData { path, data: decode_data(input)?, version: version(input)? }
            }
            tag::SET_ACL => {
                Self::SetAcl { path, acl: decode_list(input)?, version: version(input)? }
            }
            tag::CHECK => Self::Check { path, version: version(input)? },
            other => {
                let tag = u64::from(other);
                return Err(WireError::UnknownTag { what: "step of the tree", tag });
            }
        })
    }
}

impl Encode for CreateMode {
    fn encode(&self, out: &mut Writer) {
        let life = match self.life {
            Life::Persistent => 0,
            Life::Ephemeral => 1,
            Life::Container => 2,
            Life::Ttl(_) => 3,
            Life::Unknown => 4,
            Life::Unfit => 5,
        };
        out.u8(life | if self.sequential { tag::SEQUENTIAL } else { 0 });
        if let Life::Ttl(ms) = self.life {
            out.varint_signed(ms);
        }
    }
}
impl Decode for CreateMode {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let found = input.u8()?;
        let life = match found & !tag::SEQUENTIAL {
            0 => Life::Persistent,
            1 => Life::Ephemeral,
            2 => Life::Container,
            3 => Life::Ttl(input.varint_signed()?),
            4 => Life::Unknown,
            5 => Life::Unfit,
            _ => return Err(WireError::UnknownTag { what: "kind", tag: u64::from(found) }),
        };
        Ok(Self { life, sequential: found & tag::SEQUENTIAL != 0 })
    }
}

/// Reads a path. The limits bound its length where it is used.
pub(super) fn decode_path(input: &mut Reader) -> Result<Bytes, WireError> {
    input.bytes("path", usize::MAX)
}

/// Appends data, which may be null.
pub(super) fn encode_data(data: Option<&Bytes>, out: &mut Writer) {
    encode_option(data, out, |data, out| out.bytes(data));
}

/// Reads data, which may be null.
pub(super) fn decode_data(input: &mut Reader) -> Result<Option<Bytes>, WireError> {
    decode_option(input, |input| input.bytes("data", usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_mean_what_they_mean_to_zookeeper() {
        let plain = |flags| CreateMode::from_request(CreateRequest::Plain, flags);
        assert_eq!(plain(0), CreateMode::PERSISTENT);
        assert_eq!(plain(3), CreateMode { life: Life::Ephemeral, sequential: true });
        assert_eq!(plain(4), CreateMode::PERSISTENT);
        for flags in [-1, 5, 6, 7] {
            assert_eq!(plain(flags).life, Life::Unknown);
        }
        let ttl = |flags| CreateMode::from_request(CreateRequest::Ttl(9), flags);
        assert_eq!(ttl(6), CreateMode { life: Life::Ttl(9), sequential: true });
        assert_eq!(ttl(0).life, Life::Unknown);
        let container = |flags| CreateMode::from_request(CreateRequest::Container, flags);
        assert_eq!(container(4), CreateMode { life: Life::Container, sequential: false });
        assert_eq!(container(2), CreateMode { life: Life::Container, sequential: true });
        assert_eq!(container(5).life, Life::Unknown);
        let in_multi = CreateMode::in_multi;
        assert_eq!(in_multi(CreateRequest::Plain, 4), container(4));
        assert_eq!(in_multi(CreateRequest::Container, 2), plain(2));
        assert_eq!(in_multi(CreateRequest::Ttl(9), 0), CreateMode::PERSISTENT);
        assert_eq!(in_multi(CreateRequest::Ttl(9), 6), ttl(6));
        assert_eq!(in_multi(CreateRequest::Container, 5).life, Life::Unfit);
        assert_eq!(in_multi(CreateRequest::Plain, 99), plain(99));
    }
}
