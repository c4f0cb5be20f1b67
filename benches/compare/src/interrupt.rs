//! Ctrl-C: noted when it comes, acted upon where it is safe, so that servers and files are removed.

use crate::failure::{During, Failure, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static FLAG: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Begins to note interrupts. A second one ends the process at once; its servers end with it.
///
/// # Errors
/// What the system says.
pub fn catch() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let what = "signals cannot be received";
        signal_hook::flag::register_conditional_default(signal, FLAG.clone()).during(what)?;
        signal_hook::flag::register(signal, FLAG.clone()).during(what)?;
    }
    Ok(())
}

/// Goes on unless there was one.
///
/// # Errors
/// [`Failure::Interrupted`].
pub fn check() -> Result<()> {
    match FLAG.load(Ordering::Relaxed) {
        true => Err(Failure::Interrupted),
        false => Ok(()),
    }
}
