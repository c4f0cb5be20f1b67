//! The adversarial group against the ordering contract: thousands of random schedules never break
//! it, and reach every situation that it allows and a replica must survive.

use accord_core::group::adversary::coverage::Coverage;
use accord_core::group::adversary::driver::{Happening, Weights};
use accord_core::group::adversary::{AdversarialGroup, AdversaryLimits, Loss};
use accord_core::group::contract::{ContractChecker, Run, Violation};
use accord_core::group::{GroupEvent, SubmitError};
use accord_core::ids::NodeId;
use accord_core::rng::Rng;
use bytes::Bytes;

const STEPS: u32 = 600;

/// A group of numbered nodes whose every event is judged.
struct Judged {
    group: AdversarialGroup,
    checker: ContractChecker,
    submitted: u32,
    /// Everything that happened, digested.
    digest: u64,
}

impl Judged {
    fn new(nodes: u32, messages_max: usize, seed: u64) -> Self {
        let nodes: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
        let limits = AdversaryLimits { messages_max, ..AdversaryLimits::default() };
        let mut group = AdversarialGroup::new(&nodes, limits, seed);
        nodes.iter().for_each(|node| group.start(*node));
        Self { group, checker: ContractChecker::new(), submitted: 0, digest: 0 }
    }

    fn run(&self, node: NodeId) -> Run {
        Run { node, incarnation: self.group.incarnation(node) }
    }

    fn submit(&mut self, node: NodeId) -> Result<(), SubmitError> {
        self.submitted += 1;
        let payload = Bytes::from(self.submitted.to_le_bytes().to_vec());
        self.group.submit(node, payload.clone())?;
        self.checker.on_submit(self.run(node), &payload);
        Ok(())
    }

    fn step(&mut self, rng: &mut Rng, weights: &Weights) -> Result<(), Violation> {
        let what = self.group.step(rng, weights);
        let line = format!("{:x} {what:?}", self.digest);
        self.digest = xxhash_rust::xxh3::xxh3_64(line.as_bytes());
        match &what {
            Happening::Event(node, event) => self.checker.on_event(self.run(*node), event)?,
            Happening::Crashed(node) => self.checker.on_stop(self.run(*node)),
            Happening::Nothing | Happening::Hidden | Happening::Started(_) => {}
        }
        self.group.check();
        Ok(())
    }

    fn storm(&mut self, rng: &mut Rng) -> Result<(), Violation> {
        for _ in 0..STEPS {
            let node = NodeId(1 + rng.below(self.group.nodes().len() as u64) as u32);
            if rng.chance(1, 3) && self.group.is_up(node) {
                let _ = self.submit(node);
            }
            self.step(rng, &Weights::STORMY)?;
        }
        Ok(())
    }

    fn drain(&mut self, rng: &mut Rng) -> Result<(), Violation> {
        while !self.group.is_quiet() {
            self.step(rng, &Weights::CALM)?;
        }
        Ok(())
    }

    /// Ends the trouble and checks that all meet in one view and get what they submit there.
    fn converge(&mut self, rng: &mut Rng) -> Result<(), Violation> {
        let nodes = self.group.nodes();
        nodes.iter().for_each(|node| self.group.resume(*node));
        self.drain(rng)?;
        self.group.settle();
        self.drain(rng)?;
        for node in &nodes {
            self.submit(*node).expect("a drained layer is not full");
        }
        self.drain(rng)?;
        let live: Vec<Run> = nodes.iter().map(|node| self.run(*node)).collect();
        self.checker.check_converged(&live)
    }
}

