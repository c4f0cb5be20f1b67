//! Tasks of one process, as the world lets them run: running, standing still, or gone.
//!
//! Every task of a server or a client passes through here, so a process can be stopped between any
//! two of its steps in every simulator alike, and a panic in it is a violation, not a lost task.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunState {
    /// It runs.
    Running,
    /// It stands still, and its sockets are open. It may go on, or never.
    Paused,
    /// It is gone: its tasks are dropped, and its sockets closed.
    Gone,
}

/// Who hears of a task that panicked.
pub(super) trait OnPanic {
    /// A task panicked, with these words.
    fn on_panic(&self, words: String);
}

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    state: Cell<RunState>,
    tasks: RefCell<BTreeMap<u64, Waker>>,
    tasks_last: Cell<u64>,
}

impl Process {
    /// A process that runs.
    pub(super) fn new() -> Rc<Self> {
        let (tasks, tasks_last) = Default::default();
        Rc::new(Self { state: Cell::new(RunState::Running), tasks, tasks_last })
    }

    /// Lets it go on, or not.
    pub(super) fn set(&self, state: RunState) {
        self.state.set(state);
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        tasks.into_values().for_each(Waker::wake);
    }

    /// The task of this process.
    pub(super) fn task<F: Future<Output = ()>>(
        self: &Rc<Self>,
        hears: Rc<dyn OnPanic>,
        task: F,
    ) -> Task<F> {
        self.tasks_last.set(self.tasks_last.get() + 1);
        let (process, number) = (self.clone(), self.tasks_last.get());
        Task { process, hears, number, task: Some(Box::pin(task)) }
    }
}

/// A task of a process.
pub(super) struct Task<F> {
    process: Rc<Process>,
    hears: Rc<dyn OnPanic>,
    number: u64,
    task: Option<Pin<Box<F>>>,
}

impl<F: Future<Output = ()>> Future for Task<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = &mut *self;
        if me.process.state.get() == RunState::Gone {
            me.task = None;
        }
        let Some(task) = &mut me.task else { return Poll::Ready(()) };
        me.process.tasks.borrow_mut().insert(me.number, cx.waker().clone());
        if me.process.state.get() == RunState::Paused {
            return Poll::Pending;
        }
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => {
                me.task = None;
                Poll::Ready(())
            }
            Err(_) => {
                me.task = None;
                me.hears.on_panic(crate::world::panics::take_last());
                Poll::Ready(())
            }
        }
    }
}

impl<F> Drop for Task<F> {
    fn drop(&mut self) {
        self.process.tasks.borrow_mut().remove(&self.number);
    }
}
