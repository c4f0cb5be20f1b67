//! Rows: what processors announce of themselves and pass on of others, and their encoding.

use crate::group::ring::packet::{Proc, decode_procs, encode_procs, invalid};
use crate::group::{MEMBERS_MAX, Standing, ViewId};
use crate::ids::{LogPosition, NodeId};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// What is known of one processor: its own words, perhaps passed on by others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) proc: Proc,
    /// Counts the processor's announcements: the highest is the newest.
    pub(super) version: u64,
    /// The highest ring sequence that the processor knows of.
    pub(super) seq_max: u64,
    /// The ring that the processor is or was last in.
    pub(super) ring: ViewId,
    pub(super) gathering: bool,
    pub(super) standing: Standing,
    /// Whom it hears. Sorted.
    pub(super) hears: Vec<Proc>,
    /// Whom it wants to form a ring with; empty while undecided. Sorted.
    pub(super) proposal: Vec<Proc>,
}

/// The voter sets that rows name, each once.
fn encode_voters(
    rows: &[(usize, &Row)],
    out: &mut Writer,
) -> BTreeMap<(LogPosition, Vec<NodeId>), usize> {
    let mut sets = BTreeMap::new();
    for (_, row) in rows {
        sets.insert((row.standing.known_at, row.standing.voters.clone()), 0);
    }
    out.varint(sets.len() as u64);
    for (at, ((known_at, voters), number)) in sets.iter_mut().enumerate() {
        *number = at;
        known_at.encode(out);
        out.varint(voters.len() as u64);
        voters.iter().for_each(|node| node.encode(out));
    }
    sets
}

fn decode_voters(input: &mut Reader) -> Result<Vec<Standing>, WireError> {
    let count = input.count("voter sets", MEMBERS_MAX, 3)?;
    let mut sets = Vec::with_capacity(count);
    for _ in 0..count {
        let known_at = LogPosition::decode(input)?;
        let count = input.count("voters", MEMBERS_MAX, 1)?;
        let voters = (0..count).map(|_| NodeId::decode(input)).collect::<Result<Vec<_>, _>>()?;
        if !voters.is_sorted_by(|a, b| a < b) {
            return Err(invalid("order of voters"));
        }
        sets.push(Standing { known_at, voters, votes: false });
    }
    Ok(sets)
}

/// Rows share one table of processors, to which they refer by bit masks, and one of voter sets.
pub(super) fn encode_rows(rows: &[Row], out: &mut Writer) {
    // Rows that do not fit are left out; the sender's own comes first. Only a group that restarts
    // repeatedly has that many.
    let mentioned = rows
        .iter()
        .flat_map(|row| core::iter::once(&row.proc).chain(&row.proposal).chain(&row.hears));
    let mut procs = BTreeSet::new();
    for proc in mentioned {
        if procs.len() < MEMBERS_MAX {
            procs.insert(*proc);
        }
    }
    let procs: Vec<Proc> = procs.into_iter().collect();
    let mask = |list: &[Proc]| {
        let bits = list.iter().filter_map(|proc| procs.binary_search(proc).ok());
        bits.fold(0u128, |mask, at| mask | 1 << at)
    };
    let known: Vec<(usize, &Row)> =
        rows.iter().filter_map(|row| Some((procs.binary_search(&row.proc).ok()?, row))).collect();
    encode_procs(&procs, out);
    let sets = encode_voters(&known, out);
    out.varint(known.len() as u64);
    for (at, row) in known {
        out.varint(at as u64);
        out.varint(row.version);
        out.varint(row.seq_max);
        row.ring.encode(out);
        out.bool(row.gathering);
        out.bool(row.standing.votes);
        out.varint(sets[&(row.standing.known_at, row.standing.voters.clone())] as u64);
        for mask in [mask(&row.hears), mask(&row.proposal)] {
            out.u64(mask as u64);
            out.u64((mask >> 64) as u64);
        }
    }
}

pub(super) fn decode_rows(input: &mut Reader) -> Result<Vec<Row>, WireError> {
    let procs = decode_procs(input)?;
    let sets = decode_voters(input)?;
    let count = input.count("rows", procs.len(), 1 + 1 + 1 + 10 + 3 + 32)?;
    let mut rows = Vec::with_capacity(count);
    for _ in 0..count {
        let at = input.varint()?;
        let proc = usize::try_from(at).ok().and_then(|at| procs.get(at));
        let proc = *proc.ok_or(invalid("row processor"))?;
        let (version, seq_max) = (input.varint()?, input.varint()?);
        let ring = ViewId::decode(input)?;
        let gathering = input.bool()?;
        let votes = input.bool()?;
        let set = usize::try_from(input.varint()?).ok().and_then(|at| sets.get(at));
        let standing = Standing { votes, ..set.cloned().ok_or(invalid("row voters"))? };
        let hears = decode_mask(&procs, input)?;
        let proposal = decode_mask(&procs, input)?;
        rows.push(Row { proc, version, seq_max, ring, gathering, standing, hears, proposal });
    }
    Ok(rows)
}

fn decode_mask(procs: &[Proc], input: &mut Reader) -> Result<Vec<Proc>, WireError> {
    let mask = u128::from(input.u64()?) | u128::from(input.u64()?) << 64;
    if procs.len() < 128 && mask >> procs.len() != 0 {
        return Err(invalid("row mask"));
    }
    Ok(procs.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, p)| *p).collect())
}
