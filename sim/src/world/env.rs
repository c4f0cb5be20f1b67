//! What surrounds the machines of a world: time, agenda, network, connections, judges, trace.
//!
//! Servers and clients are driven one at a time, each with the surroundings in its hands; nothing
//! else passes between them. [`crate::world::node`] and [`crate::world::actor`] are the two kinds
//! of machine; [`crate::world`] calls them.

use crate::judge::acknowledged::Acknowledged;
use crate::judge::barriers::Barriers;
use crate::judge::committed::Committed;
use crate::judge::contract::Contract;
use crate::judge::counts::Counts;
use crate::judge::divergence::Divergence;
use crate::judge::durable::Durable;
use crate::judge::epochs::Epochs;
use crate::judge::exactly_once::ExactlyOnce;
use crate::judge::fresh_reads::FreshReads;
use crate::judge::leases::Leases;
use crate::judge::prefixes::Prefixes;
use crate::judge::silence::Silence;
use crate::judge::situations::Situation;
use crate::judge::snapshots::Snapshots;
use crate::judge::times::Times;
use crate::judge::watches::Watches;
use crate::judge::{Judgement, Property, Violation};
use crate::plan::options::Options;
use crate::plan::rng::{Concern, Rng};
use crate::report::record::Sort;
use crate::world::clock::WorldTime;
use crate::world::conns::{Conn, Conns, ToClient, ToServer};
use crate::world::digest;
use crate::world::event_kind::EventKind;
use crate::world::network::{Arrivals, Network};
use crate::world::schedule::Schedule;
use crate::world::story;
use crate::world::trace::{Story, Trace};
use crate::world::who::Actor;
use accord_core::group::adversary::{AdversarialGroup, AdversaryLimits};
use accord_core::ids::{ConnId, NodeId};
use accord_core::replica::history::Recovery;
use accord_core::replica::log::Log;
use accord_core::server::job::JobResult;
use bytes::Bytes;

/// Something that is going to happen.
#[derive(Debug)]
pub enum Event {
    /// A datagram of the ring arrives.
    Datagram {
        /// The machine that it arrives at.
        to: u32,
        /// From whom.
        from: u32,
        /// The bytes as they were sent.
        bytes: Bytes,
    },
    /// A message beside the group arrives.
    Peer {
        /// The machine that it arrives at.
        to: u32,
        /// From whom.
        from: u32,
        /// The bytes as they were sent.
        bytes: Bytes,
    },
    /// A server that waits for further inputs waits no longer.
    Turn {
        /// The server.
        node: u32,
        /// Of which process.
        incarnation: u64,
    },
    /// A server's deadline may have come.
    NodeTimer {
        /// The server.
        node: u32,
        /// The timer's number: an older one means nothing.
        armed: u64,
    },
    /// A sync of a disk completes.
    Synced {
        /// The machine of the disk.
        node: u32,
        /// The incarnation of the process that waits for it.
        incarnation: u64,
    },
    /// What a server works out beside is done.
    JobDone {
        /// The server.
        node: u32,
        /// The incarnation of the process that waits for it.
        incarnation: u64,
        /// What came of it.
        done: Box<JobResult>,
    },
    /// A process that stopped itself is started again.
    Restart {
        /// The machine.
        node: u32,
        /// The incarnation that stopped.
        incarnation: u64,
    },
    /// A connection brings something to its server.
    ToServer(ConnId, ToServer),
    /// A connection brings something to its client.
    ToClient(ConnId, ToClient),
    /// A client's deadline may have come.
    ClientTimer {
        /// The client.
        client: u32,
        /// The timer's number: an older one means nothing.
        armed: u64,
    },
    /// A client may want to do something.
    Think {
        /// The client.
        client: u32,
        /// Its life: one that was replaced thinks no more.
        life: u64,
    },
    /// A fault of the plan begins.
    FaultBegins(usize),
    /// A fault of the plan ends.
    FaultEnds(usize),
    /// The adversary orders a message of this server.
    Order(u32),
    /// The adversary gives this server its next event.
    Deliver(u32),
    /// The adversary may form new views.
    Reform,
    /// The operator looks what has to be done about a loss of a majority.
    Operator,
    /// The world looks whether it has come to rest.
    Look,
}

