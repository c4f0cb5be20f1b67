//! What a request asks for: an operation on one kind of object.

use super::kind;
use super::kv::Txn;
use super::tree::op::TreeOp;
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A transaction on the key-value object.
    Kv(Txn),
    /// An operation on the tree of znodes.
    Tree(TreeOp),
}

impl Op {
    /// True if these bytes begin as an operation that names the identities of the client. Only a
    /// front-end that established them may pass it on.
    pub fn names_identities(bytes: &[u8]) -> bool {
        bytes.first() == Some(&kind::TREE)
    }
}

/// An operation that is somebody else's, to be encoded.
#[derive(Clone, Copy, Debug)]
pub enum OpRef<'a> {
    /// As [`Op::Kv`].
    Kv(&'a Txn),
    /// As [`Op::Tree`].
    Tree(&'a TreeOp),
}

impl Encode for OpRef<'_> {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Kv(txn) => {
                out.u8(kind::KV);
                txn.encode(out);
            }
            Self::Tree(op) => {
                out.u8(kind::TREE);
                op.encode(out);
            }
        }
    }
}
impl Encode for Op {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Kv(txn) => OpRef::Kv(txn).encode(out),
            Self::Tree(op) => OpRef::Tree(op).encode(out),
        }
    }
}
impl Decode for Op {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match input.u8()? {
            kind::KV => Ok(Self::Kv(Decode::decode(input)?)),
            kind::TREE => Ok(Self::Tree(Decode::decode(input)?)),
            other => Err(kind::unknown(other)),
        }
    }
}
