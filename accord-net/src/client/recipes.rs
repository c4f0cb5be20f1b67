//! What coordination services are for: locks, elections, queues and barriers.
//!
//! Each is a few keys below a name of its own, so other programs and the `accord` command can take
//! part: `lock/NAME/...`, `election/NAME/...`, `queue/NAME/...`, `barrier/NAME/...`, where `...` is
//! a number from the order, 20 digits wide. A waiting client watches only the key right
//! before its own, so a release wakes one client.
//!
//! A lock is held as long as its record exists, which the cluster decides, not its holder: a holder
//! that was paused may learn late that its session has expired. Whatever the lock protects should
//! therefore check the [`LockGuard::token`]: tokens ascend from holder to holder
//! ([`super::txn::created_at`] checks one inside a transaction).
//!
//! ```
//! use accord_net::client::recipes::{Election, Lock, Queue};
//! use accord_net::client::txn::{Steps, Txn, created_at};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let cluster = accord_net::embedded::Cluster::start(1)?;
//! # let client = cluster.client().await?;
//! let held = Lock::new(&client, "door").acquire().await?;
//! let fenced = Txn::when(created_at(held.key(), held.token()));
//! assert!(client.txn(fenced.then(Steps::new().put("door", "open"))).await?.held());
//! held.release().await?;
//!
//! let leads = Election::new(&client, "captain").campaign("ann").await?;
//! let (leader, token) = Election::new(&client, "captain").leader().await?.expect("one leads");
//! assert_eq!((&leader[..], token), (&b"ann"[..], leads.token()));
//! leads.resign().await?;
//!
//! let queue = Queue::new(&client, "jobs");
//! queue.push("sweep").await?;
//! assert_eq!(queue.pop_wait().await?, "sweep");
//! # Ok(())
//! # }
//! ```

use super::bytes_like::IntoBytes;
use super::error::{Error, Failure};
use super::txn::{Steps, Txn, exists, missing};
use super::{Client, Done, WatchEnd};
use accord_core::ids::{Revision, SessionId};
use accord_core::protocol::{EventMask, WatchFilter};
use accord_core::state::{Event, Flags, OpRef, Range};
use accord_core::wire::Encode;
use bytes::Bytes;
use std::collections::BTreeSet;

/// A place in a line, held by an ephemeral record. Dropping it gives it up.
#[derive(Debug)]
struct Place {
    client: Client,
    key: Bytes,
    token: Revision,
    given_up: bool,
}

impl Place {
    /// Takes a place. If the caller goes meanwhile, or does not learn of it, it is given up.
    async fn take(client: &Client, line: &str, value: Bytes) -> Result<Self, Error> {
        let steps = Steps::new().write(line, value, 0, Flags::SEQUENCE | Flags::EPHEMERAL);
        let undo = |done: &Done| done.sequence_key(0).map(giving_up);
        let done = client.txn_or_undo(steps.into(), undo).await?;
        let key = done.sequence_key(0).cloned().ok_or(Error::Failed(Failure::Unexpected))?;
        Ok(Self { client: client.clone(), key, token: done.revision, given_up: false })
    }

    /// The key right before this place.
    async fn before(&self, line: &str) -> Result<Option<Bytes>, Error> {
        let from = Bytes::copy_from_slice(line.as_bytes());
        let range = Range::Span { from, until: Some(self.key.clone()) };
        let mut earlier = self.client.list_range(range).keys_only();
        let mut last = None;
        while let Some(entry) = earlier.next().await? {
            last = Some(entry.key);
        }
        Ok(last)
    }

    /// Waits until this place is the first.
    async fn first(&self, line: &str) -> Result<(), Error> {
        while let Some(before) = self.before(line).await? {
            wait_for_end(&self.client, before, self.token).await?;
        }
        self.check().await
    }

    /// The place may have been lost with the session while it was waited for.
    async fn check(&self) -> Result<(), Error> {
        match self.client.get(&self.key).await? {
            Some(_) => Ok(()),
            None => Err(Error::Failed(Failure::Ended)),
        }
    }

    /// Gives it up. If that fails, or is not waited for, it goes on by itself.
    async fn give_up(mut self) -> Result<(), Error> {
        self.client.txn(giving_up(&self.key)).await?;
        self.given_up = true;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.given_up {
            let delete = giving_up(&self.key);
            self.client.shared().submit_unattended(OpRef::Kv(delete.as_core()).to_bytes());
        }
    }
}

/// Gives up the place with this key. No key is used for two places.
fn giving_up(key: &Bytes) -> Txn {
    Txn::when(exists(key)).then(Steps::new().delete(key))
}

/// Waits until a record that existed at `revision` or later is gone.
async fn wait_for_end(client: &Client, key: Bytes, revision: Revision) -> Result<(), Error> {
    let filter = WatchFilter::Key(key.clone());
    let mut watch = client.watch(filter, EventMask::DELETED, Some(revision)).await?;
    if client.read(&key).send().await?.is_none() {
        return Ok(());
    }
    match watch.next().await {
        // If the history is gone, the next look at the line tells.
        Ok(_) | Err(WatchEnd::HistoryGone { .. } | WatchEnd::Lagged { .. }) => Ok(()),
        Err(_) => Err(Error::Failed(Failure::Ended)),
    }
}

