//! A group layer that does everything the contract allows, and nothing that it forbids.
//!
//! One [`AdversarialGroup`] stands for the group layers of all members at once. Nothing happens in
//! it by itself: its caller (a trace, a simulator's dice, a model checker) says what is ordered,
//! who is delivered what and when, which views form, and what is lost with the old ones. Where the
//! contract leaves a choice, there is an operation or a [`Loss`] for each side of it:
//!
//! - *agreed, not safe*: a member may be delivered its own messages, and crash or be cut off before
//!   anybody else is delivered them;
//! - a member that was cut off goes on ordering and delivering in the view that the others have
//!   left;
//! - a message submitted in one view is ordered in a later one, before other members, or lost;
//! - views of any members from any former views; disjoint views at once with the same `seq`; views
//!   that some of their members never install ([`AdversarialGroup::abandon`]);
//! - members lag by whole views; a member that crashed returns having forgotten everything.
//!
//! A view's messages are held once, in order; each member holds how far it was delivered. So
//! prefixes need no care, and virtual synchrony is one number: where those who move together stop,
//! which is fixed when the new view forms. Read [`driver`] next for the dice.

pub mod coverage;
pub mod driver;

use self::coverage::{Coverage, Noted};
use super::{GroupEvent, MEMBERS_MAX, SubmitError, View, ViewId};
use crate::ids::NodeId;
use crate::rng::Rng;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;
use core::hash::Hash;

/// The bounds of an [`AdversarialGroup`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdversaryLimits {
    /// The largest message, in bytes.
    pub message_bytes_max: usize,
    /// The most messages that one member may have submitted and not been delivered.
    pub messages_max: usize,
    /// The most views that may wait for a member.
    pub views_waiting_max: usize,
}

impl Default for AdversaryLimits {
    fn default() -> Self {
        Self { message_bytes_max: 64 << 20, messages_max: 1024, views_waiting_max: 4 }
    }
}

/// What is lost when a view forms, as far as the contract leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// Those who move together are delivered everything ordered in their old view, and what they
    /// have submitted since comes in the new one.
    Nothing,
    /// Those who move together are delivered no more of their old view than one of them was
    /// already; what they have submitted since comes in the new one.
    Ordered,
    /// As before, and what was submitted and not ordered is lost as well.
    Everything,
    /// Those who move together stop after this many messages of their old view, or as near to that
    /// as what they were delivered allows; what they have submitted since comes in the new one.
    Beyond(u32),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Message {
    from: NodeId,
    /// The sender's incarnation when it submitted the message.
    incarnation: u64,
    payload: Bytes,
    /// The view that the sender had installed when it submitted the message.
    submitted_in: Noted<Option<ViewId>>,
}

/// One run of a node: the node and its incarnation.
type Run = (NodeId, u64);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ViewState {
    members: Vec<NodeId>,
    /// How many messages at the front of the order were dropped, being of no more use.
    dropped: usize,
    /// The rest of the view's one order.
    order: VecDeque<Message>,
    /// How many messages each run was delivered.
    reached: Noted<BTreeMap<Run, usize>>,
}

impl ViewState {
    /// The length of the view's order.
    fn len(&self) -> usize {
        self.dropped + self.order.len()
    }

    /// The message at a position that is not dropped.
    fn at(&self, position: usize) -> &Message {
        &self.order[position - self.dropped]
    }
}

/// A view that waits for a member, and where the member leaves the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Move {
    /// How many messages of the former view the member is delivered. Zero without a former view.
    end: usize,
    to: ViewId,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Member {
    up: bool,
    paused: bool,
    incarnation: u64,
    salt: u64,
    /// The largest `seq` of a view that it was ever to be in, in this incarnation.
    seq: u64,
    /// The view that it has installed.
    view: Option<ViewId>,
    /// How many messages of that view it was delivered.
    delivered: usize,
    /// Invariant: at most `views_waiting_max`, with rising `seq`.
    moves: VecDeque<Move>,
    /// Submitted and not ordered, with the view installed at that time.
    waiting: VecDeque<(Bytes, Option<ViewId>)>,
    /// How many of its messages are ordered in the last view it moves to and not delivered to it.
    ordered: usize,
}

impl Member {
    /// The view in which its messages are ordered: the last that it moves to.
    fn place(&self) -> Option<ViewId> {
        self.moves.back().map_or(self.view, |last| Some(last.to))
    }

    /// The view that it has installed and those that wait for it.
    fn places(&self) -> impl Iterator<Item = ViewId> {
        self.view.into_iter().chain(self.moves.iter().map(|next| next.to))
    }

