//! The choice of who forms a ring together, from who hears whom.
//!
//! Hearing is not always transitive: 1 and 2 may both reach 3 and not each other. A ring needs
//! every pair of its members to hear each other, so its members are a clique of the graph of mutual
//! hearing. All who know the same graph choose alike: the clique with the most voters is taken
//! first, among those the largest, then the best of what is left, and so on. So if any clique holds
//! a majority of the voters, a ring with a majority forms, however many observers pull elsewhere.
//! Among cliques of one rank, those whose members were in one ring already are preferred (so that
//! nothing is disturbed without a gain), then lower ids. Totem, and Corosync with it, lets a node
//! that hears only some of the others pull those back into gathering repeatedly.

use crate::group::MEMBERS_MAX;
use crate::group::Standing;
use crate::group::ViewId;
use crate::group::ring::packet::Proc;
use alloc::vec::Vec;

/// The search stops after this many steps with the best clique found by then. Reached only by
/// large, oddly torn networks; alike at all members, since all count alike.
const STEPS_MAX: u32 = 20_000;

/// A vertex of the graph: a processor, the ring it is or was last in, its vote, whom it hears.
#[derive(Clone, Debug)]
pub(super) struct Vertex {
    pub(super) proc: Proc,
    pub(super) ring: ViewId,
    pub(super) standing: Standing,
    /// Sorted.
    pub(super) hears: Vec<Proc>,
}

type Mask = u128;
const _: () = assert!(MEMBERS_MAX <= Mask::BITS as usize);

/// Who hears whom, and who votes.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    vertices: &'a [Vertex],
    adjacent: Vec<Mask>,
    voters: Mask,
}

/// How good a ring of these members is: voters first, then members.
pub(super) type Rank = (u32, u32);

impl<'a> Graph<'a> {
    /// `vertices` must be sorted by processor; those beyond the first [`MEMBERS_MAX`] are left out.
    pub(super) fn new(vertices: &'a [Vertex]) -> Self {
        assert!(vertices.windows(2).all(|pair| pair[0].proc < pair[1].proc));
        let vertices = &vertices[..vertices.len().min(MEMBERS_MAX)];
        // The same at all who know the same: what any of them has from the latest state of a log.
        let latest = vertices.iter().map(|vertex| &vertex.standing);
        let latest = latest.max_by_key(|standing| (standing.known_at, &standing.voters));
        let votes = |vertex: &Vertex| {
            vertex.standing.votes
                && latest.is_some_and(|it| it.voters.binary_search(&vertex.proc.node).is_ok())
        };
        let voters = vertices.iter().enumerate();
        let voters = voters.fold(0, |mask, (at, it)| mask | Mask::from(votes(it)) << at);
        Self { vertices, adjacent: adjacency(vertices), voters }
    }

    /// The clique that holds `me`, sorted.
    pub(super) fn choose(&self, me: Proc) -> Vec<Proc> {
        let Some(at) = self.vertices.iter().position(|v| v.proc == me) else {
            return alloc::vec![me];
        };
        let mut left: Mask = mask_below(self.vertices.len());
        loop {
            let mut search = Search { graph: self, best: 0, kin: false, steps: 0 };
            search.explore(0, left, 0);
            let best = search.best;
            assert!(best != 0, "a graph that is not empty has a clique");
            if best >> at & 1 == 1 {
                return members(best).map(|index| self.vertices[index].proc).collect();
            }
            left &= !best;
        }
    }

    /// The rank of a ring of these.
    pub(super) fn rank(&self, ring: &[Proc]) -> Rank {
        let at = |proc: &Proc| self.vertices.binary_search_by_key(proc, |vertex| vertex.proc).ok();
        let mask = ring.iter().filter_map(at).fold(0, |mask, at| mask | 1 << at);
        self.rank_of(mask)
    }

    fn rank_of(&self, mask: Mask) -> Rank {
        ((mask & self.voters).count_ones(), mask.count_ones())
    }
}

fn mask_below(count: usize) -> Mask {
    if count >= Mask::BITS as usize { Mask::MAX } else { (1 << count) - 1 }
}

fn members(mask: Mask) -> impl Iterator<Item = usize> {
    (0..Mask::BITS as usize).filter(move |index| mask >> index & 1 == 1)
}

fn adjacency(vertices: &[Vertex]) -> Vec<Mask> {
    let hears = |a: &Vertex, b: &Vertex| {
        a.proc.node != b.proc.node && a.hears.binary_search(&b.proc).is_ok()
    };
    let row = |a: &Vertex| {
        let mutual = |b: &Vertex| hears(a, b) && hears(b, a);
        vertices.iter().enumerate().fold(0, |row, (at, b)| row | Mask::from(mutual(b)) << at)
    };
    vertices.iter().map(row).collect()
}

