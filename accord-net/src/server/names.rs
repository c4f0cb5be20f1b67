//! Other servers that are named by hosts: where they are is looked up again while the server runs.
//!
//! A name may not be known yet when a server starts, and may come to mean another address when a
//! machine is replaced. Neither is a reason to stop: the others are a majority. This holds for the
//! list of the configuration. Once an operator has changed it, it has addresses, and `add-server`
//! tells where a server is.

use super::Running;
use super::driver::Driver;
use super::roster;
use crate::env::Env;
use accord_core::ids::NodeId;
use accord_core::time::Duration;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

/// Another server that is named by a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerName {
    /// The server's number.
    pub node: NodeId,
    /// The host's name and the port.
    pub name: String,
    /// Where it was found last; `None`: it was not found yet.
    pub found: Option<SocketAddr>,
}

/// How often names are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tempo {
    /// While one was not found yet.
    pub missing: Duration,
    /// When all were.
    pub found: Duration,
}

impl Default for Tempo {
    fn default() -> Self {
        Self { missing: Duration::from_secs(5), found: Duration::from_secs(30) }
    }
}

impl<E: Env> Running<E> {
    /// Looks names up again as long as the server runs, and goes by what is found. `look_up` gives
    /// the addresses of a name. A name that is not found any more stays where it was.
    pub async fn follow_names<F>(
        &self,
        mut names: Vec<PeerName>,
        tempo: Tempo,
        look_up: impl Fn(String) -> F,
    ) where
        F: Future<Output = io::Result<Vec<SocketAddr>>>,
    {
        let driver = &self.driver;
        let Some(listen) = driver.options().group.listen() else { return };
        while !names.is_empty() && driver.halted().is_none() {
            let all_found = names.iter().all(|name| name.found.is_some());
            let rest = if all_found { tempo.found } else { tempo.missing };
            driver.env().sleep_until(driver.env().now() + rest).await;
            for name in &mut names {
                let found = look_up(name.name.clone()).await;
                match found.map(|found| choose(name.found, &found, listen)) {
                    Ok(Some(at)) if name.found != Some(at) => move_to(driver, name, at),
                    Ok(Some(_)) => {}
                    Ok(None) => tracing::debug!(name = name.name, "no address that can be used"),
                    Err(error) => tracing::debug!(name = name.name, %error, "not found"),
                }
            }
        }
    }
}

/// The address to go by: the one so far if it is still among them, else the first of the kind that
/// this server uses itself.
fn choose(
    before: Option<SocketAddr>,
    found: &[SocketAddr],
    listen: SocketAddr,
) -> Option<SocketAddr> {
    let mut usable = found.iter().filter(|at| at.is_ipv4() == listen.is_ipv4());
    match before {
        Some(before) if found.contains(&before) => Some(before),
        _ => usable.next().copied(),
    }
}

fn move_to<E: Env>(driver: &Rc<Driver<E>>, name: &mut PeerName, at: SocketAddr) {
    let (node, host) = (name.node, &name.name);
    match roster::relocate(driver, node, at) {
        Ok(true) => tracing::info!(%node, host, %at, "another server is found at"),
        Ok(false) => tracing::debug!(%node, host, %at, "operators have said where it is"),
        Err(why) => {
            tracing::warn!(%node, host, why, "where another server is found, it cannot be");
            return;
        }
    }
    name.found = Some(at);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_as_long_as_the_name_has_it() {
        let at = |text: &str| text.parse().expect("it is an address");
        let (four, other, six) = (at("10.0.0.1:1"), at("10.0.0.2:1"), at("[::1]:1"));
        for (before, found, chosen) in [
            (None, &[six, four, other][..], Some(four)),
            (Some(other), &[four, other], Some(other)),
            (Some(other), &[four], Some(four)),
            (Some(other), &[six], None),
            (None, &[], None),
        ] {
            assert_eq!(choose(before, found, at("127.0.0.1:1")), chosen, "{before:?} {found:?}");
        }
    }
}
