//! Operators' connections: questions and answers as JSON, one message each.
//!
//! See `docs/protocol.md`. A question names an `op`; what this release does not know is answered
//! with what it does.

use super::conns::{READ_BYTES, Stream};
use super::hub::Hub;
use super::metrics::Reason;
use super::status::StatusReport;
use super::within;
use crate::env::Env;
use crate::frame::{FrameReader, write_message};
use accord_core::server::{AdminReply, AdminRequest};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::io;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The version of what operators and servers say to each other.
pub const OPERATOR_VERSION: u8 = 1;
/// The longest question or answer.
pub const OPERATOR_BYTES_MAX: usize = 1 << 20;

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Asked {
    /// How the server is.
    Status,
    /// Start the cluster anew from what this server has, after the memory of a majority is lost for
    /// good. What only the lost servers held is lost.
    Recover,
}

/// What an operator is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// How the server is.
    Status(Box<StatusReport>),
    /// The cluster is being started anew.
    Recovering,
    /// It was not done, and why.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Answers an operator until the connection ends.
pub(super) async fn serve<E: Env>(hub: Rc<Hub<E>>, mut stream: Stream<E>) {
    if let Err(error) = answer_all(&hub, &mut stream).await {
        let reason = match error.kind() {
            io::ErrorKind::TimedOut => "operator_silent",
            io::ErrorKind::InvalidData => "operator_malformed",
            _ => "operator_io",
        };
        hub.metrics.conn_ends.get_or_create(&Reason::of(reason)).inc();
        tracing::debug!(from = %stream.from, %error, "an operator's connection ended");
    }
}

async fn answer_all<E: Env>(hub: &Hub<E>, stream: &mut Stream<E>) -> io::Result<()> {
    let patience = hub.options.net.operator_timeout;
    let mut frames = FrameReader::new(OPERATOR_BYTES_MAX);
    let mut buffer = vec![0; READ_BYTES];
    let mut out = Vec::new();
    loop {
        let bytes = within(&hub.env, patience, stream.reader.read(&mut buffer)).await?;
        if bytes == 0 {
            return Ok(());
        }
        frames.push(Bytes::copy_from_slice(&buffer[..bytes]));
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        while let Some(question) = frames.next_message().map_err(invalid)? {
            let answer = match serde_json::from_slice(&question) {
                Ok(asked) => answer(hub, asked).await,
                Err(error) => Answer::Refused { reason: format!("not understood: {error}") },
            };
            let answer = serde_json::to_vec(&answer).expect("an answer has a form in JSON");
            out.clear();
            write_message(&mut out, |out| out.extend_from_slice(&answer));
            let leaving = async {
                stream.writer.write_all(&out).await?;
                stream.writer.flush().await
            };
            within(&hub.env, patience, leaving).await?;
        }
    }
}

async fn answer<E: Env>(hub: &Hub<E>, asked: Asked) -> Answer {
    match asked {
        Asked::Status => Answer::Status(Box::new(hub.status())),
        Asked::Recover => match hub.ask(AdminRequest::ForceRecovery).await {
            Some(AdminReply::Recovering(Ok(()))) => Answer::Recovering,
            Some(AdminReply::Recovering(Err(why))) => Answer::Refused { reason: why.to_owned() },
            Some(_) | None => Answer::Refused { reason: "the server stopped".to_owned() },
        },
    }
}
