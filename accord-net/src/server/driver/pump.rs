//! The pump: what a server's tasks do between them, and carrying out what the core asks.
//!
//! Each loop here waits for one thing (time, datagrams, the group's thread, long work, the disk),
//! hands in what came and has the pump run. [`Driver::pump`] carries out everything that is due,
//! in order, by one exhaustive match.

use super::{Driver, Inner, LATENCY_SAMPLE};
use crate::env::{Env, Udp};
use crate::server::journal::record_bytes;
use crate::storage::StorageError;
use accord_core::gateway::message::ServerMessage;
use accord_core::group::{GroupEvent, SubmitError};
use accord_core::ids::ConnId;
use accord_core::replica::io::{HaltReason, Record, Ticket};
use accord_core::server::{Input, Output};
use accord_core::time::{Duration, Instant};
use std::rc::Rc;

/// Events of the group handed in before what came of them is carried out.
const EVENTS_A_TURN: usize = 64;
/// How often the server gets the time of the clock on the wall: a clock that was set is noticed
/// after so long.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// How long receiving datagrams rests when the system cannot hand them out.
const RECEIVE_REST: Duration = Duration::from_millis(1);

impl<E: Env> Driver<E> {
    /// Runs the pump and the timers until the server has stopped.
    pub(in crate::server) async fn run(self: Rc<Self>) {
        let mut sleep = Box::pin(self.env.sleep_until(Instant::FAR_FUTURE));
        self.pump();
        while self.halted.borrow().is_none() {
            // A deadline that moved away only costs a turn without work: do not arm again for it.
            if let Some(at) = self.deadline_before_armed() {
                if at <= self.env.now() {
                    // Others have their turn first, and what waits at the sockets is seen.
                    tokio::task::yield_now().await;
                    self.on_time();
                    self.pump();
                    continue;
                }
                sleep.set(self.env.sleep_until(at));
                self.armed.set(Some(at));
            }
            tokio::select! {
                biased;
                () = self.turn.notified() => {}
                () = &mut sleep, if self.armed.get().is_some() => self.armed.set(None),
            }
            self.on_time();
            self.pump();
        }
    }

    /// Tells the server what the clock on the wall shows, until it halts.
    pub(in crate::server) async fn follow_clock(self: Rc<Self>) {
        while self.halted.borrow().is_none() {
            let (now, wall) = (self.env.now(), self.env.wall());
            self.inner.borrow_mut().server.handle(now, Input::Clock { wall });
            self.turn.notify_one();
            self.env.sleep_until(now + CLOCK_INTERVAL).await;
        }
    }

    /// Receives the group's datagrams until the server ends.
    pub(in crate::server) async fn receive_datagrams(self: Rc<Self>) {
        let Some(udp) = &self.udp else { return };
        let mut datagrams = Vec::new();
        while self.halted.borrow().is_none() {
            if let Err(error) = udp.receive(&mut datagrams).await {
                // Such as a lack of memory: nothing that lasts, and nothing to hurry for.
                if let Some(times) = self.complaints.receiving.due(self.env.now()) {
                    tracing::warn!(%error, times, "datagrams cannot be received");
                }
                self.env.sleep_until(self.env.now() + RECEIVE_REST).await;
                continue;
            }
            {
                let inner = &mut *self.inner.borrow_mut();
                let now = self.env.now();
                datagrams.iter().for_each(|datagram| inner.group.handle_datagram(now, datagram));
            }
            datagrams.clear();
            self.pump_beside_timers();
        }
    }

    /// Takes in what the group's own thread brings, if it has one, until the server ends.
    pub(in crate::server) async fn follow_group(self: Rc<Self>) {
        let news = self.inner.borrow().group.news();
        let Some(news) = news else { return };
        while self.halted.borrow().is_none() {
            news.notified().await;
            self.pump_beside_timers();
        }
    }

    /// A turn of the pump outside of the timers' task, which is woken if what happened set a timer
    /// that is due before the one that it waits for.
    pub(super) fn pump_beside_timers(&self) {
        self.pump();
        if self.deadline_before_armed().is_some() {
            self.turn.notify_one();
        }
    }

