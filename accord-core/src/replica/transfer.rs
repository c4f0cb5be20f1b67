//! Transfer: fetches the entries that this server lacks, and serves those that others lack.
//!
//! A member whose log differs from the source's asks for the entries after the common part. The
//! answer drops its conflicting, never-committed suffix. It buffers the epoch's own entries, and
//! acknowledges nothing until it has all entries before them; the others do not wait for it. It
//! asks one peer at a time, and repeats an unanswered request to the next. A serving member
//! remembers nothing per requester, except one image of the state while it is being fetched.

use super::durable::SnapshotHead;
use super::io::{Action, Entry, HaltReason, Snapshot, Ticket};
use super::message::PeerMessage;
use super::transfer_rate::TransferRate;
use super::{Phase, Replica};
use crate::ids::{Epoch, Index, LogPosition, NodeId};
use crate::pieces::Pieces;
use crate::time::{DurationExt, Instant};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

/// An image that no server asked for during this many timeouts is dropped.
const IMAGE_IDLE_TIMEOUTS: u64 = 16;
/// A snapshot byte is this many times cheaper to take in than a log byte.
pub(super) const SNAPSHOT_LIGHTER: u64 = 4;
/// An image is given up if keeping the log after it takes this many times the usual memory.
const IMAGE_LOG_FACTOR: usize = 4;

/// What a member that is behind keeps while it fetches.
#[derive(Clone, Debug)]
pub(super) struct Fetching {
    /// Entries of the epoch, the newest that fit. Invariant: without gaps, up to the epoch's next.
    live: VecDeque<Entry>,
    live_bytes: usize,
    /// The first entry that need not be fetched: the front of `live`.
    live_first: Index,
    peer: NodeId,
    request: Ticket,
    /// When to ask the next peer. None: nothing is to be fetched any more, but the image received
    /// is of a server to which more of the epoch was delivered, so its entries are awaited here
    /// too.
    deadline: Option<Instant>,
    /// True while the deadline is the time to ask on, not the time to give up.
    paced: bool,
    rate: TransferRate,
    /// The snapshot that the driver is looking at.
    checked: Option<u64>,
    /// True if the log cannot lead to the epoch's, so a snapshot is needed.
    needs_snapshot: bool,
}

/// What has arrived of a snapshot. Kept over the ends of epochs: an image is of what is committed.
#[derive(Clone, Debug, Default)]
pub(super) struct Receiving {
    partial: Option<Partial>,
    /// One that has arrived whole, and has not been found good or bad.
    whole: Option<(LogPosition, Bytes)>,
    /// Numbers those that were handed to the driver.
    last: u64,
}

/// A snapshot that has arrived in part.
#[derive(Clone, Debug)]
struct Partial {
    image: LogPosition,
    total_bytes: u64,
    data: Vec<u8>,
}

impl Receiving {
    fn clear(&mut self) {
        (self.partial, self.whole) = (None, None);
    }
}

impl Fetching {
    /// Keeps an entry of the epoch; the oldest make room and are fetched later.
    pub(super) fn push_live(&mut self, entry: Entry, live_bytes_max: usize) {
        self.live_bytes += entry.cost_bytes();
        self.live.push_back(entry);
        while self.live_bytes > live_bytes_max && self.live.len() > 1 {
            self.pop_live();
        }
    }

    fn pop_live(&mut self) -> Option<Entry> {
        let entry = self.live.pop_front()?;
        self.live_bytes -= entry.cost_bytes();
        self.live_first = entry.index.next();
        Some(entry)
    }
}

/// What a member keeps to serve others.
#[derive(Clone, Debug, Default)]
pub(super) struct Serving {
    /// The state that the driver is asked for, and whether a checkpoint wants it.
    wanted: Option<(SnapshotHead, bool)>,
    /// The image being served.
    image: Option<Image>,
    /// Requests that wait for an image, or came before the epoch opened here. One per member.
    waiting: BTreeMap<NodeId, PeerMessage>,
}

#[derive(Clone, Debug)]
struct Image {
    last: LogPosition,
    bytes: Pieces,
    expires: Instant,
}

