//! Changing a cluster while it serves, and backing it up.

use super::{Context, Failure, files, resolve};
use crate::out;
use accord_net::operator::{Changed, Digests, Member, Operator, OperatorError};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;

pub const EXAMPLES: &str = "\
Examples:
  accord admin members                        who votes, who only follows, where they are
  accord admin add-server --node 4 --address 10.0.0.4:7900
                                              a server joins, without a vote (start it as well)
  accord admin promote 4                      ... and votes, once it has caught up
  accord admin remove-server 2                a server goes: its vote first, then itself
  accord admin replace 3 4 --address 10.0.0.4:7900
                                              server 4 in the place of 3, which is lost
  accord admin digest                         have all servers the same state?

  accord admin backup --out monday.backup     the whole state, from a server that serves
  accord admin verify-backup monday.backup
  accord admin restore monday.backup --data-dir data/n1 --node 1
                                              a new cluster begins with it
  accord admin inspect data/n1                what is in the directory of a stopped server

Name all servers of the cluster with --servers: those that are not named are not asked. A command
that was cut off may be given again: what is done already is said to be.

Exit code: 0, done, or done already; 1, refused, not done in time, damaged, states differ, or the
state of a server is unknown; 2, the command line is wrong; 4, no server answers.";

const ADD_EXAMPLES: &str = "\
The new server has a configuration of its own that lists all servers, itself included, has the same
key, and is started without --bootstrap, before or after this command. It follows the others, and
has no vote until it is promoted. With the number of a server that there is already, the others look
for it at the new address. All servers keep the change; one that is down now learns of it from the
others when it is back. Keep the [[servers]] of all configurations up to date as well.

Example:
  accord admin add-server --node 4 --address 10.0.0.4:7900 && accord admin promote 4";

const PROMOTE_EXAMPLES: &str = "\
The server must be connected; this command waits until it has caught up, as long as --timeout-ms
says. Use odd numbers of voters: an even number tolerates no more failures than one less.

Example:
  accord admin promote 4 --timeout-ms 600000";

const DEMOTE_EXAMPLES: &str = "\
The server goes on as an observer. Refused if the voters that are connected would be no majority of
those that are left, for then the cluster would stop; and for the last voter.

Example:
  accord admin demote 4";

const REMOVE_EXAMPLES: &str = "\
Its vote is taken first, which is refused if the voters that are connected would be no majority of
those that are left. Then the others forget it. Stop its process after that; if it goes on, it
serves no client. Take it out of the [[servers]] of all configurations as well.

Example:
  accord admin remove-server 4";

const REPLACE_EXAMPLES: &str = "\
For a server that is lost for good, with its machine. The new one runs already (add-server tells
how), gets the vote when it has caught up, and only then the lost one is given up. A server whose
directory alone is lost needs none of this: start it with an empty one, under its own number.

Example:
  accord admin replace 3 4 --address 10.0.0.4:7900";

const BACKUP_EXAMPLES: &str = "\
The backup holds everything that was answered before this command, at one revision. It is written
under a temporary name, read back, verified and only then named. While it is taken, the server needs
memory for its state once more.

Examples:
  accord admin backup --out monday.backup
  accord admin backup --out last.backup --stale      what is left of a cluster that does not serve";

