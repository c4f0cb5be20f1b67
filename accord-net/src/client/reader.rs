//! Reads without a session: they write nothing, and local ones need no majority.

use super::address::ServerAddr;
use super::error::{ConnectError, Error, Failure};
use super::options::ClientOptions;
use super::reads::{List, Read, Source};
use super::task::open;
use super::{IntoBytes, Record};
use crate::env::Env;
use crate::env::real::Real;
use crate::transport::Transport;
use accord_core::ids::Revision;
use accord_core::protocol::{
    ClientMessage, Consistency, MESSAGE_BYTES_MAX, Refusal, ServerMessage, decode_server,
    encode_client_into,
};
use accord_core::state::{Range, ReadQuery, ReadResult};
use accord_core::stream::{FrameReader, write_message};
use accord_core::time::Duration;
use accord_core::wire::Writer;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;

/// How long to wait when no server answered, before they are asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;

/// Reads without a session.
///
/// A session costs two entries of the log and a majority to agree on them. Who only reads needs
/// none: a linearizable read is as fresh as any ([`Consistency::Linearizable`]), and a local one is
/// answered by a server that is alone, too. What a session adds is missing: nothing says that a
/// local read is not older than one before it at another server, and there are no watches.
///
/// ```
/// use accord_net::client::Reader;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cluster = accord_net::embedded::Cluster::start(1)?;
/// # cluster.client().await?.put("greeting", "hello").await?;
/// let reader = Reader::new(cluster.client_options())?;
/// assert_eq!(reader.get("greeting").await?.expect("it was put").value, "hello");
/// assert_eq!(reader.list("greet").keys_only().all().await?.len(), 1);
/// # Ok(())
/// # }
/// ```
pub struct Reader {
    options: ClientOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The place of the server that is asked.
    server: usize,
    conn: Option<Conn>,
    /// What went wrong last at each server.
    troubles: BTreeMap<usize, String>,
}

struct Conn {
    stream: Transport<Real>,
    frames: FrameReader,
    next_read: u64,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader that connects when something is to be read, to a server that it chooses. Of the
    /// options it heeds the servers, and the times for a request and for one server.
    ///
    /// # Errors
    /// [`ConnectError::NoServer`].
    pub fn new(options: ClientOptions) -> Result<Self, ConnectError> {
        if options.servers.is_empty() {
            return Err(ConnectError::NoServer);
        }
        let server = (Real.draw() % options.servers.len() as u64) as usize;
        Ok(Self { options, state: Mutex::new(State { server, ..State::default() }) })
    }

    /// Begins a read: linearizable and of the whole value, unless told otherwise.
    pub fn read(&self, key: impl IntoBytes) -> Read<'_> {
        Read::new(Source::Reader(self), key.into_bytes())
    }

    /// Reads a record. `None`: there is no such record.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub async fn get(&self, key: impl IntoBytes) -> Result<Option<Record>, Error> {
        self.read(key).send().await
    }

    /// Lists the records whose keys begin with a prefix; an empty one: all records.
    pub fn list(&self, prefix: impl IntoBytes) -> List<'_> {
        List::new(Source::Reader(self), Range::Prefix(prefix.into_bytes()))
    }

    /// Any read. Returns what was read and the revision of the state that was read.
    ///
    /// # Errors
    /// [`Error::Failed`]; with [`Failure::Unreachable`] if no server answered in time.
    pub async fn query(
        &self,
        query: ReadQuery,
        consistency: Consistency,
    ) -> Result<(ReadResult, Revision), Error> {
        let state = &mut *self.state.lock().await;
        let asked = self.ask_until_answered(state, query, consistency);
        match tokio::time::timeout(self.options.request_timeout, asked).await {
            Ok(answer) => answer,
            Err(_) => {
                // The answer may still come, and is not to be taken for the next one's.
                state.conn = None;
                Err(Error::Failed(self.unreachable(state)))
            }
        }
    }

    fn unreachable(&self, state: &State) -> Failure {
        let at = |place: &usize| self.options.servers[*place].to_string();
        let reasons = state.troubles.iter().map(|(place, why)| format!("{}: {why}", at(place)));
        Failure::Unreachable {
            timeout_ms: u64::try_from(self.options.request_timeout.as_millis()).unwrap_or(u64::MAX),
            reasons: reasons.collect(),
        }
    }

    async fn ask_until_answered(
        &self,
        state: &mut State,
        query: ReadQuery,
        consistency: Consistency,
    ) -> Result<(ReadResult, Revision), Error> {
        let mut asked = 0;
        loop {
            let server = self.options.servers[state.server].clone();
            match self.ask(&mut state.conn, server, &query, consistency).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(refusal)) => drop(state.troubles.insert(state.server, refusal.to_string())),
                Err(error) => drop(state.troubles.insert(state.server, error.to_string())),
            }
            state.conn = None;
            state.server = (state.server + 1) % self.options.servers.len();
            asked += 1;
            if asked % self.options.servers.len() == 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn ask(
        &self,
        conn: &mut Option<Conn>,
        server: ServerAddr,
        query: &ReadQuery,
        consistency: Consistency,
    ) -> io::Result<Result<(ReadResult, Revision), Refusal>> {
        let too_slow = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        let conn = match conn {
            Some(conn) => conn,
            None => {
                let opening = open(Real, server);
                let opened = tokio::time::timeout(self.options.attach_timeout, opening).await;
                let stream = opened.map_err(|_| too_slow())??;
                let frames = FrameReader::new(MESSAGE_BYTES_MAX);
                conn.insert(Conn { stream, frames, next_read: 1 })
            }
        };
        let asked = conn.ask(query, consistency);
        tokio::time::timeout(self.options.attach_timeout, asked).await.map_err(|_| too_slow())?
    }
}

impl Conn {
    async fn ask(
        &mut self,
        query: &ReadQuery,
        consistency: Consistency,
    ) -> io::Result<Result<(ReadResult, Revision), Refusal>> {
        let number = self.next_read;
        self.next_read += 1;
        let message = ClientMessage::read(number, consistency, query.clone());
        let mut bytes = Vec::new();
        write_message(&mut bytes, |bytes| {
            let mut writer = Writer::from(std::mem::take(bytes));
            encode_client_into(&message, &mut writer);
            *bytes = writer.into_vec();
        });
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await?;
        loop {
            match self.next().await? {
                ServerMessage::ReadReply { read, revision, result } if read == number => {
                    return Ok(Ok((result, revision)));
                }
                ServerMessage::ReadRefused { read, reason } if read == number => {
                    return Ok(Err(reason));
                }
                // There is no use in waiting here for what others may answer at once.
                ServerMessage::Status { primary: false }
                    if consistency == Consistency::Linearizable =>
                {
                    return Ok(Err(Refusal::NotPrimary));
                }
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> io::Result<ServerMessage> {
        let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        loop {
            if let Some(payload) =
                self.frames.next_message().map_err(|error| broken(error.to_string()))?
            {
                return decode_server(&payload).map_err(|error| broken(error.to_string()));
            }
            let mut bytes = vec![0; READ_BYTES];
            let count = self.stream.read(&mut bytes).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.truncate(count);
            self.frames.push(Bytes::from(bytes));
        }
    }
}
