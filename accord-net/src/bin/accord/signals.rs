//! The signals by which a command is asked to end.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::oneshot;

/// Tells when the standard input ends: then the process at its other end is gone, however it ended.
///
/// # Errors
/// As the system says.
pub fn parents_end() -> io::Result<oneshot::Receiver<()>> {
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name("parent".to_owned()).spawn(move || {
        // Whatever comes is not for us; only its end is.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = ended.send(());
    })?;
    Ok(end)
}

/// True once anybody in this process has taken SIGTERM.
static TERMINATED: AtomicBool = AtomicBool::new(false);

/// Which signal it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SIGINT: Ctrl-C on a terminal.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// SIGINT (Ctrl-C) and SIGTERM.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// From here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// As the system says.
    pub fn new() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let (interrupt, terminate) =
                (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            Ok(Self { interrupt, terminate })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Forgets interruptions that have come already, and tells whether this process was told to
    /// end. To be called within the runtime.
    ///
    /// Each waiter gets a signal of its own, so one that a command took for itself (the end of a
    /// watch) comes here too, and does not concern what comes next. It may even be on its way here
    /// still: waiters are woken one after the other. Only a new waiter knows nothing of it.
    pub fn settle(&mut self) -> bool {
        #[cfg(unix)]
        {
            use std::task::{Context, Poll, Waker};
            use tokio::signal::unix::{SignalKind, signal};
            if let Ok(fresh) = signal(SignalKind::interrupt()) {
                self.interrupt = fresh;
            }
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(Some(())) = self.terminate.poll_recv(&mut context) {
                TERMINATED.store(true, Ordering::Relaxed);
            }
        }
        TERMINATED.load(Ordering::Relaxed)
    }

    /// Waits for the next of them. Safe to cancel.
    pub async fn next(&mut self) -> Kind {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => Kind::Interrupt,
            _ = self.terminate.recv() => {
                TERMINATED.store(true, Ordering::Relaxed);
                Kind::Terminate
            }
        }
        #[cfg(not(unix))]
        match tokio::signal::ctrl_c().await {
            Ok(()) => Kind::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}
