//! Asking a server how it is, as an operator: `accord status` as a library.
//!
//! ```no_run
//! use accord_net::env::real::Real;
//! use accord_net::operator::OperatorClient;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut server = OperatorClient::connect(&Real, "127.0.0.1:7850".parse()?).await?;
//! println!("{}", server.status().await?);
//! # Ok(())
//! # }
//! ```

use super::protocol::{Answer, ImageHead, OPERATOR_BYTES_MAX, OPERATOR_VERSION, Question};
use super::status::StatusReport;
use crate::env::{Env, within};
use crate::transport::Transport;
use accord_core::stream::{FrameReader, Kind, PREFACE_BYTES, Preface, PrefaceError, write_message};
use accord_core::time::Duration;
use bytes::Bytes;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The most that a server may take to accept a connection, and for each answer.
const TIMEOUT: Duration = Duration::from_secs(3);
const READ_BYTES: usize = 16 << 10;
const PREFACE: Preface = Preface { kind: Kind::Operator, version: OPERATOR_VERSION };

/// Why a server was not asked, or did not answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// The connection could not be made, or broke.
    #[error("{}{}", .0, remedy(.0))]
    Io(#[from] io::Error),
    /// The other end is no server, or one of another release.
    #[error(transparent)]
    Preface(#[from] PrefaceError),
    /// The server did not do it.
    #[error("the server refused: {0}")]
    Refused(String),
    /// What came back cannot be understood.
    #[error("the answer is not understood ({0}): is the server of another release?")]
    NotUnderstood(String),
    /// It took too long.
    #[error("no answer in time: is the server stopped or overloaded?")]
    Timeout,
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ": no server listens there",
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            ": the server hung up; it stops, or has too many operators"
        }
        _ => "",
    }
}

/// A connection to one server, for questions about it.
pub struct OperatorClient<E: Env> {
    env: E,
    stream: Transport<E>,
    frames: FrameReader,
}

impl<E: Env> fmt::Debug for OperatorClient<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorClient").finish_non_exhaustive()
    }
}

impl<E: Env> OperatorClient<E> {
    /// Connects to the server whose clients connect to this address.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn connect(env: &E, at: SocketAddr) -> Result<Self, AskError> {
        let opening = async {
            let mut stream = Transport::connect(env, at).await?;
            stream.write_all(&PREFACE.to_bytes()).await?;
            stream.flush().await?;
            let mut preface = [0; PREFACE_BYTES];
            stream.read_exact(&mut preface).await?;
            Preface::from_bytes(preface)?.expect(PREFACE)?;
            let frames = FrameReader::new(OPERATOR_BYTES_MAX);
            Ok(Self { env: env.clone(), stream, frames })
        };
        in_time(env, TIMEOUT, opening).await
    }

    /// How the server is.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn status(&mut self) -> Result<StatusReport, AskError> {
        match self.ask(&Question::Status).await? {
            Answer::Status(report) => Ok(*report),
            Answer::Refused { reason } => Err(AskError::Refused(reason)),
            other => Err(AskError::NotUnderstood(format!("{other:?}"))),
        }
    }

    /// Recovers the cluster from what this server has, after the memory of a majority is lost for
    /// good. What only the lost servers held is lost.
    ///
    /// # Errors
    /// [`AskError`]; [`AskError::Refused`] if there is nothing to recover from.
    pub async fn recover(&mut self) -> Result<(), AskError> {
        match self.ask(&Question::Recover).await? {
            Answer::Recovering => Ok(()),
            Answer::Refused { reason } => Err(AskError::Refused(reason)),
            other => Err(AskError::NotUnderstood(format!("{other:?}"))),
        }
    }

    /// Asks anything. A question that is not answered in time spoils the connection.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&mut self, question: &Question) -> Result<Answer, AskError> {
        self.ask_within(question, TIMEOUT).await
    }

    /// Asks something that may take longer.
    ///
    /// # Errors
    /// As [`OperatorClient::ask`].
    pub async fn ask_within(
        &mut self,
        question: &Question,
        patience: Duration,
    ) -> Result<Answer, AskError> {
        let env = self.env.clone();
        in_time(&env, patience, self.exchange(question)).await
    }

    /// Has the server hold its state as it is now, to be fetched with [`OperatorClient::chunk`].
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn image(&mut self, patience: Duration) -> Result<ImageHead, AskError> {
        match self.ask_within(&Question::Image, patience).await? {
            Answer::Image(head) => Ok(*head),
            Answer::Refused { reason } => Err(AskError::Refused(reason)),
            other => Err(AskError::NotUnderstood(format!("{other:?}"))),
        }
    }

    /// The bytes of the held state from `offset` on, as many as the server likes to give.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn chunk(&mut self, offset: u64) -> Result<Bytes, AskError> {
        let env = self.env.clone();
        let fetching = async {
            let (bytes, crc32) = match self.exchange(&Question::ImageChunk { offset }).await? {
                Answer::ImageChunk { offset: at, bytes, crc32 } if at == offset => (bytes, crc32),
                Answer::Refused { reason } => return Err(AskError::Refused(reason)),
                other => return Err(AskError::NotUnderstood(format!("{other:?}"))),
            };
            let chunk = self.hear().await?;
            let whole = chunk.len() as u64 == bytes && crc32fast::hash(&chunk) == crc32;
            let damaged = || AskError::NotUnderstood("a chunk came damaged".to_owned());
            whole.then_some(chunk).ok_or_else(damaged)
        };
        in_time(&env, TIMEOUT, fetching).await
    }

    async fn exchange(&mut self, question: &Question) -> Result<Answer, AskError> {
        let question = serde_json::to_vec(question).expect("a question has a form in JSON");
        let mut out = Vec::new();
        write_message(&mut out, |out| out.extend_from_slice(&question));
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        let answer = self.hear().await?;
        serde_json::from_slice(&answer).map_err(|error| AskError::NotUnderstood(error.to_string()))
    }

    /// The next message.
    async fn hear(&mut self) -> Result<Bytes, AskError> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let next = self.frames.next_message();
            let next = next.map_err(|error| AskError::NotUnderstood(error.to_string()))?;
            if let Some(message) = next {
                return Ok(message);
            }
            match self.stream.read(&mut buffer).await? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                bytes => self.frames.push(Bytes::copy_from_slice(&buffer[..bytes])),
            }
        }
    }
}

async fn in_time<E: Env, T>(
    env: &E,
    patience: Duration,
    task: impl Future<Output = Result<T, AskError>>,
) -> Result<T, AskError> {
    within(env, patience, task).await.unwrap_or(Err(AskError::Timeout))
}
