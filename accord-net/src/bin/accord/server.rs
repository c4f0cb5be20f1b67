//! One server: its settings, its logs, its signals and its end.

use crate::args::ServerArgs;
use crate::out::{self, complain};
use crate::signals::{Kind, Signals, parents_end};
use accord_core::replica::io::HaltReason;
use accord_net::env::real::Real;
use accord_net::server::journal::Disk;
use accord_net::server::metrics::Metrics;
use accord_net::server::repair::{self, SetAside};
use accord_net::server::{Ended, PeerName, Running, Tempo, http, start};
use accord_net::settings::{LogFormat, Ready, Settings};
use accord_net::storage::Options;
use std::future::pending;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The server did not start.
const NOT_STARTED: u8 = out::FAILED;
/// The server stopped itself.
const HALTED: u8 = 3;
/// How often the log task checks whether the server serves.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// After this many checks without service, the log says what to do.
const POLLS_BEFORE_ADVICE: u32 = 20;

/// Runs a server until it is told to stop.
pub fn run(args: &ServerArgs) -> u8 {
    let loaded = args.sources().and_then(|sources| sources.load().map_err(|e| e.to_string()));
    let prepared = loaded.and_then(|loaded| {
        let ready = loaded.ready().map_err(|error| error.to_string())?;
        begin_log(&loaded.settings)?;
        Ok((loaded.settings, ready))
    });
    let (settings, ready) = match prepared {
        Ok(prepared) => prepared,
        Err(message) => {
            complain(&message);
            return out::MISUSED;
        }
    };
    ready.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return NOT_STARTED;
        }
    };
    LocalSet::new().block_on(&runtime, serve(&settings, ready, args.exit_with_parent))
}

/// Crates whose messages can be asked for: this program's own, and those below it that log.
const LOGGING: [&str; 8] =
    ["accord", "accord_core", "accord_net", "axum", "hyper", "hyper_util", "tokio", "tower"];

/// What is wrong with a filter that can be parsed and would log nothing that anybody means: a word
/// that is no level is a target to the parser, and there are no messages of it.
fn misspelt(filter: &str) -> Option<&str> {
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let directives = filter.split(',').map(str::trim);
    let mut directives = directives.filter(|directive| !directive.is_empty()).peekable();
    if directives.peek().is_none() {
        return Some(filter);
    }
    directives.find(|directive| {
        let target = directive.split(['=', '[']).next().unwrap_or_default().trim();
        let its_crate = target.split("::").next().unwrap_or_default();
        !(target.is_empty() || is_level(directive) || LOGGING.contains(&its_crate))
    })
}