/// Judges that are shown what happens.
#[derive(Debug)]
pub struct Judges {
    /// All servers apply the same log.
    pub prefixes: Prefixes,
    /// The time in the order never goes back.
    pub times: Times,
    /// Epochs are unique.
    pub epochs: Epochs,
    /// What is acknowledged is committed.
    pub acknowledged: Acknowledged,
    /// Requests take effect once.
    pub exactly_once: ExactlyOnce,
    /// Reads are fresh.
    pub fresh_reads: FreshReads,
    /// Watches tell all, once, in order.
    pub watches: Watches,
    /// Only who is silent expires.
    pub silence: Silence,
    /// Who has a damaged state stops, and nobody else.
    pub divergence: Divergence,
    /// What is said to be durable is.
    pub durable: Durable,
    /// States say what the log says.
    pub snapshots: Snapshots,
    /// A barrier stands between a read and its answer.
    pub barriers: Barriers,
    /// The group keeps its contract.
    pub contract: Contract,
    /// No client believes in its session for too long.
    pub leases: Leases,
    /// What the cluster did, for those who compare with it.
    pub committed: Committed,
    /// The recovery of the cluster, and whether its entry is committed.
    pub recovery: Option<(Recovery, bool)>,
    /// The recovery gave up what somebody may have seen.
    pub lost: bool,
}

impl Judges {
    /// Nothing has happened in the world of `options`.
    fn new(options: &Options) -> Self {
        Self {
            prefixes: Prefixes::default(),
            times: Times::default(),
            epochs: Epochs::default(),
            acknowledged: Acknowledged::default(),
            exactly_once: ExactlyOnce::default(),
            fresh_reads: FreshReads::default(),
            watches: Watches::default(),
            silence: Silence::default(),
            divergence: Divergence::default(),
            durable: Durable::default(),
            snapshots: Snapshots::default(),
            barriers: Barriers::default(),
            contract: Contract::default(),
            leases: Leases::default(),
            committed: Committed::new(crate::plan::setup::state_limits(options)),
            recovery: None,
            lost: false,
        }
    }

    /// A log shows that the cluster was recovered with it: what is not in it is given up, and
    /// nothing else. True if somebody had applied some of that.
    fn on_recovery(&mut self, recovery: Recovery, log: &Log) -> bool {
        let kept = self.committed.common(log, recovery.fork.index);
        self.recovery = Some((recovery, false));
        self.lost = self.prefixes.last() > kept;
        self.prefixes.give_up_after(kept);
        self.times.give_up_after(kept);
        self.epochs.give_up_after(kept);
        self.acknowledged.give_up_after(kept);
        let acknowledged = &self.acknowledged;
        self.exactly_once
            .give_up(|(session, request)| acknowledged.is_committed(*session, *request));
        self.snapshots.give_up_after(kept);
        self.committed.give_up_after(kept);
        self.lost
    }
}

/// The surroundings.
#[derive(Debug)]
pub struct Surroundings {
    /// Now, in the world's time.
    pub now: WorldTime,
    /// What is going to happen.
    pub agenda: Schedule<Event>,
    /// Between servers.
    pub network: Network,
    /// Between clients and servers.
    pub conns: Conns,
    /// The group of all servers, in a world without a ring.
    pub adversary: Option<Adversary>,
    /// What must hold.
    pub judges: Judges,
    /// What happened, as a digest and a story.
    pub trace: Trace,
    /// What happened, in numbers.
    pub counts: Counts,
    /// The first property that does not hold.
    pub violation: Option<Violation>,
    /// True while things go wrong; false once the world is healed.
    pub stormy: bool,
    /// Operations that clients may still start.
    pub operations_left: u32,
    /// Tests of the tests: this property is taken for violated when it is next judged.
    canary: Option<Property>,
}

/// The adversarial group and what is on the agenda for it.
#[derive(Debug)]
pub struct Adversary {
    /// The group.
    pub group: AdversarialGroup,
    /// Its dice.
    pub rng: Rng,
    /// Servers for which an order is on the agenda.
    pub ordering: Vec<bool>,
    /// Servers for which a delivery is on the agenda.
    pub delivering: Vec<bool>,
}

impl Surroundings {
    /// The surroundings of a world that has not begun.
    pub fn new(options: &Options, story: Option<Story>) -> Self {
        Self {
            now: WorldTime::START,
            agenda: Schedule::default(),
            network: Network::new(options),
            conns: Conns::new(options),
            adversary: None,
            judges: Judges::new(options),
            trace: Trace::new(story),
            counts: Counts::default(),
            violation: None,
            stormy: true,
            operations_left: options.operations,
            canary: options.canary,
        }
    }

    /// Puts an adversarial group in the place of the ring.
    pub fn add_adversary(&mut self, options: &Options, limits: AdversaryLimits) {
        let nodes: Vec<NodeId> = (1..=options.nodes()).map(NodeId).collect();
        let mut rng = Rng::of(options.seed, Concern::Adversary, 0);
        let flags = vec![false; nodes.len() + 1];
        let group = AdversarialGroup::new(&nodes, limits, rng.next_u64());
        self.adversary = Some(Adversary { group, rng, ordering: flags.clone(), delivering: flags });
    }