impl Serving {
    pub(super) fn on_epoch_end(&mut self) {
        self.waiting.clear();
    }

    /// The entry up to which the log may be forgotten without making the image useless.
    pub(super) fn needed_from(&mut self, log_bytes: usize, retained: usize) -> Index {
        if log_bytes > retained.saturating_mul(IMAGE_LOG_FACTOR) {
            self.image = None;
        }
        let wanted = self.wanted.as_ref().map(|(frame, _)| frame.last.index);
        let image = self.image.as_ref().map(|image| image.last.index);
        wanted.into_iter().chain(image).min().unwrap_or(Index(u64::MAX))
    }

    pub(super) fn wanted_frame(&self) -> SnapshotHead {
        let (frame, _) = self.wanted.as_ref().expect("a snapshot is provided only when asked for");
        frame.clone()
    }

    pub(super) fn take_wanted(&mut self) -> (SnapshotHead, bool) {
        self.wanted.take().expect("a snapshot is provided only when asked for")
    }
}

impl Replica {
    /// Asks the driver for the state, unless it was asked already.
    pub(super) fn want_snapshot(&mut self, for_disk: bool) {
        if let Some((_, disk)) = &mut self.serving.wanted {
            *disk |= for_disk;
            return;
        }
        self.serving.wanted = Some((self.snapshot_frame(), for_disk));
        self.actions.push_back(Action::SnapshotWanted);
    }

    /// Begins to fetch what lies before the epoch's first entry.
    pub(super) fn start_fetching(&mut self, now: Instant, source: NodeId) {
        let Phase::Open(epoch) = &mut self.phase else { return };
        epoch.fetching = Some(Fetching {
            live: VecDeque::new(),
            live_bytes: 0,
            live_first: epoch.begin,
            peer: source,
            // Histories that were recovered apart have epochs of the same numbers, and an answer
            // from one of them may still be under way: their requests have other numbers.
            request: Ticket(epoch.plan.voters.history.id() >> 1),
            deadline: Some(now),
            paced: false,
            rate: TransferRate::new(self.config.limits.transfer_bytes_per_second_max, now),
            checked: None,
            needs_snapshot: false,
        });
        for entry in epoch.first_entries() {
            self.append_live(entry);
        }
        self.fetch(now);
    }

    /// The log is the source's: appends the epoch's entries, and takes part from here on.
    pub(super) fn finish_sync(&mut self) {
        self.receiving.clear();
        let Phase::Open(epoch) = &mut self.phase else { return };
        epoch.agreed = self.log.last().index;
        match epoch.fetching.take() {
            None => {
                for entry in epoch.first_entries() {
                    self.append_live(entry);
                }
            }
            Some(fetching) => {
                epoch.agreed = epoch.next.prev();
                let last = self.log.last().index;
                for entry in fetching.live.into_iter().filter(|entry| entry.index > last) {
                    self.append(entry);
                }
            }
        }
        let Phase::Open(epoch) = &self.phase else { return };
        let (number, members) = (epoch.plan.epoch, epoch.members.clone());
        self.actions.push_back(Action::Opened { epoch: number, members });
        self.update_commit();
        self.readmit();
    }

    /// Asks on, once the bytes just fetched are no more than the bound on bytes a second allows.
    fn fetch_on(&mut self, now: Instant, bytes: u64) {
        let gap = match &self.phase {
            Phase::Open(open) => open.next.0.saturating_sub(self.log.last().index.0),
            _ => return,
        };
        let Phase::Open(open) = &mut self.phase else { return };
        let Some(fetching) = &mut open.fetching else { return };
        if !fetching.needs_snapshot {
            fetching.rate.note_gap(now, gap);
        }
        let allowed_at = fetching.rate.spend(now, bytes);
        if allowed_at <= now {
            return self.fetch(now);
        }
        // Copies of the answer are none to what is asked next.
        fetching.request.0 += 1;
        fetching.paced = true;
        fetching.deadline = Some(allowed_at);
    }

