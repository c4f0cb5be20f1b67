//! The client for programs without async: every call waits for its outcome.
//!
//! A [`Client`] has one thread of its own, which runs the session. Many threads may share it.
//!
//! ```
//! use accord_net::blocking::Client;
//! use accord_net::client::{EventMask, WatchFilter};
//! # use accord_net::embedded::Cluster;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let cluster = Cluster::start(1)?;
//! # let options = cluster.client_options();
//! let client = Client::connect(options)?;
//! let watch = client.watch(WatchFilter::Key("greeting".into()), EventMask::ALL)?;
//! client.put("greeting", "hello")?;
//! for item in watch.take(1) {
//!     println!("it changed at revision {}", item?.revision);
//! }
//! assert_eq!(client.get("greeting")?.expect("it was just put").value, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! Locks, elections, queues and barriers: [`recipes`]. What has no call of its own is reached
//! through [`Client::run`].

pub mod recipes;

use crate::client::txn::Txn;
use crate::client::{
    self, ClientOptions, ConnectError, Done, Error, EventMask, IntoBytes, ListEntry, Record,
    SessionId, WatchEnd, WatchFilter, WatchItem,
};
use std::future::Future;
use std::io;
use tokio::runtime::{Builder, Runtime};

/// A session with a cluster.
#[derive(Debug)]
pub struct Client {
    client: client::Client,
    runtime: Runtime,
}

/// Why no session could be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The thread for it could not be made.
    #[error("the client's thread could not be started: {0}")]
    Thread(#[from] io::Error),
    /// No server opened a session.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl Client {
    /// Opens a session.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn connect(options: ClientOptions) -> Result<Self, OpenError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("accord-client")
            .enable_io()
            .enable_time()
            .build()?;
        let client = runtime.block_on(client::Client::connect(options))?;
        Ok(Self { client, runtime })
    }

    /// The async client of the same session.
    pub const fn client(&self) -> &client::Client {
        &self.client
    }

    /// Waits for anything that the async client can do.
    ///
    /// # Panics
    /// Inside of async code: use the async client there.
    pub fn run<T>(&self, task: impl Future<Output = T>) -> T {
        self.runtime.block_on(task)
    }

    /// The session's id.
    pub fn session(&self) -> SessionId {
        self.client.session()
    }

    /// See [`client::Client::txn`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn txn(&self, txn: impl Into<Txn>) -> Result<Done, Error> {
        self.run(self.client.txn(txn))
    }

    /// See [`client::Client::put`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn put(&self, key: impl IntoBytes, value: impl IntoBytes) -> Result<Done, Error> {
        self.run(self.client.put(key, value))
    }

    /// See [`client::Client::create`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn create(&self, key: impl IntoBytes, value: impl IntoBytes) -> Result<Done, Error> {
        self.run(self.client.create(key, value))
    }

    /// See [`client::Client::get`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn get(&self, key: impl IntoBytes) -> Result<Option<Record>, Error> {
        self.run(self.client.get(key))
    }

    /// See [`client::Client::delete`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn delete(&self, key: impl IntoBytes) -> Result<Done, Error> {
        self.run(self.client.delete(key))
    }

    /// See [`client::Client::copy`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn copy(&self, source: impl IntoBytes, target: impl IntoBytes) -> Result<Done, Error> {
        self.run(self.client.copy(source, target))
    }

    /// See [`client::Client::increment`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn increment(&self, key: impl IntoBytes, delta: i64) -> Result<u64, Error> {
        self.run(self.client.increment(key, delta))
    }

    /// All records whose keys begin with a prefix. See [`client::Client::list`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn list(&self, prefix: impl IntoBytes) -> Result<Vec<ListEntry>, Error> {
        self.run(self.client.list(prefix).all())
    }

    /// See [`client::Client::members`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn members(&self) -> Result<Vec<SessionId>, Error> {
        self.run(self.client.members())
    }

    /// See [`client::Client::watch`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn watch(&self, filter: WatchFilter, mask: EventMask) -> Result<Watch<'_>, Error> {
        let watch = self.run(self.client.watch(filter, mask, None))?;
        Ok(Watch { client: self, watch })
    }

    /// See [`client::Client::close`].
    pub fn close(self) -> bool {
        self.runtime.block_on(self.client.close())
    }
}

/// A watch that is set. As an iterator it waits for the next revision with events, and ends with an
/// error that says why.
#[derive(Debug)]
pub struct Watch<'a> {
    client: &'a Client,
    watch: client::Watch,
}

impl Watch<'_> {
    /// What has come already, without waiting.
    pub fn try_next(&mut self) -> Option<Result<WatchItem, WatchEnd>> {
        self.watch.try_next()
    }
}

impl Iterator for Watch<'_> {
    type Item = Result<WatchItem, WatchEnd>;
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.client.run(self.watch.next()))
    }
}
