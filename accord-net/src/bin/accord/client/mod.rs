//! Client commands: each one session, or in the shell all of them one.
//!
//! 1. [`values`]: get, put, list, copy; [`delete`], [`count`] (incr); [`word`]: their arguments.
//! 2. [`lang`] and [`txn`]: transactions as they are written and run.
//! 3. [`watch`], [`hold`] (lock, elect) and [`held`] (the command meanwhile), [`queue`],
//!    [`status`] (and members).
//! 4. [`mod@bench`]: a load, measured.
//! 5. [`admin`]: changing the cluster; [`files`]: what needs no server.

mod admin;
mod bench;
mod connection;
mod count;
mod delete;
mod failure;
mod files;
pub mod held;
mod hold;
mod lang;
mod print;
mod queue;
mod status;
mod txn;
mod values;
mod watch;
mod word;

pub use failure::Failure;

use crate::out;
use accord_core::time::Duration;
use accord_net::client::{Client, ClientOptions, Reader, ServerAddr};
use clap::{Args, Subcommand};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// Where clients look for servers, unless told otherwise.
const SERVERS_DEFAULT: &str = "127.0.0.1:7850,127.0.0.1:7851,127.0.0.1:7852";
const TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// After this long without a connection, a command checks whether any server can be reached.
const UNREACHABLE_AFTER: Duration = Duration::from_millis(400);
/// The most that closing a session may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Which cluster, and how to print.
#[derive(Clone, Debug, Default, Args)]
pub struct Connection {
    /// The servers of the cluster; any one suffices [env: ACCORD_SERVERS=]
    /// [default: 127.0.0.1:7850,127.0.0.1:7851,127.0.0.1:7852]
    #[arg(long, value_name = "HOST:PORT,...", help_heading = "Connection", global = true)]
    pub servers: Option<String>,
    /// How long connecting and each request may take [env: ACCORD_TIMEOUT_MS=] [default: 10000]
    #[arg(long, value_name = "MS", help_heading = "Connection", global = true)]
    pub timeout_ms: Option<u64>,
    /// Print JSON, an object a line; bytes that are no text as hexadecimal digits (`value_hex`).
    #[arg(long, help_heading = "Connection", global = true)]
    pub json: bool,
}

/// A command on a connection.
#[derive(Clone, Debug, Args)]
pub struct On<A: Args> {
    /// What to do.
    #[command(flatten)]
    pub args: A,
    /// Servers to connect to, and how.
    #[command(flatten)]
    pub connection: Connection,
}

/// What clients can do.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientCommand {
    /// Read a record.
    #[command(after_help = values::GET_EXAMPLES)]
    Get(On<values::GetArgs>),
    /// Write a record.
    #[command(after_help = values::PUT_EXAMPLES)]
    Put(On<values::PutArgs>),
    /// Delete records: all of them or none.
    #[command(after_help = delete::EXAMPLES)]
    Del(On<delete::DelArgs>),
    /// List the records whose keys begin with a prefix.
    #[command(after_help = values::LIST_EXAMPLES)]
    List(On<values::ListArgs>),
    /// Copy the value of a record to another key.
    Copy(On<values::CopyArgs>),
    /// Add to a number, and print it.
    #[command(after_help = count::EXAMPLES)]
    Incr(On<count::IncrArgs>),
    /// Run a transaction: all of its steps or none, decided by conditions.
    #[command(after_help = lang::HELP)]
    Txn(On<txn::TxnArgs>),
    /// Print changes of records, or who joins and leaves, as they happen.
    #[command(after_help = watch::EXAMPLES)]
    Watch(On<watch::WatchArgs>),
    /// List the open sessions of the cluster.
    Members(On<status::MembersArgs>),
    /// Run a command while holding a lock.
    #[command(after_help = hold::LOCK_EXAMPLES)]
    Lock(On<hold::LockArgs>),
    /// Run a command while elected.
    #[command(after_help = hold::ELECT_EXAMPLES)]
    Elect(On<hold::ElectArgs>),
    /// Push to a queue and pop from it.
    #[command(after_help = queue::EXAMPLES)]
    Queue(On<queue::QueueArgs>),
    /// Measure how fast the cluster answers.
    #[command(after_help = bench::EXAMPLES)]
    Bench(On<bench::BenchArgs>),
    /// Show how the servers are.
    #[command(after_help = status::EXAMPLES)]
    Status(On<status::StatusArgs>),
    /// Change the cluster while it serves; back it up, restore it, look into its directories.
    #[command(after_help = admin::EXAMPLES)]
    Admin(On<admin::AdminArgs>),
    /// Recover a cluster after the memory of a majority is lost for good.
    #[command(after_help = status::RECOVER_EXAMPLES)]
    Recover(On<status::RecoverArgs>),
}