/// Changes a cluster while it serves.
#[derive(Clone, Debug, Args)]
pub struct AdminArgs {
    /// What to do.
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum AdminCommand {
    /// List the servers: who votes, where they are, how far they are.
    Members,
    /// Make a server one of the cluster's, without a vote.
    #[command(after_help = ADD_EXAMPLES)]
    AddServer {
        /// Its number, unique in the cluster.
        #[arg(long, value_name = "N")]
        node: u32,
        /// Where the other servers reach it. A host's name is looked up now, and never again.
        #[arg(long, value_name = "HOST:PORT")]
        address: String,
    },
    /// Take a server out of the cluster, its vote first.
    #[command(after_help = REMOVE_EXAMPLES)]
    RemoveServer {
        /// Number of the server
        #[arg(value_name = "N")]
        node: u32,
    },
    /// Let a server vote.
    #[command(after_help = PROMOTE_EXAMPLES)]
    Promote {
        /// Number of the server
        #[arg(value_name = "N")]
        node: u32,
    },
    /// Take the vote from a server.
    #[command(after_help = DEMOTE_EXAMPLES)]
    Demote {
        /// Number of the server
        #[arg(value_name = "N")]
        node: u32,
    },
    /// Put a running server in the place of one that is lost.
    #[command(after_help = REPLACE_EXAMPLES)]
    Replace {
        /// The number of the lost one.
        #[arg(value_name = "OLD")]
        old: u32,
        /// The number of the new one.
        #[arg(value_name = "NEW")]
        new: u32,
        /// Where the other servers reach the new one, if it was not added yet.
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
    },
    /// Compare the states of all servers.
    Digest,
    /// Write the state of the cluster to a file.
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup {
        /// The file.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Overwrite the file if it is there.
        #[arg(long)]
        force: bool,
        /// If no server serves: what the most advanced one has, with writes that may never have
        /// been answered, and without ones that may have been.
        #[arg(long)]
        stale: bool,
    },
    /// Read a backup, and tell what it holds.
    VerifyBackup {
        /// The file.
        file: PathBuf,
    },
    /// Make the directory of a server with which a new cluster begins, from a backup.
    #[command(after_help = files::RESTORE_EXAMPLES)]
    Restore(files::RestoreArgs),
    /// Tell what is in the directory of a server that does not run.
    #[command(after_help = files::INSPECT_EXAMPLES)]
    Inspect {
        /// The directory (data_dir).
        directory: PathBuf,
    },
}

/// Runs one of the commands.
pub async fn run(args: &AdminArgs, context: &mut Context) -> Result<u8, Failure> {
    let json = context.json;
    match &args.command {
        AdminCommand::VerifyBackup { file } => return files::verify(file, json),
        AdminCommand::Restore(args) => return files::restore(args, json),
        AdminCommand::Inspect { directory } => return files::inspect(directory, json),
        _ => {}
    }
    let admin = admin(context)?;
    match &args.command {
        AdminCommand::Members => members(&admin, json).await,
        AdminCommand::AddServer { node, address } => {
            let changed = admin.add_server(*node, one_address(address)?).await?;
            tell(&changed, json, "added", &format!("server {node} belongs to the cluster"))
        }
        AdminCommand::RemoveServer { node } => {
            let changed = admin.remove_server(*node).await?;
            tell(&changed, json, "removed", &format!("server {node} is not of the cluster"))
        }
        AdminCommand::Promote { node } => {
            let changed = admin.promote(*node).await?;
            tell(&changed, json, "promoted", &format!("server {node} is a voter"))
        }
        AdminCommand::Demote { node } => {
            let changed = admin.demote(*node).await?;
            tell(&changed, json, "demoted", &format!("server {node} does not vote"))
        }
        AdminCommand::Replace { old, new, address } => {
            let at = address.as_deref().map(one_address).transpose()?;
            let changed = admin.replace(*old, *new, at).await?;
            let done = format!("server {new} votes in the place of {old}");
            tell(&changed, json, "replaced", &done)
        }
        AdminCommand::Digest => digest(&admin, json).await,
        AdminCommand::Backup { out, force, stale } => {
            let backup = admin.backup(out, *force, *stale).await?;
            crate::out::note_change();
            files::tell_backup(out, &backup, json)
        }
        AdminCommand::VerifyBackup { .. }
        | AdminCommand::Restore(_)
        | AdminCommand::Inspect { .. } => unreachable!("they need no server"),
    }
}

/// Asks all servers whose names are known: one that is not may be the one that is lost.
fn admin(context: &Context) -> Result<Operator, Failure> {
    let (mut servers, mut unknown) = (Vec::new(), Vec::new());
    for server in &context.servers {
        match resolve(server) {
            Ok(found) if found.is_empty() => {
                unknown.push(Failure::misused(format!("{server}: no address")));
            }
            Ok(found) => servers.extend(found),
            Err(failure) => unknown.push(failure),
        }
    }
    if servers.is_empty() {
        let none = || Failure::misused("no server is named");
        return Err(unknown.into_iter().next().unwrap_or_else(none));
    }
    for failure in unknown {
        out::complain(&format!("{}; the others are asked", failure.message));
    }
    Ok(Operator::new(servers, context.timeout))
}

fn one_address(text: &str) -> Result<SocketAddr, Failure> {
    let found = resolve(text)
        .map_err(|failure| Failure::misused(failure.message.replacen("server", "--address", 1)))?;
    let found = found.first().copied();
    found.ok_or_else(|| Failure::misused(format!("--address {text}: the host has no address")))
}

/// Prints a value as one line of JSON.
pub(super) fn print_json(value: &impl Serialize) -> u8 {
    let text = serde_json::to_string(value).expect("it has a form in JSON");
    out::print_text(&format!("{text}\n"))
}

fn tell(changed: &Changed, json: bool, word: &str, done: &str) -> Result<u8, Failure> {
    if !changed.already {
        out::note_change();
    }
    if json {
        let mut object = serde_json::to_value(changed).expect("it has a form in JSON");
        object["done"] = word.into();
        return Ok(print_json(&object));
    }
    let list = |nodes: &mut dyn Iterator<Item = &u32>| {
        nodes.map(u32::to_string).collect::<Vec<_>>().join(",")
    };
    let mut text = match changed.already {
        true => format!("{done} already\n"),
        false => format!("{done}\n"),
    };
    let (voters, servers) = (list(&mut changed.voters.iter()), list(&mut changed.servers.keys()));
    text.push_str(&format!("  voters {voters}, servers {servers}\n"));
    if word == "added" && !changed.connected {
        text.push_str("  it is not connected yet: is it started, with the same key?\n");
    }
    if !changed.silent.is_empty() {
        let silent = list(&mut changed.silent.iter());
        text.push_str(&format!(
            "  not asked, or without an answer: {silent}; they learn of it from the others\n"
        ));
    }
    Ok(out::print_text(&text))
}

async fn members(admin: &Operator, json: bool) -> Result<u8, Failure> {
    for member in admin.members().await? {
        if json {
            print_json(&member);
            continue;
        }
        let Member { node, role, address, client, connected, serving, synced, applied_index } =
            member;
        let address = address.unwrap_or_else(|| "no address".to_owned());
        let state = match (connected, client.is_some()) {
            (false, _) => "not connected",
            (true, false) => "connected",
            (true, true) if !serving => "not serving",
            (true, true) if !synced => "catching up",
            (true, true) => "up to date",
        };
        let client = client.map_or("not among --servers, or without an answer".to_owned(), |at| {
            format!("clients at {at}, applied {}", applied_index.unwrap_or_default())
        });
        out::print_text(&format!("{node:>3}  {role:<9}  {address:<21}  {state:<13}  {client}\n"));
    }
    Ok(out::DONE)
}

async fn digest(admin: &Operator, json: bool) -> Result<u8, Failure> {
    let digests = admin.digests().await?;
    let code = if digests.is_same() { out::DONE } else { out::FAILED };
    if json {
        print_json(&digests);
        return Ok(code);
    }
    let Digests { index, digests, missing, odd, servers } = digests;
    let mut text = String::new();
    for (node, (applied, revision, digest)) in &servers {
        text.push_str(&format!(
            "server {node}: applied {applied}, revision {revision}, digest {digest}\n"
        ));
    }
    let Some(index) = index else {
        text.push_str("no two servers had a digest at the same index: ask again\n");
        out::print_text(&text);
        return Ok(code);
    };
    for (node, digest) in &digests {
        let mark = if odd.contains(node) { "   DIFFERS" } else { "" };
        text.push_str(&format!("at index {index}, server {node}: {digest}{mark}\n"));
    }
    let (count, all) = (digests.len(), digests.len() + missing.len());
    let missing: Vec<_> = missing.iter().map(u32::to_string).collect();
    text.push_str(&match (odd.is_empty(), missing.is_empty()) {
        (true, true) => format!("the same state on {count} of {all} servers\n"),
        (true, false) => format!(
            "UNKNOWN of servers {}, which did not answer or are behind; no difference among {count} \
             of {all} servers\n",
            missing.join(",")
        ),
        (false, true) => String::new(),
        (false, false) => format!("UNKNOWN of servers {}\n", missing.join(",")),
    });
    out::print_text(&text);
    Ok(code)
}

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        let message = error.to_string();
        match error {
            OperatorError::Unreachable(_) => {
                Self { code: out::UNREACHABLE, kind: "unreachable", message }
            }
            OperatorError::NotServing(_) => Self::failed("not_serving", message),
            OperatorError::Mixed(_) => Self::failed("mixed_clusters", message),
            OperatorError::Refused(_) => Self::failed("refused", message),
            OperatorError::NotInTime(_) => Self::failed("not_in_time", message),
            OperatorError::Ask(_) => Self::failed("failed", message),
            OperatorError::Backup(_) => Self::failed("backup", message),
        }
    }
}
