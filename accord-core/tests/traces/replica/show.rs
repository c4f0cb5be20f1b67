//! How the servers' outputs are written in a trace.

use accord_core::group::{GroupEvent, View};
use accord_core::ids::NodeId;
use accord_core::replica::io::{
    Action, Body, ClosedReason, Entry, Record, ReplicaStatus, commands,
};
use accord_core::replica::message::{Frame, GroupMessage, PeerMessage, Report};
use accord_core::replica::voters::{VoterChange, VoterSet};
use accord_core::wire::Decode;
use bytes::Bytes;
use std::fmt::Display;

/// Several things, separated by blanks, in brackets.
pub fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(" "))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_string()
}

fn words(batch: &Bytes) -> String {
    list(commands(batch).map(|command| text(&command)))
}

pub fn voters(set: &VoterSet) -> String {
    let mut voters: Vec<String> =
        set.voters.iter().map(|(node, store)| format!("{node}:{}", store.0)).collect();
    voters.extend(set.returning.iter().map(|node| format!("({node})")));
    list(voters)
}

pub fn view(view: &View) -> String {
    format!("view {} {}", view.id, list(&view.members))
}

pub fn entry(entry: &Entry) -> String {
    let body = match &entry.body {
        Body::Marker { members } => format!("marker {}", list(members)),
        Body::Batch { origin, number, commands, .. } if commands.is_empty() => {
            format!("{origin}#{number} (repeated)")
        }
        Body::Batch { origin, number, commands, .. } => {
            format!("{origin}#{number} {}", words(commands))
        }
        Body::Voters(set) => match set.recovery_at(entry.index) {
            Some(it) => format!("RECOVERY {} from {} voters {}", it.era, it.fork, voters(set)),
            None => format!("voters {}", voters(set)),
        },
    };
    format!("{} {body}", entry.position())
}

pub fn event(event: &GroupEvent) -> String {
    match event {
        GroupEvent::View(v) => view(v),
        GroupEvent::Deliver { from, payload } => format!("{from}: {}", message(payload)),
    }
}

pub fn message(payload: &Bytes) -> String {
    match GroupMessage::from_payload(payload).expect("servers speak one language") {
        GroupMessage::Report(it) => report(&it),
        GroupMessage::Promise { view, epoch } => format!("promise {view} {epoch}"),
        GroupMessage::Frame(it) => frame(&it),
    }
}

fn report(it: &Report) -> String {
    let mut line = format!(
        "report {} store={} promised={} last={} commit={} voters={}",
        it.view,
        it.store.0,
        it.promised,
        it.last,
        it.commit,
        voters(&it.voters)
    );
    if it.bootstrap {
        line += " bootstrap";
    }
    if it.recover {
        line += " RECOVER";
    }
    line
}

fn change(change: &VoterChange) -> String {
    match change {
        VoterChange::Add { node, store } => format!("add {node}:{}", store.0),
        VoterChange::Remove { node, store, returning: false } => {
            format!("remove {node}:{}", store.0)
        }
        VoterChange::Remove { node, store, returning: true } => {
            format!("remove-to-return {node}:{}", store.0)
        }
    }
}

fn frame(it: &Frame) -> String {
    let mut line = format!("frame {}", it.epoch);
    if let Some(batch) = &it.batch {
        line += &format!(" #{} {}", batch.number, words(&batch.commands));
    }
    if it.acked.0 > 0 {
        line += &format!(" ack={}", it.acked);
    }
    line += &format!(" seen={}", it.seen);
    if it.barrier {
        line += " barrier";
    }
    if let Some((index, digest)) = it.digest {
        line += &format!(" digest={index}:{:04x}", digest & 0xffff);
    }
    if let Some((_, it)) = &it.change {
        line += &format!(" change=({})", change(it));
    }
    line
}