/// A lock that one session at a time holds, in the order in which they asked.
#[derive(Clone, Debug)]
pub struct Lock {
    client: Client,
    line: String,
    owner: Bytes,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What the holder says of itself: see [`Lock::owned_by`].
    pub owner: Bytes,
    /// The holder's fencing token.
    pub token: Revision,
    /// The holder's session.
    pub session: SessionId,
}

impl Lock {
    /// The lock of this name.
    pub fn new(client: &Client, name: &str) -> Self {
        Self { client: client.clone(), line: format!("lock/{name}/"), owner: Bytes::new() }
    }

    /// What others are shown of the holder that this makes: such as a host, a process
    /// and what it is for.
    #[must_use]
    pub fn owned_by(mut self, owner: impl IntoBytes) -> Self {
        self.owner = owner.into_bytes();
        self
    }

    /// Who holds the lock. `None`: it is free.
    ///
    /// ```
    /// # use accord_net::client::recipes::Lock;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = accord_net::embedded::Cluster::start(1)?;
    /// # let client = cluster.client().await?;
    /// let lock = Lock::new(&client, "door").owned_by("db-1, nightly backup");
    /// assert_eq!(lock.holder().await?, None);
    /// let held = lock.acquire().await?;
    /// let holder = lock.holder().await?.expect("it is held");
    /// assert_eq!((&holder.owner[..], holder.token), (&b"db-1, nightly backup"[..], held.token()));
    /// assert_eq!(holder.session, client.session());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`].
    pub async fn holder(&self) -> Result<Option<Holder>, Error> {
        let first = self.client.list(&self.line).page_entries(1).next().await?;
        Ok(first.map(|entry| Holder {
            owner: entry.value.unwrap_or_default(),
            token: entry.stat.created,
            session: entry.stat.owner.unwrap_or_default(),
        }))
    }

    /// Waits for the lock. Dropping the future gives up the place in the line.
    ///
    /// # Errors
    /// [`Error`]. After [`Error::Unknown`] the session may stand in the line without knowing; it
    /// gives up the place as soon as it knows.
    pub async fn acquire(&self) -> Result<LockGuard, Error> {
        let place = Place::take(&self.client, &self.line, self.owner.clone()).await?;
        place.first(&self.line).await?;
        Ok(LockGuard(place))
    }

    /// Takes the lock if it is free and no client waits for it.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub async fn try_acquire(&self) -> Result<Option<LockGuard>, Error> {
        let place = Place::take(&self.client, &self.line, self.owner.clone()).await?;
        match place.before(&self.line).await? {
            None => Ok(Some(LockGuard(place))),
            Some(_) => {
                place.give_up().await?;
                Ok(None)
            }
        }
    }
}

/// A lock that is held. Dropping it releases it without waiting for the cluster's answer.
#[derive(Debug)]
pub struct LockGuard(Place);

impl LockGuard {
    /// The fencing token: larger than that of every earlier holder.
    pub const fn token(&self) -> Revision {
        self.0.token
    }

    /// The record that holds the lock. As long as it exists, it is held.
    pub const fn key(&self) -> &Bytes {
        &self.0.key
    }

    /// Releases the lock and waits for the cluster's answer.
    ///
    /// # Errors
    /// [`Error`]; the lock is released nevertheless, as soon as that is possible.
    pub async fn release(self) -> Result<(), Error> {
        self.0.give_up().await
    }
}

/// An election: candidates stand in a line, and the first of them leads.
#[derive(Clone, Debug)]
pub struct Election {
    client: Client,
    line: String,
}

impl Election {
    /// The election of this name.
    pub fn new(client: &Client, name: &str) -> Self {
        Self { client: client.clone(), line: format!("election/{name}/") }
    }

    /// Stands as a candidate under `value`, and waits to be elected. Dropping the future withdraws.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub async fn campaign(&self, value: impl IntoBytes) -> Result<Leadership, Error> {
        let place = Place::take(&self.client, &self.line, value.into_bytes()).await?;
        place.first(&self.line).await?;
        Ok(Leadership(place))
    }

    /// The leader's value and its fencing token. `None`: there is no leader.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn leader(&self) -> Result<Option<(Bytes, Revision)>, Error> {
        let first = self.client.list(&self.line).page_entries(1).next().await?;
        Ok(first.map(|entry| (entry.value.unwrap_or_default(), entry.stat.created)))
    }
}

/// An election that is won. Dropping it resigns.
#[derive(Debug)]
pub struct Leadership(Place);

impl Leadership {
    /// The fencing token: larger than that of every earlier leader.
    pub const fn token(&self) -> Revision {
        self.0.token
    }

    /// Resigns and waits for the cluster's answer.
    ///
    /// # Errors
    /// [`Error`]; it resigns nevertheless, as soon as that is possible.
    pub async fn resign(self) -> Result<(), Error> {
        self.0.give_up().await
    }
}

