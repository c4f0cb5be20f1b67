//! Writes a few inputs for each target, from which a fuzzer finds its way sooner: `cargo run
//! --example seeds`, in the directory of the fuzz targets.

use accord_core::holder::{Holder, SessionSecret};
use accord_core::ids::{NodeId, RequestId, Revision, SessionId, WatchId};
use accord_core::limits::Limits;
use accord_core::protocol::{
    ClientMessage, Consistency, EventMask, PROTOCOL_VERSION, ReadWatch, ServerMessage, WatchFilter,
    encode_client, encode_server,
};
use accord_core::state::{
    Command, Compare, Flags, ListQuery, OpRef, Range, ReadQuery, Relation, State, Step, Txn, Width,
};
use accord_core::stream::{Kind, Preface, write_message};
use accord_core::wire::Encode;
use accord_fuzz::push_operation;
use bytes::Bytes;
use std::path::Path;
use std::{fs, io};

fn key(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

fn transactions() -> Vec<Bytes> {
    let (key, value) = (key("k"), key("value"));
    let list = ListQuery { range: Range::ALL, after: None, limit: 9, keys_only: false };
    let (flags, offset) = (Flags::CREATE, None);
    let steps = vec![
        Step::Write { key: key.clone(), value: value.clone(), offset: 0, flags },
        Step::Read { key: key.clone(), offset: 0, length_max: 9 },
        Step::Copy { source: key.clone(), target: value.clone(), flags },
        Step::Increment { key: "n".into(), delta: 1, offset, width: Width::Eight, flags },
        Step::List(list),
        Step::Compare(Compare::Exists { key: key.clone() }),
        Step::Delete { key: key.clone() },
    ];
    let guard = vec![Compare::Value { key, relation: Relation::Equal, value }];
    let flags = Flags::SEQUENCE | Flags::EPHEMERAL;
    let numbered = Step::Write { key: "s".into(), value: "v".into(), offset: 0, flags };
    let guarded = Txn { guard, then: steps.clone(), otherwise: vec![numbered] };
    let mut all: Vec<Bytes> =
        steps.into_iter().map(|step| OpRef::Kv(&Txn::of(vec![step])).to_bytes()).collect();
    all.push(OpRef::Kv(&guarded).to_bytes());
    all
}

fn client_messages() -> Vec<Bytes> {
    let request = |(at, op): (usize, Bytes)| {
        let (request, acked_below) = (RequestId(at as u64 + 1), RequestId(1));
        ClientMessage::Request { request, acked_below, op }
    };
    let watch = |filter| ClientMessage::Watch {
        watch: WatchId(1),
        filter,
        mask: EventMask::ALL,
        once: false,
        from: Some(Revision(0)),
    };
    let read = |query| ClientMessage::read(1, Consistency::Local, query);
    let mut all = vec![ClientMessage::Open { timeout_ms: 100 }];
    all.extend(transactions().into_iter().enumerate().map(request));
    all.extend([
        read(ReadQuery::Get { key: key("k"), offset: 0, length_max: 9 }),
        read(ReadQuery::Members { after: None, limit: 9 }),
        read(ReadQuery::Session { session: SessionId(1) }),
        watch(WatchFilter::Prefix(key("k"))),
        watch(WatchFilter::Members),
        ClientMessage::Unwatch { watch: WatchId(1) },
        ClientMessage::Ping { nonce: 1 },
        ClientMessage::Read {
            read: 2,
            consistency: Consistency::Linearizable,
            after: Some(RequestId(3)),
            watch: Some(Box::new(ReadWatch {
                watch: WatchId(2),
                filter: WatchFilter::Key(key("k")),
                mask: EventMask::ALL,
                once: true,
            })),
            query: ReadQuery::Get { key: key("k"), offset: 0, length_max: 9 },
        },
        ClientMessage::Attach { session: SessionId(1), secret: SECRET, seen: Revision(1) },
        ClientMessage::Close,
    ]);
    all.iter().map(encode_client).collect()
}

const SECRET: SessionSecret = SessionSecret([7; 16]);

fn server_messages() -> Vec<Bytes> {
    let (session, watch, revision) = (SessionId(1), WatchId(1), Revision(2));
    let messages = [
        ServerMessage::Opened { session, secret: SECRET, timeout_ms: 1000, revision },
        ServerMessage::Watching { watch, from: revision, members: Some(vec![session]) },
        ServerMessage::Pong { nonce: 1, revision },
        ServerMessage::Status { primary: false },
        ServerMessage::WatchLost { watch, oldest: revision },
        ServerMessage::Attached { session, timeout_ms: 1000, generation: 2, revision },
    ];
    messages.iter().map(encode_server).collect()
}

fn sequence(which: u8, messages: &[Bytes]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|message| push_operation(&mut out, which, message));
    out
}

fn snapshot() -> Vec<u8> {
    let mut state = State::new(Limits::tiny());
    let open =
        Command::Open { server: NodeId(1), token: 1, timeout_ms: 1000, holder: Holder::default() };
    state.apply(&open.to_bytes(), &mut Vec::new());
    [&[3], &state.snapshot()[..]].concat()
}

fn write(target: &str, inputs: &[Vec<u8>]) -> io::Result<()> {
    let directory = Path::new("corpus").join(target);
    fs::create_dir_all(&directory)?;
    for (number, input) in inputs.iter().enumerate() {
        fs::write(directory.join(format!("seed-{number}")), input)?;
    }
    println!("{target}: {} seeds", inputs.len());
    Ok(())
}

fn main() -> io::Result<()> {
    let plain = |all: Vec<Bytes>| all.iter().map(|one| one.to_vec()).collect::<Vec<_>>();
    let mut stream = vec![3, 1, 2, 200];
    for message in client_messages() {
        write_message(&mut stream, |out| out.extend_from_slice(&message));
    }
    let preface = Preface { kind: Kind::Client, version: PROTOCOL_VERSION }.to_bytes().to_vec();
    let mut conversation = Vec::new();
    push_operation(&mut conversation, 0, &[]);
    conversation.extend(sequence(3, &client_messages()));
    let ring: Vec<Vec<u8>> = (3..9).map(|kind| sequence(kind, &[vec![0; 60].into()])).collect();
    let open =
        Command::Open { server: NodeId(1), token: 1, timeout_ms: 1, holder: Holder::default() }
            .to_bytes();
    write("client_messages", &plain(client_messages()))?;
    write("server_messages", &[sequence(5, &server_messages())])?;
    write("frames", &[stream.clone(), preface])?;
    write("ring_datagrams", &ring)?;
    write("replica_messages", &[snapshot(), [&[2], &open[..]].concat()])?;
    write("operator_json", &[b"{\"op\":\"status\"}".to_vec()])?;
    write("transactions", &[sequence(1, &transactions()), sequence(2, &transactions())])?;
    write("conversation", &[conversation])?;
    let mut bytes = vec![0, 0];
    for piece in stream[4..].chunks(50) {
        push_operation(&mut bytes, 3, piece);
    }
    write("front_ends", &[bytes])
}
