//! Who must come before whom.

use super::observe::Observed;
use crate::check::budget::BudgetLeft;
use crate::history::{History, Outcome};

/// Why a transaction must come before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// It wrote the version before the one that the other wrote.
    WriteWrite,
    /// It wrote the version that the other read.
    WriteRead,
    /// It read the version that the other replaced.
    ReadWrite,
    /// It was over before the other began.
    Realtime,
}

/// An edge of the graph. `from` is where it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) to: usize,
    pub(super) kind: Kind,
    /// The key, and how many of its versions come before the one that makes the edge.
    pub(super) about: (u32, usize),
}

/// The graph of dependencies. Nodes are operations; those that did not take effect have no edges.
pub(super) struct Graph<'a> {
    pub(super) history: &'a History,
    pub(super) observed: &'a Observed,
    pub(super) edges: Vec<Vec<Edge>>,
}

impl<'a> Graph<'a> {
    /// Draws the graph; `None` if it has more edges than `left` has steps.
    pub(super) fn draw(
        history: &'a History,
        observed: &'a Observed,
        realtime: bool,
        left: &mut BudgetLeft,
    ) -> Option<Self> {
        let edges = vec![Vec::new(); observed.txns.len()];
        let mut drawing = Drawing { graph: Self { history, observed, edges }, left };
        drawing.writes()?;
        drawing.reads()?;
        if realtime {
            drawing.realtime()?;
        }
        let mut graph = drawing.graph;
        for edges in &mut graph.edges {
            edges.sort_unstable();
            edges.dedup_by_key(|edge| (edge.to, edge.kind));
        }
        Some(graph)
    }

    /// The edge in words.
    pub(super) fn why(&self, from: usize, edge: &Edge) -> (&'static str, String) {
        let Edge { to, kind, about: (key, place) } = *edge;
        let observed = self.observed;
        let name = || observed.name(key);
        let version = || observed.list(&observed.keys[&key].versions[..place]);
        match kind {
            Kind::WriteWrite => ("ww", self.appended_after(from, to, key, place)),
            Kind::WriteRead => {
                ("wr", format!("#{to} read {} as {}, which #{from} appended", name(), version()))
            }
            Kind::ReadWrite => (
                "rw",
                format!("#{from} read {} as {}, without what #{to} appended", name(), version()),
            ),
            Kind::Realtime => {
                let event = |op: usize| self.history.operations()[op].invoked.event;
                let over = self.history.operations()[from].returned();
                let begun = event(to);
                ("realtime", format!("#{from} was over at event {over}, #{to} began at {begun}"))
            }
        }
    }

    fn appended_after(&self, from: usize, to: usize, key: u32, place: usize) -> String {
        let key_data = &self.observed.keys[&key];
        let name = self.observed.name(key);
        match key_data.versions.get(place) {
            Some(next) => {
                let (before, next) =
                    (self.observed.name(key_data.versions[place - 1]), self.observed.name(*next));
                format!("in {name}, {before} of #{from} comes before {next} of #{to}")
            }
            None => format!("in {name}, nobody read what #{to} appended: it comes after #{from}'s"),
        }
    }
}

struct Drawing<'a, 'p> {
    graph: Graph<'a>,
    left: &'p mut BudgetLeft,
}

impl Drawing<'_, '_> {
    fn edge(&mut self, from: usize, to: usize, kind: Kind, about: (u32, usize)) -> Option<()> {
        if from == to {
            return Some(());
        }
        self.graph.edges[from].push(Edge { to, kind, about });
        self.left.step().then_some(())
    }

    /// The writer of the version at `place` of a key.
    fn writer(&self, key: u32, place: usize) -> Option<usize> {
        let observed = self.graph.observed;
        let value = observed.keys[&key].versions.get(place)?;
        observed.writer(key, *value).map(|writer| writer.txn)
    }

    /// Writers that took effect, some of whose appends to the key nobody read.
    fn unread(&self, key: u32) -> Vec<usize> {
        let observed = self.graph.observed;
        let data = &observed.keys[&key];
        let read: std::collections::BTreeSet<u32> = data.versions.iter().copied().collect();
        let unread = data.writers.iter().filter(|(value, _)| !read.contains(value));
        unread.map(|(_, w)| w.txn).filter(|txn| observed.txns[*txn].is_committed).collect()
    }

    fn writes(&mut self) -> Option<()> {
        for (key, data) in &self.graph.observed.keys {
            let length = data.versions.len();
            for place in 1..length {
                if let (Some(before), Some(after)) =
                    (self.writer(*key, place - 1), self.writer(*key, place))
                {
                    self.edge(before, after, Kind::WriteWrite, (*key, place))?;
                }
            }
            let last = length.checked_sub(1).and_then(|last| self.writer(*key, last));
            if let Some(last) = last {
                for txn in self.unread(*key) {
                    self.edge(last, txn, Kind::WriteWrite, (*key, length))?;
                }
            }
        }
        Some(())
    }

    fn reads(&mut self) -> Option<()> {
        let unread: std::collections::BTreeMap<u32, Vec<usize>> =
            self.graph.observed.keys.keys().map(|key| (*key, self.unread(*key))).collect();
        for read in self.graph.observed.external_reads() {
            let about = (read.key, read.length);
            let before = read.length.checked_sub(1).and_then(|last| self.writer(read.key, last));
            if let Some(writer) = before {
                self.edge(writer, read.txn, Kind::WriteRead, about)?;
            }
            match self.writer(read.key, read.length) {
                Some(writer) => self.edge(read.txn, writer, Kind::ReadWrite, about)?,
                None => {
                    for writer in &unread[&read.key] {
                        self.edge(read.txn, *writer, Kind::ReadWrite, about)?;
                    }
                }
            }
        }
        Some(())
    }

    /// Edges from every transaction to those that began after it was over, except where others
    /// between them already say so.
    fn realtime(&mut self) -> Option<()> {
        let observed = self.graph.observed;
        let mut events: Vec<(u64, bool, usize)> = Vec::new();
        for (index, op) in self.graph.history.operations().iter().enumerate() {
            if observed.txns[index].is_committed {
                events.push((op.invoked.event, true, index));
                if op.outcome == Outcome::Ok {
                    events.push((op.returned(), false, index));
                }
            }
        }
        events.sort_unstable();
        // Transactions that are over and not yet implied by a later one that is over too.
        let mut frontier: Vec<usize> = Vec::new();
        for (_, is_invocation, index) in events {
            if is_invocation {
                for over in &frontier {
                    self.edge(*over, index, Kind::Realtime, (0, 0))?;
                }
            } else {
                let ops = self.graph.history.operations();
                frontier.retain(|over| !ops[*over].precedes(&ops[index]));
                frontier.push(index);
            }
        }
        Some(())
    }
}
