//! Nodes of their own for the servers of a cluster: network namespaces, with Corosync daemons or
//! without.

use crate::corosync::{DaemonOptions, Daemons};
use crate::netns::{Net, NetError, own_name};
use crate::system::Place;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

/// The first port of a server on its node, which is for clients.
const FIRST_PORT: u16 = 9090;
/// The packets of Ethernet.
pub const MTU: u32 = 1500;

/// By what the servers are a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupChoice {
    /// The built-in ring.
    Ring,
    /// Corosync daemons.
    Corosync,
}

impl GroupChoice {
    /// As servers and people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Corosync => "corosync",
        }
    }
}

impl FromStr for GroupChoice {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "ring" => Ok(Self::Ring),
            "corosync" => Ok(Self::Corosync),
            _ => Err(format!("unknown group {name:?}: known are ring and corosync")),
        }
    }
}

/// How nodes are set up.
#[derive(Clone, Debug)]
pub struct NodesOptions {
    /// The network's name, unique on this machine.
    pub name: String,
    /// How many nodes.
    pub nodes: u32,
    /// The longest packet of its links.
    pub mtu: u32,
    /// By what the servers are a group.
    pub group: GroupChoice,
    /// The daemons, if there are any.
    pub daemons: DaemonOptions,
}

impl NodesOptions {
    /// Three nodes with a name of this process's own.
    pub fn new(group: GroupChoice) -> Self {
        let name = own_name("p");
        Self { name, nodes: 3, mtu: MTU, group, daemons: DaemonOptions::default() }
    }
}

/// Nodes of their own. Dropping it ends all that runs on them and removes them.
#[derive(Debug)]
pub struct Nodes {
    // Ended first.
    daemons: Option<Daemons>,
    net: Net,
    options: NodesOptions,
}

impl Nodes {
    /// Makes the nodes.
    ///
    /// # Errors
    /// [`NetError`]: nothing is left of them then.
    pub fn up(options: NodesOptions) -> Result<Self, NetError> {
        let net = Net::up(&options.name, options.nodes, options.mtu)?;
        Ok(Self { daemons: None, net, options })
    }

    /// Starts the daemons, if there are to be any, with their files in a directory.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn start_daemons(&mut self, dir: &Path) -> Result<(), NetError> {
        if self.options.group == GroupChoice::Corosync {
            let Self { net, options, .. } = &*self;
            let daemons = Daemons::start(net, options.nodes, dir, &options.daemons)?;
            self.daemons = Some(daemons);
        }
        Ok(())
    }

    /// The network.
    pub const fn net(&self) -> &Net {
        &self.net
    }

    /// By what the servers are a group.
    pub const fn group(&self) -> GroupChoice {
        self.options.group
    }

    /// The daemons, if there are any, and the network that they need.
    pub const fn daemons(&mut self) -> Option<(&mut Daemons, &Net)> {
        match &mut self.daemons {
            Some(daemons) => Some((daemons, &self.net)),
            None => None,
        }
    }

    /// The numbers of the daemons' processes.
    pub fn daemon_pids(&self) -> Vec<u32> {
        self.daemons.as_ref().map(Daemons::pids).unwrap_or_default()
    }

    /// The ends of the daemons' logs.
    pub fn log_tails(&self) -> String {
        self.daemons.as_ref().map(Daemons::log_tails).unwrap_or_default()
    }

    /// The address and so many ports of the server at `at`.
    pub fn place(&self, at: usize, ports: usize) -> Place {
        let address = self.net.address(at as u32 + 1);
        Place { address, ports: (FIRST_PORT..).take(ports).collect() }
    }

    /// A command on the node of the server at `at`.
    pub fn command(&self, at: usize, program: &Path) -> Command {
        self.net.command(at as u32 + 1, program)
    }
}