    /// Sends the next request to the present peer, or looks at what has arrived whole.
    fn fetch(&mut self, now: Instant) {
        let ends = self.log.ends().clone();
        let commit = self.commit;
        let timeout = self.config.limits.transfer_timeout;
        let Phase::Open(open) = &mut self.phase else { return };
        let epoch = open.plan.epoch;
        let Some(fetching) = &mut open.fetching else { return };
        fetching.paced = false;
        if fetching.needs_snapshot && self.receiving.whole.is_some() {
            return self.look_at_received();
        }
        fetching.request.0 += 1;
        fetching.deadline = Some(now + timeout);
        let (request, peer) = (fetching.request, fetching.peer);
        let message = if fetching.needs_snapshot {
            let partial = self.receiving.partial.as_ref();
            PeerMessage::FetchSnapshot {
                epoch,
                request,
                image: partial.map(|partial| partial.image).unwrap_or_default(),
                offset: partial.map_or(0, |partial| partial.data.len() as u64),
            }
        } else {
            let until = fetching.live_first.prev();
            PeerMessage::FetchLog { epoch, request, ends, commit, until }
        };
        self.send(peer, &message);
    }

    pub(super) fn on_transfer_timer(&mut self, now: Instant) {
        if self.serving.image.as_ref().is_some_and(|image| image.expires <= now) {
            self.serving.image = None;
        }
        let me = self.config.node;
        let Phase::Open(epoch) = &mut self.phase else { return };
        let members = &epoch.members;
        let Some(fetching) = &mut epoch.fetching else { return };
        if fetching.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        if !fetching.paced {
            let others = || members.iter().copied().filter(|node| *node != me);
            let next = others().find(|node| *node > fetching.peer).or_else(|| others().next());
            fetching.peer = next.expect("a member that is behind is not alone");
        }
        self.fetch(now);
    }

    pub(super) fn transfer_deadline(&self) -> Option<Instant> {
        let fetching = match &self.phase {
            Phase::Open(epoch) => epoch.fetching.as_ref().and_then(|fetching| fetching.deadline),
            _ => None,
        };
        let image = self.serving.image.as_ref().map(|image| image.expires);
        fetching.into_iter().chain(image).min()
    }

    pub(super) fn on_peer(&mut self, now: Instant, from: NodeId, message: PeerMessage) {
        match message {
            PeerMessage::FetchLog { .. } | PeerMessage::FetchSnapshot { .. } => {
                self.on_request(now, from, message);
            }
            answer => self.on_answer(now, from, answer),
        }
    }

    fn on_request(&mut self, now: Instant, from: NodeId, message: PeerMessage) {
        let (epoch, request) = message.tag();
        let opening = match &self.phase {
            Phase::Open(open) if open.plan.epoch == epoch && open.is_synced() => {
                return self.serve(now, from, message);
            }
            Phase::Open(open) => open.plan.epoch < epoch,
            _ => true,
        };
        // The requester may have seen the epoch open a moment earlier.
        let known = self.view.as_ref().is_some_and(|view| view.contains(from));
        if opening && known {
            self.serving.waiting.insert(from, message);
        } else {
            self.send(from, &PeerMessage::NotReady { epoch, request });
        }
    }

    /// Answers those who asked before the epoch was open here.
    pub(super) fn answer_early_requests(&mut self, now: Instant) {
        for (from, message) in core::mem::take(&mut self.serving.waiting) {
            self.on_request(now, from, message);
        }
    }

    fn serve(&mut self, now: Instant, from: NodeId, message: PeerMessage) {
        match message {
            PeerMessage::FetchLog { epoch, request, ends, commit, until } => {
                let common = self.log.ends().common(&ends);
                // Where the common part is no longer known, it is taken to end at the commit index.
                let agreed = common.unwrap_or(commit);
                let answer = if agreed < self.log.base().index {
                    PeerMessage::UseSnapshot { epoch, request, common }
                } else {
                    let common = agreed;
                    let bytes_max = self.config.limits.chunk_bytes_max;
                    let entries = self.log.slice(common, until, bytes_max);
                    PeerMessage::LogChunk { epoch, request, common, entries }
                };
                self.send(from, &answer);
            }
            PeerMessage::FetchSnapshot { epoch, request, image, offset } => {
                self.serve_snapshot(now, from, (epoch, request), image, offset);
            }
            _ => unreachable!("only requests are served"),
        }
    }