    fn down(incarnation: u64) -> Self {
        Self { incarnation, ..Self::default() }
    }

    /// How many messages of [`Self::place`] it was delivered.
    fn delivered_in_place(&self) -> usize {
        if self.moves.is_empty() { self.delivered } else { 0 }
    }
}

/// The group layers of all members, driven by a test or a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AdversarialGroup {
    limits: AdversaryLimits,
    seed: u64,
    members: BTreeMap<NodeId, Member>,
    /// Views that a live member is in or moves to.
    views: BTreeMap<ViewId, ViewState>,
    coverage: Noted<Coverage>,
}

impl AdversarialGroup {
    /// A group of `nodes`, all of them down.
    ///
    /// # Panics
    /// If there are more than [`MEMBERS_MAX`] nodes.
    pub fn new(nodes: &[NodeId], limits: AdversaryLimits, seed: u64) -> Self {
        assert!(nodes.len() <= MEMBERS_MAX, "at most {MEMBERS_MAX} nodes");
        let members = nodes.iter().map(|node| (*node, Member::default())).collect();
        let (views, coverage) = (BTreeMap::new(), Noted::default());
        Self { limits, seed, members, views, coverage }
    }

    fn member(&self, node: NodeId) -> &Member {
        self.members.get(&node).expect("the node is one of the group's")
    }

    fn member_mut(&mut self, node: NodeId) -> &mut Member {
        self.members.get_mut(&node).expect("the node is one of the group's")
    }

