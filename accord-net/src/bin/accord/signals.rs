//! The signals by which a command is asked to end.

use std::io;
use tokio::sync::oneshot;

/// Tells when the standard input ends: whoever holds its other end is gone then, however it ended.
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

    /// Takes those that have come already, and tells whether there were any; SIGTERM before SIGINT.
    ///
    /// Each waiter gets a signal of its own, so one that a command took for itself (the end of a
    /// watch) waits here still, and does not concern what comes next.
    pub fn take(&mut self) -> Option<Kind> {
        #[cfg(unix)]
        {
            use std::task::{Context, Poll, Waker};
            let mut context = Context::from_waker(Waker::noop());
            let mut came = None;
            let waiters =
                [(Kind::Interrupt, &mut self.interrupt), (Kind::Terminate, &mut self.terminate)];
            for (kind, signal) in waiters {
                while let Poll::Ready(Some(())) = signal.poll_recv(&mut context) {
                    came = Some(kind);
                }
            }
            came
        }
        #[cfg(not(unix))]
        None
    }

    /// Waits for the next of them. Safe to cancel.
    pub async fn next(&mut self) -> Kind {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => Kind::Interrupt,
            _ = self.terminate.recv() => Kind::Terminate,
        }
        #[cfg(not(unix))]
        match tokio::signal::ctrl_c().await {
            Ok(()) => Kind::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}
