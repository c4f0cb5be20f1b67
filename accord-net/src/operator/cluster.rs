//! Changing a cluster while it serves: what `accord admin` does, as a library.
//!
//! Two things are changed here, and they are not the same. *Which servers there are*, and where, is
//! told to one of them, which tells the others ([`crate::server::roster`]). *Who votes* is ordered
//! in the log, one server at a time, and refused if it would cost the quorum. A server joins as an
//! observer, is promoted when it has caught up, and is demoted before it goes. Everything here may
//! be asked again: what is done already is said to be.

use super::client::{AskError, OperatorClient};
use super::protocol::{Answer, Question};
use super::roster::Roster;
use super::status::StatusReport;
use crate::backup::{Backup, BackupError, Writer};
use crate::env::real::Real;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::task::JoinSet;

/// How often a condition that is waited for is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a change of voters may take to be answered.
const CHANGE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may take to write its state into memory.
const IMAGE_PATIENCE: Duration = Duration::from_secs(120);

/// Why something was not done.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// No server answers.
    #[error("no server answers: {0}")]
    Unreachable(String),
    /// No server serves, so nothing can be ordered.
    #[error(
        "no server that answers is in the primary component: {0}. See `accord status`; if the \
         memory of a majority is lost for good, `accord recover`"
    )]
    NotServing(String),
    /// The servers are of several clusters.
    #[error("the servers that answer are of several clusters ({0}): name those of one")]
    Mixed(String),
    /// The cluster refuses.
    #[error("{0}")]
    Refused(String),
    /// It did not come about in time, and may yet.
    #[error("not done in time: {0}. Ask again: what is done already is said to be")]
    NotInTime(String),
    /// The connection to a server broke.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// A backup could not be written.
    #[error(transparent)]
    Backup(#[from] BackupError),
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// True if nothing was left to do.
    pub already: bool,
    /// Who votes now.
    pub voters: BTreeSet<u32>,
    /// The servers there are, and where.
    pub servers: BTreeMap<u32, String>,
    /// Those of them that did not answer. They learn of it from the others when they are back.
    pub silent: BTreeSet<u32>,
    /// True if the server is connected with the others.
    pub connected: bool,
}

/// One server of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// The server's number.
    pub node: u32,
    /// `voter`, `observer`, or `returning`: it lost its memory and will vote again.
    pub role: &'static str,
    /// Where the other servers reach it.
    pub address: Option<String>,
    /// Where its clients connect, if it answers.
    pub client: Option<SocketAddr>,
    /// True if it is connected with the others.
    pub connected: bool,
    /// True if it is in the primary component.
    pub serving: bool,
    /// True if it has all of the log.
    pub synced: bool,
    /// What it has applied.
    pub applied_index: Option<u64>,
}

/// How the states of the servers compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Digests {
    /// The index at which they are compared; none: no two had a digest at the same.
    pub index: Option<u64>,
    /// The digests there.
    pub digests: BTreeMap<u32, String>,
    /// Servers of the cluster without a digest there: those that do not answer, too.
    pub missing: BTreeSet<u32>,
    /// Servers that differ from the majority of these; all of them, if there is no majority.
    pub odd: BTreeSet<u32>,
    /// Where each server stands: applied index, revision, digest.
    pub servers: BTreeMap<u32, (u64, u64, String)>,
}

impl Digests {
    /// True if all servers of the cluster are known to have the same state.
    pub fn is_same(&self) -> bool {
        self.index.is_some() && self.odd.is_empty() && self.missing.is_empty()
    }
}

/// The servers of a cluster, to be asked by an operator.
#[derive(Clone, Debug)]
pub struct Operator {
    servers: Vec<SocketAddr>,
    patience: Duration,
}

/// What the servers answered.
struct Seen {
    reports: BTreeMap<u32, (SocketAddr, StatusReport)>,
    /// Why the others did not.
    silent: Vec<String>,
}

impl Seen {
    /// Those that serve, most advanced first.
    fn serving(&self) -> Vec<&(SocketAddr, StatusReport)> {
        let serves = |report: &StatusReport| report.primary && report.synced;
        let mut serving: Vec<_> = self.reports.values().filter(|(_, r)| serves(r)).collect();
        serving.sort_by_key(|(_, report)| std::cmp::Reverse(report.applied_index));
        serving
    }

    /// One that knows best: the most advanced that serves, or else that does not.
    fn best(&self) -> &(SocketAddr, StatusReport) {
        let rank = |report: &StatusReport| (report.primary, report.synced, report.commit_index);
        let best = self.reports.values().max_by_key(|(_, report)| rank(report));
        best.expect("at least one server has answered")
    }

