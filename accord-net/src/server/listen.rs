//! Accepting connections: what a stream is for, and whose task serves it.
//!
//! A stream that has not said what it is for is counted and has a time limit, so streams that say
//! nothing cannot fill a server.

use super::conns::{self, Scratch};
use super::driver::Driver;
use super::metrics::Reason;
use super::slots::{Slot, Slots};
use super::{operator, peers};
use crate::env::Env;
use crate::operator::protocol::OPERATOR_VERSION;
use crate::transport::{Listener, Transport, in_time};
use accord_core::gateway::front_end::FrontEnd;
use accord_core::gateway::native::Native;
use accord_core::holder::Principal;
use accord_core::protocol::PROTOCOL_VERSION;
use accord_core::stream::{Kind, PREFACE_BYTES, Preface, PrefaceError};
use accord_core::time::Duration;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Makes the front-end of each connection of a listener.
pub type Factory = Rc<dyn Fn() -> Box<dyn FrontEnd>>;

/// How long accepting rests when the system has no room for another connection.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Accepts streams of other servers until the server stops.
pub(super) async fn accept_peers<E: Env>(
    driver: Rc<Driver<E>>,
    listener: Listener<E>,
    key: [u8; 32],
) {
    let unidentified = Slots::new(driver.options().net.strangers_max);
    while driver.halted().is_none() {
        match listener.accept().await {
            Ok(stream) => {
                let Some(slot) = unidentified.take() else {
                    driver.metrics().peers_refused.get_or_create(&Reason::of("too_many")).inc();
                    continue;
                };
                driver.env().spawn(peers::accept(driver.clone(), stream, key, slot));
            }
            Err(error) => rest(&driver, &error).await,
        }
    }
}

async fn rest<E: Env>(driver: &Driver<E>, error: &io::Error) {
    if let Some(times) = driver.complaints().accepting.due(driver.env().now()) {
        tracing::warn!(
            %error, times, "a connection could not be accepted; are there enough file descriptors?"
        );
    }
    driver.env().sleep_until(driver.env().now() + ACCEPT_REST).await;
}

/// What all ports for clients share.
#[derive(Clone)]
pub(super) struct Clients {
    /// False once the server stops: nobody is accepted any more.
    accepting: Rc<Cell<bool>>,
    scratch: Scratch,
}

impl Clients {
    pub(super) fn new() -> Self {
        Self { accepting: Rc::new(Cell::new(true)), scratch: conns::scratch() }
    }

    pub(super) fn refuse(&self) {
        self.accepting.set(false);
    }
}

/// The next stream of a client. `None`: the server has stopped.
async fn next_client<E: Env>(
    driver: &Driver<E>,
    listener: &Listener<E>,
    clients: &Clients,
) -> Option<Transport<E>> {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = driver.stopped() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(stream) if clients.accepting.get() => return Some(stream),
            Ok(_) => {}
            Err(error) => rest(driver, &error).await,
        }
    }
}

/// Accepts clients of one protocol until the server stops.
pub(super) async fn accept_front_ends<E: Env>(
    driver: Rc<Driver<E>>,
    listener: Listener<E>,
    clients: Clients,
    factory: Factory,
) {
    let unidentified = Slots::new(driver.options().net.strangers_max);
    while let Some(stream) = next_client(&driver, &listener, &clients).await {
        let Some(slot) = unidentified.take() else {
            refuse(&driver, "too_many");
            continue;
        };
        let (scratch, front_end) = (clients.scratch.clone(), factory());
        driver.env().spawn(introduce(driver.clone(), stream, front_end, scratch, slot));
    }
}

/// Finds out who a client is, and serves it.
async fn introduce<E: Env>(
    driver: Rc<Driver<E>>,
    mut stream: Transport<E>,
    front_end: Box<dyn FrontEnd>,
    scratch: Scratch,
    unidentified: Slot,
) {
    let span = driver.options().net.preface_timeout;
    let principal = in_time(driver.env(), span, stream.identify()).await;
    drop(unidentified);
    match principal {
        Ok(principal) => conns::serve(driver, stream, principal, front_end, scratch).await,
        Err(error) => refuse_for(&driver, &stream, &error),
    }
}

