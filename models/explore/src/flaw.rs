//! What went wrong in a state, and the properties that say it does not.
//!
//! A model's oracle notes the first flaw in the state in which it shows; an `always` property then
//! holds exactly in states without that flaw. A panic in the core (one of its own invariants is
//! broken) is a flaw like any other, and so has a path that leads to it.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// A property that was broken, by its name, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flaw {
    /// The name of the property.
    pub property: &'static str,
    /// What was seen.
    pub detail: String,
}

/// The property that is broken when the core panics.
pub const CORE: &str = "no invariant of the core is broken";

/// Notes a flaw, if it is the first.
pub fn note(flaw: &mut Option<Flaw>, property: &'static str, detail: String) {
    flaw.get_or_insert(Flaw { property, detail });
}

/// True if this property was not broken.
pub fn free_of(flaw: &Option<Flaw>, property: &'static str) -> bool {
    flaw.as_ref().is_none_or(|flaw| flaw.property != property)
}

thread_local! {
    /// True while this thread's panics are caught and told in another way.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Makes a step. A panic in it is a flaw.
///
/// # Errors
/// The flaw. What the step was changing is of no further use.
pub fn catch<T>(step: impl FnOnce() -> T) -> Result<T, Flaw> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CATCHING.get() {
                loud(info);
            }
        }));
    });
    CATCHING.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(step));
    CATCHING.set(false);
    result.map_err(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Flaw { property: CORE, detail: text.unwrap_or_else(|| "a panic without words".to_owned()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_flaw_and_the_first_flaw_stays() {
        assert_eq!(catch(|| 3), Ok(3));
        let number = 7;
        let caught = catch(|| panic!("broken: {number}"));
        let mut flaw = caught.err();
        assert_eq!(flaw, Some(Flaw { property: CORE, detail: "broken: 7".to_owned() }));
        note(&mut flaw, "another", String::new());
        assert!(!free_of(&flaw, CORE));
        assert!(free_of(&flaw, "another"));
        assert!(free_of(&None, CORE));
    }
}