    /// All nodes, up or down, ascending.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    /// True if the node is up.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.member(node).up
    }

    /// True if the node is paused.
    pub fn is_paused(&self, node: NodeId) -> bool {
        self.member(node).paused
    }

    /// How often the node was started.
    pub fn incarnation(&self, node: NodeId) -> u64 {
        self.member(node).incarnation
    }

    /// The view that the node has installed.
    pub fn view(&self, node: NodeId) -> Option<View> {
        let id = self.member(node).view?;
        Some(View { id, members: self.views[&id].members.clone() })
    }

    /// How many of the node's submissions wait to be ordered.
    pub fn waiting(&self, node: NodeId) -> usize {
        self.member(node).waiting.len()
    }

    /// True if [`Self::order`] would do something.
    pub fn can_order(&self, node: NodeId) -> bool {
        let member = self.member(node);
        let able = member.up && !member.paused && member.place().is_some();
        able && !member.waiting.is_empty() && member.ordered < self.limits.messages_max
    }

    /// How often each rare situation arose that the contract allows.
    pub const fn coverage(&self) -> &Coverage {
        &self.coverage.0
    }

    /// Starts a node that is down. It is in no view, and remembers nothing.
    ///
    /// # Panics
    /// If the node is up.
    pub fn start(&mut self, node: NodeId) {
        let seed = self.seed ^ u64::from(node.0) << 32;
        let member = self.member_mut(node);
        assert!(!member.up, "{node} is up");
        let incarnation = member.incarnation + 1;
        let salt = Rng::new(seed ^ incarnation).next_u64();
        *member = Member { up: true, incarnation, salt, ..Member::default() };
    }

    /// Stops a node at once. What it submitted and was not ordered is lost; what was ordered may be
    /// delivered to others or not.
    ///
    /// # Panics
    /// If the node is down.
    pub fn crash(&mut self, node: NodeId) {
        let member = self.member_mut(node);
        assert!(member.up, "{node} is down");
        let incarnation = member.incarnation;
        let views: Vec<ViewId> = member.places().collect();
        *member = Member::down(incarnation);
        views.into_iter().for_each(|id| self.tidy(id));
    }

    /// Stops a node until [`Self::resume`]: it orders and is delivered nothing, but remembers.
    pub fn pause(&mut self, node: NodeId) {
        self.member_mut(node).paused = true;
    }

    /// Ends a pause.
    pub fn resume(&mut self, node: NodeId) {
        self.member_mut(node).paused = false;
    }

    /// Accepts a message of a node for ordering.
    ///
    /// # Errors
    /// [`SubmitError::Full`] while too many of its messages were not delivered to it;
    /// [`SubmitError::TooLarge`].
    ///
    /// # Panics
    /// If the node is down.
    pub fn submit(&mut self, node: NodeId, payload: Bytes) -> Result<(), SubmitError> {
        let AdversaryLimits { message_bytes_max: bytes_max, messages_max, .. } = self.limits;
        let member = self.member_mut(node);
        assert!(member.up, "{node} is down");
        let bytes = payload.len();
        if bytes > bytes_max {
            return Err(SubmitError::TooLarge { bytes, bytes_max });
        }
        if member.waiting.len() + member.ordered >= messages_max {
            self.coverage.0.refused += 1;
            return Err(SubmitError::Full);
        }
        let view = member.view;
        member.waiting.push_back((payload, view));
        Ok(())
    }

    /// Gives the node's oldest waiting message its place in the order of the view that the node is
    /// in, as far as the layer knows. True if there was one.
    pub fn order(&mut self, node: NodeId) -> bool {
        if !self.can_order(node) {
            return false;
        }
        let member = self.members.get_mut(&node).expect("just seen");
        let incarnation = member.incarnation;
        let place = member.place().expect("just seen");
        let (payload, submitted_in) = member.waiting.pop_front().expect("just seen");
        member.ordered += 1;
        let view = self.views.get_mut(&place).expect("a member's place is kept");
        let submitted_in = Noted(submitted_in);
        view.order.push_back(Message { from: node, incarnation, payload, submitted_in });
        true
    }

    /// The event that the node is given next, if there is one.
    pub fn peek(&self, node: NodeId) -> Option<GroupEvent> {
        let member = self.member(node);
        if !member.up || member.paused {
            return None;
        }
        if let Some(id) = member.view {
            let view = &self.views[&id];
            let end = member.moves.front().map_or(view.len(), |next| next.end);
            if member.delivered < end {
                let message = view.at(member.delivered);
                let payload = message.payload.clone();
                return Some(GroupEvent::Deliver { from: message.from, payload });
            }
        }
        let id = member.moves.front()?.to;
        let members = self.views[&id].members.clone();
        Some(GroupEvent::View(View { id, members }))
    }

    /// Gives the node its next event.
    pub fn deliver_next(&mut self, node: NodeId) -> Option<GroupEvent> {
        let event = self.peek(node)?;
        match &event {
            GroupEvent::View(view) => self.install(node, view.id),
            GroupEvent::Deliver { .. } => self.deliver(node),
        }
        Some(event)
    }

    fn install(&mut self, node: NodeId, id: ViewId) {
        let member = self.member_mut(node);
        member.moves.pop_front();
        let run = (node, member.incarnation);
        let former = member.view.replace(id);
        member.delivered = 0;
        let view = self.views.get_mut(&id).expect("a view that is installed is kept");
        view.reached.0.insert(run, 0);
        former.into_iter().for_each(|id| self.tidy(id));
    }

    fn deliver(&mut self, node: NodeId) {
        let id = self.member(node).view.expect("messages are delivered in views");
        let view = self.views.get_mut(&id).expect("an installed view is kept");
        let member = self.members.get_mut(&node).expect("just seen");
        view.reached.0.insert((node, member.incarnation), member.delivered + 1);
        let message = view.at(member.delivered);
        member.delivered += 1;
        let own = message.from == node && message.incarnation == member.incarnation;
        if own && member.moves.is_empty() {
            member.ordered -= 1;
        }
        let later = message.submitted_in.0 != Some(id);
        self.count_delivery(node, id, later);
        self.tidy(id);
    }

    /// Forms one view for each set of the partition, lost: nothing. Nodes that are down are left
    /// out.
    pub fn form_views(&mut self, partition: &[Vec<NodeId>]) {
        for side in partition {
            let mut up: Vec<NodeId> =
                side.iter().copied().filter(|node| self.is_up(*node)).collect();
            up.sort_unstable();
            if let Some(&representative) = up.first() {
                self.form_view(&up, representative, Loss::Nothing);
            }
        }
    }

    /// True if a view of these members may form now: all are up, and none has too many views
    /// waiting.
    pub fn can_form(&self, members: &[NodeId]) -> bool {
        let free = |node: &NodeId| {
            let member = self.member(*node);
            member.up && member.moves.len() < self.limits.views_waiting_max
        };
        !members.is_empty() && members.iter().all(free)
    }

    /// Forms a view. Its members install it when they are delivered what they must be delivered of
    /// their former views; from now on, what they have submitted is ordered in the new one.
    ///
    /// # Panics
    /// If `members` are not sorted, lack the representative, or [`Self::can_form`] is false.
    pub fn form_view(&mut self, members: &[NodeId], representative: NodeId, loss: Loss) -> ViewId {
        assert!(members.windows(2).all(|pair| pair[0] < pair[1]), "members are sorted");
        assert!(members.contains(&representative), "the representative is a member");
        assert!(self.can_form(members), "a view of {members:?} may not form now");
        let seq = members.iter().map(|node| self.member(*node).seq).max().unwrap_or(0) + 1;
        let id = ViewId { seq, representative, salt: self.member(representative).salt };
        self.count_formation(id, members);
        let ends = self.ends(members, loss);
        for node in members {
            let member = self.members.get_mut(node).expect("just seen");
            let end = member.place().map_or(0, |place| ends[&place]);
            if loss == Loss::Everything {
                self.coverage.0.lost_unordered += member.waiting.len() as u64;
                member.waiting.clear();
            }
            (member.seq, member.ordered) = (seq, 0);
            member.moves.push_back(Move { end, to: id });
        }
        let state = ViewState {
            members: members.to_vec(),
            dropped: 0,
            order: VecDeque::new(),
            reached: Noted::default(),
        };
        let former = self.views.insert(id, state);
        assert!(former.is_none(), "{id} was used before");
        id
    }

    /// Where the members of a new view stop in each of their former views.
    fn ends(&self, members: &[NodeId], loss: Loss) -> BTreeMap<ViewId, usize> {
        let mut ends = BTreeMap::new();
        for node in members {
            let member = self.member(*node);
            if let Some(place) = member.place() {
                let least = ends.entry(place).or_insert(0);
                *least = member.delivered_in_place().max(*least);
            }
        }
        for (place, end) in &mut ends {
            let all = self.views[place].len();
            *end = match loss {
                Loss::Nothing => all,
                Loss::Ordered | Loss::Everything => *end,
                Loss::Beyond(count) => all.min(count as usize).max(*end),
            };
        }
        ends
    }

    /// True if [`Self::abandon`] would do something.
    pub fn can_abandon(&self, node: NodeId) -> bool {
        let member = self.member(node);
        let nothing_ordered = |last: &Move| {
            let order = &self.views[&last.to].order;
            order.iter().all(|m| m.from != node || m.incarnation != member.incarnation)
        };
        member.up && member.moves.back().is_some_and(nothing_ordered)
    }

    /// Lets a node miss the last view that waits for it: it is in the former one again, and will
    /// never install the missed one. True unless it has sent in that view already, or none waits.
    pub fn abandon(&mut self, node: NodeId) -> bool {
        if !self.can_abandon(node) {
            return false;
        }
        let member = self.members.get_mut(&node).expect("just seen");
        let missed = member.moves.pop_back().expect("just seen").to;
        let delivered = member.delivered_in_place();
        let own = |m: &&Message| m.from == node && m.incarnation == member.incarnation;
        member.ordered = member.place().map_or(0, |id| {
            let view = &self.views[&id];
            view.order.iter().skip(delivered - view.dropped).filter(own).count()
        });
        self.coverage.0.abandoned += 1;
        self.tidy(missed);
        true
    }

    /// Drops the messages of a view that everybody who can be was delivered, and at last the view.
    fn tidy(&mut self, id: ViewId) {
        let positions = self.members.values().filter_map(|member| {
            let installed = (member.view == Some(id)).then_some(member.delivered);
            let waits = member.moves.iter().any(|next| next.to == id);
            if waits { Some(0) } else { installed }
        });
        let least = positions.min();
        let Some(mut view) = self.views.remove(&id) else {
            return;
        };
        while !view.order.is_empty() && least.is_none_or(|least| least > view.dropped) {
            self.count_dropped(&view);
            view.order.pop_front();
            view.dropped += 1;
        }
        if least.is_some() {
            self.views.insert(id, view);
        }
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        for (node, member) in &self.members {
            assert!(member.moves.len() <= self.limits.views_waiting_max);
            assert!(member.waiting.len() <= self.limits.messages_max);
            assert!(member.ordered <= self.limits.messages_max);
            assert!(member.up || *member == Member::down(member.incarnation), "{node} is down");
            let mut seq = 0;
            for id in member.places() {
                assert!(self.views[&id].members.contains(node), "{node} is in its view {id}");
                assert!(
                    id.seq > seq && id.seq <= member.seq,
                    "views of {node} are newer and newer"
                );
                seq = id.seq;
            }
            let order = member.view.map_or(0, |id| self.views[&id].len());
            let end = member.moves.front().map_or(order, |next| next.end);
            assert!(member.delivered <= end && end <= order, "{node} was delivered a prefix");
        }
        let used: BTreeSet<ViewId> = self.members.values().flat_map(Member::places).collect();
        assert!(self.views.keys().eq(used.iter()), "views are kept while a member is in them");
    }
}
