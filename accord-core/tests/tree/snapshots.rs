//! The tree in snapshots: what was changed outside is refused, or is what it says.

use crate::reseal::reseal;
use crate::world::{World, b, create, delete, one, set};
use accord_core::ids::SessionId;
use accord_core::limits::Limits;
use accord_core::state::tree::{
    Acl, Ask, CreateMode, Identity, Life, TreeStep, ZnodeAnswer, perms,
};
use accord_core::state::{SnapshotError, State};
use bytes::Bytes;

const fn mode(life: Life) -> CreateMode {
    CreateMode { life, sequential: false }
}

/// A tree with everything that a section can hold.
fn full() -> (World, SessionId) {
    let mut world = World::new(Limits::default());
    world.at(1_000_000);
    let a = world.open();
    for (path, life) in [
        ("/a", Life::Persistent),
        ("/a/b", Life::Container),
        ("/a/c", Life::Ttl(1000)),
        ("/a-b", Life::Persistent),
        ("/e", Life::Ephemeral),
    ] {
        world.step(a, create(path, mode(life))).unwrap();
    }
    let who = [Identity::new("digest", "joe:x")];
    let acl = vec![Acl { perms: perms::ALL, identity: Identity::new("auth", "") }];
    let mode = CreateMode { life: Life::Persistent, sequential: true };
    let data = None;
    world.run(a, one(&who, TreeStep::Create { path: b("/a/s"), data, acl, mode }));
    world.step(a, set("/a-b", &"x".repeat(3000))).unwrap();
    (world, a)
}

fn restore(bytes: &Bytes) -> Result<State, SnapshotError> {
    State::restore(bytes, Limits::default())
}

// Claims: C-input
#[test]
fn a_changed_byte_is_refused_or_is_another_state() {
    let bytes = full().0.state.snapshot();
    let (mut refused, mut others) = (0, 0);
    for (by, place) in (0..400).flat_map(|place| [(1u8, place), (0x80, place)]) {
        let changed = reseal(&bytes, |_, payload| {
            if let Some(byte) = payload.get_mut(place) {
                *byte ^= by;
            }
        });
        match restore(&changed) {
            Err(_) => refused += 1,
            Ok(state) => {
                assert_eq!(state.snapshot(), changed, "byte {place} of each chunk");
                others += 1;
            }
        }
    }
    assert!(refused > 50 && others > 50, "{refused} were refused, {others} were not");
}

#[test]
fn a_restored_tree_goes_on_as_the_old_one() {
    let (mut world, a) = full();
    let mut other = restore(&world.state.snapshot()).unwrap();
    assert_eq!(other.digest(), world.state.digest());
    for path in ["/a/b", "/a/c", "/e", "/a/s0000000002"] {
        world.step(a, delete(path)).unwrap();
    }
    assert_eq!(world.state.znodes(), 4 + 2);
    other.renew(10).unwrap();
    other.check();
    assert_eq!(other.znodes(), 4 + 5, "the ephemeral ended with its session");
}

#[test]
fn lists_are_kept_once_each() {
    let (mut world, a) = full();
    let bytes = world.state.snapshot().len();
    for number in 0..1000 {
        world.step(a, create(&format!("/a/{number:04}"), CreateMode::PERSISTENT)).unwrap();
    }
    let more = world.state.snapshot().len() - bytes;
    assert!(more < 1000 * 45, "{more} bytes");
    let joe = [Identity::new("digest", "joe:x")];
    let ZnodeAnswer::Acl(list, _) = world.ask(&joe, Ask::Acl, "/a/s0000000002") else {
        panic!("it has a list")
    };
    assert_eq!(list, [Acl { perms: perms::ALL, identity: joe[0].clone() }]);
}
