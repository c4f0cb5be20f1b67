//! The shortest contradiction of the gravest kind.
//!
//! A graph has a cycle if and only if it has a strongly connected component of more than one node.
//! Within one, breadth-first searches look for the shortest cycle of each kind, the gravest kind
//! first: only writes (G0), writes and reads (G1c), one anti-dependency (G-single), several (G2);
//! first without real time, then with it.

use std::collections::{BTreeMap, VecDeque};

use super::graph::{Edge, Graph, Kind};
use crate::check::budget::BudgetLeft;
use crate::verdict::{Explanation, Link};

/// A cycle of transactions.
pub(super) struct Cycle {
    name: String,
    summary: &'static str,
    edges: Vec<(usize, Edge)>,
    /// Graver kinds of cycles that were not searched for to the end.
    cut: Vec<String>,
    /// Whether a shorter one of the kind is excluded.
    is_shortest: bool,
}

impl Cycle {
    /// The cycle in words.
    pub(super) fn explanation(&self, graph: &Graph<'_>) -> Explanation {
        let nodes = self.edges.iter().map(|(from, _)| *from);
        let summary = format!("{}: each of these must come before the next", self.summary);
        let mut explanation = Explanation::new(self.name.clone(), summary, nodes);
        explanation.links = self
            .edges
            .iter()
            .map(|(from, edge)| {
                let (kind, why) = graph.why(*from, edge);
                Link { from: *from, to: edge.to, kind, why }
            })
            .collect();
        if !self.cut.is_empty() {
            let cut = self.cut.join(", ");
            explanation.notes.push(format!(
                "the budget ended before graver kinds were searched for to the end: {cut}"
            ));
        }
        if !self.is_shortest {
            explanation.notes.push("the budget ended before the cycle was shortest".to_owned());
        }
        explanation
    }
}

/// A kind of cycle: which edges it may have besides writes, and how many anti-dependencies.
struct Class {
    name: &'static str,
    summary: &'static str,
    kind_max: Kind,
    single_rw: bool,
}

const CLASSES: [Class; 4] = [
    Class {
        name: "G0",
        summary: "the writes of these transactions are interleaved",
        kind_max: Kind::WriteWrite,
        single_rw: false,
    },
    Class {
        name: "G1c",
        summary: "these transactions saw each other's writes in a circle",
        kind_max: Kind::WriteRead,
        single_rw: false,
    },
    Class {
        name: "G-single",
        summary: "one of these transactions read what was already replaced",
        kind_max: Kind::WriteRead,
        single_rw: true,
    },
    Class {
        name: "G2",
        summary: "these transactions did not see each other's writes, in a circle",
        kind_max: Kind::ReadWrite,
        single_rw: false,
    },
];

/// The shortest cycle of the gravest kind there is.
pub(super) fn find(graph: &Graph<'_>, left: &mut BudgetLeft) -> Option<Cycle> {
    let mut cut = Vec::new();
    for realtime in [false, true] {
        let all = |kind: Kind| realtime || kind != Kind::Realtime;
        let components = components(graph, &all);
        if components.is_empty() {
            continue;
        }
        let place = places(graph, &components);
        for class in &CLASSES {
            let search = Search { graph, place: &place, class, realtime };
            let (edges, is_shortest) = search.shortest(&components, left);
            let name = format!("{}{}", class.name, if realtime { "-realtime" } else { "" });
            match edges {
                Some(edges) => {
                    let summary = class.summary;
                    return Some(Cycle { name, summary, edges, cut, is_shortest });
                }
                None if !is_shortest => cut.push(name),
                None => {}
            }
        }
    }
    None
}

/// For each node the number of its component, `usize::MAX` for nodes in none.
fn places(graph: &Graph<'_>, components: &[Vec<usize>]) -> Vec<usize> {
    let mut place = vec![usize::MAX; graph.edges.len()];
    for (number, component) in components.iter().enumerate() {
        component.iter().for_each(|node| place[*node] = number);
    }
    place
}

struct Search<'a> {
    graph: &'a Graph<'a>,
    place: &'a [usize],
    class: &'a Class,
    realtime: bool,
}