impl ClientCommand {
    /// True for commands that handle signals themselves, as a watch does: nothing else may end
    /// them.
    pub const fn takes_signals(&self) -> bool {
        match self {
            Self::Watch(_) | Self::Lock(_) | Self::Elect(_) => true,
            Self::Put(on) => on.args.holds(),
            Self::Queue(on) => on.args.waits(),
            _ => false,
        }
    }

    /// Where it is to be done, and how it is to be printed.
    pub const fn connection(&self) -> &Connection {
        match self {
            Self::Get(on) => &on.connection,
            Self::Put(on) => &on.connection,
            Self::Del(on) => &on.connection,
            Self::List(on) => &on.connection,
            Self::Copy(on) => &on.connection,
            Self::Incr(on) => &on.connection,
            Self::Txn(on) => &on.connection,
            Self::Watch(on) => &on.connection,
            Self::Members(on) => &on.connection,
            Self::Lock(on) => &on.connection,
            Self::Elect(on) => &on.connection,
            Self::Queue(on) => &on.connection,
            Self::Bench(on) => &on.connection,
            Self::Status(on) => &on.connection,
            Self::Admin(on) => &on.connection,
            Self::Recover(on) => &on.connection,
        }
    }
}

/// Where commands run: which cluster, and the session once there is one.
#[derive(Debug)]
pub struct Context {
    /// The servers as they were named.
    pub servers: Vec<String>,
    /// How long things may take.
    pub timeout: Duration,
    /// Print JSON.
    pub json: bool,
    /// How long the session may be silent.
    pub session_timeout: Duration,
    /// True if the session goes on after the command.
    pub lasting: bool,
    client: Option<Client>,
}

impl Context {
    /// From the flags, the environment and the defaults.
    ///
    /// # Errors
    /// [`Failure::misused`].
    pub fn new(connection: &Connection) -> Result<Self, Failure> {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let servers = connection.servers.clone().or_else(|| variable("ACCORD_SERVERS"));
        let servers = servers.unwrap_or_else(|| SERVERS_DEFAULT.to_owned());
        let servers: Vec<String> = servers
            .split(',')
            .map(|server| server.trim().to_owned())
            .filter(|server| !server.is_empty())
            .collect();
        let wrong = |text: &str| {
            Failure::misused(format!("ACCORD_TIMEOUT_MS={text}: expected milliseconds"))
        };
        let timeout_ms = match (connection.timeout_ms, variable("ACCORD_TIMEOUT_MS")) {
            (Some(given), _) => given,
            (None, Some(text)) => text.parse().map_err(|_| wrong(&text))?,
            (None, None) => TIMEOUT_MS_DEFAULT,
        };
        let timeout = Duration::from_millis(timeout_ms.max(1));
        let session_timeout = ClientOptions::new(Vec::<ServerAddr>::new()).session_timeout;
        let (json, lasting) = (connection.json, false);
        Ok(Self { servers, timeout, json, session_timeout, lasting, client: None })
    }

    /// The session; opened now, if it is not open.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn client(&mut self) -> Result<Client, Failure> {
        if let Some(client) = &self.client
            && !client.states().borrow().is_final()
        {
            return Ok(client.clone());
        }
        let options = self.options()?;
        let client = tokio::select! {
            biased;
            client = Client::connect(options) => client?,
            failure = unreachable(&self.servers) => return Err(failure),
        };
        Ok(self.client.insert(client).clone())
    }

    fn options(&self) -> Result<ClientOptions, Failure> {
        for server in &self.servers {
            let port = server.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                return Err(Failure::misused(format!("server `{server}`: expected HOST:PORT")));
            }
        }
        let mut options = ClientOptions::new(self.servers.iter().map(String::as_str));
        (options.connect_timeout, options.request_timeout) = (self.timeout, self.timeout);
        options.session_timeout = self.session_timeout;
        Ok(options)
    }

    /// Waits for what a reader reads: a session is opened only for what needs one.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn reading<T>(
        &self,
        reading: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            read = reading => read,
            failure = unreachable(&self.servers) => Err(failure),
        }
    }

    /// What reads without a session, unless there is one.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn reader(&self) -> Result<Reads, Failure> {
        match &self.client {
            Some(client) if !client.states().borrow().is_final() => {
                Ok(Reads::Session(client.clone()))
            }
            _ => Ok(Reads::Reader(Box::new(Reader::new(self.options()?)?))),
        }
    }

    /// Ends the session.
    pub async fn close(&mut self) {
        if let Some(client) = self.client.take() {
            // If it takes longer, the session ends by its timeout.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, client.close()).await;
        }
    }
}

