//! What the bare world judges of what a server says, on its way out.

use crate::judge::Property;
use crate::judge::durable::Said;
use crate::judge::situations::Situation;
use crate::world::disk::Disk;
use crate::world::env::Surroundings;
use accord_core::ids::NodeId;
use accord_core::protocol::ServerMessage;
use accord_core::replica::io::{Record, Snapshot, Ticket, commands};
use accord_core::replica::message::GroupMessage;
use accord_core::server::{Output, Server};
use accord_core::state::Command;
use accord_core::time::Instant;
use accord_core::wire::Decode;
use bytes::Bytes;

/// A server and the machine that it runs on, as far as they are judged.
pub struct Judged<'a> {
    /// The server's number.
    pub id: u32,
    /// The core's server.
    pub server: &'a Server,
    /// Its disk.
    pub disk: &'a mut Disk,
    /// What its clock says.
    pub now: Instant,
}

/// True if the message is a frame with a barrier.
pub fn has_barrier(payload: &Bytes) -> bool {
    matches!(GroupMessage::from_payload(payload), Ok(GroupMessage::Frame(frame)) if frame.barrier)
}

/// A server stopped itself because its digest differs. In a world that damaged no state, none may:
/// returns the property that is violated.
pub fn on_mismatch(env: &mut Surroundings, id: u32, server: &Server) -> Option<Property> {
    if !env.judges.divergence.is_tried() {
        return Some(Property::DigestsAgree);
    }
    let stopped = (NodeId(id), server.is_damaged());
    if server.is_damaged() {
        env.met(Situation::Diverged);
    }
    let judgement = env.judges.divergence.on_stopped(stopped, &server.status().replica);
    env.judge(Property::DivergenceNoticed, judgement);
    None
}

impl Judged<'_> {
    /// Judges an output before it is carried out.
    pub fn judge(&mut self, env: &mut Surroundings, output: &Output) {
        match output {
            Output::Multicast(payload) => self.on_multicast(env, payload),
            Output::Persist { ticket, record } => self.on_record(env, *ticket, record),
            Output::Client { conn, message } => {
                let told = env.judges.silence.on_told(self.id, *conn, (self.now, env.now), message);
                if told == Ok(true) {
                    env.met(Situation::OutlivedOutage);
                }
                env.judge(Property::SessionsLast, told.map(drop));
                let log = self.server.replica().log();
                match message {
                    ServerMessage::ReadReply { read, .. } => {
                        let epoch = self.server.replica().open_epoch();
                        let (conn, barriers) = (*conn, &mut env.judges.barriers);
                        let answered =
                            barriers.on_answered(self.id, (conn, *read), log.voters(), epoch);
                        if answered == Ok(true) {
                            env.met(Situation::ReadOverEpochs);
                        }
                        env.judge(Property::BarriersFollow, answered.map(drop));
                    }
                    ServerMessage::ReadRefused { read, .. } => {
                        env.judges.barriers.on_refused(self.id, *conn, *read);
                    }
                    _ => {}
                }
            }
            Output::Disconnect { conn, .. } => {
                env.judges.silence.on_disconnected(self.id, *conn);
            }
            _ => {}
        }
    }

    fn on_multicast(&mut self, env: &mut Surroundings, payload: &Bytes) {
        let said = env.judges.durable.on_said(self.id, payload);
        if let Ok(Some(said)) = said {
            self.try_a_power_loss(env, said);
        }
        env.judge(Property::DurableWhenSaid, said.map(drop));
        let Ok(GroupMessage::Frame(frame)) = GroupMessage::from_payload(payload) else { return };
        if frame.barrier {
            env.judges.barriers.on_sent(self.id, payload);
        }
        for command in frame.batch.iter().flat_map(|batch| commands(&batch.commands)) {
            if let Ok(command) = Command::from_bytes(&command) {
                let judgement = env.judges.silence.on_proposed(self.id, self.now, &command);
                env.judge(Property::SessionsLast, judgement);
            }
        }
    }

    /// Looks, now and then, what a loss of power would leave on the disk of the real storage code.
    fn try_a_power_loss(&mut self, env: &mut Surroundings, said: Said) {
        let left = match self.disk.after_power_loss(NodeId(self.id)) {
            None => return,
            Some(Ok(left)) => env.judges.durable.on_power_lost(self.id, said, left.as_ref()),
            Some(Err(why)) => {
                let id = self.id;
                Err(format!("n{id} says {said:?}; if the power went now, its disk would be {why}"))
            }
        };
        env.judge(Property::DurableWhenSaid, left);
    }

    fn on_record(&self, env: &mut Surroundings, ticket: Ticket, record: &Record) {
        if env.judges.durable.on_written(self.id, ticket, record) {
            env.met(Situation::DroppedOnTheWay);
        }
        match record {
            Record::Checkpoint(snapshot) => self.on_snapshot(env, snapshot),
            Record::Install(snapshot) => {
                let earlier = |salt| salt != self.server.replica().salt();
                let own = snapshot.origins.get(&NodeId(self.id));
                if own.is_some_and(|own| earlier(own.salt)) {
                    env.met(Situation::EarlierStartInState);
                }
                self.on_snapshot(env, snapshot);
            }
            _ => {}
        }
    }

    fn on_snapshot(&self, env: &mut Surroundings, snapshot: &Snapshot) {
        let end = snapshot.last.index;
        let behind = self.server.replica().log().voters_index() > end;
        if behind || env.judges.snapshots.is_before_a_change(end) {
            env.met(Situation::StateBeforeChange);
        }
        let judgement = env.judges.snapshots.on_snapshot(self.id, snapshot);
        env.judge(Property::StatesTrue, judgement);
    }
}
