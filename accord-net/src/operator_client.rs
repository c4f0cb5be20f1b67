//! The operator's end of the operator protocol: one question, one answer.

use crate::frame::{FrameError, FrameReader, Kind, PREFACE_BYTES, Preface, PrefaceError};
use crate::server::operator::{Answer, Asked, OPERATOR_BYTES_MAX, OPERATOR_VERSION};
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Why a server did not answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// There is no server, or the connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no server, or one of another version.
    #[error("{0}")]
    Preface(#[from] PrefaceError),
    /// Its answer cannot be read.
    #[error("the answer cannot be read: {0}")]
    Frame(#[from] FrameError),
    /// Its answer is not understood.
    #[error("the answer is not understood: {0}")]
    Answer(#[from] serde_json::Error),
    /// It did not answer in time.
    #[error("no answer within {} ms", timeout.as_millis())]
    Timeout {
        /// How long was waited.
        timeout: Duration,
    },
}

/// Asks a server.
///
/// # Errors
/// [`AskError`].
pub async fn ask(server: SocketAddr, asked: &Asked, timeout: Duration) -> Result<Answer, AskError> {
    let asking = tokio::time::timeout(timeout, ask_patiently(server, asked));
    asking.await.unwrap_or(Err(AskError::Timeout { timeout }))
}

async fn ask_patiently(server: SocketAddr, asked: &Asked) -> Result<Answer, AskError> {
    let ours = Preface { kind: Kind::Operator, version: OPERATOR_VERSION };
    let mut stream = TcpStream::connect(server).await?;
    let question = serde_json::to_vec(asked)?;
    let mut out = ours.to_bytes().to_vec();
    crate::frame::write_message(&mut out, |out| out.extend_from_slice(&question));
    stream.write_all(&out).await?;
    let mut preface = [0; PREFACE_BYTES];
    stream.read_exact(&mut preface).await?;
    Preface::from_bytes(preface)?.expect(ours)?;
    let mut frames = FrameReader::new(OPERATOR_BYTES_MAX);
    let mut buffer = vec![0; 4096];
    loop {
        if let Some(answer) = frames.next_message()? {
            return Ok(serde_json::from_slice(&answer)?);
        }
        let bytes = stream.read(&mut buffer).await?;
        if bytes == 0 {
            return Err(AskError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        frames.push(Bytes::copy_from_slice(&buffer[..bytes]));
    }
}
