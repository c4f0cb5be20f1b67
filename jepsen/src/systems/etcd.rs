//! etcd, as workloads have it: a register is a record's value, a list a record of numbers.
//!
//! A transaction over lists reads them at one revision, and then changes all in a transaction that
//! compares the revisions at which what was read was changed last.

use super::wire::{Lost, Wire};
use super::{ATTEMPTS_MAX, Session};
use accord_testbed::clients::etcd::{
    Compare, EtcdMachine, PutRequest, RangeRequest, RangeResponse, Reply, Request, RequestOp,
    Status, TxnRequest, TxnResponse,
};
use accord_testbed::cluster::Cluster;
use accord_workloads::Outcome;
use accord_workloads::lists::{Lists, Part, run_on};
use accord_workloads::register::{ReadPath, Register};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// A connection to etcd.
#[derive(Debug)]
pub struct EtcdClient {
    wire: Wire<EtcdMachine>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    /// The server's refusal.
    Refused(Status),
    /// The connection ended.
    Lost(Lost),
    /// A reply or a record is not what it must be.
    Strange(String),
}

impl Trouble {
    fn strange(reply: impl std::fmt::Debug) -> Self {
        Self::Strange(format!("it came back as {reply:?}"))
    }

    /// What it means for an operation that changes something.
    fn of_change<A>(self) -> Outcome<A> {
        match self {
            Self::Refused(status) if status.is_definite() => Outcome::Failed(status.message),
            Self::Refused(status) => Outcome::Unknown(status.message),
            Self::Lost(lost) => Outcome::Unknown(lost.to_string()),
            // It was answered, so it may have been done.
            Self::Strange(what) => Outcome::Unknown(what),
        }
    }

    /// What it means for an operation that changes nothing.
    fn of_read<A>(self) -> Outcome<A> {
        match self {
            Self::Refused(status) => Outcome::Failed(status.message),
            Self::Lost(lost) => Outcome::Failed(lost.to_string()),
            Self::Strange(what) => Outcome::Failed(what),
        }
    }
}

type Tried<T> = Result<T, Trouble>;

fn register(key: u64) -> Bytes {
    Bytes::from(format!("r/{key}"))
}

fn list(key: u64) -> Bytes {
    Bytes::from(format!("l/{key}"))
}

fn text(numbers: &[i64]) -> Bytes {
    let words: Vec<String> = numbers.iter().map(i64::to_string).collect();
    Bytes::from(words.join(" "))
}

/// The numbers of a record, and the revision that changed it last: 0 if it does not exist.
fn found(range: &RangeResponse) -> Tried<(Vec<i64>, i64)> {
    let Some(record) = range.kvs.first() else { return Ok((Vec::new(), 0)) };
    let text = std::str::from_utf8(&record.value).unwrap_or("?");
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    Ok((numbers.map_err(|_| Trouble::strange(record))?, record.mod_revision))
}

impl EtcdClient {
    async fn ask(&self, request: Request) -> Tried<Reply> {
        self.wire.ask(request).await.map_err(Trouble::Lost)?.map_err(Trouble::Refused)
    }

    async fn txn(&self, compare: Vec<Compare>, success: Vec<RequestOp>) -> Tried<TxnResponse> {
        match self.ask(Request::Txn(TxnRequest { compare, success })).await? {
            Reply::Txn(reply) => Ok(reply),
            other => Err(Trouble::strange(other)),
        }
    }

    /// Reads records at one revision.
    async fn get_all(&self, keys: Vec<Bytes>) -> Tried<Vec<(Vec<i64>, i64)>> {
        let count = keys.len();
        let reply = self.txn(Vec::new(), keys.into_iter().map(RequestOp::range).collect()).await?;
        let ranges: Option<Vec<_>> =
            reply.responses.iter().map(|response| response.range.as_ref()).collect();
        let ranges = ranges.filter(|ranges| ranges.len() == count);
        let ranges = ranges.ok_or_else(|| Trouble::strange(&reply))?;
        ranges.into_iter().map(found).collect()
    }

    async fn try_read(&self, key: u64, path: ReadPath) -> Tried<Option<i64>> {
        let (value, _) = match path {
            ReadPath::Ordered => {
                let all = self.get_all(vec![register(key)]).await?;
                all.into_iter().next().unwrap_or_default()
            }
            ReadPath::Linearizable | ReadPath::Local => {
                let range = RangeRequest { key: register(key), serializable: false };
                match self.ask(Request::Range(range)).await? {
                    Reply::Range(range) => found(&range)?,
                    other => return Err(Trouble::strange(other)),
                }
            }
        };
        Ok(value.first().copied())
    }

