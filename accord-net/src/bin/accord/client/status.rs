//! How the servers are, and who is there.

use super::{Context, Failure, resolve};
use crate::out;
use accord_core::time::Duration;
use accord_net::env::real::Real;
use accord_net::operator::StatusReport;
use accord_net::operator::{AskError, OperatorClient};
use clap::Args;
use serde_json::json;

pub const EXAMPLES: &str = "\
Examples:
  accord status                             every server: does it serve, and if not, why
  accord status --json | jq .status.revision

Exit code: 0, a server serves; 1, none does; 4, none answers.";

/// Asks the servers how they are.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {}

pub async fn status(_: &StatusArgs, context: &mut Context) -> Result<u8, Failure> {
    let mut asked = Vec::new();
    for server in context.servers.clone() {
        // At once: one that does not answer must not hold up the others.
        let (timeout, name) = (context.timeout, server.clone());
        asked.push((name, tokio::spawn(async move { ask(&server, timeout).await })));
    }
    let (mut answered, mut serving) = (false, false);
    for (server, answer) in asked {
        let report = answer.await.unwrap_or_else(|error| Err(error.to_string()));
        answered |= report.is_ok();
        serving |= report.as_ref().is_ok_and(|report| report.primary);
        let text = match (&report, context.json) {
            (Ok(report), true) => format!("{}\n", json!({ "server": server, "status": report })),
            (Err(why), true) => format!("{}\n", json!({ "server": server, "error": why })),
            (Ok(report), false) => format!("{server}  {report}"),
            (Err(why), false) => format!("{server}  no answer: {why}\n"),
        };
        out::print_text(&text);
    }
    Ok(match (serving, answered) {
        (true, _) => out::DONE,
        (false, true) => out::FAILED,
        (false, false) => out::UNREACHABLE,
    })
}

async fn ask(server: &str, timeout: Duration) -> Result<StatusReport, String> {
    let late = || Err(format!("it took longer than {} ms", timeout.as_millis()));
    tokio::time::timeout(timeout, ask_each(server)).await.unwrap_or_else(|_| late())
}

async fn ask_each(server: &str) -> Result<StatusReport, String> {
    let mut last = "it has no address".to_owned();
    for at in resolve(server).map_err(|failure| failure.message)? {
        let report = async { OperatorClient::connect(&Real, at).await?.status().await };
        match report.await {
            Ok(report) => return Ok(report),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

pub const RECOVER_EXAMPLES: &str = "\
When a majority of the servers has lost its memory for good, the cluster stops and says so, since
what only they held is lost. This command accepts the loss, and recovers the cluster from what
one server has. Before it:
  1. `accord status` on all servers: if enough of them can come back with their memory, let them.
  2. Choose the server whose log is committed the furthest.
  3. Stop every server that could still be serving elsewhere.

Example:
  accord recover 10.0.0.1:7850 --accept-loss

Exit code: 0, it is being recovered: see `accord status`; 1, the server refused; 4, no answer.";

/// Recovers a cluster.
#[derive(Clone, Debug, Args)]
pub struct RecoverArgs {
    /// The server whose state it begins with: where its clients connect.
    server: String,
    /// What only the lost servers held may be lost.
    #[arg(long, required = true)]
    accept_loss: bool,
}

pub async fn recover(args: &RecoverArgs, context: &mut Context) -> Result<u8, Failure> {
    let addresses = resolve(&args.server)?;
    let at = addresses.first().copied();
    let at = at.ok_or_else(|| Failure::misused(format!("{}: it has no address", args.server)))?;
    let asked = async { OperatorClient::connect(&Real, at).await?.recover().await };
    asked.await.map_err(|error| match error {
        AskError::Refused(why) => Failure::failed("refused", why).about(&args.server),
        error => Failure {
            code: out::UNREACHABLE,
            kind: "unreachable",
            message: format!("{}: {error}", args.server),
        },
    })?;
    out::note_change();
    Ok(out::print_text(&match context.json {
        true => format!("{}\n", json!({ "recovering": args.server })),
        false => format!("{} recovers the cluster: see `accord status`\n", args.server),
    }))
}

/// Lists the open sessions.
#[derive(Clone, Debug, Args)]
pub struct MembersArgs {
    /// Where each is attached, and what it owns.
    #[arg(long)]
    long: bool,
}

pub async fn members(args: &MembersArgs, context: &mut Context) -> Result<u8, Failure> {
    let client = context.client().await?;
    let own = client.session();
    for session in client.members().await? {
        let mut object = json!({ "session": session.0, "own": session == own });
        let mut text = session.0.to_string();
        if args.long {
            // It may have ended meanwhile.
            let Some(info) = client.session_info(session).await? else { continue };
            object["server"] = info.owner.map(|node| node.0).into();
            object["timeout_ms"] = info.timeout_ms.into();
            object["ephemerals"] = info.ephemerals.into();
            let at = info.owner.map_or("no server".to_owned(), |node| format!("server {}", node.0));
            text.push_str(&format!(
                "  at {at}, may be silent for {} ms, {} ephemeral records",
                info.timeout_ms, info.ephemerals
            ));
        }
        if session == own {
            text.push_str("  (this command)");
        }
        let line = if context.json { object.to_string() } else { text };
        out::print_text(&format!("{line}\n"));
    }
    Ok(out::DONE)
}
