//! What a request asks for: an operation on one kind of object.

use super::kind;
use super::kv::Txn;
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A transaction on the key-value object.
    Kv(Txn),
}

/// An operation that is somebody else's, to be encoded.
#[derive(Clone, Copy, Debug)]
pub enum OpRef<'a> {
    /// As [`Op::Kv`].
    Kv(&'a Txn),
}

impl Encode for OpRef<'_> {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Kv(txn) => {
                out.u8(kind::KV);
                txn.encode(out);
            }
        }
    }
}
impl Encode for Op {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Kv(txn) => OpRef::Kv(txn).encode(out),
        }
    }
}
impl Decode for Op {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match input.u8()? {
            kind::KV => Ok(Self::Kv(Decode::decode(input)?)),
            other => Err(kind::unknown(other)),
        }
    }
}
