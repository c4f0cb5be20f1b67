//! What a system says of itself, so that clusters of its servers can be run.

use crate::ask::listens;
use crate::nodes::GroupChoice;
use crate::process::ProcessError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// A system of which clusters are run. What is the same for all of them (starting, stopping,
/// killing, holding, logs, files) is [`crate::cluster::Cluster`]'s.
pub trait System: fmt::Debug + Send + Sync {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// How to have its program, if it is missing.
    fn hint(&self) -> &'static str;

    /// How many ports a server needs. The first is for clients, the second for other servers.
    fn ports(&self) -> usize;

    /// The port at which servers tell what they count, if there is one.
    fn metrics_port(&self) -> Option<usize>;

    /// Writes what a server needs before its first start, and says how it is run. Servers are
    /// numbered from 0; called in their order.
    ///
    /// # Errors
    /// [`ProcessError`].
    fn prepare(&self, layout: &Layout, at: usize) -> Result<Launch, ProcessError>;

    /// Where a server keeps what must survive it.
    fn data(&self, dir: &Path, at: usize) -> PathBuf;

    /// True if a server that runs listens for clients. It need not serve yet.
    fn listens(&self, layout: &Layout, at: usize) -> bool {
        listens(layout.client(at))
    }

    /// True if all servers serve, and the cluster has all the redundancy that it can have.
    fn is_ready(&self, layout: &Layout) -> bool;

    /// True if a server that was asked to stop ended so in order.
    fn is_orderly(&self, status: ExitStatus) -> bool {
        status.success()
    }

    /// Removes old files that the system keeps and does not need. For long loads.
    fn tidy(&self, _dir: &Path) {}
}

/// Where the servers of a cluster are.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The directory for all files.
    pub dir: PathBuf,
    /// By server: its address and its ports.
    pub places: Vec<Place>,
    /// How many of them are there from the start.
    pub initial: usize,
    /// True if the servers are to keep what they acknowledged on disk.
    pub persistent: bool,
    /// By what Accord's servers are a group.
    pub group: GroupChoice,
}

/// Where one server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its address.
    pub address: IpAddr,
    /// Its ports, as many as [`System::ports`] says.
    pub ports: Vec<u16>,
}

impl Layout {
    /// A port of a server, with its address.
    pub fn at(&self, at: usize, port: usize) -> SocketAddr {
        (self.places[at].address, self.places[at].ports[port]).into()
    }

    /// Where clients connect to a server.
    pub fn client(&self, at: usize) -> SocketAddr {
        self.at(at, 0)
    }

    /// Where other servers reach a server.
    pub fn peer(&self, at: usize) -> SocketAddr {
        self.at(at, 1)
    }

    /// How many servers there are, up or not.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Writes a file of this name, and says where it is.
    ///
    /// # Errors
    /// [`ProcessError::File`].
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, ProcessError> {
        let path = self.dir.join(name);
        std::fs::write(&path, text).map_err(ProcessError::file(&path))?;
        Ok(path)
    }
}

/// How a server is run.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments at every start.
    pub args: Vec<String>,
    /// More arguments for those that are there from the start, at their first start.
    pub first_args: Vec<String>,
    /// The file for its outputs, in the cluster's directory.
    pub log: String,
    /// Its configuration, for reports.
    pub configuration: String,
}
