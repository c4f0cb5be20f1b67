//! A process that uses Corosync's groups without Accord: a stranger, and a witness of what Corosync
//! itself promises.

use accord_testbed::nodes::Nodes;
use rust_corosync::cpg::{self, Guarantee, Handle, Model1Data, Model1Flags, ModelData};
use rust_corosync::{CsError, DispatchFlags, NodeId};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

thread_local! {
    static DELIVERED: RefCell<Arc<AtomicU64>> = RefCell::default();
    static MEMBERS: RefCell<Arc<AtomicU64>> = RefCell::default();
}

fn on_message(_: &Handle, _: String, _: NodeId, _: u32, _: &[u8], _: usize) {
    DELIVERED.with_borrow(|count| count.fetch_add(1, Ordering::Relaxed));
}

fn on_members(
    _: &Handle,
    _: &str,
    members: Vec<cpg::Address>,
    _left: Vec<cpg::Address>,
    _joined: Vec<cpg::Address>,
) {
    MEMBERS.with_borrow(|count| count.store(members.len() as u64, Ordering::Relaxed));
}

/// A raw member. Dropping it leaves the group.
pub struct Raw {
    delivered: Arc<AtomicU64>,
    members: Arc<AtomicU64>,
    send: Sender<Vec<u8>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Raw {
    pub fn join(nodes: &Nodes, node: u32, group: &'static str) -> Self {
        let (send, sent) = channel::<Vec<u8>>();
        let (delivered, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let members = Arc::new(AtomicU64::new(0));
        let (counter, present, stopped) = (delivered.clone(), members.clone(), stop.clone());
        let namespace = nodes.net().namespace(node);
        let (tell, joined) = channel();
        let run = move || {
            DELIVERED.set(counter);
            MEMBERS.set(present);
            accord_testbed::netns::enter(&namespace).expect("the node is there");
            let model = ModelData::ModelV1(Model1Data {
                flags: Model1Flags::None,
                deliver_fn: Some(on_message),
                confchg_fn: Some(on_members),
                totem_confchg_fn: None,
            });
            let handle = cpg::initialize(&model, 0).expect("the daemon is there");
            cpg::join(&handle, group).expect("it is let in");
            tell.send(()).expect("somebody waits");
            let mut in_hand: Option<Vec<u8>> = None;
            while !stopped.load(Ordering::Relaxed) {
                while cpg::dispatch(&handle, DispatchFlags::OneNonblocking) == Ok(()) {}
                while let Some(message) = in_hand.take().or_else(|| sent.try_recv().ok()) {
                    match cpg::mcast_joined(&handle, Guarantee::TypeAgreed, &message) {
                        Ok(()) => {}
                        // The second, while another thread's handle is made or given up.
                        Err(CsError::CsErrTryAgain | CsError::CsErrBadHandle) => {
                            in_hand = Some(message);
                            break;
                        }
                        // Its daemon is gone.
                        Err(_) => break,
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        let thread = std::thread::Builder::new().stack_size(4 << 20).spawn(run);
        joined.recv().expect("it joins");
        Self { delivered, members, send, stop, thread: Some(thread.expect("a thread")) }
    }

    pub fn send(&self, message: &[u8]) {
        self.send.send(message.to_vec()).expect("it runs");
    }

    /// The members of its group, itself among them.
    pub fn members(&self) -> u64 {
        self.members.load(Ordering::Relaxed)
    }

    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
