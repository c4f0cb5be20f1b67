//! Outcomes of operations on the tree: enough for the front-end to answer with ZooKeeper's bytes.

use super::acl::decode_all;
use super::error::TreeError;
use super::stat::ZnodeStat;
use crate::ids::Revision;
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::vec::Vec;
use bytes::Bytes;

/// The most results of an operation that are decoded.
const RESULTS_DECODED_MAX: usize = 65_535;
/// What a result counts against the limits when recorded, besides the path that it carries.
const RESULT_BYTES: u64 = 160;
/// ZooKeeper's number for a step that was not tried, since one before it failed.
const RUNTIME_INCONSISTENCY: i32 = -2;

/// What became of an operation on the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeOutcome {
    /// The revision of its changes; if it changed nothing, of the state that it saw. This is the
    /// zxid of the reply.
    pub revision: Revision,
    /// What came of it.
    pub result: TreeResult,
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeResult {
    /// Its one step was done.
    One(StepDone),
    /// Its one step failed. Nothing took effect.
    Failed(TreeError),
    /// All steps were done.
    Multi(Vec<StepDone>),
    /// A step failed. Nothing took effect.
    MultiFailed {
        /// Which step failed, from 0.
        step: u32,
        /// How many steps there are.
        steps: u32,
        /// Why it failed.
        error: TreeError,
    },
}

/// What one step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepDone {
    /// It created a znode.
    Created {
        /// The whole path, with the number of a sequential one.
        path: Bytes,
        /// The znode as it was created.
        stat: ZnodeStat,
    },
    /// It deleted a znode.
    Deleted,
    /// It set the data.
    DataSet(ZnodeStat),
    /// It set the access control list.
    AclSet(ZnodeStat),
    /// The znode is there.
    Checked,
}

impl TreeOutcome {
    /// What it counts against the limits when recorded, in bytes.
    pub fn bytes(&self) -> u64 {
        match &self.result {
            TreeResult::One(done) => done.bytes(),
            TreeResult::Multi(all) => RESULT_BYTES + all.iter().map(StepDone::bytes).sum::<u64>(),
            TreeResult::Failed(_) | TreeResult::MultiFailed { .. } => RESULT_BYTES,
        }
    }

    /// The outcome with bytes of its own, sharing none with what it was decoded from.
    #[must_use]
    pub fn detached(&self) -> Self {
        let result = match &self.result {
            TreeResult::One(done) => TreeResult::One(done.detached()),
            TreeResult::Multi(all) => {
                TreeResult::Multi(all.iter().map(StepDone::detached).collect())
            }
            failed @ (TreeResult::Failed(_) | TreeResult::MultiFailed { .. }) => failed.clone(),
        };
        Self { revision: self.revision, result }
    }
}

impl TreeResult {
    /// ZooKeeper's number for each step, as the error records of a reply have them: 0 for what was
    /// done and for what was undone because a later step failed, the reason for that step, and
    /// -2 for what was not tried.
    pub fn codes(&self) -> impl Iterator<Item = i32> {
        let (failed, steps, error) = match self {
            Self::One(_) => (1, 1, 0),
            Self::Failed(error) => (0, 1, error.code()),
            Self::Multi(all) => (all.len() as u32, all.len() as u32, 0),
            Self::MultiFailed { step, steps, error } => (*step, *steps, error.code()),
        };
        (0..steps).map(move |step| match step.cmp(&failed) {
            core::cmp::Ordering::Less => 0,
            core::cmp::Ordering::Equal => error,
            core::cmp::Ordering::Greater => RUNTIME_INCONSISTENCY,
        })
    }
}

impl StepDone {
    fn bytes(&self) -> u64 {
        match self {
            Self::Created { path, .. } => RESULT_BYTES + path.len() as u64,
            Self::DataSet(_) | Self::AclSet(_) | Self::Deleted | Self::Checked => RESULT_BYTES,
        }
    }

    fn detached(&self) -> Self {
        match self {
            Self::Created { path, stat } => {
                Self::Created { path: Bytes::copy_from_slice(path), stat: *stat }
            }
            other => other.clone(),
        }
    }
}

impl Encode for TreeOutcome {
    fn encode(&self, out: &mut Writer) {
        self.revision.encode(out);
        match &self.result {
            TreeResult::One(done) => {
                out.u8(1);
                done.encode(out);
            }
            TreeResult::Failed(error) => {
                out.u8(2);
                error.encode(out);
            }
            TreeResult::Multi(all) => {
                out.u8(3);
                out.varint(all.len() as u64);
                all.iter().for_each(|done| done.encode(out));
            }
            TreeResult::MultiFailed { step, steps, error } => {
                out.u8(4);
                out.varint(u64::from(*step));
                out.varint(u64::from(*steps));
                error.encode(out);
            }
        }
    }
}
impl Decode for TreeOutcome {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let revision = Decode::decode(input)?;
        let result = match input.u8()? {
            1 => TreeResult::One(Decode::decode(input)?),
            2 => TreeResult::Failed(Decode::decode(input)?),
            3 => TreeResult::Multi(decode_all(input, "results", RESULTS_DECODED_MAX, 1)?),
            4 => {
                let (step, steps) = (input.varint_u32("step")?, input.varint_u32("steps")?);
                if step >= steps || steps as usize > RESULTS_DECODED_MAX {
                    return Err(WireError::Invalid { what: "step" });
                }
                TreeResult::MultiFailed { step, steps, error: Decode::decode(input)? }
            }
            tag => {
                return Err(WireError::UnknownTag { what: "outcome", tag: u64::from(tag) });
            }
        };
        Ok(Self { revision, result })
    }
}

impl Encode for StepDone {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Created { path, stat } => {
                out.u8(1);
                out.bytes(path);
                stat.encode(out);
            }
            Self::Deleted => out.u8(2),
            Self::DataSet(stat) => {
                out.u8(3);
                stat.encode(out);
            }
            Self::AclSet(stat) => {
                out.u8(4);
                stat.encode(out);
            }
            Self::Checked => out.u8(5),
        }
    }
}
impl Decode for StepDone {
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(match input.u8()? {
            1 => Self::Created {
                path: input.bytes("path", usize::MAX)?,
                stat: Decode::decode(input)?,
            },
            2 => Self::Deleted,
            3 => Self::DataSet(Decode::decode(input)?),
            4 => Self::AclSet(Decode::decode(input)?),
            5 => Self::Checked,
            tag => {
                return Err(WireError::UnknownTag { what: "result", tag: u64::from(tag) });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn error_records_are_those_of_zookeeper() {
        let codes = |result: TreeResult| result.codes().collect::<Vec<_>>();
        assert_eq!(codes(TreeResult::One(StepDone::Deleted)), [0]);
        assert_eq!(codes(TreeResult::Failed(TreeError::NoNode)), [-101]);
        assert_eq!(codes(TreeResult::Multi(vec![StepDone::Checked; 2])), [0, 0]);
        let error = TreeError::NodeExists;
        let failed = TreeResult::MultiFailed { step: 1, steps: 4, error };
        assert_eq!(codes(failed), [0, -110, -2, -2]);
    }
}
