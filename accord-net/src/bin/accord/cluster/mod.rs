//! A cluster on this machine: its servers as child processes, shown live, stopped together.

mod child;
mod display;

use crate::out::{self, complain};
use crate::signals::{Signals, parents_end};
use accord_net::env::real::Real;
use accord_net::operator::{OperatorClient, StatusReport};
use accord_net::settings::{key_from_hex, new_key};
use child::{Child, Recipe, Said};
use clap::Args;
use display::Display;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often servers are asked for their status.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The most that a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1000);
/// The time that stopping servers have before they are killed.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// The file that says that the cluster was formed, so that it must not be formed again.
const FORMED: &str = "formed";
/// The file that is locked while a cluster runs in its directory.
const LOCK: &str = "cluster.lock";
const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// What `accord cluster --help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  accord cluster                              three servers, clients at 127.0.0.1:7850, 7851, 7852
  accord cluster --servers 5 --client-port-base auto --http off
  accord cluster --dir ./demo                 configuration and logs in a directory, to look at and
                                              to start a single server again from
  accord cluster --dir ./demo --mode persistent
                                              what is stored is there again at the next start
  accord cluster --set ring.timeouts.token_loss_ms=1000

In another terminal: accord status, accord put greeting hello, accord get greeting.

Ctrl-C stops all servers; none is left behind, however this command ends. In memory mode, what they
stored is gone when all have ended, and the next `accord cluster` begins empty.

A server that cannot start, or ends, is told with the last lines of its log. The others go on: two
of three still serve. It is not started again by itself; with --dir the command for it is told. Only
one `accord cluster` at a time uses a directory.

Exit code: 0, stopped as told; 1, could not start, or all servers ended; 2, an option is wrong.";

/// A cluster on this machine.
#[derive(Clone, Debug, Args)]
pub struct ClusterArgs {
    /// How many servers (1 to 15).
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=15))]
    pub servers: u32,
    /// The first server's port for clients; the others follow. `auto`: free ones.
    #[arg(long, value_name = "PORT|auto", default_value = "7850", value_parser = ports)]
    pub client_port_base: Ports,
    /// The first server's port for HTTP (metrics, health); `auto`: free ones; `off`: none.
    #[arg(long, value_name = "PORT|auto|off", default_value = "9180", value_parser = http_ports)]
    pub http: Ports,
    /// The first port between the servers, UDP and TCP. `auto`: free ones.
    #[arg(long, value_name = "PORT|auto", default_value = "auto", value_parser = ports)]
    pub ring_port_base: Ports,
    /// `memory`; or `persistent`, with --dir: the next start finds what was stored.
    #[arg(long, value_name = "memory|persistent", default_value = "memory",
          value_parser = ["memory", "persistent"])]
    pub mode: String,
    /// Where to write the key, configurations, logs and, in persistent mode, the servers' files.
    /// Nothing is written if not given.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// A line for each change instead of a live display, also on a terminal.
    #[arg(long)]
    pub plain: bool,
    /// Any setting, for all servers; `accord config` shows them all. May be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Stop when the standard input ends, so that no cluster outlives a test that started it.
    #[arg(long, hide = true)]
    pub exit_with_parent: bool,
}

/// Which ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// None.
    Off,
    /// Free ones.
    Auto,
    /// From this one on.
    From(u16),
}

fn ports(text: &str) -> Result<Ports, String> {
    match text {
        "auto" | "0" => Ok(Ports::Auto),
        _ => text.parse().map(Ports::From).map_err(|_| "expected a port or auto".to_owned()),
    }
}

fn http_ports(text: &str) -> Result<Ports, String> {
    match text {
        "off" => Ok(Ports::Off),
        _ => ports(text).map_err(|expected| format!("{expected} or off")),
    }
}

impl Ports {
    /// The port of the server at this place; 0: the system chooses.
    fn at(self, place: u32) -> Result<u16, String> {
        match self {
            Self::Off | Self::Auto => Ok(0),
            Self::From(base) => u16::try_from(u32::from(base) + place)
                .map_err(|_| format!("port {base} + {place} is above 65535: choose a lower base")),
        }
    }
}

/// Why a cluster does not start: the exit code, and a message for people.
struct Refused(u8, String);

impl Refused {
    fn misused(message: impl Into<String>) -> Self {
        Self(out::MISUSED, message.into())
    }

    fn failed(message: impl Into<String>) -> Self {
        Self(out::FAILED, message.into())
    }
}