    fn serve_snapshot(
        &mut self,
        now: Instant,
        to: NodeId,
        (epoch, request): (Epoch, Ticket),
        wanted: LogPosition,
        offset: u64,
    ) {
        let limits = &self.config.limits;
        let expires = now + limits.transfer_timeout.times(IMAGE_IDLE_TIMEOUTS);
        let usable = |image: &&mut Image| image.last.index >= self.log.base().index;
        let Some(image) = self.serving.image.as_mut().filter(usable) else {
            let message = PeerMessage::FetchSnapshot { epoch, request, image: wanted, offset };
            self.serving.waiting.insert(to, message);
            self.want_snapshot(false);
            return;
        };
        image.expires = expires;
        let total = image.bytes.len();
        let start = usize::try_from(offset).ok().filter(|at| image.last == wanted && *at <= total);
        let start = start.unwrap_or(0);
        let piece = limits.chunk_bytes_max.saturating_mul(SNAPSHOT_LIGHTER as usize);
        let end = total.min(start.saturating_add(piece));
        let answer = PeerMessage::SnapshotChunk {
            epoch,
            request,
            image: image.last,
            total_bytes: total as u64,
            offset: start as u64,
            data: image.bytes.slice(start..end),
        };
        self.send(to, &answer);
    }

    /// The state arrived: serves those who wait for it.
    pub(super) fn serve_image(&mut self, now: Instant, last: LogPosition, bytes: Pieces) {
        if self.serving.waiting.is_empty() {
            return;
        }
        self.serving.image = Some(Image { last, bytes, expires: now });
        self.answer_early_requests(now);
    }

    fn on_answer(&mut self, now: Instant, from: NodeId, message: PeerMessage) {
        let tag = message.tag();
        let Phase::Open(epoch) = &mut self.phase else { return };
        let expected = epoch.plan.epoch;
        let Some(fetching) = &mut epoch.fetching else { return };
        let asked = fetching.deadline.is_some() && !fetching.paced && fetching.peer == from;
        if (expected, fetching.request) != tag || !asked {
            return;
        }
        match message {
            PeerMessage::LogChunk { common, entries, .. } => {
                self.on_log_chunk(now, common, entries)
            }
            PeerMessage::UseSnapshot { common, .. } => {
                let (common, committed) = (common.unwrap_or(self.commit), self.commit);
                if common < committed {
                    return self.halt(HaltReason::Diverged { committed, common });
                }
                fetching.needs_snapshot = true;
                self.fetch(now);
            }
            PeerMessage::SnapshotChunk { image, total_bytes, offset, data, .. } => {
                let chunk = Partial { image, total_bytes, data: data.to_vec() };
                self.on_snapshot_chunk(now, offset, chunk);
            }
            // The deadline leads to another peer.
            _ => {}
        }
    }

    fn on_log_chunk(&mut self, now: Instant, common: Index, entries: Vec<Entry>) {
        let Phase::Open(epoch) = &mut self.phase else { return };
        let Some(fetching) = &epoch.fetching else { return };
        if common < self.commit {
            let committed = self.commit;
            return self.halt(HaltReason::Diverged { committed, common });
        }
        let (number, until) = (epoch.plan.epoch, fetching.live_first.prev());
        let ahead = entries.iter().any(|entry| entry.epoch > number);
        if ahead || self.log.unfit(common, &entries).is_some() {
            self.messages_ignored += 1;
            return;
        }
        if common < self.log.last().index {
            self.truncate(common.next());
        }
        let mut bytes = 0;
        for entry in entries.into_iter().take_while(|entry| entry.index <= until) {
            bytes += entry.cost_bytes() as u64;
            self.append(entry);
        }
        self.after_fetched(now, bytes);
    }