fn begin_log(settings: &Settings) -> Result<(), String> {
    if let Some(word) = misspelt(&settings.log) {
        return Err(format!(
            "log: `{word}`: neither a level (off, error, warn, info, debug, trace) nor a filter \
             of this server's messages, such as `info,accord_net::server=debug`"
        ));
    }
    let filter = EnvFilter::try_new(&settings.log).map_err(|error| {
        let log = &settings.log;
        format!("log: `{log}`: {error}; expected error, warn, info, debug, trace, or filters")
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .log_internal_errors(false);
    let begun = match settings.log_format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    begun.map_err(|error| error.to_string())
}

/// Ten thousand clients are ten thousand descriptors: take as many as the system gives.
fn raise_file_limit() {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let raised = getrlimit(Resource::RLIMIT_NOFILE)
            .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
        if let Err(error) = raised {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
}

async fn serve(settings: &Settings, ready: Ready, exit_with_parent: bool) -> u8 {
    let (mut options, bootstrap) = (ready.options, settings.bootstrap);
    let started = async {
        let listener = match ready.http_listen {
            Some(at) => Some(http::listen(at).await?),
            None => None,
        };
        let disk = match &ready.data_dir {
            Some(path) => {
                let label = Options { bootstrap, ..Options::of_cluster(&options.cluster) };
                if ready.refetches {
                    let (disk, damaged) = repair::open(path, options.node, &label)?;
                    if let Some(SetAside { path: kept, why }) = damaged {
                        let kept = kept.display();
                        tracing::error!(%why, %kept, "damaged, set aside; starting without data");
                        options.bootstrap = false;
                    }
                    Some(disk)
                } else {
                    Some(Disk::open(path, options.node, label)?)
                }
            }
            None => None,
        };
        let running = start(Real, options, disk, Arc::new(Metrics::default())).await?;
        Ok::<_, Box<dyn std::error::Error>>((running, listener))
    };
    let (running, listener) = match started.await {
        Ok(started) => started,
        Err(error) => {
            complain(&format!("server {}: {error}", settings.id));
            return NOT_STARTED;
        }
    };
    let mut stops = match stops(exit_with_parent) {
        Ok(stops) => stops,
        Err(error) => {
            complain(&format!("signals cannot be received: {error}"));
            return NOT_STARTED;
        }
    };
    announce(settings.id, running.client_addr(), listener.as_ref());
    tokio::select! {
        biased;
        code = until_stopped(&running, &mut stops) => code,
        () = serve_http(listener, &running) => unreachable!("HTTP is served until the process ends"),
        () = follow_names(&running, ready.names) => unreachable!("names are followed until the process ends"),
        () = log_service(&running, bootstrap) => unreachable!("the log goes on until the process ends"),
    }
}

/// One line for programs: they wait for it, and read the ports that the system chose.
fn announce(id: u32, clients: SocketAddr, listener: Option<&TcpListener>) {
    let http = listener.and_then(|listener| listener.local_addr().ok());
    let http = http.map_or("off".to_owned(), |at| at.to_string());
    tracing::info!(id, %clients, %http, "the server listens");
    out::print_text(&format!(
        "accord: server {id} listens for clients at {clients}, http at {http}\n"
    ));
}

async fn serve_http(listener: Option<TcpListener>, running: &Running<Real>) {
    if let Some(listener) = listener
        && let Err(error) = http::serve(listener, running).await
    {
        tracing::error!(%error, "HTTP is no longer served; clients still are");
    }
    pending().await
}

async fn until_stopped(running: &Running<Real>, stops: &mut mpsc::Receiver<&'static str>) -> u8 {
    tokio::select! {
        biased;
        reason = running.halted() => return halted(&reason, running.disk_error()),
        why = stops.recv() => {
            tracing::info!(why = why.unwrap_or_default(), "stopping; once more stops at once");
        }
    }
    tokio::select! {
        biased;
        ended = running.drain() => match ended {
            Ended::Drained => {
                tracing::info!("stopped");
                out::DONE
            }
            Ended::Halted(reason) => halted(&reason, running.disk_error()),
        },
        _ = stops.recv() => {
            tracing::warn!("stopped at once: clients find out by themselves");
            out::DONE
        }
    }
}

fn halted(reason: &HaltReason, disk_error: Option<String>) -> u8 {
    if let Some(error) = disk_error {
        complain(&format!(
            "the server stopped itself, because its disk failed: {error}.\n\
             What was answered is safe, and the directory is to be kept. The others serve on, if \
             they are a majority: see `accord status`."
        ));
        return HALTED;
    }
    if *reason == HaltReason::BadSnapshot {
        complain(
            "the server stopped itself, because the state that it found in its directory, or was \
             sent by another server, cannot be read. Are its settings under [state] those with \
             which the state was made, and the same on all servers? If so, keep its directory for \
             inspection, and start it with an empty one.",
        );
        return HALTED;
    }
    complain(&format!(
        "the server stopped itself, because going on could do harm: {reason}\n\
         The others serve on, if they are a majority: see `accord status`. Keep this server's log, \
         start it again without --bootstrap, and it takes its state from them."
    ));
    HALTED
}

/// What tells the server to stop: signals, and the end of the standard input.
fn stops(exit_with_parent: bool) -> io::Result<mpsc::Receiver<&'static str>> {
    let (tell, stops) = mpsc::channel(4);
    if exit_with_parent {
        let (end, tell) = (parents_end()?, tell.clone());
        tokio::task::spawn_local(async move {
            if end.await.is_ok() {
                let _ = tell.send("the process that started it is gone").await;
            }
        });
    }
    #[cfg(unix)]
    if !ignores_hangup() {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut hangup, tell) = (signal(SignalKind::hangup())?, tell.clone());
        tokio::task::spawn_local(async move {
            while hangup.recv().await.is_some() {
                let _ = tell.send("SIGHUP; settings are read at a start").await;
            }
        });
    }
    let mut signals = Signals::new()?;
    tokio::task::spawn_local(async move {
        loop {
            let name = match signals.next().await {
                Kind::Interrupt => "SIGINT",
                Kind::Terminate => "SIGTERM",
            };
            let _ = tell.send(name).await;
        }
    });
    Ok(stops)
}

/// True if the server was started so that it ignores the end of its terminal (`nohup`).
#[cfg(unix)]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signals are counted from 1, and SIGHUP is the first.
    ignored.is_some_and(|mask| mask & 1 != 0)
}

/// Looks the other servers' names up again: they may not be known yet, or be moved.
async fn follow_names(running: &Running<Real>, names: Vec<PeerName>) {
    let look_up = async |name: String| Ok(tokio::net::lookup_host(name).await?.collect());
    running.follow_names(names, Tempo::default(), look_up).await;
    pending().await
}

/// Logs when the server begins or ceases to serve, and why it does not.
async fn log_service(running: &Running<Real>, bootstrap: bool) {
    let (mut last, mut looks) = (None, 0);
    loop {
        let status = running.status();
        let now = (status.primary, status.reason);
        if last.as_ref() != Some(&now) {
            match &now {
                (true, _) => tracing::info!(members = ?status.members, "serving"),
                (false, reason) => {
                    let reason = reason.as_deref().unwrap_or("not yet known");
                    tracing::info!(reason, members = ?status.members, "not serving");
                }
            }
            looks = 0;
        }
        looks += 1;
        if looks == POLLS_BEFORE_ADVICE && !now.0 && status.epoch.is_none() {
            let hint = if !bootstrap && status.voters.is_empty() {
                "to form a new cluster, start all its servers with --bootstrap, once"
            } else {
                "are the other servers started, reachable, and have they the same key and cluster?"
            };
            let refused = status.ring.map(|ring| ring.refused).unwrap_or_default();
            tracing::warn!(?refused, "still not serving: {hint}");
        }
        last = Some(now);
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_of_levels_and_of_what_logs() {
        for good in [
            "info",
            "WARN",
            "off",
            "3",
            "info,accord_net=debug",
            "accord",
            "accord_net::server::peers=trace, hyper=warn",
            "info,accord_core[span]=debug",
            "[span]=trace",
        ] {
            assert_eq!(misspelt(good), None, "{good}");
        }
        for (bad, word) in [
            ("bogus", "bogus"),
            ("inf", "inf"),
            ("info,accordnet=debug", "accordnet=debug"),
            ("info,debg", "debg"),
            ("bogus=info", "bogus=info"),
            ("", ""),
            (" , ", " , "),
        ] {
            assert_eq!(misspelt(bad), Some(word), "{bad}");
        }
    }
}