/// Runs a cluster until it is told to stop.
pub fn run(args: &ClusterArgs) -> u8 {
    let prepared = check_options(args).and_then(|()| {
        check_ports(args)?;
        // Kept as long as the cluster runs.
        let lock = args.dir.as_deref().map(lock).transpose()?;
        Ok((recipes(args)?, lock))
    });
    let (recipes, _lock) = match prepared {
        Ok(prepared) => prepared,
        Err(Refused(code, message)) => {
            complain(&message);
            return code;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(serve(args, recipes)),
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            out::FAILED
        }
    }
}

/// What can be found wrong without looking at the machine.
fn check_options(args: &ClusterArgs) -> Result<(), Refused> {
    if args.mode == "persistent" && args.dir.is_none() {
        let message = "--mode persistent: name a directory for the servers' files with --dir";
        return Err(Refused::misused(message));
    }
    if let Some(set) = args.set.iter().find(|set| !set.contains('=')) {
        return Err(Refused::misused(format!("--set {set}: expected SECTION.KEY=VALUE")));
    }
    for (flag, ports) in flags(args) {
        let last = ports.at(args.servers - 1);
        last.map_err(|why| Refused::misused(format!("{flag}: {why}")))?;
    }
    Ok(())
}

const fn flags(args: &ClusterArgs) -> [(&'static str, Ports); 3] {
    [
        ("--client-port-base", args.client_port_base),
        ("--http", args.http),
        ("--ring-port-base", args.ring_port_base),
    ]
}

/// Takes the directory for this cluster alone, before anything in it is written: another one that
/// runs has its settings there.
fn lock(dir: &Path) -> Result<File, Refused> {
    let failed = |error: &io::Error| Refused::failed(unwritable(dir, error));
    std::fs::create_dir_all(dir).map_err(|error| failed(&error))?;
    let file = File::options().create(true).append(true).open(dir.join(LOCK));
    let file = file.map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Refused::failed(format!(
            "another `accord cluster` runs in {}: stop it, or choose another directory with --dir",
            dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}

/// Finds out before anything is started whether the ports are free.
fn check_ports(args: &ClusterArgs) -> Result<(), Refused> {
    for place in 0..args.servers {
        for (what, (flag, ports)) in ["clients", "HTTP", "the ring"].into_iter().zip(flags(args)) {
            let port = ports.at(place).map_err(Refused::misused)?;
            let tcp = TcpListener::bind((HOST, port)).map(drop);
            let bound = tcp.and_then(|()| match what {
                "the ring" => UdpSocket::bind((HOST, port)).map(drop),
                _ => Ok(()),
            });
            bound.map_err(|error| {
                let server = place + 1;
                Refused::failed(format!(
                    "server {server} cannot listen for {what} at port {port}: {error}. Is another \
                     cluster running? Stop it, or choose other ports: {flag} auto"
                ))
            })?;
        }
    }
    Ok(())
}

fn recipes(args: &ClusterArgs) -> Result<Vec<Recipe>, Refused> {
    let ring_ports: Vec<u16> = match args.ring_port_base {
        Ports::From(_) => (0..args.servers)
            .map(|place| args.ring_port_base.at(place))
            .collect::<Result<_, _>>()
            .map_err(Refused::misused)?,
        _ => accord_net::ports::free(args.servers as usize)
            .map_err(|error| Refused::failed(format!("no free ports: {error}")))?,
    };
    let members: Vec<_> =
        ring_ports.iter().zip(1..).map(|(port, id)| format!("{id}={HOST}:{port}")).collect();
    let members = members.join(",");
    let persistent = args.mode == "persistent";
    let key = match &args.dir {
        Some(dir) => key_in(dir).map_err(Refused::failed)?,
        None => new_key(),
    };
    let mut recipes = Vec::new();
    for place in 0..args.servers {
        let id = place + 1;
        let mut recipe = Recipe {
            id,
            settings: settings(args, place, &members).map_err(Refused::misused)?,
            key: key.clone(),
            config: None,
            log: None,
            bootstrap: true,
        };
        if let Some(dir) = &args.dir {
            recipe.bootstrap = !(persistent && dir.join(FORMED).exists());
            let config = dir.join(format!("server-{id}.toml"));
            std::fs::write(&config, recipe.file())
                .map_err(|error| Refused::failed(unwritable(&config, &error)))?;
            recipe.config = Some(config);
            recipe.log = Some(dir.join(format!("server-{id}.log")));
        }
        recipes.push(recipe);
    }
    Ok(recipes)
}

fn settings(
    args: &ClusterArgs,
    place: u32,
    members: &str,
) -> Result<Vec<(String, String)>, String> {
    let group = if args.servers == 1 { "solo" } else { "ring" };
    let http = match args.http {
        Ports::Off => "off".to_owned(),
        ports => format!("{HOST}:{}", ports.at(place)?),
    };
    let mut settings: Vec<(String, String)> = [
        ("id", (place + 1).to_string()),
        ("mode", args.mode.clone()),
        ("data_dir", format!("server-{}", place + 1)),
        ("group", group.to_owned()),
        ("client_listen", format!("{HOST}:{}", args.client_port_base.at(place)?)),
        ("http_listen", http),
        ("servers", members.to_owned()),
        // When all servers stop at once, clients have no server to move to.
        ("net.drain_timeout_ms", "1000".to_owned()),
    ]
    .map(|(path, value)| (path.to_owned(), value))
    .into();
    for set in &args.set {
        let (path, value) = set
            .split_once('=')
            .ok_or_else(|| format!("--set {set}: expected SECTION.KEY=VALUE"))?;
        settings.retain(|(earlier, _)| earlier != path);
        settings.push((path.to_owned(), value.to_owned()));
    }
    Ok(settings)
}

fn unwritable(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}. Choose another directory with --dir", path.display())
}

/// The key in the directory; made, if there is none.
fn key_in(dir: &Path) -> Result<String, String> {
    let path = dir.join("accord.key");
    if let Ok(key) = std::fs::read_to_string(&path) {
        key_from_hex(&key).map_err(|why| format!("{}: {why}", path.display()))?;
        return Ok(key.trim().to_owned());
    }
    let key = new_key();
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path).map_err(|error| unwritable(&path, &error))?;
    io::Write::write_all(&mut file, format!("{key}\n").as_bytes())
        .map_err(|error| unwritable(&path, &error))?;
    Ok(key)
}

/// A cluster that runs.
struct Cluster<'a> {
    args: &'a ClusterArgs,
    children: Vec<Child>,
    /// Where the servers listen, once they said so.
    places: BTreeMap<u32, (SocketAddr, String)>,
    /// Servers whose end was told.
    told: Vec<u32>,
    display: Display,
    formed: bool,
}

