//! Why an operation on the tree failed, with ZooKeeper's numbers.

use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use thiserror::Error;

/// Why an operation on the tree failed. It changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
pub enum TreeError {
    /// The path, the kind of znode, the time to live or a size is not allowed.
    #[error("bad arguments")]
    BadArguments,
    /// An answer would be larger than the limit, or a step of a multi has flags that its request
    /// cannot have. The reply as a whole has this error.
    #[error("marshalling error")]
    Marshalling,
    /// There is no znode of this path, or none to create a child in.
    #[error("no node")]
    NoNode,
    /// The access control list does not allow it.
    #[error("not authorized")]
    NoAuth,
    /// The znode has another version.
    #[error("bad version")]
    BadVersion,
    /// The parent is ephemeral.
    #[error("ephemerals have no children")]
    NoChildrenForEphemerals,
    /// There is a znode of this path already.
    #[error("node exists")]
    NodeExists,
    /// The znode has children.
    #[error("not empty")]
    NotEmpty,
    /// The access control list is empty, or one of its entries is no identity.
    #[error("invalid ACL")]
    InvalidAcl,
    /// A hard limit of a quota, or of the server, would be exceeded.
    #[error("quota exceeded")]
    QuotaExceeded,
}

impl TreeError {
    /// Each error; its place is its tag in encodings.
    pub const ALL: [Self; 10] = [
        Self::BadArguments,
        Self::Marshalling,
        Self::NoNode,
        Self::NoAuth,
        Self::BadVersion,
        Self::NoChildrenForEphemerals,
        Self::NodeExists,
        Self::NotEmpty,
        Self::InvalidAcl,
        Self::QuotaExceeded,
    ];

    /// ZooKeeper's number for it.
    pub const fn code(self) -> i32 {
        match self {
            Self::Marshalling => -5,
            Self::BadArguments => -8,
            Self::NoNode => -101,
            Self::NoAuth => -102,
            Self::BadVersion => -103,
            Self::NoChildrenForEphemerals => -108,
            Self::NodeExists => -110,
            Self::NotEmpty => -111,
            Self::InvalidAcl => -114,
            Self::QuotaExceeded => -125,
        }
    }
}

impl Encode for TreeError {
    fn encode(&self, out: &mut Writer) {
        out.u8(*self as u8);
    }
}
impl Decode for TreeError {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let tag = input.u8()?;
        let unknown = WireError::UnknownTag { what: "error of the tree", tag: u64::from(tag) };
        Self::ALL.get(usize::from(tag)).copied().ok_or(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_stands_at_its_tag() {
        for (place, error) in TreeError::ALL.into_iter().enumerate() {
            assert_eq!(error as usize, place);
            assert_eq!(TreeError::from_bytes(&error.to_bytes()), Ok(error));
        }
    }
}
