//! The loss of a majority, and what comes after it, by the command line alone: what
//! `docs/operations.md` tells an operator to do.

use crate::{cluster, on, until, until_voting};
use std::fs;

// Claims: C-recover-behind, C-recover-asked
#[tokio::test]
async fn a_majority_is_lost_and_its_disks_come_back_after_the_recovery() {
    let mut cluster = cluster(3, 3, true);
    until_voting(&cluster, &[1, 2, 3]).await;
    on(&cluster, &["put", "a", "kept"]).done();
    // The others go on without server 1, so they have what it has not.
    cluster.kill(0);
    on(&cluster, &["put", "b", "lost"]).done();
    (1..3).for_each(|at| cluster.kill(at));
    cluster.restart(0).expect("it starts");
    until(&cluster, 0, |status| !status.primary && status.members == [1]).await;

    let told = on(&cluster, &["status"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.out.contains("NOT SERVING: 1 of 3 voters are connected"), "{told:?}");
    let address = cluster.addresses()[0].to_string();
    let unsure = on(&cluster, &["recover", &address]).failed(2);
    assert!(unsure.contains("--accept-loss"), "{unsure}");
    on(&cluster, &["recover", &address, "--accept-loss"]).done();
    until_voting(&cluster, &[1]).await;
    assert_eq!(on(&cluster, &["get", "a"]).done(), "kept\n");
    on(&cluster, &["get", "b"]).failed(1);
    on(&cluster, &["put", "c", "new"]).done();

    // An old disk is found. It has more than the cluster, so it takes no part, and nothing of it
    // is deleted.
    cluster.restart(2).expect("it starts");
    let left_behind = "the cluster was recovered without this server";
    until(&cluster, 2, |status| {
        !status.primary && status.reason.is_some_and(|reason| reason.contains(left_behind))
    })
    .await;
    let told = on(&cluster, &["status"]).done();
    let line = told.lines().find(|line| line.contains(left_behind)).expect("it says why");
    assert!(line.contains("keep this data for inspection"), "{line}");
    assert!(line.contains("start with an empty directory to join it"), "{line}");
    until(&cluster, 0, |status| status.primary && status.voters == [1]).await;
    on(&cluster, &["get", "b"]).failed(1);
    assert_eq!(on(&cluster, &["get", "c"]).done(), "new\n");
    cluster.stop(2);

    // As the table says: keep the directories, start with empty ones.
    for at in [1, 2] {
        let (dir, kept) = (cluster.data_dir(at), cluster.dir().join(format!("kept-{at}")));
        fs::rename(&dir, &kept).expect("it can be moved");
        cluster.restart(at).expect("it starts");
        let kept = kept.to_str().expect("it is text");
        let found = on(&cluster, &["admin", "inspect", kept, "--json"]).json();
        assert_eq!(found[0]["node"], at + 1, "{found:?}");
    }
    until_voting(&cluster, &[1, 2, 3]).await;
    let digest = on(&cluster, &["admin", "digest"]).done();
    assert!(digest.contains("the same state on 3 of 3 servers"), "{digest}");
    assert_eq!(on(&cluster, &["get", "a"]).done(), "kept\n");
}
