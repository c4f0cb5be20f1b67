//! A request whose outcome is unknown is asked for again: it tells which, and nothing runs twice.

use accord_net::client::txn::Steps;
use accord_net::client::{
    Cause, Client, ClientError, ClientOptions, Error, EventMask, Failure, WatchFilter,
};
use accord_net::embedded::Cluster;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Duration;

/// Long enough for a machine that has much else to do.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What is swallowed of the connections there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Swallowed {
    Answers,
    Everything,
}

/// Passes bytes on, and from some moment on swallows those of the connections that it has.
struct Relay {
    at: SocketAddr,
    swallow: watch::Sender<(u64, Swallowed)>,
}

impl Relay {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (swallow, swallowed) = watch::channel((0, Swallowed::Answers));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else { return };
                let (client_read, client_write) = client.into_split();
                let (server_read, server_write) = server.into_split();
                let since = swallowed.borrow().0;
                let up = (swallowed.clone(), since, Swallowed::Everything);
                let down = (swallowed.clone(), since, Swallowed::Answers);
                tokio::spawn(pump(client_read, server_write, up));
                tokio::spawn(pump(server_read, client_write, down));
            }
        });
        Self { at, swallow }
    }

    fn swallow(&self, what: Swallowed) {
        self.swallow.send_modify(|(since, swallowed)| (*since, *swallowed) = (*since + 1, what));
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    (swallowed, since, least): (watch::Receiver<(u64, Swallowed)>, u64, Swallowed),
) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let (now, what) = *swallowed.borrow();
        let passes = now == since || (least == Swallowed::Everything && what != least);
        if passes && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// A client of two servers over relays.
async fn client(cluster: &Cluster) -> (Client, [Relay; 2]) {
    let at = cluster.addresses();
    let relays = [Relay::to(at[0]).await, Relay::to(at[1]).await];
    let servers = relays.iter().map(|relay| relay.at.into()).collect();
    let mut options = ClientOptions { servers, ..cluster.client_options() };
    // No server is left for its silence before the request is.
    options.session_timeout = TIMEOUT;
    (Client::connect(options).await.unwrap(), relays)
}

async fn swallowed(what: Swallowed) {
    let cluster = Cluster::start(3).unwrap();
    let (client, relays) = client(&cluster).await;
    let other = cluster.client().await.unwrap();
    let key = WatchFilter::Key("n".into());
    let mut ran = other.watch(key, EventMask::ALL, None).await.unwrap();
    relays.iter().for_each(|relay| relay.swallow(what));
    let hasty = client.within(Duration::from_millis(200));
    let mut pending = hasty.begin(Steps::new().increment("n", 1)).await.unwrap();
    assert_eq!((&mut pending).await, Err(Error::Unknown(Cause::Timeout)));
    if what == Swallowed::Answers {
        ran.next().await.unwrap();
    }
    let done = pending.again(TIMEOUT).await.unwrap();
    assert_eq!(done.number(0), Some(1));
    assert_eq!(client.increment("n", 1).await, Ok(2), "it ran once");
    let again = pending.again(TIMEOUT).await;
    assert_eq!(again, Err(Error::Failed(Failure::Call(ClientError::NotKept))), "it is known");
}

// Claims: C-outcome-unknown
#[tokio::test]
async fn what_ran_is_answered_from_its_recorded_outcome() {
    swallowed(Swallowed::Answers).await;
}

// Claims: C-outcome-unknown
#[tokio::test]
async fn what_did_not_run_runs_then() {
    swallowed(Swallowed::Everything).await;
}

#[tokio::test]
async fn what_is_not_asked_for_keeps_no_room() {
    let cluster = Cluster::start(3).unwrap();
    let (client, relays) = client(&cluster).await;
    relays.iter().for_each(|relay| relay.swallow(Swallowed::Everything));
    let hasty = client.within(Duration::from_millis(100));
    let requests_max = cluster.client_options().requests_max;
    for _ in 0..2 {
        let mut pending = Vec::new();
        for _ in 0..requests_max {
            pending.push(hasty.begin(Steps::new().increment("n", 1)).await.unwrap());
        }
        for pending in pending {
            assert_eq!(pending.await, Err(Error::Unknown(Cause::Timeout)));
        }
    }
}
