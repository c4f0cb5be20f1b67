//! Locks, elections, queues and barriers for programs without async: see
//! [`crate::client::recipes`].
//!
//! ```
//! use accord_net::blocking::Client;
//! # use accord_net::embedded::Cluster;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let cluster = Cluster::start(1)?;
//! # let options = cluster.client_options();
//! let client = Client::connect(options)?;
//! let held = client.lock("door").acquire()?;
//! println!("held, fencing token {}", held.token());
//! held.release()?;
//!
//! let leads = client.election("captain").campaign("ann")?;
//! assert_eq!(client.election("captain").leader()?.expect("one leads").1, leads.token());
//! leads.resign()?;
//!
//! client.queue("jobs").push("sweep")?;
//! assert_eq!(client.queue("jobs").pop_wait()?, "sweep");
//!
//! let inside = client.barrier("start", 1).enter()?;
//! inside.leave()?;
//! # Ok(())
//! # }
//! ```

use super::Client;
use crate::client::recipes::{self, Holder};
use crate::client::{Error, IntoBytes, Revision};
use bytes::Bytes;

impl Client {
    /// The lock of this name. See [`recipes::Lock`].
    pub fn lock(&self, name: &str) -> Lock<'_> {
        Lock { client: self, lock: recipes::Lock::new(self.client(), name) }
    }

    /// The election of this name. See [`recipes::Election`].
    pub fn election(&self, name: &str) -> Election<'_> {
        Election { client: self, election: recipes::Election::new(self.client(), name) }
    }

    /// The queue of this name. See [`recipes::Queue`].
    pub fn queue(&self, name: &str) -> Queue<'_> {
        Queue { client: self, queue: recipes::Queue::new(self.client(), name) }
    }

    /// The barrier of this name, for `parties` parties. See [`recipes::Barrier`].
    pub fn barrier(&self, name: &str, parties: usize) -> Barrier<'_> {
        Barrier { client: self, barrier: recipes::Barrier::new(self.client(), name, parties) }
    }
}

/// A lock.
#[derive(Clone, Debug)]
pub struct Lock<'a> {
    client: &'a Client,
    lock: recipes::Lock,
}

impl<'a> Lock<'a> {
    /// See [`recipes::Lock::owned_by`].
    #[must_use]
    pub fn owned_by(self, owner: impl IntoBytes) -> Self {
        Self { lock: self.lock.owned_by(owner), ..self }
    }

    /// See [`recipes::Lock::holder`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn holder(&self) -> Result<Option<Holder>, Error> {
        self.client.run(self.lock.holder())
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// As [`recipes::Lock::acquire`].
    pub fn acquire(&self) -> Result<LockGuard<'a>, Error> {
        let guard = self.client.run(self.lock.acquire())?;
        Ok(LockGuard { client: self.client, guard })
    }

    /// Takes the lock if it is free and no client waits for it.
    ///
    /// # Errors
    /// As [`recipes::Lock::acquire`].
    pub fn try_acquire(&self) -> Result<Option<LockGuard<'a>>, Error> {
        let guard = self.client.run(self.lock.try_acquire())?;
        Ok(guard.map(|guard| LockGuard { client: self.client, guard }))
    }
}

/// A lock that is held. Dropping it releases it without waiting for the cluster's answer.
#[derive(Debug)]
pub struct LockGuard<'a> {
    client: &'a Client,
    guard: recipes::LockGuard,
}

impl LockGuard<'_> {
    /// The fencing token: larger than that of every earlier holder.
    pub const fn token(&self) -> Revision {
        self.guard.token()
    }

    /// The record that holds the lock. As long as it exists, it is held.
    pub const fn key(&self) -> &Bytes {
        self.guard.key()
    }

    /// Releases the lock and waits for the cluster's answer.
    ///
    /// # Errors
    /// As [`recipes::LockGuard::release`].
    pub fn release(self) -> Result<(), Error> {
        self.client.run(self.guard.release())
    }
}

/// An election.
#[derive(Clone, Debug)]
pub struct Election<'a> {
    client: &'a Client,
    election: recipes::Election,
}

impl<'a> Election<'a> {
    /// Stands as a candidate under `value`, and waits to be elected.
    ///
    /// # Errors
    /// As [`recipes::Election::campaign`].
    pub fn campaign(&self, value: impl IntoBytes) -> Result<Leadership<'a>, Error> {
        let leadership = self.client.run(self.election.campaign(value))?;
        Ok(Leadership { client: self.client, leadership })
    }

    /// See [`recipes::Election::leader`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn leader(&self) -> Result<Option<(Bytes, Revision)>, Error> {
        self.client.run(self.election.leader())
    }
}

/// An election that is won. Dropping it resigns.
#[derive(Debug)]
pub struct Leadership<'a> {
    client: &'a Client,
    leadership: recipes::Leadership,
}

impl Leadership<'_> {
    /// The fencing token: larger than that of every earlier leader.
    pub const fn token(&self) -> Revision {
        self.leadership.token()
    }

    /// Resigns and waits for the cluster's answer.
    ///
    /// # Errors
    /// As [`recipes::Leadership::resign`].
    pub fn resign(self) -> Result<(), Error> {
        self.client.run(self.leadership.resign())
    }
}

/// A queue.
#[derive(Clone, Debug)]
pub struct Queue<'a> {
    client: &'a Client,
    queue: recipes::Queue,
}

impl Queue<'_> {
    /// Appends an item.
    ///
    /// # Errors
    /// [`Error`].
    pub fn push(&self, item: impl IntoBytes) -> Result<(), Error> {
        self.client.run(self.queue.push(item))
    }

    /// Takes the first item, if there is one.
    ///
    /// # Errors
    /// As [`recipes::Queue::pop`].
    pub fn pop(&self) -> Result<Option<Bytes>, Error> {
        self.client.run(self.queue.pop())
    }

    /// Takes the first item, and waits for one if there is none.
    ///
    /// # Errors
    /// As [`recipes::Queue::pop`].
    pub fn pop_wait(&self) -> Result<Bytes, Error> {
        self.client.run(self.queue.pop_wait())
    }

    /// How many items wait.
    ///
    /// # Errors
    /// [`Error`].
    pub fn len(&self) -> Result<usize, Error> {
        self.client.run(self.queue.len())
    }

    /// True if no item waits.
    ///
    /// # Errors
    /// [`Error`].
    pub fn is_empty(&self) -> Result<bool, Error> {
        self.client.run(self.queue.is_empty())
    }
}

/// A double barrier.
#[derive(Clone, Debug)]
pub struct Barrier<'a> {
    client: &'a Client,
    barrier: recipes::Barrier,
}

impl<'a> Barrier<'a> {
    /// Enters, and waits until all parties have.
    ///
    /// # Errors
    /// [`Error`].
    pub fn enter(&self) -> Result<Inside<'a>, Error> {
        let inside = self.client.run(self.barrier.enter())?;
        Ok(Inside { client: self.client, inside })
    }
}

/// A party inside a barrier. Dropping it leaves without waiting for the others.
#[derive(Debug)]
pub struct Inside<'a> {
    client: &'a Client,
    inside: recipes::Inside,
}

impl Inside<'_> {
    /// Leaves, and waits until all parties have.
    ///
    /// # Errors
    /// As [`recipes::Inside::leave`].
    pub fn leave(self) -> Result<(), Error> {
        self.client.run(self.inside.leave())
    }
}
