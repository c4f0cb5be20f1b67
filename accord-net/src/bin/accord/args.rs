//! What can be said on the command line.

use crate::client::ClientCommand;
use crate::{cluster, out, shell};
use accord_net::settings::{Given, Place, Sources};
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  accord cluster                              three servers on this machine; Ctrl-C stops them
  accord put greeting hello                   in another terminal: write,
  accord get greeting                         read,
  accord watch --prefix ''                    see every change as it happens,
  accord txn 'when value greeting = hello; put greeting bye; get greeting'
  accord lock backup -- ./backup.sh           run a command while holding a lock
  accord status                               how the servers are
  accord admin members                        who votes; grow, shrink, back up: accord admin --help

  accord config > accord.toml                 a real server: its settings, commented,
  accord server --config accord.toml          and the server

Every command has a --help of its own, with examples. What stands there under \"Connection\"
(--servers, --timeout-ms, --json) may stand before the command as well.

Exit code: 0, done; 1, failed (not found, exists already, unequal, refused); 2, the command line or
a setting is wrong; 3, it is unknown whether it was done; 4, no server was reached; 5, it was done,
but its answer could not be printed (do not do it again).";

/// Accord: a replicated, transactional, watchable key-value store for coordination.
#[derive(Debug, Parser)]
#[command(name = "accord", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Puts options of the connection that stand before the command behind its name.
pub fn in_order(args: Vec<OsString>) -> Vec<OsString> {
    let mut at = 1;
    while let Some(arg) = args.get(at) {
        at += match arg.to_str() {
            Some("--servers" | "--timeout-ms") => 2,
            Some("--json") => 1,
            Some(arg) if arg.starts_with("--servers=") || arg.starts_with("--timeout-ms=") => 1,
            _ => break,
        };
    }
    let is_command = |arg: &OsString| !arg.as_encoded_bytes().starts_with(b"-");
    if at == 1 || !args.get(at).is_some_and(is_command) {
        return args;
    }
    let mut ordered = vec![args[0].clone(), args[at].clone()];
    ordered.extend_from_slice(&args[1..at]);
    ordered.extend_from_slice(&args[at + 1..]);
    ordered
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a cluster on this machine: to try it, to develop, to test.
    #[command(after_help = cluster::EXAMPLES)]
    Cluster(cluster::ClusterArgs),
    /// Run one server.
    #[command(after_help = SERVER_EXAMPLES)]
    Server(ServerArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// Type commands in one session, with history and completion.
    #[command(after_help = shell::EXAMPLES)]
    Shell(shell::ShellArgs),
    /// Stand between `accord lock` and its command.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Guard(crate::client::held::GuardArgs),
    /// Print the default configuration of a server, with a comment for every setting.
    Config,
    /// Print a fresh key for the servers of a cluster.
    Key,
    /// Print a completion script for a shell.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

const SERVER_EXAMPLES: &str = "\
Examples:
  accord server --bootstrap                   a single server at 127.0.0.1:7850, for a first try

  accord config > accord.toml                 three servers: on each, a configuration of its own ...
  accord key > accord.key                     ... and the same key (once, then copied)
  accord server --config accord.toml --bootstrap    the very first start
  accord server --config accord.toml                every later start

  ACCORD_CLIENT_LISTEN=0.0.0.0:7850 ACCORD_LOG=debug accord server --config accord.toml
  accord server --config accord.toml --set ring.timeouts.token_loss_ms=1000

A flag goes before the environment, which goes before the file. SIGTERM, SIGINT or SIGHUP stops the
server gracefully: its clients move to other servers first; a second signal stops it at once.

Exit code: 0, stopped as told; 1, could not start; 2, a setting is wrong; 3, the server stopped
itself, because going on could do harm (the reason is printed).";

/// One server. Everything is optional: see `accord config` for the defaults.
#[derive(Clone, Debug, Default, Args)]
pub struct ServerArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "ACCORD_CONFIG")]
    pub config: Option<PathBuf>,
    /// This server's number, unique in the cluster.
    #[arg(long, value_name = "N")]
    pub id: Option<String>,
    /// The cluster's name, the same on all its servers.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// What "durable" means.
    #[arg(long, value_name = "memory|persistent")]
    pub mode: Option<String>,
    /// Whether there are other servers.
    #[arg(long, value_name = "solo|ring|corosync")]
    pub group: Option<String>,
    /// Where clients connect.
    #[arg(long, value_name = "HOST:PORT")]
    pub client_listen: Option<String>,
    /// Where metrics, health and readiness are served; `off`: nowhere.
    #[arg(long, value_name = "HOST:PORT|off")]
    pub http_listen: Option<String>,
    /// Where the other servers are heard.
    #[arg(long, value_name = "HOST:PORT")]
    pub ring_listen: Option<String>,
    /// A server of the cluster, this one included; once for each.
    #[arg(long = "member", value_name = "ID=HOST:PORT")]
    pub members: Vec<String>,
    /// The file with the secret that all servers of the cluster share.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<String>,
    /// Allow this server to form a new cluster. At the very first start only.
    #[arg(long)]
    pub bootstrap: bool,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or filters by module.
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// How log lines look.
    #[arg(long, value_name = "text|json")]
    pub log_format: Option<String>,
    /// Where `persistent` mode keeps its files.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Any setting; `accord config` shows them all. May be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// End gracefully when the standard input ends, so that no server outlives who started it.
    #[arg(long, hide = true)]
    pub exit_with_parent: bool,
}