/// A queue: every item is taken by one consumer, in the order in which they were pushed.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    line: String,
}

impl Queue {
    /// The queue of this name.
    pub fn new(client: &Client, name: &str) -> Self {
        Self { client: client.clone(), line: format!("queue/{name}/") }
    }

    /// Appends an item.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn push(&self, item: impl IntoBytes) -> Result<(), Error> {
        self.client.create_sequence(&self.line, item, false).await.map(|_| ())
    }

    /// Takes the first item, if there is one. If the future is dropped, no item is taken, or it is
    /// put back in its place; only if the session ends before that it is lost.
    ///
    /// # Errors
    /// [`Error`]. After [`Error::Unknown`] an item that was taken is put back likewise.
    pub async fn pop(&self) -> Result<Option<Bytes>, Error> {
        loop {
            let mut list = self.client.list(&self.line).page_entries(1).keys_only();
            let Some(first) = list.next().await? else { return Ok(None) };
            let key = first.key;
            let take = Txn::when(exists(&key)).then(Steps::new().get(&key).delete(&key));
            let put_back = move |done: &Done| {
                let item = done.value(0).filter(|_| done.held())?;
                Some(Txn::when(missing(&key)).then(Steps::new().create(&key, item)))
            };
            let done = self.client.txn_or_undo(take, put_back).await?;
            // Otherwise another consumer was faster: try the next.
            if done.held() {
                let item = done.value(0).cloned();
                return item.map(Some).ok_or(Error::Failed(Failure::Unexpected));
            }
        }
    }

    /// Takes the first item, and waits for one if there is none.
    ///
    /// # Errors
    /// As [`Self::pop`].
    pub async fn pop_wait(&self) -> Result<Bytes, Error> {
        loop {
            let filter = WatchFilter::Prefix(Bytes::copy_from_slice(self.line.as_bytes()));
            let mut pushed = self.client.watch_once(filter, EventMask::CREATED, None).await?;
            if let Some(item) = self.pop().await? {
                return Ok(item);
            }
            if let Err(WatchEnd::SessionLost | WatchEnd::Closed) = pushed.next().await {
                return Err(Error::Failed(Failure::Ended));
            }
        }
    }

    /// True if no item waits.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn is_empty(&self) -> Result<bool, Error> {
        let first = self.client.list(&self.line).page_entries(1).keys_only().next().await?;
        Ok(first.is_none())
    }

    /// How many items wait.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn len(&self) -> Result<usize, Error> {
        Ok(self.client.list(&self.line).keys_only().all().await?.len())
    }
}

/// A double barrier: its parties begin together and end together.
#[derive(Clone, Debug)]
pub struct Barrier {
    client: Client,
    line: String,
    parties: usize,
}

impl Barrier {
    /// The barrier of this name, for `parties` parties.
    pub fn new(client: &Client, name: &str, parties: usize) -> Self {
        Self { client: client.clone(), line: format!("barrier/{name}/"), parties }
    }

    /// Enters, and waits until all parties have. The same barrier can be entered again after
    /// [`Inside::leave`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn enter(&self) -> Result<Inside, Error> {
        let filter = WatchFilter::Prefix(Bytes::copy_from_slice(self.line.as_bytes()));
        let mut arrivals = self.client.watch(filter, EventMask::CREATED, None).await?;
        // A party may leave as soon as all were inside: count arrivals, not presence. No party
        // leaves before this one has arrived, so list the others before that.
        let there = self.client.list(&self.line).keys_only().all().await?;
        let mut came: BTreeSet<Bytes> = there.into_iter().map(|entry| entry.key).collect();
        let place = Place::take(&self.client, &self.line, Bytes::new()).await?;
        came.insert(place.key.clone());
        while came.len() < self.parties {
            let Ok(arrival) = arrivals.next().await else {
                return Err(Error::Failed(Failure::Ended));
            };
            came.extend(arrival.events.iter().filter_map(|event| match event {
                Event::Key(event) => Some(event.key.clone()),
                Event::Tree(_) | Event::Member(_) => None,
            }));
        }
        let last = came.pop_last().unwrap_or_default();
        Ok(Inside { place, line: self.line.clone(), last })
    }
}

/// A party inside a barrier. Dropping it leaves without waiting for the others.
#[derive(Debug)]
pub struct Inside {
    place: Place,
    line: String,
    /// The key of the party that came last.
    last: Bytes,
}

impl Inside {
    /// Leaves, and waits until all parties have.
    ///
    /// # Errors
    /// [`Error`]; it leaves nevertheless, as soon as that is possible.
    pub async fn leave(self) -> Result<(), Error> {
        let (client, token) = (self.place.client.clone(), self.place.token);
        self.place.give_up().await?;
        loop {
            let other = client.list(&self.line).page_entries(1).keys_only().next().await?;
            match other {
                // What follows the last has entered again.
                Some(other) if other.key <= self.last => {
                    wait_for_end(&client, other.key, token).await?;
                }
                _ => return Ok(()),
            }
        }
    }
}
