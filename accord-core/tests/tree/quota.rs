//! Quotas where the tree is stricter than ZooKeeper, which looks at what was there before.

use crate::world::{World, b, create, set};
use accord_core::limits::Limits;
use accord_core::state::tree::{
    Ask, CreateMode, TreeChange, TreeError, TreeOp, TreeResult, TreeStep, ZnodeAnswer,
};

fn run(world: &mut World, steps: Vec<TreeStep>) -> TreeResult {
    let session = world.open();
    let op = TreeOp { identities: vec![], change: TreeChange::Multi(steps) };
    world.run(session, op).result
}

#[test]
fn an_operation_counts_its_own_steps_against_a_quota() {
    let mut world = World::new(Limits { quota_enforced: true, ..Limits::default() });
    let plain = CreateMode::PERSISTENT;
    let stats = "/zookeeper/quota/q/zookeeper_stats";
    let limits = "/zookeeper/quota/q/zookeeper_limits";
    let made = ["/q", "/zookeeper/quota/q", limits, stats].map(|path| create(path, plain));
    let limit = set(limits, "count=-1,bytes=-1=;countHardLimit=3");
    assert!(matches!(run(&mut world, [&made[..], &[limit]].concat()), TreeResult::Multi(_)));
    let two = || ["/q/a", "/q/b"].map(|path| create(path, plain)).to_vec();
    let three = [two(), vec![create("/q/c", plain)]].concat();
    let failed = TreeResult::MultiFailed { step: 2, steps: 3, error: TreeError::QuotaExceeded };
    assert_eq!(run(&mut world, three), failed);
    let ZnodeAnswer::Data(data, _) = world.ask(&[], Ask::Data, stats) else {
        panic!("it is there")
    };
    assert_eq!(data, Some(b("count=1,bytes=4")), "nothing of it was done");
    assert!(matches!(run(&mut world, two()), TreeResult::Multi(_)));
}