async fn serve(args: &ClusterArgs, recipes: Vec<Recipe>) -> u8 {
    let (said, mut heard) = mpsc::unbounded_channel();
    let mut cluster = Cluster {
        args,
        children: Vec::new(),
        places: BTreeMap::new(),
        told: Vec::new(),
        display: Display::new(args.plain),
        formed: false,
    };
    let begun = Signals::new()
        .and_then(|signals| Ok((signals, args.exit_with_parent.then(parents_end).transpose()?)));
    let (mut signals, parent) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            complain(&format!("signals cannot be received: {error}"));
            return out::FAILED;
        }
    };
    for recipe in &recipes {
        match recipe.start(&said) {
            Ok(child) => cluster.children.push(child),
            Err(error) => {
                complain(&format!("server {} cannot be started: {error}", recipe.id));
                return out::FAILED;
            }
        }
    }
    let orphaned = async {
        match parent {
            Some(end) => drop(end.await),
            None => std::future::pending().await,
        }
    };
    tokio::pin!(orphaned);
    let code = loop {
        tokio::select! {
            biased;
            _ = signals.next() => break out::DONE,
            () = &mut orphaned => break out::DONE,
            goes_on = cluster.look(&mut heard) => {
                if !goes_on {
                    break out::FAILED;
                }
            }
        }
    };
    cluster.stop(&mut signals, &mut heard).await;
    code
}

