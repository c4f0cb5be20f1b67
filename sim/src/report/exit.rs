//! The exit codes of the command.

/// All properties held.
pub const HELD: u8 = 0;
/// One did not.
pub const VIOLATED: u8 = 1;
/// An option or a plan is wrong.
pub const MISUSED: u8 = 2;
/// Somebody interrupted it, and what was done until then violated nothing.
pub const INTERRUPTED: u8 = 130;
