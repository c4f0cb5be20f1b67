//! Planted bugs: a catalogue of known mistakes, and copies of the sources that have one of them.
//!
//! `sim/bugs/*.patch` is the catalogue. The core carries none of the mistakes: each is applied to a
//! copy of the sources, and the copy is built. Who hunts it there is not this package's concern:
//! the simulator does (`accord-sim bugs`), and so do the models (`accord-explore verify
//! --planted`).
//!
//! Read [`catalogue`] (what a bug is) and [`tree`] (the copy).
#![forbid(unsafe_code)]

pub mod catalogue;
pub mod tree;

use catalogue::Bug;
use std::path::{Path, PathBuf};
use tree::Tree;

/// Makes the copy one that has the bug, and builds its program.
///
/// # Errors
/// For people: why that cannot be done.
pub fn build(tree: &Tree, root: &Path, bug: &Bug) -> Result<PathBuf, String> {
    let patched = bug.apply(root).map_err(|error| error.to_string())?;
    tree.sync(&patched).map_err(|error| format!("the copy cannot be written: {error}"))?;
    tree.build().map_err(|said| format!("the copy does not build:\n{said}"))
}