/// What reads.
#[derive(Debug)]
pub enum Reads {
    /// A session that is open.
    Session(Client),
    /// No session.
    Reader(Box<Reader>),
}

impl Reads {
    /// Begins a read.
    pub fn read(&self, key: &[u8]) -> accord_net::client::Read<'_> {
        match self {
            Self::Session(client) => client.read(key),
            Self::Reader(reader) => reader.read(key),
        }
    }

    /// Begins a list.
    pub fn list(&self, prefix: &[u8]) -> accord_net::client::List<'_> {
        match self {
            Self::Session(client) => client.list(prefix),
            Self::Reader(reader) => reader.list(prefix),
        }
    }
}

/// The addresses of a server as it was named.
///
/// # Errors
/// [`Failure::misused`].
pub fn resolve(server: &str) -> Result<Vec<SocketAddr>, Failure> {
    let found = server.to_socket_addrs().map_err(|error| {
        Failure::misused(format!("server `{server}`: {error}; expected HOST:PORT"))
    })?;
    Ok(found.collect())
}

/// Ends if all servers refuse connections or have unknown names: then there is nothing to wait
/// for.
async fn unreachable(servers: &[String]) -> Failure {
    tokio::time::sleep(UNREACHABLE_AFTER).await;
    let mut listed = Vec::new();
    for server in servers {
        let Ok(addresses) = tokio::net::lookup_host(server).await else {
            listed.push(format!("{server} (the name cannot be looked up)"));
            continue;
        };
        for at in addresses {
            match tokio::net::TcpStream::connect(at).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                _ => return std::future::pending().await,
            }
        }
        listed.push(server.clone());
    }
    Failure {
        code: out::UNREACHABLE,
        kind: "unreachable",
        message: format!(
            "no server listens at {}. Is the cluster running (`accord cluster` starts one)? Name \
             its servers with --servers HOST:PORT,HOST:PORT or ACCORD_SERVERS.",
            listed.join(", ")
        ),
    }
}

/// Runs one command of its own.
pub fn run(command: &ClientCommand) -> u8 {
    let json = command.connection().json;
    let mut context = match Context::new(command.connection()) {
        Ok(context) => context,
        Err(failure) => return failure.tell(json),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(failure) => return failure.tell(json),
    };
    runtime.block_on(async {
        let code = execute(command, &mut context).await;
        context.close().await;
        code
    })
}

/// A runtime on which a session goes on while a person thinks.
///
/// # Errors
/// [`Failure`].
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("failed", format!("cannot start: {error}")))
}

/// Runs one command and tells how it went.
pub async fn execute(command: &ClientCommand, context: &mut Context) -> u8 {
    out::begin();
    let json = context.json;
    context.json |= command.connection().json;
    let result = match command {
        ClientCommand::Get(on) => values::get(&on.args, context).await,
        ClientCommand::Put(on) => values::put(&on.args, context).await,
        ClientCommand::Del(on) => delete::del(&on.args, context).await,
        ClientCommand::List(on) => values::list(&on.args, context).await,
        ClientCommand::Copy(on) => values::copy(&on.args, context).await,
        ClientCommand::Incr(on) => count::incr(&on.args, context).await,
        ClientCommand::Txn(on) => txn::run(&on.args, context).await,
        ClientCommand::Watch(on) => watch::run(&on.args, context).await,
        ClientCommand::Members(on) => status::members(&on.args, context).await,
        ClientCommand::Lock(on) => hold::lock(&on.args, context).await,
        ClientCommand::Elect(on) => hold::elect(&on.args, context).await,
        ClientCommand::Queue(on) => queue::run(&on.args, context).await,
        ClientCommand::Bench(on) => bench::run(&on.args, context).await,
        ClientCommand::Status(on) => status::status(&on.args, context).await,
        ClientCommand::Admin(on) => admin::run(&on.args, context).await,
        ClientCommand::Recover(on) => status::recover(&on.args, context).await,
    };
    let code = result.unwrap_or_else(|failure| failure.tell(context.json));
    context.json = json;
    code
}