pub fn peer(bytes: &Bytes) -> String {
    match PeerMessage::from_bytes(bytes).expect("servers speak one language") {
        PeerMessage::FetchLog { epoch, request, ends, commit, until } => format!(
            "fetch-log {epoch} {request} have={} commit={commit} until={until}",
            list(ends.listed())
        ),
        PeerMessage::LogChunk { epoch, request, common, entries } => {
            let entries = list(entries.iter().map(Entry::position));
            format!("log {epoch} {request} common={common} entries={entries}")
        }
        PeerMessage::UseSnapshot { epoch, request, common } => {
            let common = common.map_or_else(|| "?".to_owned(), |index| index.to_string());
            format!("use-snapshot {epoch} {request} common={common}")
        }
        PeerMessage::FetchSnapshot { epoch, request, image, offset } => {
            format!("fetch-snapshot {epoch} {request} image={image} offset={offset}")
        }
        PeerMessage::SnapshotChunk { epoch, request, image, total_bytes, offset, data } => {
            let end = offset + data.len() as u64;
            format!("snapshot {epoch} {request} image={image} bytes={offset}..{end}/{total_bytes}")
        }
        PeerMessage::NotReady { epoch, request } => format!("not-ready {epoch} {request}"),
    }
}

pub fn record(record: &Record) -> String {
    match record {
        Record::Identity { store, bootstrap, .. } => {
            format!("identity store={}{}", store.0, if *bootstrap { " bootstrap" } else { "" })
        }
        Record::Promise(epoch) => format!("promise {epoch}"),
        Record::Append(it) => format!("append {}", entry(it)),
        Record::Truncate(from) => format!("truncate from {from}"),
        Record::Checkpoint(it) => format!("checkpoint {}", it.last),
        Record::Install(it) => format!("install {}", it.last),
    }
}

/// An action, and whether a client or an operator would notice it.
pub fn action(action: &Action) -> (bool, String) {
    match action {
        Action::Multicast(payload) => (false, format!("multicast {}", message(payload))),
        Action::Persist { ticket, record: it } => {
            (false, format!("persist {ticket} {}", record(it)))
        }
        Action::Peer { to, message } => (false, format!("to {to}: {}", peer(message))),
        Action::Commit(it) => (true, format!("commit {}", entry(it))),
        Action::Opened { epoch, members } => (true, format!("open {epoch} {}", list(members))),
        Action::Closed(ClosedReason::Gathering) => (false, "closed: the view has changed".into()),
        Action::Closed(reason) => (true, format!("closed: {reason}")),
        Action::BarrierDone { up_to, index } => {
            (true, format!("reads up to {} may see {index}", up_to.0))
        }
        Action::SnapshotWanted => (false, "wants the state".into()),
        Action::SnapshotReceived { .. } => (false, "has received a snapshot".into()),
        Action::Install { index, state } => {
            (true, format!("install {index} {}", list(text(state).lines())))
        }
        Action::VotersChanged { request, result: Ok(()) } => {
            (true, format!("change {request} done"))
        }
        Action::VotersChanged { request, result: Err(error) } => {
            (true, format!("change {request} refused: {error}"))
        }
        Action::Standing(it) => {
            let vote = if it.votes { "votes" } else { "does not vote" };
            (false, format!("{vote} with {} as of {}", list(&it.voters), it.known_at))
        }
        Action::Halt(reason) => (true, format!("HALT: {reason}")),
    }
}

pub fn status(node: NodeId, it: &ReplicaStatus) -> String {
    let phase = match (&it.epoch, &it.closed) {
        (None, Some(ClosedReason::Gathering)) => "gathering".into(),
        (Some(epoch), _) if it.synced => format!("open {epoch}"),
        (Some(epoch), _) => format!("open {epoch}, fetching"),
        (None, Some(reason)) => format!("closed ({reason})"),
        (None, None) => "closed".into(),
    };
    format!(
        "{node}: {phase}{} promised={} last={} durable={} commit={} voters={}{}",
        if it.halted { ", HALTED" } else { "" },
        it.promised,
        it.last,
        it.durable,
        it.commit,
        voters(&it.voters),
        match it.messages_ignored {
            0 => String::new(),
            count => format!(" ignored={count}"),
        }
    )
}
