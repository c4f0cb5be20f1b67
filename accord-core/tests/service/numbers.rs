//! Numbers that a server gives to the requests of clients that number nothing.

use crate::cluster::Cluster;
use accord_core::gateway::numbers::Numbers;
use accord_core::ids::{ConnId, NodeId, RequestId, Revision, SessionId};
use accord_core::protocol::{ClientMessage, ServerMessage};
use accord_core::rng::Rng;
use accord_core::state::{
    Flags, OpRef, Outcome, ReadQuery, ReadResult, Step, StepResult, Txn, TxnOutcome,
};
use accord_core::wire::Encode;
use std::collections::BTreeMap;

/// A client of a front-end that numbers requests itself: it sends writes and counts nothing.
struct Unnumbered {
    session: SessionId,
    conn: ConnId,
    numbers: Numbers,
    /// Requests that are not answered, with what they write.
    under_way: BTreeMap<RequestId, String>,
    /// Keys that the client was told of.
    written: Vec<String>,
    count: u64,
    /// The session is attached here, as far as the client knows.
    attached: bool,
}

impl Unnumbered {
    fn open(cluster: &mut Cluster, node: u32) -> Self {
        let (conn, session) = cluster.open(node, 60_000);
        let (numbers, under_way, written) = (Numbers::new(1), BTreeMap::new(), Vec::new());
        Self { session, conn, numbers, under_way, written, count: 0, attached: true }
    }

    /// Writes a key that no other request writes.
    fn write(&mut self, cluster: &mut Cluster) {
        self.count += 1;
        let key = format!("{}/{}", self.session, self.count);
        let (request, acked_below) = self.numbers.give().expect("there are more");
        let op = OpRef::Kv(&create(&key)).to_bytes();
        let before = self.under_way.insert(request, key);
        assert_eq!(before, None, "{request} was given twice");
        cluster.say(self.conn, ClientMessage::Request { request, acked_below, op });
    }

    /// Cuts the connection off, and attaches the session again.
    fn attach(&mut self, cluster: &mut Cluster, node: u32) {
        cluster.hang_up(self.conn);
        self.conn = cluster.connect(node);
        // What becomes of these, nobody will say.
        self.under_way.clear();
        self.attached = false;
        let attachment = cluster.attachment(self.session, Revision(0));
        cluster.say(self.conn, attachment);
    }

    fn hear(&mut self, cluster: &mut Cluster) {
        for message in cluster.take(self.conn) {
            match message {
                ServerMessage::Attached { generation, .. } => {
                    self.numbers = Numbers::new(generation);
                    self.attached = true;
                }
                // An attachment of before came later into the order.
                ServerMessage::SessionClosed { .. } => self.attached = false,
                ServerMessage::Reply { request, outcome } => {
                    let key = self.under_way.remove(&request).expect("it was asked");
                    self.numbers.note_answer(request);
                    let Outcome::Txn(TxnOutcome::Committed { results, .. }) = outcome else {
                        panic!("{key} was not written: {outcome:?}");
                    };
                    assert!(matches!(results[..], [StepResult::Written { version: 1, .. }]));
                    self.written.push(key);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn check(&self, cluster: &Cluster) {
        let state = cluster.servers[&NodeId(1)].state();
        for key in &self.written {
            let key = key.clone().into_bytes().into();
            let found = state.read(&ReadQuery::Get { key, offset: 0, length_max: 1 });
            assert!(
                matches!(found, ReadResult::Value { .. }),
                "a write that was answered is there"
            );
        }
    }
}

fn create(key: &str) -> Txn {
    Txn::of(vec![Step::Write {
        key: key.to_owned().into(),
        value: "v".into(),
        offset: 0,
        flags: Flags::CREATE.with(Flags::EXCLUSIVE),
    }])
}

// Claims: C-write-once
#[test]
fn a_number_of_an_attachment_is_no_number_of_the_one_before_that_is_under_way() {
    let mut cluster = Cluster::new(3);
    let mut client = Unnumbered::open(&mut cluster, 1);
    client.write(&mut cluster);
    cluster.run();
    client.hear(&mut cluster);
    // Two writes leave server 1 with the connection cut off behind them, and come into the order
    // after the attachment at server 2, which has not seen them.
    client.write(&mut cluster);
    client.write(&mut cluster);
    client.attach(&mut cluster, 2);
    cluster.overtake(1);
    while cluster.inboxes[&client.conn].messages.is_empty() {
        assert!(cluster.deliver_one(), "the attachment is answered");
    }
    client.hear(&mut cluster);
    client.write(&mut cluster);
    client.write(&mut cluster);
    cluster.run();
    client.hear(&mut cluster);
    assert_eq!(client.written.len(), 3, "and none of the two that were cut off");
    client.check(&cluster);
}

// Claims: C-write-once
#[test]
fn whatever_is_cut_off_each_answered_write_is_there() {
    let (mut answered, mut cut_off) = (0, 0);
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut cluster = Cluster::new(3);
        let mut client = Unnumbered::open(&mut cluster, 1);
        for _ in 0..60 {
            match rng.below(10) {
                0..=3 if client.attached => client.write(&mut cluster),
                4 => {
                    cut_off += client.under_way.len();
                    client.attach(&mut cluster, 1 + rng.below(3) as u32);
                }
                5 => cluster.overtake(1 + rng.below(3) as u32),
                6 => cluster.run(),
                _ => {
                    cluster.deliver_one();
                }
            }
            client.hear(&mut cluster);
        }
        cluster.run();
        client.hear(&mut cluster);
        client.check(&cluster);
        answered += client.written.len();
    }
    assert!(answered > 1000 && cut_off > 100, "{answered} {cut_off}");
}