    /// One attempt at a transaction. None: something has changed since it was read.
    async fn try_transact(
        &self,
        parts: &[Part],
    ) -> Result<Option<Vec<Option<Vec<i64>>>>, Outcome<Vec<Option<Vec<i64>>>>> {
        let keys: BTreeSet<u64> = parts.iter().map(|part| part.key()).collect();
        let read = self.get_all(keys.iter().map(|key| list(*key)).collect()).await;
        let read = read.map_err(Trouble::of_read)?;
        let found: BTreeMap<u64, (Vec<i64>, i64)> = keys.into_iter().zip(read).collect();
        let present = |key| found.get(&key).map(|(list, _)| list.clone()).unwrap_or_default();
        let (answers, changed) = run_on(parts, present);
        if changed.is_empty() {
            // All was read at one revision, which was the present one.
            return Ok(Some(answers));
        }
        let compare =
            found.iter().map(|(key, (_, revision))| Compare::changed_by(list(*key), *revision));
        let put = changed.iter().map(|(key, values)| RequestOp::put(list(*key), text(values)));
        match self.txn(compare.collect(), put.collect()).await {
            Ok(reply) => Ok(reply.succeeded.then_some(answers)),
            Err(error) => Err(error.of_change()),
        }
    }
}

impl Session for EtcdClient {
    type Target = Vec<SocketAddr>;

    fn target(cluster: &Cluster, client: usize, _: Duration) -> Vec<SocketAddr> {
        let mut servers = cluster.addresses();
        let count = servers.len();
        servers.rotate_left(client % count);
        servers
    }

    async fn open(target: &Vec<SocketAddr>, attempt: usize) -> Result<Self, String> {
        let address = target[attempt % target.len()];
        Ok(Self { wire: Wire::open(address, EtcdMachine::new).await? })
    }

    fn is_over(&self) -> bool {
        self.wire.is_over()
    }
}

impl Register for EtcdClient {
    async fn read(&self, key: u64, path: ReadPath) -> Outcome<Option<i64>> {
        self.try_read(key, path).await.map_or_else(Trouble::of_read, Outcome::Done)
    }

    async fn write(&self, key: u64, to: i64) -> Outcome<()> {
        let put = PutRequest { key: register(key), value: text(&[to]) };
        match self.ask(Request::Put(put)).await {
            Ok(Reply::Put(_)) => Outcome::Done(()),
            Ok(other) => Trouble::strange(other).of_change(),
            Err(error) => error.of_change(),
        }
    }

    async fn cas(&self, key: u64, from: i64, to: i64) -> Outcome<bool> {
        let compare = vec![Compare::value_is(register(key), text(&[from]))];
        let put = vec![RequestOp::put(register(key), text(&[to]))];
        match self.txn(compare, put).await {
            Ok(reply) => Outcome::Done(reply.succeeded),
            Err(error) => error.of_change(),
        }
    }
}

impl Lists for EtcdClient {
    async fn transact(&self, parts: &[Part]) -> Outcome<Vec<Option<Vec<i64>>>> {
        for _ in 0..ATTEMPTS_MAX {
            match self.try_transact(parts).await {
                Ok(Some(answers)) => return Outcome::Done(answers),
                Ok(None) => {}
                Err(outcome) => return outcome,
            }
        }
        Outcome::Failed("the lists change too often".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_outcome() {
        let refused =
            |code| Trouble::Refused(Status { code: Some(code), message: "no".to_owned() });
        for (trouble, definite) in [
            (refused(3), true),
            (refused(8), true),
            (refused(4), false),
            (refused(14), false),
            (Trouble::Refused(Status { code: None, message: String::new() }), false),
            (Trouble::Lost(Lost("gone".to_owned())), false),
            (Trouble::Strange("x".to_owned()), false),
        ] {
            let outcome: Outcome<()> = trouble.clone().of_change();
            assert_eq!(matches!(outcome, Outcome::Failed(_)), definite, "{trouble:?}");
            let outcome: Outcome<()> = trouble.of_read();
            assert!(matches!(outcome, Outcome::Failed(_)), "a read changes nothing");
        }
    }
}
