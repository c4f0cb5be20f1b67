//! A persistent server's directory as a whole: its storage and its list of servers. The tests of
//! the storage alone are in its own package.

mod inspected;
mod permissions;
#[path = "../../storage/tests/store/scratch.rs"]
#[expect(dead_code, reason = "the tests of the storage use the rest")]
mod scratch;
#[path = "../../storage/tests/store/script.rs"]
#[expect(dead_code, reason = "the tests of the storage use the rest")]
mod script;