    fn on_snapshot_chunk(&mut self, now: Instant, offset: u64, chunk: Partial) {
        let bytes_max = self.config.limits.snapshot_bytes_max;
        let (total_bytes, bytes) = (chunk.total_bytes, chunk.data.len() as u64);
        let partial = match &mut self.receiving.partial {
            Some(partial) if partial.image == chunk.image => {
                let fits =
                    offset == partial.data.len() as u64 && total_bytes == partial.total_bytes;
                if fits {
                    partial.data.extend_from_slice(&chunk.data);
                }
                partial
            }
            other if offset == 0 => {
                if other.is_some()
                    && let Phase::Open(open) = &mut self.phase
                    && let Some(fetching) = &mut open.fetching
                {
                    // The image was given up before it had arrived.
                    fetching.rate.double();
                }
                other.insert(chunk)
            }
            _ => return,
        };
        let got = partial.data.len() as u64;
        if got > total_bytes || total_bytes > bytes_max {
            self.receiving.partial = None;
            self.messages_ignored += 1;
        } else if got < total_bytes {
            self.fetch_on(now, bytes / SNAPSHOT_LIGHTER);
        } else {
            let partial = self.receiving.partial.take().expect("just completed");
            self.receiving.whole = Some((partial.image, Bytes::from(partial.data)));
            self.look_at_received();
        }
    }

    /// Asks the driver what it thinks of the snapshot that has arrived whole.
    fn look_at_received(&mut self) {
        let Phase::Open(epoch) = &mut self.phase else { return };
        let Some(fetching) = &mut epoch.fetching else { return };
        let Some((_, bytes)) = &self.receiving.whole else { return };
        self.receiving.last += 1;
        let number = self.receiving.last;
        fetching.checked = Some(number);
        fetching.deadline = None;
        self.actions.push_back(Action::SnapshotReceived { number, bytes: bytes.clone() });
    }

    /// Takes what came of [`Action::SnapshotReceived`]: the snapshot, or none if it cannot be read,
    /// so that it must have been damaged on its way. True if its state replaces this server's:
    /// [`Action::Install`] follows, and is the only one before another snapshot is handed out.
    pub fn handle_received(
        &mut self,
        now: Instant,
        number: u64,
        snapshot: Option<Snapshot>,
    ) -> bool {
        if self.halted {
            return false;
        }
        let installed = self.on_received(now, number, snapshot);
        self.check();
        installed
    }

    fn on_received(&mut self, now: Instant, number: u64, snapshot: Option<Snapshot>) -> bool {
        let timeout = self.config.limits.transfer_timeout;
        let Phase::Open(epoch) = &mut self.phase else { return false };
        let Some(fetching) = &mut epoch.fetching else { return false };
        if fetching.checked != Some(number) {
            return false;
        }
        fetching.checked = None;
        fetching.needs_snapshot = false;
        let (image, _) = self.receiving.whole.take().expect("it is being looked at");
        // It may have arrived in an epoch whose commitments a recovery has given up since.
        let history = &epoch.plan.voters.history;
        let taken = |it: &Snapshot| it.last == image && history.includes(&it.voters.history, image);
        match snapshot.filter(taken) {
            Some(snapshot) => {
                let forward = snapshot.last.index > self.applied.max(self.commit);
                if forward {
                    self.install(snapshot);
                }
                self.after_fetched(now, 0);
                forward
            }
            // Fetched again, from the next peer.
            None => {
                fetching.deadline = Some(now + timeout);
                self.messages_ignored += 1;
                false
            }
        }
    }

    /// Something was fetched: goes on, or takes part if it was the last.
    fn after_fetched(&mut self, now: Instant, bytes: u64) {
        let last = self.log.last().index;
        let Phase::Open(epoch) = &mut self.phase else { return };
        epoch.agreed = last;
        let Some(fetching) = &mut epoch.fetching else { return };
        if last < fetching.live_first.prev() {
            self.fetch_on(now, bytes);
            self.update_commit();
        } else if last < epoch.next {
            self.finish_sync();
        } else {
            fetching.deadline = None;
        }
    }

    /// An entry was delivered that an image already contains: perhaps it was the last of them.
    pub(super) fn after_awaited(&mut self) {
        let last = self.log.last().index;
        let Phase::Open(epoch) = &self.phase else { return };
        let awaits =
            |fetching: &Fetching| fetching.deadline.is_none() && fetching.checked.is_none();
        let awaiting = epoch.fetching.as_ref().is_some_and(awaits);
        if awaiting && last < epoch.next {
            self.finish_sync();
        }
    }
}
