//! Servers that are named by hosts: a name that is not known yet, or has another address now.

use accord_core::ids::NodeId;
use accord_core::time::Duration;
use accord_net::env::real::Real;
use accord_net::server::metrics::Metrics;
use accord_net::server::{
    GroupOptions, PeerName, RingOptions, Running, ServerOptions, Tempo, start,
};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::LocalSet;

const TEMPO: Tempo = Tempo { missing: Duration::from_millis(20), found: Duration::from_millis(20) };

/// One of two servers that form a cluster; where it takes the other to be, if anywhere.
async fn server(node: u32, listen: SocketAddr, other: Option<SocketAddr>) -> Running<Real> {
    let peers: BTreeMap<_, _> = other.map(|at| (NodeId(3 - node), at)).into_iter().collect();
    let group = GroupOptions::Ring(RingOptions::new(listen, peers, [7; 32]));
    let mut options = ServerOptions::new(NodeId(node), ([127, 0, 0, 1], 0).into(), group);
    options.initial = [NodeId(1), NodeId(2)].into();
    options.bootstrap = true;
    start(Real, options, None, Arc::new(Metrics::default())).await.expect("it starts")
}

async fn until_served(servers: &[Running<Real>]) {
    let looks = async {
        while !servers.iter().all(|server| server.status().primary) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), looks).await.expect("they serve");
}

/// The first server starts with `found` for the second, whose name is found at the third look.
async fn is_found_later(found: Option<SocketAddr>) {
    let ports = accord_net::ports::free(2).expect("there are ports");
    let at = |place: usize| SocketAddr::from(([127, 0, 0, 1], ports[place]));
    let servers = [server(1, at(0), found).await, server(2, at(1), Some(at(0))).await];
    let names = vec![PeerName { node: NodeId(2), name: "two:7900".to_owned(), found }];
    let (looks, second) = (Cell::new(0), at(1));
    let look_up = |name: String| {
        assert_eq!(name, "two:7900");
        looks.set(looks.get() + 1);
        let known = looks.get() > 2;
        async move {
            match known {
                true => Ok(vec![second]),
                false => Err(std::io::Error::other("no such name")),
            }
        }
    };
    tokio::select! {
        () = servers[0].follow_names(names, TEMPO, look_up) => panic!("it goes on"),
        () = until_served(&servers) => {}
    }
    assert!(looks.get() > 2, "a name that is not found is looked up again");
    assert_eq!(servers[0].status().members, [1, 2]);
}

#[tokio::test]
async fn a_server_whose_name_is_not_found_is_met_once_it_is() {
    LocalSet::new().run_until(is_found_later(None)).await;
}

#[tokio::test]
async fn a_server_is_met_where_its_name_leads_to_now() {
    // Nobody is there any more.
    let before = accord_net::ports::free(1).expect("there is a port")[0];
    LocalSet::new().run_until(is_found_later(Some(([127, 0, 0, 1], before).into()))).await;
}