impl Cluster<'_> {
    fn hear(&mut self, id: u32, what: Said) {
        match what {
            Said::Listens(clients, http) => {
                self.places.insert(id, (clients, http));
            }
            Said::Line(line) => {
                // Other lines of the log are for those who ask for a directory, or for its end.
                if [" WARN ", " ERROR ", "accord: "].iter().any(|mark| line.contains(mark)) {
                    self.display.say(&format!("server {id}: {line}"));
                } else if let Some(child) = self.children.iter_mut().find(|child| child.id == id) {
                    child.note(&line);
                }
            }
        }
    }

    /// Waits a little, then looks how all servers are. False if the cluster is to end.
    async fn look(&mut self, heard: &mut mpsc::UnboundedReceiver<(u32, Said)>) -> bool {
        tokio::time::sleep(POLL_INTERVAL).await;
        while let Ok((id, what)) = heard.try_recv() {
            self.hear(id, what);
        }
        let mut reports = BTreeMap::new();
        for (id, (at, _)) in &self.places {
            if !self.told.contains(id)
                && let Ok(Some(report)) = tokio::time::timeout(ANSWER_TIMEOUT, report(*at)).await
            {
                reports.insert(*id, report);
            }
        }
        self.look_at_ends();
        for child in &self.children {
            let (id, place) = (child.id, self.places.get(&child.id));
            if self.told.contains(&id) {
                continue;
            }
            match (place, reports.get(&id)) {
                (None, _) => self.display.show(id, "", "starting", ""),
                (Some((at, _)), None) => {
                    self.display.show(id, &at.to_string(), "does not answer", "");
                }
                (Some((at, http)), Some(report)) => {
                    let (state, more) = (display::state(report), display::details(report, http));
                    self.display.show(id, &at.to_string(), &state, &more);
                }
            }
        }
        // Those that ended were told; it is for the others to serve.
        let all_serve = !reports.is_empty()
            && reports.len() + self.told.len() == self.children.len()
            && reports.values().all(|report| report.primary && report.synced);
        if all_serve && !self.formed {
            self.on_formed();
        }
        self.told.len() < self.children.len()
    }

    fn look_at_ends(&mut self) {
        let mut news = Vec::new();
        for child in &mut self.children {
            let Some(status) = child.ended() else { continue };
            let id = child.id;
            if self.told.contains(&id) {
                continue;
            }
            self.told.push(id);
            let (place, what) = match self.places.get(&id) {
                Some((at, _)) => (format!(" at {at}"), "ended"),
                None => (String::new(), "could not start"),
            };
            let again = match &self.args.dir {
                Some(dir) => format!(
                    "; start it again: accord server --config {}",
                    dir.join(format!("server-{id}.toml")).display()
                ),
                None => String::new(),
            };
            self.display.note_end(id, what);
            news.push(format!("accord: server {id}{place}: {what} ({status}){again}"));
            news.extend(child.last_words().iter().map(|line| format!("server {id}: {line}")));
        }
        let (all, left) = (self.children.len(), self.children.len() - self.told.len());
        if !news.is_empty() && left > 0 {
            let enough = if left * 2 > all { "" } else { ", too few to serve" };
            news.push(format!("accord: {left} of {all} servers run on{enough}"));
        }
        news.iter().for_each(|line| self.display.say(line));
    }

    fn on_formed(&mut self) {
        self.formed = true;
        if let Some(dir) = &self.args.dir {
            let path = dir.join(FORMED);
            if let Err(error) = std::fs::write(&path, "") {
                self.display.say(&format!("accord: {}", unwritable(&path, &error)));
            }
        }
        let running = |id: &u32| !self.told.contains(id);
        let places = self.places.iter().filter(|(id, _)| running(id));
        let places: Vec<_> = places.map(|(_, (at, _))| at.to_string()).collect();
        let children = self.children.iter().filter(|child| running(&child.id));
        let pids: Vec<_> = children.map(|child| child.pid().to_string()).collect();
        self.display.say(&format!("accord: cluster serves at {}", places.join(",")));
        self.display.say(&format!("accord: processes {}; Ctrl-C stops them", pids.join(" ")));
    }

    /// Stops all servers, and waits for their ends.
    async fn stop(
        &mut self,
        signals: &mut Signals,
        heard: &mut mpsc::UnboundedReceiver<(u32, Said)>,
    ) {
        self.children.iter_mut().for_each(Child::stop);
        let deadline = Instant::now() + STOP_GRACE;
        while self.children.iter_mut().any(|child| child.ended().is_none()) {
            let impatient = tokio::select! {
                biased;
                _ = signals.next() => true,
                () = tokio::time::sleep(Duration::from_millis(20)) => Instant::now() > deadline,
            };
            if impatient {
                break;
            }
        }
        self.children.iter_mut().for_each(Child::kill);
        // What a server complained of with its last words.
        while let Ok(Some((id, what))) =
            tokio::time::timeout(Duration::from_millis(50), heard.recv()).await
        {
            self.hear(id, what);
        }
        self.display.finish();
        self.display.say("accord: all servers have ended");
    }
}

async fn report(at: SocketAddr) -> Option<StatusReport> {
    OperatorClient::connect(&Real, at).await.ok()?.status().await.ok()
}