    /// Runs the server's jobs until it ends. There are few at a time: one image, one restore.
    pub(in crate::server) async fn follow_work(self: Rc<Self>) {
        while self.halted.borrow().is_none() {
            self.work.notified().await;
            let jobs = std::mem::take(&mut self.inner.borrow_mut().jobs);
            for job in jobs {
                let driver = self.clone();
                self.env.spawn(async move {
                    let done = driver.env.work(|| job.run()).await;
                    driver.inner.borrow_mut().server.handle(driver.env.now(), Input::JobDone(done));
                    driver.pump_beside_timers();
                });
            }
        }
    }

    /// Takes in what has become durable, until the server ends.
    pub(in crate::server) async fn follow_journal(self: Rc<Self>) {
        let Some(journal) = &self.journal else { return };
        while self.halted().is_none() {
            let written = journal.written().await;
            for seconds in journal.take_sync_seconds() {
                self.metrics.log_sync_seconds.observe(seconds);
            }
            {
                let inner = &mut *self.inner.borrow_mut();
                let input = match written {
                    Ok(ticket) => {
                        self.metrics.log_syncs.inc();
                        inner.forget_written(ticket);
                        Input::Stored { ticket }
                    }
                    Err(error) => {
                        tracing::error!(%error, "the disk failed");
                        // What failed first says more than what failed for it.
                        let first = match error {
                            StorageError::Failed { first } => first,
                            error => error.to_string(),
                        };
                        *self.disk_error.borrow_mut() = Some(first);
                        Input::StoreFailed
                    }
                };
                inner.server.handle(self.env.now(), input);
            }
            self.pump_beside_timers();
        }
    }

    /// The next deadline, if nothing wakes the timers' task by then.
    fn deadline_before_armed(&self) -> Option<Instant> {
        let armed = self.armed.get();
        self.next_deadline().filter(|at| armed.is_none_or(|armed| *at < armed))
    }

    fn next_deadline(&self) -> Option<Instant> {
        let inner = self.inner.borrow();
        [inner.server_deadline, inner.group.next_deadline()].into_iter().flatten().min()
    }

    fn on_time(&self) {
        let now = self.env.now();
        let inner = &mut *self.inner.borrow_mut();
        let due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if due(inner.group.next_deadline()) {
            inner.group.handle_timer(now);
        }
        if due(inner.server_deadline) {
            inner.server.handle(now, Input::Timer);
        }
    }

    /// Carries out what the server and its group ask, until nothing is left to do.
    pub(in crate::server) fn pump(&self) {
        let inner = &mut *self.inner.borrow_mut();
        loop {
            let mut busy = false;
            while let Some(output) = inner.server.poll_output() {
                busy = true;
                self.carry_out(inner, output);
            }
            busy |= self.pump_group(inner);
            if !busy {
                break;
            }
        }
        inner.server_deadline = inner.server.next_deadline();
        #[cfg(feature = "testing")]
        if let Some(witness) = &mut *self.witness.borrow_mut() {
            witness(&mut inner.server, inner.view);
        }
        if let Some(journal) = &self.journal
            && !inner.records.is_empty()
        {
            journal.write(std::mem::take(&mut inner.records));
        }
        if let Some(udp) = &self.udp
            && !inner.datagrams.is_empty()
        {
            udp.send(&mut inner.datagrams);
        }
        inner.resume_paused();
        let applied = inner.server.applied().0;
        self.metrics.entries_applied.inc_by(applied.saturating_sub(inner.applied_last));
        inner.applied_last = applied;
    }

