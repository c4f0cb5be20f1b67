//! ZooKeeper, as workloads have it: a register is a record's value, a list a record of numbers.
//!
//! A write is unconditional (version -1), a compare-and-set compares the record's version. A read
//! is a sync and a read; one *through the order* also has a transaction confirm the version that it
//! saw. A transaction over lists reads them and then changes all in one multi that checks every
//! version that was read, also of those that did not exist.

use super::wire::{Lost, Wire};
use super::{ATTEMPTS_MAX, Session};
use accord_testbed::clients::zookeeper::{
    ANY_VERSION, Change, Code, Reply, Request, ZooKeeperMachine,
};
use accord_testbed::cluster::Cluster;
use accord_workloads::Outcome;
use accord_workloads::lists::{Lists, Part, run_on};
use accord_workloads::register::{ReadPath, Register};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// A session of ZooKeeper.
#[derive(Debug)]
pub struct ZooKeeperClient {
    wire: Wire<ZooKeeperMachine>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    /// The server's error.
    Refused(Code),
    /// The connection ended.
    Lost(Lost),
    /// A record holds what nobody wrote.
    Strange(String),
}

impl Trouble {
    /// What it means for an operation that changes something. Errors of records are said by the
    /// order itself: the request took its place in it and changed nothing. All others may come from
    /// a server that has passed the request on.
    fn of_change<A>(self) -> Outcome<A> {
        match self {
            Self::Refused(code @ (Code::NO_NODE | Code::BAD_VERSION | Code::NODE_EXISTS)) => {
                Outcome::Failed(format!("{code:?}"))
            }
            Self::Refused(code) => Outcome::Unknown(format!("{code:?}")),
            Self::Lost(lost) => Outcome::Unknown(lost.to_string()),
            Self::Strange(what) => Outcome::Failed(what),
        }
    }

    /// What it means for an operation that changes nothing.
    fn of_read<A>(self) -> Outcome<A> {
        match self {
            Self::Refused(code) => Outcome::Failed(format!("{code:?}")),
            Self::Lost(lost) => Outcome::Failed(lost.to_string()),
            Self::Strange(what) => Outcome::Failed(what),
        }
    }
}

type Tried<T> = Result<T, Trouble>;

fn register(key: u64) -> Bytes {
    Bytes::from(format!("/r-{key}"))
}

fn list(key: u64) -> Bytes {
    Bytes::from(format!("/l-{key}"))
}

fn numbers(data: &[u8]) -> Tried<Vec<i64>> {
    let text = std::str::from_utf8(data).unwrap_or("?");
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    numbers.map_err(|_| Trouble::Strange(format!("a record holds {data:?}")))
}

fn text(numbers: &[i64]) -> Bytes {
    let words: Vec<String> = numbers.iter().map(i64::to_string).collect();
    Bytes::from(words.join(" "))
}

impl ZooKeeperClient {
    async fn ask(&self, request: Request) -> Tried<Reply> {
        self.wire.ask(request).await.map_err(Trouble::Lost)?.map_err(Trouble::Refused)
    }

