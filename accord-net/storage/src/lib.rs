//! Storage of a persistent server: what it wrote is there after any crash, in the order it was
//! written, or the damage is named.
//!
//! A directory holds a log of our own in segment files ([`sector`], [`segment`], [`scan`]) and a
//! checkpoint in two redb databases ([`checkpoint`], [`state_file`]). [`Store`] takes the records
//! of the core, many at once, and makes them durable with one sync; [`Worker`] writes checkpoints
//! and readies segments behind it. Both are blocking and own no thread: the driver gives each of
//! them one.
//!
//! ```no_run
//! use accord_core::ids::NodeId;
//! use accord_storage::{Options, RealDirectory, Store};
//!
//! let directory = RealDirectory::new("data/n1")?;
//! let opened = Store::open(directory, NodeId(1), Options::default())?;
//! let (mut store, mut worker) = (opened.store, opened.worker);
//! let records = []; // all that wait
//! store.commit(&records)?; // durable
//! if store.has_work() {
//!     worker.run()?; // on another thread
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `docs/storage.md` explains the bytes, the assumptions and the recovery; its reasons are in
//! `docs/decisions/0010-a-log-of-our-own.md`. It is a crate of its own, so that a simulation of the
//! core on real storage builds no server (`docs/decisions/0039-a-slim-simulator.md`). Everything
//! reaches the disk through [`Directory`], so the same code runs on a simulated disk that loses
//! power (`simdisk`, with the feature `testing`).

mod checkpoint;
mod database;
mod disk;
mod error;
mod index;
mod inspect;
mod overlay;
mod recover;
mod scan;
mod sector;
mod segment;
#[cfg(any(test, feature = "testing"))]
pub mod simdisk;
mod state_file;
mod store;
mod worker;

pub use disk::{
    Access, Directory, DiskFile, FILE_MODE, Guard, LOCK_NAME, RealDirectory, SECTOR_BYTES,
};
pub use error::{Damage, OpenError, StorageError};
pub use inspect::{Inspection, inspect};
pub use recover::{holds_nothing, is_own, refuse_foreign};
pub use store::{CLUSTER_NAME_DEFAULT, Opened, Options, Store, cluster_label};
pub use worker::Worker;