fn refuse<E: Env>(driver: &Driver<E>, reason: &str) {
    driver.metrics().prefaces_refused.get_or_create(&Reason::of(reason)).inc();
}

fn refuse_for<E: Env>(driver: &Driver<E>, stream: &Transport<E>, error: &io::Error) {
    refuse(driver, refusal(error));
    tracing::debug!(from = %stream.remote(), %error, "refused a connection");
}

/// Accepts clients of the native protocol, and operators, until the server stops.
pub(super) async fn accept_clients<E: Env>(
    driver: Rc<Driver<E>>,
    listener: Listener<E>,
    clients: Clients,
) {
    let unidentified = Slots::new(driver.options().net.strangers_max);
    let operators = Rc::new(Slots::new(driver.options().net.operators_max));
    while let Some(stream) = next_client(&driver, &listener, &clients).await {
        let Some(slot) = unidentified.take() else {
            refuse(&driver, "too_many");
            continue;
        };
        let (scratch, operators) = (clients.scratch.clone(), operators.clone());
        driver.env().spawn(dispatch(driver.clone(), stream, scratch, operators, slot));
    }
}

/// Finds out what a connection is for, and serves it.
async fn dispatch<E: Env>(
    driver: Rc<Driver<E>>,
    mut stream: Transport<E>,
    scratch: Scratch,
    operators: Rc<Slots>,
    unidentified: Slot,
) {
    let span = driver.options().net.preface_timeout;
    let found = in_time(driver.env(), span, handshake::<E>(&mut stream)).await;
    drop(unidentified);
    match found {
        Ok((Kind::Client, principal)) => {
            let front_end = Box::new(Native::new());
            conns::serve(driver, stream, principal, front_end, scratch).await;
        }
        Ok(_) => {
            if let Some(_slot) = operators.take() {
                return operator::serve(driver, stream).await;
            }
            refuse(&driver, "too_many_operators");
            if let Some(times) = driver.complaints().operators.due(driver.env().now()) {
                tracing::warn!(from = %stream.remote(), times, "too many operators: hung up");
            }
        }
        Err(error) => refuse_for(&driver, &stream, &error),
    }
}

/// Why a connection ended before it was known what for, in a word.
fn refusal(error: &io::Error) -> &'static str {
    let found = error.get_ref().and_then(|inner| inner.downcast_ref::<PrefaceError>());
    match (found, error.kind()) {
        (Some(PrefaceError::Stranger), _) => "stranger",
        (Some(PrefaceError::Version { .. }), _) => "version",
        (Some(PrefaceError::Kind), _) => "wrong_kind",
        (None, io::ErrorKind::TimedOut) => "silent",
        (None, _) => "hung_up",
    }
}

/// Finds out who the other end is, reads its preface and answers with this one's, also if they
/// differ: so the other end can tell its user what is wrong.
async fn handshake<E: Env>(stream: &mut Transport<E>) -> io::Result<(Kind, Principal)> {
    let principal = stream.identify().await?;
    let mut bytes = [0; PREFACE_BYTES];
    stream.read_exact(&mut bytes).await?;
    let invalid = |error: PrefaceError| io::Error::new(io::ErrorKind::InvalidData, error);
    let found = Preface::from_bytes(bytes).map_err(invalid)?;
    let version = match found.kind {
        Kind::Client => PROTOCOL_VERSION,
        Kind::Operator => OPERATOR_VERSION,
        Kind::Peer => return Err(invalid(PrefaceError::Kind)),
    };
    let ours = Preface { kind: found.kind, version };
    stream.write_all(&ours.to_bytes()).await?;
    stream.flush().await?;
    found.expect(ours).map_err(invalid)?;
    Ok((found.kind, principal))
}
