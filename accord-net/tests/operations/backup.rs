//! Backups: taken while a cluster serves, verified, and a new cluster grown from one.

use crate::directories::{flags, server};
use crate::support::{Process, accord, command};
use crate::{client, cluster, contents, on, status, until, until_voting};
use accord_net::operator::StatusReport;
use std::fs;

/// What servers say that hear one of another cluster.
const MIXED: &str = "servers of different clusters hear each other";

// Claims: C-restore-apart, C-backup
#[tokio::test]
async fn a_wiped_cluster_is_restored_and_nothing_of_the_old_one_mixes_with_it() {
    let mut cluster = cluster(3, 3, true);
    until_voting(&cluster, &[1, 2, 3]).await;
    for number in 0..20 {
        on(&cluster, &["put", &format!("key/{number}"), &"v".repeat(number * 1000)]).done();
    }
    let client = client(&cluster).await;
    client.put("last", "before the backup").await.expect("it is written");
    let file = cluster.dir().join("monday.backup");
    let out = file.to_str().expect("it is text");
    // The old cluster is to have another server, of which the new one knows nothing.
    let add = ["admin", "add-server", "--node", "4", "--address", "127.0.0.1:1"];
    on(&cluster, &add).done();
    let taken = on(&cluster, &["admin", "backup", "--out", out, "--json"]).json();
    let head = taken.first().expect("one object").clone();
    assert_eq!((&head["records"], &head["sessions"]), (&21.into(), &1.into()), "{head}");
    let again = on(&cluster, &["admin", "backup", "--out", out]).failed(1);
    assert!(again.contains("is there already"), "{again}");
    on(&cluster, &["admin", "backup", "--out", out, "--force"]).done();
    let verified = on(&cluster, &["admin", "verify-backup", out, "--json"]).json();
    assert_eq!(verified[0]["content"], head["content"], "nothing changed in between");
    client.put("last", "after the backup").await.expect("it is written");
    drop(client);

    // All is lost but the directory of server 3, which nobody thinks of.
    (0..3).for_each(|at| cluster.kill(at));
    let data = |node: u32| cluster.dir().join(format!("data-{node}"));
    let (one, three, kept) = (data(1), data(3), cluster.dir().join("old-3"));
    fs::rename(&three, &kept).expect("it can be moved");
    let used = ["admin", "restore", out, "--data-dir", one.to_str().expect("text"), "--node", "1"];
    let before = contents(&one);
    assert!(on(&cluster, &used).failed(1).contains("is not empty"));
    assert_eq!(contents(&one), before);
    fs::remove_dir_all(&one).expect("it is ours");
    fs::remove_dir_all(data(2)).expect("it is ours");
    let restored = on(&cluster, &[&used[..], &["--json"]].concat()).json();
    assert_eq!(restored[0]["joining"], serde_json::json!([2, 3]), "{restored:?}");
    let inspected = on(&cluster, &["admin", "inspect", one.to_str().expect("text"), "--json"]);
    let inspected = inspected.json();
    assert_eq!(inspected[0]["voters"], serde_json::json!([1]));
    assert_eq!(inspected[0]["cluster_id"], restored[0]["cluster_id"]);
    assert_ne!(inspected[0]["cluster_id"], head["cluster_id"]);

    for at in 0..3 {
        cluster.restart(at).expect("it starts");
    }
    until_voting(&cluster, &[1, 2, 3]).await;
    assert_eq!(on(&cluster, &["get", "last"]).done(), "before the backup\n");
    assert_eq!(on(&cluster, &["get", "key/19"]).done().len(), 19_001);
    let digest = on(&cluster, &["admin", "digest"]).done();
    assert!(digest.contains("the same state on 3 of 3 servers"), "{digest}");
    let revision = status(&cluster, 0).await.expect("it runs").revision;
    assert!(revision >= head["revision"].as_u64().expect("a number") + 1_000_000_000);

    // The old server comes back: the two clusters do not mix, and say why.
    cluster.kill(2);
    fs::remove_dir_all(&three).expect("it is ours");
    fs::rename(&kept, &three).expect("it can be moved");
    cluster.restart(2).expect("it starts");
    let mixed = |status: StatusReport| status.reason.is_some_and(|why| why.contains(MIXED));
    until(&cluster, 2, mixed).await;
    cluster.kill(2);
    fs::remove_dir_all(&three).expect("it is ours");
    cluster.restart(2).expect("it starts");
    until_voting(&cluster, &[1, 2, 3]).await;
    let servers = status(&cluster, 0).await.expect("it runs").servers;
    assert!(servers.len() == 3, "{servers:?}");
    assert_eq!(on(&cluster, &["get", "last"]).done(), "before the backup\n");
}

// Claims: C-backup
#[tokio::test]
async fn a_backup_that_is_not_as_it_was_written_is_refused() {
    let cluster = cluster(1, 1, false);
    on(&cluster, &["put", "a", "1"]).done();
    let file = cluster.dir().join("a.backup");
    let out = file.to_str().expect("it is text");
    on(&cluster, &["admin", "backup", "--out", out]).done();
    let whole = fs::read(&file).expect("it is there");
    let text = fs::read_dir(cluster.dir()).expect("it is there");
    let unfinished = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains("unfinished"))
    };
    assert!(!text.into_iter().any(unfinished));
    let check = |bytes: &[u8], expected: &str| {
        fs::write(&file, bytes).expect("it can be written");
        let told = on(&cluster, &["admin", "verify-backup", out]).failed(1);
        assert!(told.contains(expected) && told.contains("a.backup"), "{expected}: {told}");
        let dir = cluster.dir().join("never");
        let args = ["admin", "restore", out, "--data-dir", dir.to_str().expect("text")];
        let told = on(&cluster, &[&args[..], &["--node", "1"]].concat()).failed(1);
        assert!(told.contains(expected) && !dir.exists(), "{expected}: {told}");
    };
    check(b"something else", "no backup of Accord");
    check(&whole[..whole.len() - 1], "is damaged: it has");
    check(&[&b"accord backup 9"[..], &whole[15..]].concat(), "has format 9");
    for at in (17..whole.len()).step_by(37) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        check(&bytes, "is damaged");
    }

    // As it was written it is good, also for a server on its own, with the bounds that it had.
    fs::write(&file, &whole).expect("it can be written");
    let dir = cluster.dir().join("n1");
    let shown = dir.to_str().expect("it is text");
    on(&cluster, &["admin", "restore", out, "--data-dir", shown, "--node", "1"]).done();
    let bounds = ["--set", "state.key_bytes_max=100"];
    let mut process = Process::start(command().args(flags(&dir)).args(bounds));
    process.line("Are its settings under [state] those with which the state was made");
    assert_eq!(process.end().code(), Some(3));
    let (_process, at) = server(&dir, &[]);
    assert_eq!(accord(&["get", "a", "--servers", &at]).done(), "1\n");
}
