//! Containers and znodes with a time to live end by themselves, but never against a child or a
//! write that came before.

use crate::world::{World, b, create, delete, set};
use accord_core::limits::Limits;
use accord_core::state::tree::{CreateMode, Life, ReapCandidate, TreeEventKind};

const fn mode(life: Life) -> CreateMode {
    CreateMode { life, sequential: false }
}
const CONTAINER: CreateMode = mode(Life::Container);
const TTL: CreateMode = mode(Life::Ttl(1000));

fn paths(candidates: &[ReapCandidate]) -> Vec<&[u8]> {
    candidates.iter().map(|candidate| &candidate.path[..]).collect()
}

// Claims: C-tree-reaped
#[test]
fn a_container_ends_when_its_last_child_is_gone() {
    let mut world = World::new(Limits::default());
    let a = world.open();
    world.step(a, create("/c", CONTAINER)).unwrap();
    assert!(world.state.reap_candidates(None, 10).is_empty(), "it never had a child");
    world.step(a, create("/c/x", CreateMode::PERSISTENT)).unwrap();
    assert!(world.state.reap_candidates(None, 10).is_empty(), "it has a child");
    world.step(a, delete("/c/x")).unwrap();
    let candidates = world.state.reap_candidates(None, 10);
    assert_eq!(paths(&candidates), [b"/c"]);
    assert_eq!(world.reap(candidates.clone()), 1);
    let [event] = &world.tree_events()[..] else { panic!("{:?}", world.events) };
    assert_eq!((event.kind, &event.path[..]), (TreeEventKind::Deleted, &b"/c"[..]));
    assert_eq!(event.revision, world.state.revision());
    assert_eq!(world.stat("/"), world.stat("/").filter(|stat| stat.pzxid == event.revision));
    let before = world.state.revision();
    assert_eq!((world.reap(candidates), world.state.revision()), (0, before));
}

// Claims: C-tree-reaped
#[test]
fn a_child_or_a_write_that_came_before_the_command_wins() {
    let mut world = World::new(Limits::default());
    world.at(5000);
    let a = world.open();
    for path in ["/c", "/t", "/w"] {
        world.step(a, create(path, if path == "/c" { CONTAINER } else { TTL })).unwrap();
        world.step(a, create(&format!("{path}/x"), CreateMode::PERSISTENT)).unwrap();
        world.step(a, delete(&format!("{path}/x"))).unwrap();
    }
    world.at(7000);
    let candidates = world.state.reap_candidates(None, 10);
    assert_eq!(paths(&candidates), [b"/c", b"/t", b"/w"]);
    world.step(a, create("/c/y", CreateMode::PERSISTENT)).unwrap();
    world.step(a, create("/t/y", CreateMode::PERSISTENT)).unwrap();
    world.step(a, set("/w", "again")).unwrap();
    assert_eq!(world.reap(candidates.clone()), 0);
    // Not even if the child is gone again: its creator may be about to create the next.
    world.step(a, delete("/c/y")).unwrap();
    world.step(a, delete("/t/y")).unwrap();
    assert_eq!(world.reap(candidates), 0);
    let candidates = world.state.reap_candidates(None, 10);
    assert_eq!(paths(&candidates), [b"/c", b"/t"]);
    assert_eq!(world.reap(candidates), 2);
}

// Claims: C-tree-reaped
#[test]
fn a_time_to_live_is_measured_by_the_time_of_the_order() {
    let mut world = World::new(Limits::default());
    world.at(5000);
    let a = world.open();
    world.step(a, create("/t", TTL)).unwrap();
    world.at(6000);
    assert!(world.state.reap_candidates(None, 10).is_empty(), "not longer than that");
    let seen = world.stat("/t").unwrap();
    let early = ReapCandidate { path: b("/t"), pzxid: seen.pzxid, mzxid: seen.mzxid };
    assert_eq!(world.reap(vec![early.clone()]), 0);
    world.at(6001);
    assert_eq!(world.state.reap_candidates(None, 10), std::slice::from_ref(&early));
    // The clock of another server is behind: time does not go back.
    world.at(100);
    assert_eq!(world.reap(vec![early]), 1);
    assert_eq!(world.stat("/t"), None);
}

// Claims: C-tree-reaped
#[test]
fn candidates_come_in_pages_and_others_are_void() {
    let mut world = World::new(Limits::default());
    world.at(1);
    let a = world.open();
    for number in 0..5 {
        world.step(a, create(&format!("/t{number}"), TTL)).unwrap();
    }
    world.step(a, create("/plain", CreateMode::PERSISTENT)).unwrap();
    world.at(9000);
    let first = world.state.reap_candidates(None, 2);
    assert_eq!(paths(&first), [b"/t0", b"/t1"]);
    let second = world.state.reap_candidates(Some(b"/t1"), 9);
    assert_eq!(paths(&second), [b"/t2", b"/t3", b"/t4"]);
    let seen = world.stat("/plain").unwrap();
    let others = ["/plain", "/none", ""].map(|path| ReapCandidate {
        path: b(path),
        pzxid: seen.pzxid,
        mzxid: seen.mzxid,
    });
    assert_eq!(world.reap([first.clone(), first, others.to_vec()].concat()), 2);
    assert_eq!(world.state.znodes(), 4 + 4);
}