    fn pump_group(&self, inner: &mut Inner) -> bool {
        let now = self.env.now();
        let mut busy = false;
        while let Some(payload) = inner.unsubmitted.front().cloned() {
            match inner.group.submit(now, payload) {
                Ok(()) => {}
                Err(SubmitError::Full) => break,
                Err(error @ SubmitError::TooLarge { .. }) => {
                    panic!("settings allow commands that the group cannot carry: {error}")
                }
            }
            inner.unsubmitted.pop_front();
            busy = true;
        }
        for _ in 0..EVENTS_A_TURN {
            // A disk that does not keep up holds the group back.
            if inner.unwritten_bytes > self.options.net.journal_bytes_max {
                break;
            }
            let Some(event) = inner.group.poll_event() else { break };
            busy = true;
            if let GroupEvent::View(view) = &event {
                self.metrics.views.inc();
                tracing::info!(view = %view.id, members = ?view.members, "view");
                for (node, peer) in &inner.peers {
                    peer.note_presence(view.members.contains(node));
                }
                inner.tell_roster();
                #[cfg(feature = "testing")]
                inner.view.replace(view.id);
            }
            inner.server.handle(now, Input::Group(event));
        }
        inner.group.poll_datagrams(&mut inner.datagrams);
        busy
    }

    fn carry_out(&self, inner: &mut Inner, output: Output) {
        match output {
            Output::Multicast(payload) => {
                self.metrics.multicast_bytes.observe(payload.len() as f64);
                inner.unsubmitted.push_back(payload);
            }
            Output::Persist { ticket, record } => inner.keep_record(ticket, record),
            Output::Client { conn, message } => self.send(inner, conn, &message),
            Output::Disconnect { conn, reason } => {
                tracing::debug!(%conn, %reason, "hanging up");
                if let Some(conn) = inner.forget(conn) {
                    conn.close();
                }
            }
            Output::Peer { to, message } => {
                let taken = inner.peers.get(&to).is_some_and(|peer| peer.push(message));
                if !taken {
                    self.metrics.peer_messages_dropped.inc();
                }
            }
            Output::Operator { id: admin, reply } => {
                if let Some(asked) = inner.asked.remove(&admin) {
                    // The operator's connection may be gone.
                    let _ = asked.send(reply);
                }
            }
            Output::Standing(standing) => inner.group.set_standing(self.env.now(), standing),
            Output::Job(job) => {
                inner.jobs.push(job);
                self.work.notify_one();
            }
            Output::Halt(reason) => self.halt(inner, reason),
        }
    }

    fn send(&self, inner: &mut Inner, id: ConnId, message: &ServerMessage) {
        let Some(conn) = inner.conns.get(&id) else { return };
        match message {
            ServerMessage::Opened { .. } | ServerMessage::Attached { .. } => conn.on_attached(),
            ServerMessage::Reply { request, .. } => {
                self.metrics.replies.inc();
                if request.0.is_multiple_of(LATENCY_SAMPLE)
                    && let Some(taken) = inner.sampled.remove(&(id, *request))
                {
                    let seconds = self.env.now().since(taken).as_nanos() as f64 / 1e9;
                    self.metrics.request_seconds.observe(seconds);
                }
            }
            ServerMessage::RequestRefused { request, .. } => {
                inner.sampled.remove(&(id, *request));
            }
            ServerMessage::ReadReply { .. } => {
                self.metrics.reads.inc();
            }
            ServerMessage::Events { events, .. } => {
                self.metrics.events.inc_by(events.len() as u64);
            }
            _ => {}
        }
        conn.send(message);
    }

    fn halt(&self, inner: &mut Inner, reason: HaltReason) {
        tracing::error!(%reason, "this server stops: going on could do harm");
        *self.halted.borrow_mut() = Some(reason);
        while let Some((id, _)) = inner.conns.first_key_value() {
            let id = *id;
            if let Some(conn) = inner.forget(id) {
                conn.close();
            }
        }
        self.ended.notify_waiters();
        self.turn.notify_one();
    }
}

impl Inner {
    fn keep_record(&mut self, ticket: Ticket, record: Record) {
        let bytes = record_bytes(&record);
        self.unwritten.push_back((ticket, bytes));
        self.unwritten_bytes += bytes;
        self.records.push((ticket, record));
    }

    /// Wakes the connections of which the server wants to hear more.
    fn resume_paused(&mut self) {
        let (server, conns) = (&self.server, &self.conns);
        self.paused.retain(|id| {
            let resumed = server.accepts(*id);
            if let Some(conn) = conns.get(id)
                && resumed
            {
                conn.wake();
            }
            !resumed
        });
    }
}