    /// Notes that a property does not hold; the first one counts.
    pub fn fail(&mut self, property: Property, detail: impl Into<String>) {
        if self.violation.is_none() {
            let detail = detail.into();
            self.tell(Actor::World, || format!("VIOLATION of {property}: {detail}"));
            self.violation = Some(Violation { property, at: self.now, detail });
        }
    }

    /// Takes a property's judgement.
    pub fn judge(&mut self, property: Property, judgement: Judgement) {
        self.counts.judged[property as usize] += 1;
        match judgement {
            Err(detail) => self.fail(property, detail),
            Ok(()) if self.canary == Some(property) => self.fail(property, "the canary sings"),
            Ok(()) => {}
        }
    }

    /// Looks whether this log begins a new era.
    pub fn look_for_recovery(&mut self, log: &Log) {
        let last = log.voters().history.recoveries().last().copied();
        let known = self.judges.recovery.map(|(recovery, _)| recovery);
        let Some(recovery) = last.filter(|_| last != known) else { return };
        self.met(Situation::Recovered);
        self.tell(Actor::World, || format!("is recovered: {recovery:?}"));
        if self.judges.on_recovery(recovery, log) {
            self.met(Situation::RecoveredWithLoss);
        }
    }

    /// Notes that the world has come to a situation.
    pub fn met(&mut self, situation: Situation) {
        self.counts.situations.insert(situation, 1);
    }

    /// Tells a line of the story.
    pub fn tell(&mut self, who: Actor, line: impl FnOnce() -> String) {
        self.trace.tell(self.now, who, line);
    }

    /// Sends a datagram from one server to another.
    pub fn send_datagram(&mut self, from: u32, to: u32, bytes: &Bytes) {
        let who = Actor::Server(from);
        self.trace.numbered(self.now, who, EventKind::SentDatagram, u64::from(to), bytes);
        let arrivals = self.network.send(self.now, from, to);
        self.record_packet(Sort::Ring, (from, to), arrivals, || story::datagram(bytes));
        for at in [arrivals.first, arrivals.second].into_iter().flatten() {
            self.agenda.push(at, Event::Datagram { to, from, bytes: bytes.clone() });
        }
    }

    /// Sends a message beside the group, which may be lost or come twice.
    pub fn send_peer(&mut self, from: u32, to: u32, bytes: &Bytes) {
        let who = Actor::Server(from);
        self.trace.numbered(self.now, who, EventKind::SentPeer, u64::from(to), bytes);
        let arrivals = self.network.send(self.now, from, to);
        self.record_packet(Sort::Peer, (from, to), arrivals, || story::peer_message(bytes));
        for at in [arrivals.first, arrivals.second].into_iter().flatten() {
            self.agenda.push(at, Event::Peer { to, from, bytes: bytes.clone() });
        }
    }

    fn record_packet(
        &mut self,
        sort: Sort,
        (from, to): (u32, u32),
        arrivals: Arrivals,
        words: impl FnOnce() -> String,
    ) {
        let Some(record) = self.trace.record_mut() else { return };
        let (ends, words) = ((Actor::Server(from), Actor::Server(to)), words());
        if let Some(second) = arrivals.second {
            let again = format!("{words} (a duplicate)");
            record.message(sort, self.now, Some(second), ends, again);
        }
        record.message(sort, self.now, arrivals.first, ends, words);
    }

    /// A client sends something over a connection, which may swallow it.
    pub fn send_up(&mut self, conn: ConnId, what: ToServer) {
        let client = self.conns.get(conn).client;
        digest::sent_up(&mut self.trace, self.now, client, conn, &what);
        let arrives = self.conns.send_up(self.now, conn);
        if let Some(record) = self.trace.record_mut() {
            let Conn { client, node, .. } = *self.conns.get(conn);
            let ends = (Actor::Client(client), Actor::Server(node));
            record.message(Sort::Client, self.now, arrives, ends, story::to_server(conn, &what));
        }
        if let Some(at) = arrives {
            self.agenda.push(at, Event::ToServer(conn, what));
        }
    }

    /// A server sends something over a connection, which may swallow it.
    pub fn send_down(&mut self, conn: ConnId, what: ToClient) {
        let node = self.conns.get(conn).node;
        digest::sent_down(&mut self.trace, self.now, node, conn, &what);
        let arrives = self.conns.send_down(self.now, conn);
        if let Some(record) = self.trace.record_mut() {
            let Conn { client, node, .. } = *self.conns.get(conn);
            let ends = (Actor::Server(node), Actor::Client(client));
            record.message(Sort::Client, self.now, arrives, ends, story::to_client(conn, &what));
        }
        if let Some(at) = arrives {
            self.agenda.push(at, Event::ToClient(conn, what));
        }
    }

    /// Closes a connection at the server's end, after what was sent before.
    pub fn close_down(&mut self, conn: ConnId) {
        self.conns.get(conn).server_open = false;
        self.send_down(conn, ToClient::Closed);
    }
}
