//! etcd, as the workloads have it. What is sent over one connection is carried out in any order.

use super::{Connection, Exchange};
use crate::failure::{Failure, Result, wrong};
use crate::workload::{Answer, Ask};
use accord_testbed::clients::etcd::{
    DeleteRangeRequest, EtcdMachine, PutRequest, RangeRequest, Reply, Request, RequestOp, Status,
    TxnRequest,
};
use accord_testbed::clients::{Machine, Received};

/// One connection to etcd.
#[derive(Debug)]
pub struct EtcdConnection {
    machine: EtcdMachine,
    received: Received<std::result::Result<Reply, Status>>,
}

impl EtcdConnection {
    /// A client that is about to connect; what it says first goes to `out`.
    pub fn new(_now: u64, out: &mut Vec<u8>) -> Self {
        Self { machine: EtcdMachine::new(out), received: Received::default() }
    }
}

fn answer(reply: std::result::Result<Reply, Status>) -> Result<Answer> {
    let reply = reply
        .map_err(|Status { code, message }| Failure::Refused(format!("{code:?} {message}")))?;
    match reply {
        Reply::Put(put) => match put.header {
            Some(header) if header.revision > 0 => Ok(Answer::Written),
            _ => Err(wrong("etcd: a write has no revision")),
        },
        Reply::Delete(delete) => match delete.deleted {
            1 => Ok(Answer::Written),
            deleted => Err(wrong(format!("etcd: {deleted} records were deleted, not one"))),
        },
        Reply::Txn(txn) => match txn.succeeded {
            true => Ok(Answer::Written),
            false => Err(wrong("etcd: a transaction did not succeed")),
        },
        Reply::Range(mut range) => match range.kvs.pop() {
            Some(record) => Ok(Answer::Value(record.value)),
            None => Err(wrong("etcd: a record was not found")),
        },
    }
}

impl Connection for EtcdConnection {
    const ORDERED: bool = false;

    fn is_ready(&self) -> bool {
        self.machine.is_ready()
    }

    fn ask(&mut self, now: u64, tag: u64, ask: Ask, out: &mut Vec<u8>) -> Result<()> {
        let request = match ask {
            // A put creates or replaces: no other write of etcd's is cheaper.
            Ask::Ensure { key, value } | Ask::Write { key, value } | Ask::Create { key, value } => {
                Request::Put(PutRequest { key, value })
            }
            Ask::Read { key, linearizable } => {
                Request::Range(RangeRequest { key, serializable: !linearizable })
            }
            Ask::Remove { key } => Request::Delete(DeleteRangeRequest { key }),
            Ask::Transact { writes, fresh: _ } => {
                let put = |(key, value)| RequestOp::put(key, value);
                let success = writes.into_iter().map(put).collect();
                Request::Txn(TxnRequest { compare: Vec::new(), success })
            }
            Ask::Watch { .. } => {
                let what = "watches are compared with ZooKeeper's alone";
                return Err(Failure::Usage(what.to_owned()));
            }
        };
        Ok(self.machine.ask(now, Some(tag), request, out)?)
    }

    fn receive(&mut self, _now: u64, bytes: &[u8], io: &mut Exchange) -> Result<()> {
        self.machine.receive(bytes, &mut self.received)?;
        for (tag, reply) in self.received.replies.drain(..) {
            io.answers.push((tag, answer(reply)?));
        }
        Ok(())
    }

    fn drain(&mut self, out: &mut Vec<u8>) -> Result<()> {
        Ok(self.machine.drain(out)?)
    }

    fn tick(&mut self, _now: u64, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn close(&mut self, _now: u64, out: &mut Vec<u8>) {
        self.machine.close(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_testbed::clients::etcd::{
        DeleteRangeResponse, KeyValue, PutResponse, RangeResponse, ResponseHeader, TxnResponse,
    };

    #[test]
    fn only_what_was_done_is_an_answer() {
        let header = Some(ResponseHeader { revision: 9 });
        let put = |header| Ok(Reply::Put(PutResponse { header }));
        assert_eq!(answer(put(header)).unwrap(), Answer::Written);
        assert!(answer(put(None)).is_err());
        let range = |kvs| Ok(Reply::Range(RangeResponse { kvs }));
        let record = KeyValue { mod_revision: 7, value: "vw".into() };
        assert_eq!(answer(range(vec![record])).unwrap(), Answer::Value("vw".into()));
        assert!(answer(range(Vec::new())).is_err(), "not found");
        let txn = |succeeded| Ok(Reply::Txn(TxnResponse { succeeded, responses: Vec::new() }));
        assert_eq!(answer(txn(true)).unwrap(), Answer::Written);
        assert!(answer(txn(false)).is_err());
        let delete = |deleted| Ok(Reply::Delete(DeleteRangeResponse { deleted }));
        assert_eq!(answer(delete(1)).unwrap(), Answer::Written);
        assert!(answer(delete(0)).is_err());
        let refused = Err(Status { code: Some(14), message: "no leader".to_owned() });
        assert!(matches!(answer(refused), Err(Failure::Refused(_))));
    }
}
