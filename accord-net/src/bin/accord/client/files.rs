//! Backups and directories: what an operator does without a server.

use super::Failure;
use super::admin::print_json;
use crate::out;
use accord_net::backup::{Backup, RestoreOptions, SKIPPED_DEFAULT};
use accord_net::server::journal::{Disk, DiskError};
use accord_net::storage::OpenError;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub const RESTORE_EXAMPLES: &str = "\
What comes of it is a new cluster: it has another number, so that no server of the old one can mix
with it; all sessions of the old one have ended, and their ephemeral records are gone; revisions and
sequence numbers go on far above the old ones, so that no client takes anything of the new cluster
for something it knew. Clients connect again, and watches report that the history is gone.

Restore on one server. The others start with empty directories, catch up and vote by themselves:
  accord admin restore monday.backup --data-dir data/n1 --node 1 --voters 1,2,3
  accord server --config n1.toml        and the others, all without --bootstrap

A server of the old cluster that comes back later stops the service as long as it is there: wipe it
before, or give the new cluster a key of its own.";

pub const INSPECT_EXAMPLES: &str = "\
It reads and judges exactly what a start of the server does, and changes nothing. A damaged
directory is refused with the file, the byte, and the index of the log that the damage comes behind.

Example:
  accord admin inspect data/n1 --json | jq .last_index";

/// How a new cluster is to begin.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// The backup.
    file: PathBuf,
    /// The directory of the server with which the cluster begins: empty, or not there.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// That server's number.
    #[arg(long, value_name = "N")]
    node: u32,
    /// The servers that are to vote [default: those that did].
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    voters: Vec<u32>,
    /// The name of the cluster [default: that of the backup].
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// How much higher revisions and sequence numbers go on.
    #[arg(long, value_name = "COUNT", default_value_t = SKIPPED_DEFAULT)]
    skip_revisions: u64,
}

fn failed(error: &impl ToString) -> Failure {
    Failure::failed("backup", error.to_string())
}

/// Reads a backup and tells what it holds.
pub fn verify(file: &Path, json: bool) -> Result<u8, Failure> {
    let backup = Backup::read(file).map_err(|error| failed(&error))?;
    tell_backup(file, &backup, json)
}

/// Tells what a backup holds.
pub fn tell_backup(file: &Path, backup: &Backup, json: bool) -> Result<u8, Failure> {
    let (head, state) = (&backup.head, backup.state());
    if json {
        let mut object = serde_json::to_value(head).expect("it has a form in JSON");
        object["file"] = file.display().to_string().into();
        object["records"] = state.records().into();
        object["sessions"] = state.sessions().count().into();
        return Ok(print_json(&object));
    }
    let voters: Vec<_> = head.voters.iter().map(u32::to_string).collect();
    Ok(out::print_text(&format!(
        "{}: intact\n  cluster    {} ({}), voters {}, from server {}\n  state      revision {}, \
         index {}, digest {}, contents {}\n  holds      {} records, {} sessions, {} bytes\n",
        file.display(),
        head.cluster,
        head.cluster_id,
        voters.join(","),
        head.node,
        head.revision,
        head.index,
        head.digest,
        head.content,
        state.records(),
        state.sessions().count(),
        head.bytes,
    )))
}

/// Makes a directory from a backup.
pub fn restore(args: &RestoreArgs, json: bool) -> Result<u8, Failure> {
    let backup = Backup::read(&args.file).map_err(|error| failed(&error))?;
    let mut voters: BTreeSet<u32> = args.voters.iter().copied().collect();
    if voters.is_empty() {
        voters.clone_from(&backup.head.voters);
    }
    if !voters.contains(&args.node) {
        let listed: Vec<_> = voters.iter().map(u32::to_string).collect();
        return Err(Failure::misused(format!(
            "--node {}: the cluster begins with a server that votes, and these do: {}; name \
             others with --voters",
            args.node,
            listed.join(",")
        )));
    }
    let options = RestoreOptions {
        data_dir: args.data_dir.clone(),
        node: args.node,
        voters,
        cluster: args.cluster.clone().unwrap_or_else(|| backup.head.cluster.clone()),
        skipped: args.skip_revisions,
    };
    let restored = accord_net::backup::restore(backup, &options).map_err(|error| failed(&error))?;
    out::note_change();
    if json {
        return Ok(print_json(&restored));
    }
    let dir = args.data_dir.display();
    let mut text = format!(
        "{dir}: server {} of a new cluster, {} ({})\n  state      revision {}, {} records, contents \
         {}\n  ended      {} sessions of the old cluster\n",
        restored.node,
        options.cluster,
        restored.cluster_id,
        restored.revision,
        restored.records,
        restored.content,
        restored.sessions_ended,
    );
    if !restored.joining.is_empty() {
        let joining: Vec<_> = restored.joining.iter().map(u32::to_string).collect();
        text.push_str(&format!(
            "  start servers {} with empty directories; no --bootstrap anywhere\n",
            joining.join(",")
        ));
    }
    Ok(out::print_text(&text))
}

