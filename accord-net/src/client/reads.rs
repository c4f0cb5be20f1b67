//! Reads outside of transactions, and lists that come page by page.

use super::bytes_like::IntoBytes;
use super::error::{Error, Failure};
use super::{Client, Reader};
use accord_core::ids::{Revision, SessionId};
use accord_core::protocol::Consistency;
use accord_core::state::{ListEntry, ListQuery, Range, ReadQuery, ReadResult, SessionInfo, Stat};
use bytes::Bytes;
use std::collections::VecDeque;

/// A record, or a part of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The bytes that were asked for.
    pub value: Bytes,
    /// What is known of the record, its whole size included.
    pub stat: Stat,
    /// The revision of the state that was read.
    pub revision: Revision,
}

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    Client(&'a Client),
    Reader(&'a Reader),
}

impl Source<'_> {
    async fn query(
        self,
        query: ReadQuery,
        consistency: Consistency,
    ) -> Result<(ReadResult, Revision), Error> {
        match self {
            Self::Client(client) => client.query(query, consistency).await,
            Self::Reader(reader) => reader.query(query, consistency).await,
        }
    }
}

/// A read that is being put together. See [`Client::read`].
#[derive(Clone, Debug)]
#[must_use = "a read does nothing until it is sent"]
pub struct Read<'a> {
    source: Source<'a>,
    key: Bytes,
    offset: u64,
    length_max: u64,
    consistency: Consistency,
}

impl<'a> Read<'a> {
    pub(super) fn new(source: Source<'a>, key: Bytes) -> Self {
        let consistency = Consistency::Linearizable;
        Self { source, key, offset: 0, length_max: u64::MAX, consistency }
    }
}

impl Read<'_> {
    /// Answered by the server at once, from what it has applied: never older than what this session
    /// saw before, but perhaps older than what others were told.
    pub fn local(mut self) -> Self {
        self.consistency = Consistency::Local;
        self
    }

    /// Reads at most `length_max` bytes from `offset` on.
    pub fn part(mut self, offset: u64, length_max: u64) -> Self {
        (self.offset, self.length_max) = (offset, length_max);
        self
    }

    /// Reads. `None`: there is no such record.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn send(self) -> Result<Option<Record>, Error> {
        let Self { source, key, offset, length_max, consistency } = self;
        let query = ReadQuery::Get { key, offset, length_max };
        match source.query(query, consistency).await? {
            (ReadResult::Value { value, stat }, revision) => {
                Ok(Some(Record { value, stat, revision }))
            }
            (ReadResult::NotFound, _) => Ok(None),
            _ => Err(Error::Failed(Failure::Unexpected)),
        }
    }
}

/// A list that is being put together, or read page by page. See [`Client::list`].
#[derive(Clone, Debug)]
#[must_use = "a list does nothing until its entries are asked for"]
pub struct List<'a> {
    source: Source<'a>,
    query: ListQuery,
    consistency: Consistency,
    page: VecDeque<ListEntry>,
    more: bool,
}

/// Entries asked for at once, unless told otherwise.
const PAGE_ENTRIES: u32 = 1000;

impl<'a> List<'a> {
    pub(super) const fn new(source: Source<'a>, range: Range) -> Self {
        let query = ListQuery { range, after: None, limit: PAGE_ENTRIES, keys_only: false };
        let consistency = Consistency::Linearizable;
        Self { source, query, consistency, page: VecDeque::new(), more: true }
    }
}

