//! Panics of the core, kept as words instead of printed.
//!
//! An assertion of the core that fails is a violation to be reported with its plan, not a message
//! in the middle of a progress display. While a world runs on a thread, its panics are kept; those
//! of all other threads are printed as ever.

use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Runs `act`; panics within are kept for [`take_last`]. `act` must catch them: one that it does
/// not catch is printed after all.
pub fn quietly<T>(act: impl FnOnce() -> T) -> T {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                LAST.set(Some(info.to_string()));
            } else {
                before(info);
            }
        }));
    });
    let _quiet = Quiet::begin();
    act()
}

/// The time in which this thread's panics are kept.
struct Quiet;

impl Quiet {
    fn begin() -> Self {
        QUIET.set(true);
        Self
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.set(false);
        if std::thread::panicking() {
            complain!("{}", take_last());
        }
    }
}

/// What the last panic kept on this thread said.
pub fn take_last() -> String {
    LAST.take().unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_panic_is_kept_with_its_words_and_its_place() {
        let caught = super::quietly(|| std::panic::catch_unwind(|| panic!("the roof is on fire")));
        assert!(caught.is_err());
        let words = super::take_last();
        assert!(words.contains("the roof is on fire") && words.contains("panics.rs"), "{words}");
    }
}