/// Tells what is in a directory.
pub fn inspect(dir: &Path, json: bool) -> Result<u8, Failure> {
    if !dir.is_dir() {
        return Err(Failure::failed("not_found", format!("{}: no directory", dir.display())));
    }
    let cannot = |error: &dyn ToString| Failure::failed("unreadable", error.to_string());
    let found = match Disk::inspect(dir) {
        Ok(found) => found,
        Err(error) => return refused(&error, json),
    };
    let files = files_of(dir).map_err(|error| cannot(&error))?;
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    let Some((found, roster)) = found else {
        return Ok(match json {
            true => print_json(&json!({ "empty": true, "bytes": bytes })),
            false => out::print_text(&format!("{}: no server's yet\n", dir.display())),
        });
    };
    let first = found.checkpoint.map_or(1, |(last, _)| last.index.0 + 1);
    // Behind a state that was restored or sent there may be nothing yet.
    let first = (first <= found.last.index.0).then_some(first);
    let numbers = |nodes: &mut dyn Iterator<Item = u32>| nodes.collect::<Vec<u32>>();
    let voters = numbers(&mut found.voters.voters.keys().map(|node| node.0));
    let returning = numbers(&mut found.voters.returning.iter().map(|node| node.0));
    let checkpoint = found.checkpoint.map(|(last, bytes)| {
        json!({ "index": last.index.0, "epoch": last.epoch.0, "state_bytes": bytes })
    });
    let object = json!({
        "node": found.node.0,
        "cluster": found.cluster_name,
        "cluster_id": format!("{:016x}", found.voters.cluster.0),
        "store": format!("{:016x}", found.store.0),
        "format": found.format,
        "bootstrap": found.bootstrap,
        "promised_epoch": found.promised.0,
        "first_index": first,
        "last_index": found.last.index.0,
        "last_epoch": found.last.epoch.0,
        "voters": voters,
        "returning": returning,
        "servers": roster.as_ref().map(|roster| &roster.servers),
        "servers_version": roster.as_ref().map_or(0, |roster| roster.version),
        "checkpoint": checkpoint,
        "segments": [found.segments.0, found.segments.1],
        "frames": found.frames,
        "torn_sectors": found.torn_sectors,
        "bytes": bytes,
        "files": files.iter().map(|(name, bytes)| json!({ "name": name, "bytes": bytes }))
            .collect::<Vec<_>>(),
    });
    Ok(match json {
        true => print_json(&object),
        false => out::print_text(&inspection(dir, &object)),
    })
}

/// A start would refuse the directory with the same words.
fn refused(error: &DiskError, json: bool) -> Result<u8, Failure> {
    let object = match error {
        DiskError::Open(OpenError::Damaged { damage }) => json!({
            "error": "damaged",
            "file": damage.path,
            "offset": damage.offset,
            "after_index": damage.after.map(|index| index.0),
            "why": damage.why,
        }),
        DiskError::Roster { path, error } => json!({
            "error": "damaged",
            "file": path,
            "offset": null,
            "after_index": null,
            "why": error.to_string(),
        }),
        other => return Err(Failure::failed("unreadable", other.to_string())),
    };
    if !json {
        return Err(Failure::failed("unreadable", error.to_string()));
    }
    print_json(&object);
    Ok(out::FAILED)
}

/// The files of a directory with their sizes, by name.
fn files_of(dir: &Path) -> std::io::Result<Vec<(String, u64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len()));
    }
    files.sort();
    Ok(files)
}

/// An inspection for people.
fn inspection(dir: &Path, of: &Value) -> String {
    let text = |name: &str| match &of[name] {
        Value::String(text) => text.clone(),
        Value::Array(numbers) => {
            let numbers: Vec<_> = numbers.iter().map(Value::to_string).collect();
            if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") }
        }
        other => other.to_string(),
    };
    let checkpoint = match &of["checkpoint"] {
        Value::Null => "none".to_owned(),
        found => format!(
            "at index {}, epoch {}, a state of {} bytes",
            found["index"], found["epoch"], found["state_bytes"]
        ),
    };
    let log = match of["first_index"].is_null() {
        true => format!("none behind {}", text("last_index")),
        false => format!("{} to {}", text("first_index"), text("last_index")),
    };
    let mut lines = format!(
        "{}: server {} of the cluster {} ({})\n  store      {}, format {}, may form a cluster: {}\n  \
         log        index {}, epoch {}, promised {}\n  voters     {}, returning {}\n  \
         checkpoint {checkpoint}\n  segments   {}, {} frames to read, {} sectors of an unfinished \
         write\n  files      {} bytes\n",
        dir.display(),
        text("node"),
        text("cluster"),
        text("cluster_id"),
        text("store"),
        text("format"),
        text("bootstrap"),
        log,
        text("last_epoch"),
        text("promised_epoch"),
        text("voters"),
        text("returning"),
        text("segments").replace(',', " to "),
        text("frames"),
        text("torn_sectors"),
        text("bytes"),
    );
    for file in of["files"].as_array().into_iter().flatten() {
        let (name, bytes) = (file["name"].as_str().unwrap_or_default(), &file["bytes"]);
        lines.push_str(&format!("    {name:<24} {bytes:>12}\n"));
    }
    lines
}
