//! What a datagram says, in words, for traces.

use crate::group::ring::packet::{Body, Commit, Packet, Proc, Seal, Token};
use crate::group::ring::rows::Row;
use crate::ids::NodeId;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;

/// What a datagram made with this key says. Members are named by their nodes.
pub fn describe(key: [u8; 32], datagram: &Bytes) -> String {
    match Seal::new(key).open(datagram) {
        Err(error) => format!("{error:?}"),
        Ok((_, Body::Data(data))) => {
            format!("data {} #{} {}", data.ring, data.seq, packet(&data.packet))
        }
        Ok((_, Body::Token(it))) => token(&it),
        Ok((_, Body::Commit(it))) => commit(&it),
        Ok((from, Body::Presence(rows))) => {
            let own = rows.iter().find(|row| row.proc == from);
            own.map_or_else(|| "presence".to_string(), presence)
        }
        Ok((_, Body::HoldCancel(ring))) => format!("hold cancel {ring}"),
        Ok((_, Body::Leave)) => "leave".to_string(),
    }
}

/// Whose it is, and the datagram of an old ring that it carries or the size of its body.
fn packet(it: &Packet) -> String {
    let body = it.body();
    match it.wrapped {
        true => match Seal::unwrap(&body) {
            Some(old) => {
                format!("wrapped ({} #{} of {})", old.ring, old.seq, old.packet.origin.node)
            }
            None => "wrapped (malformed)".to_string(),
        },
        false => format!("of {}, {} bytes", it.origin.node, body.len()),
    }
}

fn token(it: &Token) -> String {
    let mut line = format!("token {} hop={} seq={} aru={}", it.ring, it.hop, it.seq, it.aru);
    if let Some(node) = it.aru_setter {
        line += &format!(" lowered-by={node}");
    }
    if it.ready > 0 {
        line += &format!(" ready={}", it.ready);
    }
    if !it.requests.is_empty() {
        line += &format!(" requests={:?}", it.requests);
    }
    line
}

fn commit(it: &Commit) -> String {
    let from = it.members.iter().zip(&it.entries);
    let from = from.map(|(proc, entry)| format!("{}:{}/{}", proc.node, entry.ring, entry.aru));
    let from: Vec<String> = from.collect();
    format!("commit {} hop={} [{}] from=[{}]", it.ring, it.hop, nodes(&it.members), from.join(" "))
}

fn presence(row: &Row) -> String {
    let mut line = format!("presence in {} hears=[{}]", row.ring, nodes(&row.hears));
    if row.gathering {
        line += " gathers";
    }
    if !row.proposal.is_empty() {
        line += &format!(" proposes=[{}]", nodes(&row.proposal));
    }
    line
}

fn nodes(procs: &[Proc]) -> String {
    let nodes: Vec<String> =
        procs.iter().map(|proc| proc.node).map(|n: NodeId| n.to_string()).collect();
    nodes.join(" ")
}