impl ServerArgs {
    /// Where the settings are to be looked for.
    ///
    /// # Errors
    /// For people: which flag is not understood.
    pub fn sources(&self) -> Result<Sources, String> {
        let mut flags = Vec::new();
        let mut give = |flag: String, path: &str, text: &str| {
            let (place, path, text) = (Place::Flag(flag), path.to_owned(), text.to_owned());
            flags.push(Given { place, path, text });
        };
        let named = [
            ("id", &self.id),
            ("cluster", &self.cluster),
            ("mode", &self.mode),
            ("group", &self.group),
            ("client_listen", &self.client_listen),
            ("http_listen", &self.http_listen),
            ("ring_listen", &self.ring_listen),
            ("key_file", &self.key_file),
            ("log", &self.log),
            ("log_format", &self.log_format),
            ("data_dir", &self.data_dir),
        ];
        for (path, text) in named {
            if let Some(text) = text {
                give(format!("--{} {text}", path.replace('_', "-")), path, text);
            }
        }
        if !self.members.is_empty() {
            let list = self.members.join(",");
            give(format!("--member {}", self.members.join(" --member ")), "servers", &list);
        }
        if self.bootstrap {
            give("--bootstrap".to_owned(), "bootstrap", "true");
        }
        for set in &self.set {
            let (path, text) = set.split_once('=').ok_or_else(|| {
                format!("--set {set}: expected SECTION.KEY=VALUE, such as ring.burst_packets_max=8")
            })?;
            give(format!("--set {set}"), path.trim(), text);
        }
        let environment = std::env::vars_os().filter_map(|(name, text)| {
            Some((name.into_string().ok()?, text.to_string_lossy().into_owned()))
        });
        Ok(Sources { file: self.config.clone(), environment: environment.collect(), flags })
    }
}

/// Prints a completion script.
pub fn print_completions(shell: clap_complete::Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "accord", &mut script);
    out::print_bytes(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn options_of_the_connection_may_stand_before_the_command() {
        for (given, ordered) in [
            ("accord --servers a:1 --json get k", "accord get --servers a:1 --json k"),
            ("accord --timeout-ms=5 queue pop q", "accord queue --timeout-ms=5 pop q"),
            ("accord get --json k", "accord get --json k"),
            ("accord --json --help", "accord --json --help"),
            ("accord --servers", "accord --servers"),
            ("accord", "accord"),
        ] {
            let args: Vec<OsString> = given.split(' ').map(OsString::from).collect();
            let words: Vec<_> = in_order(args).into_iter().map(|arg| arg.into_string()).collect();
            let words: Result<Vec<_>, _> = words.into_iter().collect();
            assert_eq!(words.unwrap().join(" "), ordered);
        }
    }
}
