//! Clients of the systems that are driven: what a workload asks, as each system has it, and what
//! its errors mean.
//!
//! A client is a [`Session`] and implements the traits of the workloads that it can take part in:
//! [`accord_workloads::register::Register`], [`accord_workloads::lists::Lists`]. Each adapter maps
//! errors to outcomes in one function, with a table as its test.

pub mod accord;
pub mod etcd;
pub mod wire;
pub mod zookeeper;

use accord_testbed::cluster::Cluster;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often a client tries a step again that was certainly not done since a record had changed.
const ATTEMPTS_MAX: usize = 8;

/// A client's standing with a system, which may end.
pub trait Session: Sized + Send + Sync + 'static {
    /// Where its servers are, and how it is set up.
    type Target: Clone + Send + Sync;

    /// How the client of this number is set up on a cluster. A system that can be told so gives up
    /// a session that is silent for as long as the time-out.
    fn target(cluster: &Cluster, client: usize, session_timeout: Duration) -> Self::Target;

    /// Opens one. `attempt` counts those of a client, so that it can try other servers.
    fn open(
        target: &Self::Target,
        attempt: usize,
    ) -> impl Future<Output = Result<Self, String>> + Send;

    /// True if nothing more can be done in it.
    fn is_over(&self) -> bool;
}

/// A client that opens another session when one is over.
pub struct Persistent<S: Session> {
    target: S::Target,
    attempts: AtomicU64,
    current: tokio::sync::Mutex<std::sync::Arc<S>>,
}

impl<S: Session> Persistent<S> {
    /// Opens the first session.
    ///
    /// # Errors
    /// Why not, for people.
    pub async fn open(target: S::Target) -> Result<Self, String> {
        let current = tokio::sync::Mutex::new(S::open(&target, 0).await?.into());
        Ok(Self { target, attempts: AtomicU64::new(0), current })
    }

    /// The present session.
    pub async fn session(&self) -> std::sync::Arc<S> {
        self.current.lock().await.clone()
    }

    /// Opens another session if the present one is over, unless it is time to `stop`. True if it
    /// was over.
    pub async fn renew(&self, stop: impl Fn() -> bool) -> bool {
        let current = &mut *self.current.lock().await;
        if !current.is_over() {
            return false;
        }
        while !stop() {
            let attempt = self.attempts.fetch_add(1, Ordering::Relaxed) as usize + 1;
            match S::open(&self.target, attempt).await {
                Ok(session) => {
                    *current = session.into();
                    break;
                }
                // A server that refuses at once is not to be asked as fast as it can refuse.
                Err(_) => tokio::time::sleep(wire::RETRY_INTERVAL).await,
            }
        }
        true
    }
}