fn counters(n: &Coverage) -> [(&'static str, u64); 13] {
    [
        ("delivered to its sender only", n.delivered_to_sender_only),
        ("delivered to some only", n.delivered_to_some_only),
        ("lost to its sender only", n.lost_to_sender_only),
        ("delivered in a later view", n.delivered_in_later_view),
        ("delivered in a stale view", n.delivered_in_stale_view),
        ("disjoint views", n.disjoint_views),
        ("views with the same seq", n.same_seq),
        ("merges", n.merges),
        ("quick restarts", n.quick_restarts),
        ("abandoned views", n.abandoned),
        ("lagging by views", n.lagging_by_views),
        ("lost before it was ordered", n.lost_unordered),
        ("refused as full", n.refused),
    ]
}

fn schedule(seed: u64) -> Result<Judged, Violation> {
    let mut rng = Rng::new(seed);
    let nodes = 2 + rng.below(4) as u32;
    let messages_max = [2, 8, 1000][rng.below(3) as usize];
    let mut judged = Judged::new(nodes, messages_max, seed);
    judged.storm(&mut rng)?;
    judged.converge(&mut rng)?;
    Ok(judged)
}

#[test]
fn random_schedules_keep_the_contract_and_reach_all_that_it_allows() {
    let mut total = counters(&Coverage::default());
    let mut deliveries = 0;
    for seed in 0..3000 {
        let judged = schedule(seed).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        for (sum, (_, more)) in total.iter_mut().zip(counters(judged.group.coverage())) {
            sum.1 += more;
        }
        deliveries += judged.checker.deliveries();
    }
    println!("{deliveries} deliveries, {total:?}");
    assert!(deliveries > 100_000, "only {deliveries} deliveries");
    for (name, count) in total {
        assert!(count >= 100, "{name}: only {count} times");
    }
}

#[test]
fn a_schedule_is_a_function_of_its_seed() {
    for seed in 0..20 {
        let (one, two) = (schedule(seed).unwrap(), schedule(seed).unwrap());
        assert_eq!((one.digest, one.submitted), (two.digest, two.submitted));
        assert_eq!(one.group, two.group);
    }
}

fn payload(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Gives the node all its events, and lists them compactly.
fn events(group: &mut AdversarialGroup, node: u32) -> Vec<String> {
    let text = |event| match event {
        GroupEvent::View(view) => format!("{} {:?}", view.id, view.members),
        GroupEvent::Deliver { from, payload } => {
            format!("{from} {}", String::from_utf8(payload.to_vec()).unwrap())
        }
    };
    std::iter::from_fn(|| group.deliver_next(NodeId(node))).map(text).collect()
}

fn three() -> (AdversarialGroup, [NodeId; 3]) {
    let nodes = [1, 2, 3].map(NodeId);
    let mut group = AdversarialGroup::new(&nodes, AdversaryLimits::default(), 1);
    nodes.iter().for_each(|node| group.start(*node));
    group.form_views(&[nodes.to_vec()]);
    for node in 1..=3 {
        assert_eq!(events(&mut group, node), ["v1.n1 [n1, n2, n3]"]);
    }
    (group, nodes)
}

#[test]
fn a_sender_cut_off_delivers_to_itself_what_nobody_else_ever_sees() {
    let (mut group, [one, two, three]) = three();
    group.submit(three, payload("x")).unwrap();
    group.order(three);
    group.form_view(&[one, two], one, Loss::Ordered);
    group.submit(three, payload("y")).unwrap();
    group.order(three);
    assert_eq!(events(&mut group, 3), ["n3 x", "n3 y"]);
    assert_eq!(events(&mut group, 1), ["v2.n1 [n1, n2]"]);
    assert_eq!(events(&mut group, 2), ["v2.n1 [n1, n2]"]);
    group.form_views(&[vec![one, two, three]]);
    assert_eq!(events(&mut group, 2), ["v3.n1 [n1, n2, n3]"]);
    assert_eq!(events(&mut group, 3), ["v3.n1 [n1, n2, n3]"]);
    assert_eq!(group.coverage().delivered_to_sender_only, 2);
}

#[test]
fn those_who_move_together_stop_at_the_same_message_even_if_one_was_ahead() {
    let (mut group, [one, two, three]) = three();
    for text in ["a", "b", "c"] {
        group.submit(one, payload(text)).unwrap();
        group.order(one);
    }
    assert!(group.deliver_next(two).is_some());
    group.form_view(&[two, three], three, Loss::Ordered);
    assert_eq!(events(&mut group, 3), ["n1 a", "v2.n3 [n2, n3]"]);
    assert_eq!(events(&mut group, 2), ["v2.n3 [n2, n3]"]);
    assert_eq!(events(&mut group, 1), ["n1 a", "n1 b", "n1 c"]);
}

#[test]
fn a_member_that_restarts_quickly_has_forgotten_and_its_views_have_other_ids() {
    let (mut group, [one, two, three]) = three();
    let before = group.view(one).unwrap().id;
    group.crash(one);
    group.start(one);
    group.form_views(&[vec![one], vec![two, three]]);
    assert_eq!(events(&mut group, 1), ["v1.n1 [n1]"]);
    assert_ne!(group.view(one).unwrap().id, before);
    assert_eq!(events(&mut group, 2), ["v2.n2 [n2, n3]"]);
}

#[test]
fn an_abandoned_view_is_installed_by_the_others_only() {
    let (mut group, [one, two, three]) = three();
    group.form_views(&[vec![one, two, three]]);
    assert!(group.abandon(three));
    group.submit(three, payload("old")).unwrap();
    assert!(group.order(three));
    assert_eq!(events(&mut group, 3), ["n3 old"]);
    assert_eq!(events(&mut group, 1), ["v2.n1 [n1, n2, n3]"]);
    group.form_views(&[vec![one, three]]);
    assert_eq!(events(&mut group, 3), ["v3.n1 [n1, n3]"]);
}

#[test]
fn a_view_in_which_a_member_has_sent_cannot_be_abandoned() {
    let (mut group, [_, _, three]) = three();
    group.form_views(&[group.nodes()]);
    group.submit(three, payload("new")).unwrap();
    group.order(three);
    assert!(!group.abandon(three));
}

#[test]
fn a_full_layer_refuses_and_accepts_again_after_the_delivery_of_an_own_message() {
    let nodes = [NodeId(1)];
    let limits = AdversaryLimits { messages_max: 1, message_bytes_max: 3, views_waiting_max: 1 };
    let mut group = AdversarialGroup::new(&nodes, limits, 1);
    group.start(nodes[0]);
    group.form_views(&[nodes.to_vec()]);
    assert!(!group.can_form(&nodes));
    let too_large = SubmitError::TooLarge { bytes: 4, bytes_max: 3 };
    assert_eq!(group.submit(nodes[0], payload("long")), Err(too_large));
    group.submit(nodes[0], payload("a")).unwrap();
    assert_eq!(group.submit(nodes[0], payload("b")), Err(SubmitError::Full));
    group.order(nodes[0]);
    assert_eq!(group.submit(nodes[0], payload("b")), Err(SubmitError::Full));
    assert_eq!(events(&mut group, 1), ["v1.n1 [n1]", "n1 a"]);
    assert_eq!(group.submit(nodes[0], payload("b")), Ok(()));
}
