//! Servers that join, vote, go, and are replaced.

use crate::{cluster, on, until, until_voting};
use accord_testbed::cluster::Cluster;

/// Waits until a server knows that it was removed, and serves nobody.
async fn until_removed(cluster: &Cluster, at: usize) {
    until(cluster, at, |status| status.removed && !status.primary).await;
}

#[tokio::test]
async fn a_server_joins_votes_and_goes_and_every_step_may_be_repeated() {
    let mut cluster = cluster(3, 1, false);
    until_voting(&cluster, &[1]).await;
    on(&cluster, &["put", "a", "1"]).done();
    let address = cluster.peer_address(1).to_string();
    let add = ["admin", "add-server", "--node", "2", "--address", &address];
    let told = on(&cluster, &add).done();
    assert!(told.contains("it is not connected yet") && !told.contains("already"), "{told}");
    assert!(on(&cluster, &add).done().contains("already"));
    cluster.restart(1).expect("it starts");
    let told = on(&cluster, &["admin", "promote", "2"]).done();
    assert!(told.contains("server 2 is a voter\n") && told.contains("voters 1,2"), "{told}");
    assert!(on(&cluster, &["admin", "promote", "2"]).done().contains("a voter already"));
    until_voting(&cluster, &[1, 2]).await;
    let members = on(&cluster, &["admin", "members", "--json"]).json();
    let roles: Vec<_> = members.iter().map(|member| member["role"].as_str()).collect();
    assert_eq!(roles, [Some("voter"), Some("voter")]);
    assert!(members.iter().all(|member| member["connected"] == true));
    let digest = on(&cluster, &["admin", "digest"]).done();
    assert!(digest.contains("the same state on 2 of 2 servers"), "{digest}");
    assert_eq!(on(&cluster, &["get", "a"]).done(), "1\n");

    let told = on(&cluster, &["admin", "demote", "2"]).done();
    assert!(told.contains("server 2 does not vote\n"), "{told}");
    assert!(on(&cluster, &["admin", "demote", "2"]).done().contains("already"));
    let refused = on(&cluster, &["admin", "demote", "1"]).failed(1);
    assert!(refused.contains("the last voter cannot be removed"), "{refused}");
    on(&cluster, &["admin", "remove-server", "2"]).done();
    assert!(on(&cluster, &["admin", "remove-server", "2"]).done().contains("already"));
    until_removed(&cluster, 1).await;
    // It comes back as it went.
    on(&cluster, &add).done();
    on(&cluster, &["admin", "promote", "2"]).done();
    until_voting(&cluster, &[1, 2]).await;
}

// Claims: C-voters-change
#[tokio::test]
async fn what_would_stop_the_cluster_is_refused_with_the_reason() {
    let mut cluster = cluster(3, 3, true);
    until_voting(&cluster, &[1, 2, 3]).await;
    cluster.kill(2);
    // A death that nobody has noticed cannot be reckoned with.
    until(&cluster, 0, |status| status.primary && status.members == [1, 2]).await;
    let short = ["--timeout-ms", "20000"];
    let refused = on(&cluster, &[&["admin", "demote", "2"][..], &short].concat()).failed(1);
    assert!(refused.contains("would be no majority of the new set"), "{refused}");
    // Long before the time is up, for no time helps.
    let refused = on(&cluster, &["admin", "promote", "9", "--timeout-ms", "600000"]).failed(1);
    assert!(refused.contains("server 9 is not of the cluster, which has 1,2,3"), "{refused}");
    let nobody = ["admin", "promote", "3", "--servers", "127.0.0.1:1"];
    assert!(on(&cluster, &nobody).failed(4).contains("no server answers"));
    let wrong = ["admin", "add-server", "--node", "4", "--address", "0.0.0.0:7900"];
    assert!(on(&cluster, &wrong).failed(1).contains("no address by which others reach"));
    let taken = cluster.peer_address(0).to_string();
    let wrong = ["admin", "add-server", "--node", "4", "--address", &taken];
    assert!(on(&cluster, &wrong).failed(1).contains("are both at"));
    let told = on(&cluster, &["admin", "digest"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    let told = told.out;
    assert!(told.contains("UNKNOWN of servers 3") && !told.contains("the same"), "{told}");
    cluster.kill(1);
    until(&cluster, 0, |status| !status.primary).await;
    let digest = on(&cluster, &["admin", "digest", "--json"]);
    assert_eq!(digest.code, Some(1));
    assert_eq!(digest.json()[0]["missing"], serde_json::json!([2, 3]));
    let members = on(&cluster, &["admin", "members"]).done();
    assert!(members.contains("not serving") && !members.contains("catching up"), "{members}");
    let stopped = ["admin", "demote", "2", "--timeout-ms", "1500"];
    let refused = on(&cluster, &stopped).failed(1);
    assert!(refused.contains("in the primary component"), "{refused}");
}

#[tokio::test]
async fn a_lost_server_is_replaced_and_who_was_away_learns_of_it() {
    let mut cluster = cluster(4, 3, true);
    until_voting(&cluster, &[1, 2, 3]).await;
    on(&cluster, &["put", "a", "1"]).done();
    cluster.kill(2);
    cluster.restart(3).expect("the new one starts");
    let address = cluster.peer_address(3).to_string();
    let told = on(&cluster, &["admin", "replace", "3", "4", "--address", &address]).done();
    assert!(told.contains("server 4 votes in the place of 3"), "{told}");
    assert!(told.contains("voters 1,2,4, servers 1,2,4"), "{told}");
    until_voting(&cluster, &[1, 2, 4]).await;
    // All start again, with configurations that know nothing of it.
    for at in [0, 1, 3] {
        cluster.kill(at);
    }
    for at in [0, 1, 3] {
        cluster.restart(at).expect("it starts again");
    }
    until_voting(&cluster, &[1, 2, 4]).await;
    // The one that was thought lost is heard by nobody, and told so when it asks.
    cluster.restart(2).expect("it starts again");
    until_removed(&cluster, 2).await;
    until_voting(&cluster, &[1, 2, 4]).await;
    assert_eq!(on(&cluster, &["get", "a"]).done(), "1\n");
}