/// Bron and Kerbosch's enumeration of maximal cliques, with a pivot and a bound on the size.
struct Search<'a> {
    graph: &'a Graph<'a>,
    best: Mask,
    kin: bool,
    steps: u32,
}

impl Search<'_> {
    fn explore(&mut self, chosen: Mask, candidates: Mask, excluded: Mask) {
        self.steps += 1;
        if candidates == 0 && excluded == 0 {
            return self.consider(chosen);
        }
        let hopeless = self.graph.rank_of(chosen | candidates) < self.graph.rank_of(self.best);
        if hopeless || (self.steps > STEPS_MAX && self.best != 0) {
            return;
        }
        let pivot = members(candidates | excluded)
            .max_by_key(|at| (candidates & self.graph.adjacent[*at]).count_ones())
            .expect("one of the two sets is not empty");
        let (mut candidates, mut excluded) = (candidates, excluded);
        for at in members(candidates & !self.graph.adjacent[pivot]) {
            let near = self.graph.adjacent[at];
            self.explore(chosen | 1 << at, candidates & near, excluded & near);
            candidates &= !(1 << at);
            excluded |= 1 << at;
        }
    }

    fn consider(&mut self, clique: Mask) {
        let kin = self.are_kin(clique);
        let differ = clique ^ self.best;
        let lower = clique & (differ & differ.wrapping_neg()) != 0;
        let rank = (self.graph.rank_of(clique), kin, lower);
        if rank > (self.graph.rank_of(self.best), self.kin, false) {
            (self.best, self.kin) = (clique, kin);
        }
    }

    /// True if all were in one ring last.
    fn are_kin(&self, clique: Mask) -> bool {
        let mut rings = members(clique).map(|at| self.graph.vertices[at].ring);
        let first = rings.next();
        rings.all(|ring| Some(ring) == first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Index, LogPosition, NodeId};
    use crate::rng::Rng;

    fn proc(node: u32) -> Proc {
        Proc { node: NodeId(node), salt: 7 }
    }

    fn ring(seq: u64) -> ViewId {
        ViewId { seq, representative: NodeId(1), salt: 0 }
    }

    /// Vertices 1..=count, where `cut` tells which ordered pairs do not hear each other.
    fn graph(count: u32, rings: &[u64], cut: impl Fn(u32, u32) -> bool) -> Vec<Vertex> {
        (1..=count)
            .map(|a| Vertex {
                proc: proc(a),
                ring: ring(rings.get(a as usize - 1).copied().unwrap_or(u64::from(100 + a))),
                standing: Standing::default(),
                hears: (1..=count).filter(|b| *b != a && !cut(a, *b)).map(proc).collect(),
            })
            .collect()
    }

    fn choose(vertices: &[Vertex], me: Proc) -> Vec<Proc> {
        Graph::new(vertices).choose(me)
    }

    /// Lets the vertices know that `voters` vote; only those of `intact` do with what they have.
    fn elect(vertices: &mut [Vertex], known_at: u64, voters: &[u32], intact: &[u32]) {
        for vertex in vertices {
            vertex.standing = Standing {
                known_at: LogPosition { epoch: Epoch(1), index: Index(known_at) },
                voters: voters.iter().copied().map(NodeId).collect(),
                votes: intact.contains(&vertex.proc.node.0),
            };
        }
    }

    fn nodes(clique: &[Proc]) -> Vec<u32> {
        clique.iter().map(|proc| proc.node.0).collect()
    }

    #[test]
    fn a_cut_that_is_not_transitive_leaves_one_pair_and_all_agree_on_it() {
        let cut = |a: u32, b: u32| a + b == 3;
        let fresh = graph(3, &[], cut);
        assert_eq!(nodes(&choose(&fresh, proc(1))), [1, 3]);
        assert_eq!(nodes(&choose(&fresh, proc(3))), [1, 3]);
        assert_eq!(nodes(&choose(&fresh, proc(2))), [2]);
        // A pair that is a ring already stays one.
        let settled = graph(3, &[4, 5, 5], cut);
        assert_eq!(nodes(&choose(&settled, proc(3))), [2, 3]);
        assert_eq!(nodes(&choose(&settled, proc(1))), [1]);
    }

    #[test]
    fn one_way_hearing_is_no_hearing() {
        let one_way = graph(3, &[], |a, b| (a, b) == (1, 2));
        assert_eq!(nodes(&choose(&one_way, proc(2))), [2]);
        assert_eq!(nodes(&choose(&one_way, proc(1))), [1, 3]);
    }

    #[test]
    fn the_larger_clique_wins_over_lower_ids() {
        let apart = graph(5, &[], |a, b| (a <= 2) != (b <= 2));
        assert_eq!(nodes(&choose(&apart, proc(4))), [3, 4, 5]);
        assert_eq!(nodes(&choose(&apart, proc(2))), [1, 2]);
    }

    #[test]
    fn a_majority_of_the_voters_wins_over_a_larger_clique() {
        // Voters 1, 2, 3, of which 3 is down, and observers 4 and 5; 1 reaches 2 alone.
        let cut = |a: u32, b: u32| a == 3 || b == 3 || (a.min(b) == 1 && a.max(b) >= 4);
        let mut all = graph(5, &[], cut);
        all.remove(2);
        assert_eq!(nodes(&choose(&all, proc(2))), [2, 4, 5], "no vote is known");
        elect(&mut all, 7, &[1, 2, 3], &[1, 2]);
        assert_eq!(nodes(&choose(&all, proc(2))), [1, 2], "the only majority of voters");
        assert_eq!(nodes(&choose(&all, proc(5))), [4, 5]);
        let graph = Graph::new(&all);
        assert!(graph.rank(&[proc(1), proc(2)]) > graph.rank(&[proc(2), proc(4), proc(5)]));
        // Node 1 came back without its memory, so it is no majority with 2.
        elect(&mut all, 7, &[1, 2, 3], &[2]);
        assert_eq!(nodes(&choose(&all, proc(2))), [2, 4, 5]);
    }

    #[test]
    fn the_latest_known_voters_count_at_all_who_know_them() {
        let cut = |a: u32, b: u32| (a, b) == (1, 3) || (a, b) == (3, 1);
        let mut all = graph(3, &[4, 4, 5], cut);
        elect(&mut all, 7, &[1, 2], &[1, 2]);
        // Server 3 has heard later that it votes, and that 1 does not any more.
        elect(&mut all[2..], 8, &[2, 3], &[2, 3]);
        for (me, chosen) in [(1, &[1][..]), (2, &[2, 3]), (3, &[2, 3])] {
            assert_eq!(nodes(&choose(&all, proc(me))), chosen);
        }
    }

    #[test]
    fn two_runs_of_one_node_are_never_in_one_ring() {
        let old = Proc { node: NodeId(1), salt: 1 };
        let new = Proc { node: NodeId(1), salt: 2 };
        let other = proc(2);
        let vertex = |proc, hears: &[Proc]| {
            let (standing, hears) = (Standing::default(), hears.to_vec());
            Vertex { proc, ring: ring(1), standing, hears }
        };
        let all =
            [vertex(old, &[new, other]), vertex(new, &[old, other]), vertex(other, &[old, new])];
        assert_eq!(choose(&all, other), [old, other]);
        assert_eq!(choose(&all, new), [new]);
    }

    #[test]
    fn all_choose_a_partition_into_cliques_that_none_could_join() {
        let mut rng = Rng::new(5);
        for round in 0..300 {
            let count = 2 + rng.below(9) as u32;
            let density = rng.below(100);
            let cuts: Vec<u64> = (0..400).map(|_| rng.below(100)).collect();
            let cut = |a: u32, b: u32| cuts[(a.min(b) * 20 + a.max(b)) as usize] < density;
            let mut all = graph(count, &[], cut);
            let voting: Vec<u32> = (1..=count).filter(|_| rng.below(2) == 0).collect();
            elect(&mut all, 1, &voting, &voting);
            let rank = |nodes: &[u32]| {
                (nodes.iter().filter(|node| voting.contains(node)).count(), nodes.len())
            };
            let best = (0..1u32 << count)
                .filter_map(|set| {
                    let has = |n: &u32| set >> (n - 1) & 1 == 1;
                    let inside: Vec<u32> = (1..=count).filter(has).collect();
                    let clique =
                        inside.iter().all(|a| inside.iter().all(|b| a == b || !cut(*a, *b)));
                    clique.then(|| rank(&inside))
                })
                .max();
            let mut ranks = Vec::new();
            for me in 1..=count {
                let clique = choose(&all, proc(me));
                assert!(nodes(&clique).contains(&me), "round {round}");
                for other in &clique {
                    assert_eq!(choose(&all, *other), clique, "round {round}");
                }
                ranks.push(rank(&nodes(&clique)));
            }
            assert_eq!(ranks.iter().max(), best.as_ref(), "round {round}");
        }
    }

    #[test]
    fn the_search_ends_on_a_large_and_torn_network() {
        // 42 groups of three that do not hear each other: 3^42 maximal cliques.
        let torn = graph(126, &[], |a, b| a.div_ceil(3) == b.div_ceil(3));
        assert_eq!(choose(&torn, proc(1)).len(), 42);
    }
}