    /// The numbers in a record and its version. None: it does not exist.
    async fn get(&self, path: Bytes) -> Tried<Option<(Vec<i64>, i32)>> {
        match self.ask(Request::Get { path }).await {
            Ok(Reply::Data(data, stat)) => Ok(Some((numbers(&data)?, stat.version))),
            Ok(Reply::Done) => Err(Trouble::Strange("a read has no value".to_owned())),
            Err(Trouble::Refused(Code::NO_NODE)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn get_synced(&self, path: Bytes) -> Tried<Option<(Vec<i64>, i32)>> {
        self.ask(Request::Sync { path: path.clone() }).await?;
        self.get(path).await
    }

    async fn change(&self, change: Change) -> Tried<()> {
        self.ask(Request::Change(change)).await.map(drop)
    }

    async fn read_confirmed(&self, path: Bytes) -> Tried<Option<i64>> {
        for _ in 0..ATTEMPTS_MAX {
            let Some((value, version)) = self.get_synced(path.clone()).await? else {
                return Ok(None);
            };
            let check = Change::Check { path: path.clone(), version };
            match self.ask(Request::Multi(vec![check])).await {
                Ok(_) => return Ok(value.first().copied()),
                Err(Trouble::Refused(Code::BAD_VERSION)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Trouble::Refused(Code::BAD_VERSION))
    }

    async fn set_or_create(&self, path: Bytes, data: Bytes) -> Tried<()> {
        for _ in 0..ATTEMPTS_MAX {
            let (path, data) = (path.clone(), data.clone());
            let set = Change::Set { path: path.clone(), data: data.clone(), version: ANY_VERSION };
            match self.change(set).await {
                Err(Trouble::Refused(Code::NO_NODE)) => {}
                done => return done,
            }
            match self.change(Change::Create { path, data }).await {
                Err(Trouble::Refused(Code::NODE_EXISTS)) => {}
                done => return done,
            }
        }
        Err(Trouble::Refused(Code::NODE_EXISTS))
    }

    async fn try_cas(&self, key: u64, from: i64, to: i64) -> Result<bool, Outcome<bool>> {
        let path = register(key);
        let found = self.get_synced(path.clone()).await.map_err(Trouble::of_read)?;
        let Some((_, version)) = found.filter(|(value, _)| value[..] == [from]) else {
            return Ok(false);
        };
        match self.change(Change::Set { path, data: text(&[to]), version }).await {
            Ok(()) => Ok(true),
            Err(Trouble::Refused(Code::BAD_VERSION)) => Ok(false),
            Err(error) => Err(error.of_change()),
        }
    }

    /// One attempt at a transaction. None: something has changed since it was read.
    async fn try_transact(
        &self,
        parts: &[Part],
    ) -> Result<Option<Vec<Option<Vec<i64>>>>, Outcome<Vec<Option<Vec<i64>>>>> {
        let mut found = BTreeMap::new();
        for part in parts {
            if let std::collections::btree_map::Entry::Vacant(vacant) = found.entry(part.key()) {
                vacant.insert(self.get(list(part.key())).await.map_err(Trouble::of_read)?);
            }
        }
        let present = |key| {
            let found: Option<&Option<(Vec<i64>, i32)>> = found.get(&key);
            found.cloned().flatten().map(|(list, _)| list).unwrap_or_default()
        };
        let (answers, changed) = run_on(parts, present);
        let changes = found.iter().flat_map(|(key, found)| {
            let path = list(*key);
            let version = found.as_ref().map(|(_, version)| *version);
            match (version, changed.get(key)) {
                (Some(version), None) => vec![Change::Check { path, version }],
                (Some(version), Some(list)) => {
                    vec![Change::Set { path, data: text(list), version }]
                }
                (None, Some(list)) => vec![Change::Create { path, data: text(list) }],
                // It can be created, so it does not exist.
                (None, None) => vec![
                    Change::Create { path: path.clone(), data: Bytes::new() },
                    Change::Delete { path, version: ANY_VERSION },
                ],
            }
        });
        match self.ask(Request::Multi(changes.collect())).await {
            Ok(_) => Ok(Some(answers)),
            Err(Trouble::Refused(Code::NO_NODE | Code::BAD_VERSION | Code::NODE_EXISTS)) => {
                Ok(None)
            }
            Err(error) if changed.is_empty() => Err(error.of_read()),
            Err(error) => Err(error.of_change()),
        }
    }
}

impl Session for ZooKeeperClient {
    type Target = Vec<SocketAddr>;

    fn target(cluster: &Cluster, client: usize, _: Duration) -> Vec<SocketAddr> {
        let mut servers = cluster.addresses();
        let count = servers.len();
        servers.rotate_left(client % count);
        servers
    }

    async fn open(target: &Vec<SocketAddr>, attempt: usize) -> Result<Self, String> {
        let address = target[attempt % target.len()];
        let wire = Wire::open(address, |out| ZooKeeperMachine::new(0, out)).await?;
        Ok(Self { wire })
    }

    fn is_over(&self) -> bool {
        self.wire.is_over()
    }
}

impl Register for ZooKeeperClient {
    async fn read(&self, key: u64, path: ReadPath) -> Outcome<Option<i64>> {
        let read = match path {
            ReadPath::Ordered => self.read_confirmed(register(key)).await,
            ReadPath::Linearizable | ReadPath::Local => {
                let found = self.get_synced(register(key)).await;
                found.map(|found| found.and_then(|(value, _)| value.first().copied()))
            }
        };
        read.map_or_else(Trouble::of_read, Outcome::Done)
    }

    async fn write(&self, key: u64, to: i64) -> Outcome<()> {
        let written = self.set_or_create(register(key), text(&[to])).await;
        written.map_or_else(Trouble::of_change, Outcome::Done)
    }

    async fn cas(&self, key: u64, from: i64, to: i64) -> Outcome<bool> {
        self.try_cas(key, from, to).await.map_or_else(|outcome| outcome, Outcome::Done)
    }
}

impl Lists for ZooKeeperClient {
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
        let lost = || Trouble::Lost(Lost("gone".to_owned()));
        for (trouble, definite) in [
            (Trouble::Refused(Code::NO_NODE), true),
            (Trouble::Refused(Code::BAD_VERSION), true),
            (Trouble::Refused(Code::NODE_EXISTS), true),
            // The connection is lost, a time-out, the session has expired, it moved.
            (Trouble::Refused(Code(-4)), false),
            (Trouble::Refused(Code(-7)), false),
            (Trouble::Refused(Code(-112)), false),
            (Trouble::Refused(Code(-118)), false),
            (Trouble::Refused(Code::ROLLED_BACK), false),
            (lost(), false),
            (Trouble::Strange("x".to_owned()), true),
        ] {
            let outcome: Outcome<()> = trouble.clone().of_change();
            assert_eq!(matches!(outcome, Outcome::Failed(_)), definite, "{trouble:?}");
            assert_eq!(matches!(outcome, Outcome::Unknown(_)), !definite, "{trouble:?}");
            let outcome: Outcome<()> = trouble.of_read();
            assert!(matches!(outcome, Outcome::Failed(_)), "a read changes nothing");
        }
    }

    #[test]
    fn values_are_numbers_and_nothing_else() {
        assert_eq!(numbers(b""), Ok(vec![]));
        assert_eq!(numbers(&text(&[7, -8])), Ok(vec![7, -8]));
        assert!(numbers(b"7 x").is_err() && numbers(&[255]).is_err());
    }
}