    /// All servers of the cluster that one knows of: those that answer, and those that are known to
    /// who knows best.
    fn nodes(&self) -> BTreeSet<u32> {
        let (_, best) = self.best();
        let known = best.servers.keys().chain(&best.voters).chain(&best.returning);
        known.chain(&best.members).chain(self.reports.keys()).copied().collect()
    }

    fn not_serving(&self) -> OperatorError {
        let why = |(_, report): &(SocketAddr, StatusReport)| {
            let reason = report.reason.as_deref().unwrap_or("it is catching up");
            format!("server {}: {reason}", report.node)
        };
        let mut all: Vec<String> = self.reports.values().map(why).collect();
        all.extend(self.silent.iter().cloned());
        OperatorError::NotServing(all.join("; "))
    }
}

impl Operator {
    /// An operator of the cluster of which these are servers, as clients connect to them.
    /// `patience` is how long a command may take.
    pub const fn new(servers: Vec<SocketAddr>, patience: Duration) -> Self {
        Self { servers, patience }
    }

    /// Asks all servers at once how they are.
    async fn look(&self) -> Result<Seen, OperatorError> {
        let mut asked = JoinSet::new();
        for at in self.servers.clone() {
            let patience = self.patience;
            asked.spawn(async move {
                let report = async { OperatorClient::connect(&Real, at).await?.status().await };
                let report = tokio::time::timeout(patience, report).await;
                let late = |_| format!("it took longer than {} ms", patience.as_millis());
                (at, report.map_err(late).and_then(|it| it.map_err(|error| error.to_string())))
            });
        }
        let mut seen = Seen { reports: BTreeMap::new(), silent: Vec::new() };
        while let Some(answer) = asked.join_next().await {
            match answer.expect("asking does not panic") {
                (at, Ok(report)) => {
                    seen.reports.insert(report.node, (at, report));
                }
                (at, Err(error)) => seen.silent.push(format!("{at}: {error}")),
            }
        }
        seen.silent.sort();
        if seen.reports.is_empty() {
            return Err(OperatorError::Unreachable(seen.silent.join("; ")));
        }
        let unformed = "0".repeat(16);
        let clusters: BTreeSet<_> = seen
            .reports
            .values()
            .filter(|(_, report)| report.cluster_id != unformed)
            .map(|(_, report)| format!("{} {}", report.cluster, report.cluster_id))
            .collect();
        if clusters.len() > 1 {
            return Err(OperatorError::Mixed(clusters.into_iter().collect::<Vec<_>>().join(", ")));
        }
        Ok(seen)
    }

    /// Asks one server something.
    async fn ask(&self, at: SocketAddr, question: &Question) -> Result<Answer, OperatorError> {
        let mut server = OperatorClient::connect(&Real, at).await?;
        Ok(server.ask_within(question, CHANGE_PATIENCE).await?)
    }