impl List<'_> {
    /// From what the server has applied: see [`Read::local`].
    pub fn local(mut self) -> Self {
        self.consistency = Consistency::Local;
        self
    }

    /// Without values.
    pub fn keys_only(mut self) -> Self {
        self.query.keys_only = true;
        self
    }

    /// Only keys greater than this one.
    pub fn after(mut self, key: impl IntoBytes) -> Self {
        self.query.after = Some(key.into_bytes());
        self
    }

    /// Entries per page.
    pub fn page_entries(mut self, limit: u32) -> Self {
        self.query.limit = limit.max(1);
        self
    }

    /// The next entry, in the order of keys. `None`: there are no more. Pages are read one after
    /// the other, each from one state; what changes between two pages may show or not.
    ///
    /// # Errors
    /// [`Error`]; the same page can be asked for again.
    pub async fn next(&mut self) -> Result<Option<ListEntry>, Error> {
        while self.page.is_empty() && self.more {
            let query = ReadQuery::List(self.query.clone());
            let (ReadResult::Listed(page), _) = self.source.query(query, self.consistency).await?
            else {
                return Err(Error::Failed(Failure::Unexpected));
            };
            self.more = page.more;
            if let Some(last) = page.entries.last() {
                self.query.after = Some(last.key.clone());
            }
            self.page = page.entries.into();
        }
        Ok(self.page.pop_front())
    }

    /// All entries.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn all(mut self) -> Result<Vec<ListEntry>, Error> {
        let mut entries = Vec::new();
        while let Some(entry) = self.next().await? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

impl Client {
    /// Begins a read: linearizable and of the whole value, unless told otherwise.
    pub fn read(&self, key: impl IntoBytes) -> Read<'_> {
        Read::new(Source::Client(self), key.into_bytes())
    }

    /// Reads a record. `None`: there is no such record.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get(&self, key: impl IntoBytes) -> Result<Option<Record>, Error> {
        self.read(key).send().await
    }

    /// Lists the records whose keys begin with a prefix; an empty one: all records.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = accord_net::embedded::Cluster::start(1)?;
    /// # let client = cluster.client().await?;
    /// for number in 0..25 {
    ///     client.put(format!("shelf/{number:02}"), "book").await?;
    /// }
    /// // Page by page, as far as they are asked for.
    /// let mut list = client.list("shelf/").keys_only().page_entries(10);
    /// let mut count = 0;
    /// while let Some(entry) = list.next().await? {
    ///     assert_eq!(entry.key, format!("shelf/{count:02}"));
    ///     count += 1;
    /// }
    /// assert_eq!(count, 25);
    ///
    /// // A part of a value; and what the server has, without asking the others.
    /// let part = client.read("shelf/07").part(1, 2).send().await?.expect("it is there");
    /// assert_eq!((&part.value[..], part.stat.size), (&b"oo"[..], 4));
    /// assert!(client.read("shelf/99").local().send().await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn list(&self, prefix: impl IntoBytes) -> List<'_> {
        self.list_range(Range::Prefix(prefix.into_bytes()))
    }

    /// Lists the records in a range of keys.
    pub const fn list_range(&self, range: Range) -> List<'_> {
        List::new(Source::Client(self), range)
    }

    /// The open sessions, in the order in which they joined.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn members(&self) -> Result<Vec<SessionId>, Error> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let query = ReadQuery::Members { after, limit: PAGE_ENTRIES };
            match self.query(query, Consistency::Linearizable).await? {
                (ReadResult::Members { members, more }, _) => {
                    all.extend(members);
                    after = all.last().copied();
                    if !more {
                        return Ok(all);
                    }
                }
                _ => return Err(Error::Failed(Failure::Unexpected)),
            }
        }
    }

    /// What is known of a session. `None`: it is not open.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn session_info(&self, session: SessionId) -> Result<Option<SessionInfo>, Error> {
        let query = ReadQuery::Session { session };
        match self.query(query, Consistency::Linearizable).await? {
            (ReadResult::Session(info), _) => Ok(Some(info)),
            (ReadResult::NotFound, _) => Ok(None),
            _ => Err(Error::Failed(Failure::Unexpected)),
        }
    }

    /// Any read. Returns what was read and the revision of the state that was read.
    ///
    /// # Errors
    /// [`Error::Failed`]: a read is never unknown, since it changes nothing.
    pub async fn query(
        &self,
        query: ReadQuery,
        consistency: Consistency,
    ) -> Result<(ReadResult, Revision), Error> {
        let waiting = self.shared().read(query, consistency, self.timeout).await?;
        waiting.await.unwrap_or(Err(Error::Failed(Failure::Ended)))
    }
}
