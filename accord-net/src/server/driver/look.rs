//! Looks at a running server, for its reports and for simulated worlds.

use super::Driver;
use crate::env::Env;
use crate::operator::roster::Roster;
use crate::server::group::GroupReport;
#[cfg(feature = "testing")]
use accord_core::group::ViewId;
use accord_core::replica::io::ReplicaStatus;
use accord_core::server::ServerStatus;
#[cfg(feature = "testing")]
use accord_core::server::{Input, Server};

/// Is shown the server, and the view that its group told last, after every turn of the pump and
/// before anything that came of it has left.
#[cfg(feature = "testing")]
pub type Witness = Box<dyn FnMut(&mut Server, Option<ViewId>)>;

/// What a server's parts say of themselves, all at one moment.
pub(in crate::server) struct Observed {
    pub(in crate::server) server: ServerStatus,
    pub(in crate::server) group: GroupReport,
    pub(in crate::server) roster: Roster,
    pub(in crate::server) records: usize,
    pub(in crate::server) store_bytes: u64,
    pub(in crate::server) draining: bool,
}

impl<E: Env> Driver<E> {
    /// How the server and its parts are.
    pub(in crate::server) fn observe(&self) -> Observed {
        let inner = &*self.inner.borrow();
        Observed {
            server: inner.server.status(),
            group: inner.group.report(),
            roster: inner.roster.clone(),
            records: inner.server.state().records(),
            store_bytes: inner.server.state().store_bytes(),
            draining: self.draining.get(),
        }
    }

    /// How replication is.
    pub(in crate::server) fn replica_status(&self) -> ReplicaStatus {
        self.inner.borrow().server.status().replica
    }

    /// The number of the cluster; 0 as long as this server knows of none.
    pub(in crate::server) fn cluster_id(&self) -> u64 {
        self.replica_status().voters.cluster.0
    }

    /// Sessions that belong to this server.
    pub(in crate::server) fn sessions_owned(&self) -> usize {
        let inner = self.inner.borrow();
        let sessions = inner.server.state().sessions();
        sessions.filter(|(_, session)| session.owner() == Some(self.options.node)).count()
    }
}

#[cfg(feature = "testing")]
impl<E: Env> Driver<E> {
    /// From the next turn of the pump on, `witness` is shown the server.
    pub(in crate::server) fn set_witness(&self, witness: Witness) {
        self.inner.borrow_mut().server.witness();
        *self.witness.borrow_mut() = Some(witness);
    }

    /// Looks at the server.
    pub(in crate::server) fn look<T>(&self, look: impl FnOnce(&Server) -> T) -> T {
        look(&self.inner.borrow().server)
    }

    /// Hands in what an operator's connection could.
    pub(in crate::server) fn hand_in(&self, input: Input) {
        self.inner.borrow_mut().server.handle(self.env.now(), input);
        self.turn.notify_one();
    }
}