    /// Every server of the cluster: whether it votes, where it is, how far it is.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn members(&self) -> Result<Vec<Member>, OperatorError> {
        let seen = self.look().await?;
        let (_, best) = seen.best();
        let mut nodes = seen.nodes();
        // Servers that answer and were removed are none of the cluster's.
        nodes.retain(|node| !seen.reports.get(node).is_some_and(|(_, report)| report.removed));
        let member = |node: u32| {
            let report = seen.reports.get(&node);
            Member {
                node,
                role: match (best.voters.contains(&node), best.returning.contains(&node)) {
                    (true, _) => "voter",
                    (false, true) => "returning",
                    (false, false) => "observer",
                },
                address: best.servers.get(&node).cloned(),
                client: report.map(|(at, _)| *at),
                connected: best.members.contains(&node),
                serving: report.is_some_and(|(_, report)| report.primary),
                synced: report.is_some_and(|(_, report)| report.synced),
                applied_index: report.map(|(_, report)| report.applied_index),
            }
        };
        Ok(nodes.into_iter().map(member).collect())
    }

    fn changed(seen: &Seen, node: u32, already: bool) -> Changed {
        let (_, best) = seen.best();
        let silent = best.servers.keys().filter(|other| !seen.reports.contains_key(other));
        Changed {
            already,
            voters: best.voters.iter().copied().collect(),
            servers: best.servers.clone(),
            silent: silent.copied().collect(),
            connected: best.members.contains(&node),
        }
    }

    /// Makes a server one of the cluster's, without a vote; or lets the others look for it
    /// elsewhere, if it is one already.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn add_server(&self, node: u32, at: SocketAddr) -> Result<Changed, OperatorError> {
        let seen = self.look().await?;
        let (asked, best) = seen.best();
        if best.servers.get(&node) == Some(&at.to_string()) {
            return Ok(Self::changed(&seen, node, true));
        }
        self.change_roster(*asked, &Question::AddServer { node, address: at }, node).await
    }

    /// Asks one server, and waits until all that answer know.
    async fn change_roster(
        &self,
        asked: SocketAddr,
        question: &Question,
        node: u32,
    ) -> Result<Changed, OperatorError> {
        let roster = match self.ask(asked, question).await? {
            Answer::Servers(roster) => roster,
            Answer::Refused { reason } => return Err(OperatorError::Refused(reason)),
            other => return Err(AskError::NotUnderstood(format!("{other:?}")).into()),
        };
        let deadline = Instant::now() + self.patience;
        loop {
            let seen = self.look().await?;
            let behind = |report: &StatusReport| report.servers_version < roster.version;
            let others = seen.reports.values().filter(|(_, report)| !report.removed);
            let behind: Vec<u32> = others.filter(|(_, r)| behind(r)).map(|(_, r)| r.node).collect();
            if behind.is_empty() {
                return match Self::agrees(&seen, &roster, node) {
                    true => Ok(Self::changed(&seen, node, false)),
                    false => Err(OperatorError::Refused(
                        "somebody else changed the list of servers at the same time, and that \
                         counts; look at `accord admin members`, then ask again"
                            .to_owned(),
                    )),
                };
            }
            if Instant::now() > deadline {
                let why = format!("servers {behind:?} have not heard of it from the others");
                return Err(OperatorError::NotInTime(why));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// True if what counts now says of `node` what `roster` says.
    fn agrees(seen: &Seen, roster: &Roster, node: u32) -> bool {
        let wanted = roster.servers.get(&node).map(ToString::to_string);
        let said = |report: &StatusReport| report.servers.get(&node) == wanted.as_ref();
        let mut others = seen.reports.values().filter(|(_, report)| !report.removed);
        others.all(|(_, report)| report.servers_version > roster.version || said(report))
    }

    /// Takes a server out of the cluster; its vote first, if it has one.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn remove_server(&self, node: u32) -> Result<Changed, OperatorError> {
        let seen = self.look().await?;
        let (_, best) = seen.best();
        let votes = best.voters.contains(&node) || best.returning.contains(&node);
        if !votes && !best.servers.contains_key(&node) {
            return Ok(Self::changed(&seen, node, true));
        }
        if votes {
            self.demote(node).await?;
        }
        let deadline = Instant::now() + self.patience;
        loop {
            let seen = self.look().await?;
            let others = seen.serving().into_iter().find(|(_, report)| report.node != node);
            let (asked, _) = others.or(seen.serving().first().copied()).unwrap_or(seen.best());
            // The one that is asked may not have applied the end of its vote yet.
            match self.change_roster(*asked, &Question::RemoveServer { node }, node).await {
                Err(OperatorError::Refused(why))
                    if why.contains("votes") && Instant::now() < deadline => {}
                result => return result,
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Lets a server vote, once it has caught up.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn promote(&self, node: u32) -> Result<Changed, OperatorError> {
        self.change_voters(node, true).await
    }

    /// Takes the vote from a server.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn demote(&self, node: u32) -> Result<Changed, OperatorError> {
        self.change_voters(node, false).await
    }

    async fn change_voters(&self, node: u32, promote: bool) -> Result<Changed, OperatorError> {
        let question = match promote {
            true => Question::Promote { node },
            false => Question::Demote { node },
        };
        let deadline = Instant::now() + self.patience;
        let mut asked = false;
        loop {
            let seen = self.look().await?;
            let mut why = seen.not_serving();
            if let Some((at, report)) = seen.serving().first() {
                let votes = report.voters.contains(&node);
                let done = match promote {
                    true => votes,
                    false => !votes && !report.returning.contains(&node),
                };
                if done {
                    return Ok(Self::changed(&seen, node, !asked));
                }
                if !seen.nodes().contains(&node) {
                    return Err(OperatorError::Refused(format!(
                        "server {node} is not of the cluster, which has {}: see `accord admin \
                         add-server`",
                        numbers(&seen.nodes())
                    )));
                }
                asked = true;
                match self.ask(*at, &question).await {
                    Ok(Answer::Voters { .. }) => {
                        return Ok(Self::changed(&self.look().await?, node, false));
                    }
                    Ok(Answer::VotersUnchanged { error, reason }) => {
                        let reason = match error.as_str() {
                            "not_member" => format!(
                                "server {node} is not connected with the others: is it started, \
                                 with the same key?"
                            ),
                            _ => format!("server {node}: {reason}"),
                        };
                        match error.as_str() {
                            "in_progress" | "not_caught_up" | "not_primary" | "unknown"
                            | "not_member" | "already_voter" | "not_voter" => {
                                why = OperatorError::NotInTime(reason);
                            }
                            _ => return Err(OperatorError::Refused(reason)),
                        }
                    }
                    Ok(Answer::Refused { reason }) => why = OperatorError::NotInTime(reason),
                    Ok(other) => {
                        return Err(AskError::NotUnderstood(format!("{other:?}")).into());
                    }
                    // It may have been done: the next look tells.
                    Err(error) => why = error,
                }
            }
            if Instant::now() > deadline {
                return Err(why);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Puts a server that runs in the place of one that is lost: the new one gets the vote, the old
    /// one loses it and is removed.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn replace(
        &self,
        old: u32,
        new: u32,
        at: Option<SocketAddr>,
    ) -> Result<Changed, OperatorError> {
        if old == new {
            let why = "a server is replaced by another one, with a number of its own; one that \
                       lost its directory is started with an empty one, and nothing else";
            return Err(OperatorError::Refused(why.to_owned()));
        }
        if let Some(at) = at {
            self.add_server(new, at).await?;
        }
        match self.promote(new).await {
            // Of an even number, the lost one may be in the way.
            Err(OperatorError::Refused(_)) => {
                self.demote(old).await?;
                self.promote(new).await?;
            }
            result => drop(result?),
        }
        self.remove_server(old).await
    }

    /// Compares the states of all servers, at a common index if one comes up in time.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn digests(&self) -> Result<Digests, OperatorError> {
        let deadline = Instant::now() + self.patience;
        let mut known: BTreeMap<u64, BTreeMap<u32, String>> = BTreeMap::new();
        loop {
            let seen = self.look().await?;
            for (node, (_, report)) in &seen.reports {
                let now = (report.applied_index, report.digest.clone());
                let earlier = report.digests.iter().map(|(index, digest)| (*index, digest.clone()));
                for (index, digest) in earlier.chain([now]) {
                    known.entry(index).or_default().insert(*node, digest);
                }
            }
            let all = seen.reports.len();
            let common = known.iter().rev().find(|(_, digests)| digests.len() == all);
            if common.is_some() || Instant::now() > deadline {
                // The latest of those with the most.
                let best = known.iter().max_by_key(|(index, digests)| (digests.len(), **index));
                let found = common.or(best.filter(|(_, digests)| digests.len() > 1));
                return Ok(compare(&seen, found.map(|(index, digests)| (*index, digests.clone()))));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Takes a backup from a server that serves, with everything that was answered before. With
    /// `stale`, from the most advanced server that answers, if none serves.
    ///
    /// # Errors
    /// [`OperatorError`]: there is no backup then.
    pub async fn backup(
        &self,
        path: &Path,
        force: bool,
        stale: bool,
    ) -> Result<Backup, OperatorError> {
        let deadline = Instant::now() + self.patience;
        let seen = self.look().await?;
        let needed = seen.reports.values().map(|(_, report)| report.commit_index).max();
        let at = loop {
            let seen = self.look().await?;
            if let Some((at, report)) = seen.serving().first()
                && Some(report.applied_index) >= needed
            {
                break *at;
            }
            if stale && seen.serving().is_empty() {
                break seen.best().0;
            }
            if Instant::now() > deadline {
                return Err(seen.not_serving());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        let mut server = OperatorClient::connect(&Real, at).await?;
        let mut head = server.image(IMAGE_PATIENCE).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        head.taken_unix_s = now.map_or(0, |since| since.as_secs());
        let mut writer = Writer::create(path, &head, force)?;
        let mut offset = 0;
        while offset < head.bytes {
            let chunk = server.chunk(offset).await?;
            if chunk.is_empty() {
                return Err(AskError::NotUnderstood("a chunk without bytes".into()).into());
            }
            writer.write(&chunk)?;
            offset += chunk.len() as u64;
        }
        Ok(writer.finish()?)
    }
}

fn numbers(nodes: &BTreeSet<u32>) -> String {
    nodes.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn compare(seen: &Seen, found: Option<(u64, BTreeMap<u32, String>)>) -> Digests {
    let stands =
        |report: &StatusReport| (report.applied_index, report.revision, report.digest.clone());
    let servers = seen.reports.iter().map(|(node, (_, report))| (*node, stands(report))).collect();
    let (index, digests) = match found {
        Some((index, digests)) => (Some(index), digests),
        None => (None, BTreeMap::new()),
    };
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    digests.values().for_each(|digest| *counts.entry(digest).or_default() += 1);
    let usual = counts.iter().find(|(_, count)| **count * 2 > digests.len());
    let usual = usual.map(|(digest, _)| (*digest).clone());
    let odd = digests.iter().filter(|(_, digest)| usual.as_ref() != Some(digest));
    let odd = odd.map(|(node, _)| *node).collect();
    let mut missing = seen.nodes();
    missing.retain(|node| !digests.contains_key(node));
    Digests { index, digests, missing, odd, servers }
}
