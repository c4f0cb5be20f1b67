//! ZooKeeper, as the workloads have it. A linearizable read is a sync and a read sent together.

use super::{Connection, Exchange};
use crate::failure::{Failure, Result, wrong};
use crate::workload::{Answer, Ask};
use accord_testbed::clients::zookeeper::{
    ANY_VERSION, Change, Code, Reply, Request, ZooKeeperMachine,
};
use accord_testbed::clients::{Machine, Received};
use std::collections::VecDeque;

/// One session of ZooKeeper.
#[derive(Debug)]
pub struct ZookeeperConnection {
    machine: ZooKeeperMachine,
    received: Received<std::result::Result<Reply, Code>>,
    /// What was asked, in the order of the replies.
    asked: VecDeque<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ensure,
    Write,
    Transact,
    Read,
    Watch,
}

impl ZookeeperConnection {
    /// A client that is about to connect; what it says first goes to `out`.
    pub fn new(now: u64, out: &mut Vec<u8>) -> Self {
        let machine = ZooKeeperMachine::new(now, out);
        Self { machine, received: Received::default(), asked: VecDeque::new() }
    }
}

fn answer(kind: Kind, reply: std::result::Result<Reply, Code>) -> Result<Answer> {
    match (kind, reply) {
        (Kind::Read, Ok(Reply::Data(value, _))) => Ok(Answer::Value(value)),
        (Kind::Watch, Ok(Reply::Done)) => Ok(Answer::Watching),
        (Kind::Ensure, Err(Code::NODE_EXISTS))
        | (Kind::Ensure | Kind::Write | Kind::Transact, Ok(Reply::Done)) => Ok(Answer::Written),
        (Kind::Transact, Err(Code(error))) => {
            Err(wrong(format!("ZooKeeper: a transaction failed with {error}")))
        }
        (kind, Err(Code(error))) => Err(Failure::Refused(format!("error {error} for {kind:?}"))),
        (kind, Ok(reply)) => Err(wrong(format!("ZooKeeper: {reply:?} does not answer {kind:?}"))),
    }
}

fn set_any((path, data): (bytes::Bytes, bytes::Bytes)) -> Change {
    Change::Set { path, data, version: ANY_VERSION }
}

fn create((path, data): (bytes::Bytes, bytes::Bytes)) -> Change {
    Change::Create { path, data }
}

impl Connection for ZookeeperConnection {
    const ORDERED: bool = true;

    fn is_ready(&self) -> bool {
        self.machine.is_ready()
    }

    fn ask(&mut self, now: u64, tag: u64, ask: Ask, out: &mut Vec<u8>) -> Result<()> {
        let (kind, request) = match ask {
            Ask::Ensure { key, value } => (Kind::Ensure, Request::Change(create((key, value)))),
            Ask::Create { key, value } => (Kind::Write, Request::Change(create((key, value)))),
            Ask::Write { key, value } => (Kind::Write, Request::Change(set_any((key, value)))),
            Ask::Remove { key } => {
                let delete = Change::Delete { path: key, version: ANY_VERSION };
                (Kind::Write, Request::Change(delete))
            }
            Ask::Transact { writes, fresh } => {
                let change = if fresh { create } else { set_any };
                (Kind::Transact, Request::Multi(writes.into_iter().map(change).collect()))
            }
            Ask::Read { key, linearizable } => {
                if linearizable {
                    self.machine.ask(now, None, Request::Sync { path: key.clone() }, out)?;
                }
                (Kind::Read, Request::Get { path: key })
            }
            Ask::Watch { key } => (Kind::Watch, Request::Watch { path: key }),
        };
        self.machine.ask(now, Some(tag), request, out)?;
        self.asked.push_back(kind);
        Ok(())
    }

    fn receive(&mut self, _now: u64, bytes: &[u8], io: &mut Exchange) -> Result<()> {
        self.machine.receive(bytes, &mut self.received)?;
        io.events += std::mem::take(&mut self.received.events);
        for (tag, reply) in self.received.replies.drain(..) {
            let kind = self.asked.pop_front();
            let kind = kind.ok_or_else(|| wrong("ZooKeeper: more replies than requests"))?;
            io.answers.push((tag, answer(kind, reply)?));
        }
        Ok(())
    }

    fn tick(&mut self, now: u64, out: &mut Vec<u8>) -> Result<()> {
        self.machine.tick(now, out);
        Ok(())
    }

    fn close(&mut self, _now: u64, out: &mut Vec<u8>) {
        self.machine.close(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_testbed::clients::jute::Stat;

    #[test]
    fn a_record_that_exists_is_fine_only_if_it_was_to_be_ensured() {
        let exists = || Err(Code::NODE_EXISTS);
        assert_eq!(answer(Kind::Ensure, exists()).unwrap(), Answer::Written);
        for kind in [Kind::Write, Kind::Transact, Kind::Read, Kind::Watch] {
            assert!(answer(kind, exists()).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn a_reply_of_another_form_is_wrong() {
        let data = || Ok(Reply::Data("v".into(), Stat { version: 0 }));
        assert_eq!(answer(Kind::Read, data()).unwrap(), Answer::Value("v".into()));
        assert!(answer(Kind::Write, data()).is_err());
        assert!(answer(Kind::Read, Ok(Reply::Done)).is_err());
    }
}