impl Search<'_> {
    fn allows(&self, kind: Kind) -> bool {
        kind <= self.class.kind_max || (self.realtime && kind == Kind::Realtime)
    }

    /// The shortest cycle of the class, and whether that is certain. When the left is empty, the
    /// first one found will do.
    fn shortest(
        &self,
        components: &[Vec<usize>],
        left: &mut BudgetLeft,
    ) -> (Option<Vec<(usize, Edge)>>, bool) {
        let mut best: Option<Vec<(usize, Edge)>> = None;
        for node in components.iter().flatten() {
            let starts = self.graph.edges[*node].iter().filter(|edge| {
                let is_start = if self.class.single_rw {
                    edge.kind == Kind::ReadWrite
                } else {
                    self.allows(edge.kind)
                };
                is_start && self.place[edge.to] == self.place[*node]
            });
            for start in starts {
                let bound = best.as_ref().map_or(usize::MAX, Vec::len);
                // In the last class every edge is on some cycle: the first search ends the matter.
                let is_over = left.steps == 0 && (best.is_some() || self.class.name != "G2");
                if bound == 2 || is_over {
                    return (best, bound == 2);
                }
                if let Some(rest) = self.path(start.to, *node, bound - 1, left) {
                    let cycle: Vec<_> = [(*node, *start)].into_iter().chain(rest).collect();
                    if cycle.len() < bound {
                        best = Some(cycle);
                    }
                }
            }
        }
        (best, true)
    }

    /// The shortest path of fewer than `length_max` edges.
    fn path(
        &self,
        from: usize,
        to: usize,
        length_max: usize,
        left: &mut BudgetLeft,
    ) -> Option<Vec<(usize, Edge)>> {
        let mut came: BTreeMap<usize, (usize, Edge)> = BTreeMap::new();
        let mut queue = VecDeque::from([(from, 0)]);
        while let Some((node, length)) = queue.pop_front() {
            if length + 1 >= length_max {
                return None;
            }
            for edge in &self.graph.edges[node] {
                left.step();
                let inside = self.place[edge.to] == self.place[from];
                if !inside || !self.allows(edge.kind) || came.contains_key(&edge.to) {
                    continue;
                }
                came.insert(edge.to, (node, *edge));
                if edge.to == to {
                    return Some(trace(&came, from, to));
                }
                queue.push_back((edge.to, length + 1));
            }
        }
        None
    }
}

fn trace(came: &BTreeMap<usize, (usize, Edge)>, from: usize, to: usize) -> Vec<(usize, Edge)> {
    let mut path = Vec::new();
    let mut node = to;
    while node != from || path.is_empty() {
        let (before, edge) = came[&node];
        path.push((before, edge));
        node = before;
    }
    path.reverse();
    path
}

/// The strongly connected components of more than one node, each ascending (Tarjan 1972, without
/// recursion).
fn components(graph: &Graph<'_>, allows: &dyn Fn(Kind) -> bool) -> Vec<Vec<usize>> {
    let mut tarjan = Tarjan::new(graph, allows);
    for root in 0..graph.edges.len() {
        tarjan.visit(root);
    }
    tarjan.found.sort_unstable();
    tarjan.found
}

struct Tarjan<'a> {
    graph: &'a Graph<'a>,
    allows: &'a dyn Fn(Kind) -> bool,
    /// When a node was first seen, from 1; 0: not yet.
    seen: Vec<usize>,
    low: Vec<usize>,
    is_open: Vec<bool>,
    open: Vec<usize>,
    clock: usize,
    found: Vec<Vec<usize>>,
}

impl<'a> Tarjan<'a> {
    fn new(graph: &'a Graph<'a>, allows: &'a dyn Fn(Kind) -> bool) -> Self {
        let count = graph.edges.len();
        Self {
            graph,
            allows,
            seen: vec![0; count],
            low: vec![0; count],
            is_open: vec![false; count],
            open: Vec::new(),
            clock: 0,
            found: Vec::new(),
        }
    }

    fn visit(&mut self, root: usize) {
        if self.seen[root] != 0 {
            return;
        }
        let mut path = vec![(self.enter(root), 0)];
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            let Some(edge) = self.graph.edges[node].get(*next) else {
                path.pop();
                self.leave(node);
                if let Some((parent, _)) = path.last() {
                    self.low[*parent] = self.low[*parent].min(self.low[node]);
                }
                continue;
            };
            *next += 1;
            if !(self.allows)(edge.kind) {
                continue;
            }
            if self.seen[edge.to] == 0 {
                path.push((self.enter(edge.to), 0));
            } else if self.is_open[edge.to] {
                self.low[node] = self.low[node].min(self.seen[edge.to]);
            }
        }
    }

    fn enter(&mut self, node: usize) -> usize {
        self.clock += 1;
        (self.seen[node], self.low[node]) = (self.clock, self.clock);
        self.is_open[node] = true;
        self.open.push(node);
        node
    }

    fn leave(&mut self, node: usize) {
        if self.low[node] != self.seen[node] {
            return;
        }
        let start = self.open.iter().rposition(|open| *open == node).expect("it is open");
        let mut component = self.open.split_off(start);
        component.iter().for_each(|member| self.is_open[*member] = false);
        if component.len() > 1 {
            component.sort_unstable();
            self.found.push(component);
        }
    }
}
