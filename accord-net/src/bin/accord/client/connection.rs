//! What a command that goes on tells of its connection, on the standard error.

use crate::out::complain;
use accord_net::client::{Client, SessionState};

/// Tells when the connection is lost, when the session may have expired, and when another server is
/// found, until the session has ended.
pub async fn tell(client: &Client) {
    let mut states = client.states();
    let mut lost = false;
    loop {
        match *states.borrow_and_update() {
            state if state.is_final() => return,
            SessionState::Suspended => {
                complain("the connection is lost; looking for another server");
                lost = true;
            }
            _ if lost => {
                complain("connected again");
                lost = false;
            }
            _ => {}
        }
        if lost {
            // A lease does not grow without a connection.
            let expiring = tokio::time::sleep(client.lease_left());
            tokio::select! {
                biased;
                changed = states.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = expiring => complain(
                    "no server was found in time: the session may have expired; looking further",
                ),
            }
        }
        if states.changed().await.is_err() {
            return;
        }
    }
}
