//! The group layer over real Corosync daemons, three on nodes of their own. Needs root, Corosync,
//! and its libraries; see `docs/corosync.md`.

mod conformance;
mod raw;
mod rig;
mod strangers;
