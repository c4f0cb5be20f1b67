//! The choice of who forms a ring together, from who hears whom.
//!
//! Hearing is not always transitive: 1 and 2 may both reach 3 and not each other. A ring needs
//! every pair of its members to hear each other, so its members are a clique of the graph of mutual
//! hearing. All who know the same graph choose alike: the largest clique is taken first, then the
//! largest of what is left, and so on. Among cliques of one size, those whose members were in one
//! ring already are preferred (so that nothing is disturbed without a gain), then lower ids. Totem,
//! and Corosync with it, instead let a node that hears only some pull those back into gathering for
//! ever.

use crate::group::MEMBERS_MAX;
use crate::group::ViewId;
use crate::group::ring::packet::Proc;
use alloc::vec::Vec;

/// The search stops after this many steps with the best clique found by then. Reached only by
/// large, oddly torn networks; alike at all members, since all count alike.
const STEPS_MAX: u32 = 20_000;

/// A vertex of the graph: a processor, the ring it is or was last in, and whom it hears.
#[derive(Clone, Debug)]
pub(super) struct Vertex {
    pub(super) proc: Proc,
    pub(super) ring: ViewId,
    /// Sorted.
    pub(super) hears: Vec<Proc>,
}

type Mask = u128;
const _: () = assert!(MEMBERS_MAX <= Mask::BITS as usize);

/// The clique that holds `me`, sorted. `vertices` must be sorted by processor and contain `me`;
/// those beyond the first [`MEMBERS_MAX`] are left out.
pub(super) fn choose(vertices: &[Vertex], me: Proc) -> Vec<Proc> {
    assert!(vertices.windows(2).all(|pair| pair[0].proc < pair[1].proc));
    let at = vertices.iter().position(|v| v.proc == me).expect("the chooser is a vertex");
    let vertices = match at {
        at if at < MEMBERS_MAX => &vertices[..vertices.len().min(MEMBERS_MAX)],
        _ => return alloc::vec![me],
    };
    let adjacent = adjacency(vertices);
    let mut left: Mask = mask_below(vertices.len());
    loop {
        let mut search = Search { vertices, adjacent: &adjacent, best: 0, kin: false, steps: 0 };
        search.explore(0, left, 0);
        assert!(search.best != 0, "a graph that is not empty has a clique");
        if search.best >> at & 1 == 1 {
            return members(search.best).map(|index| vertices[index].proc).collect();
        }
        left &= !search.best;
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
    vertices: &'a [Vertex],
    adjacent: &'a [Mask],
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
        let reach = chosen.count_ones() + candidates.count_ones();
        let hopeless = reach < self.best.count_ones();
        if hopeless || (self.steps > STEPS_MAX && self.best != 0) {
            return;
        }
        let pivot = members(candidates | excluded)
            .max_by_key(|at| (candidates & self.adjacent[*at]).count_ones())
            .expect("one of the two sets is not empty");
        let (mut candidates, mut excluded) = (candidates, excluded);
        for at in members(candidates & !self.adjacent[pivot]) {
            let near = self.adjacent[at];
            self.explore(chosen | 1 << at, candidates & near, excluded & near);
            candidates &= !(1 << at);
            excluded |= 1 << at;
        }
    }

    fn consider(&mut self, clique: Mask) {
        let kin = self.are_kin(clique);
        let differ = clique ^ self.best;
        let lower = clique & (differ & differ.wrapping_neg()) != 0;
        let rank = (clique.count_ones(), kin, lower);
        if rank > (self.best.count_ones(), self.kin, false) {
            (self.best, self.kin) = (clique, kin);
        }
    }

    /// True if all were in one ring last.
    fn are_kin(&self, clique: Mask) -> bool {
        let mut rings = members(clique).map(|at| self.vertices[at].ring);
        let first = rings.next();
        rings.all(|ring| Some(ring) == first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
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
                hears: (1..=count).filter(|b| *b != a && !cut(a, *b)).map(proc).collect(),
            })
            .collect()
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
    fn two_runs_of_one_node_are_never_in_one_ring() {
        let old = Proc { node: NodeId(1), salt: 1 };
        let new = Proc { node: NodeId(1), salt: 2 };
        let other = proc(2);
        let vertex = |proc, hears: &[Proc]| Vertex { proc, ring: ring(1), hears: hears.to_vec() };
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
            let all = graph(count, &[], cut);
            let largest = (0..1u32 << count)
                .filter(|set| {
                    let has = |n: &u32| set >> (n - 1) & 1 == 1;
                    let inside: Vec<u32> = (1..=count).filter(has).collect();
                    inside.iter().all(|a| inside.iter().all(|b| a == b || !cut(*a, *b)))
                })
                .map(u32::count_ones)
                .max();
            let mut sizes = Vec::new();
            for me in 1..=count {
                let clique = choose(&all, proc(me));
                assert!(nodes(&clique).contains(&me), "round {round}");
                for other in &clique {
                    assert_eq!(choose(&all, *other), clique, "round {round}");
                }
                sizes.push(clique.len() as u32);
            }
            assert_eq!(sizes.iter().max(), largest.as_ref(), "round {round}");
        }
    }

    #[test]
    fn the_search_ends_on_a_large_and_torn_network() {
        // 42 groups of three that do not hear each other: 3^42 maximal cliques.
        let torn = graph(126, &[], |a, b| a.div_ceil(3) == b.div_ceil(3));
        assert_eq!(choose(&torn, proc(1)).len(), 42);
    }
}
