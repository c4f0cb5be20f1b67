//! What stands for the group in a program that was built without Corosync: it cannot be started.

use super::link::{CorosyncError, GroupConfig, GroupStatus};
use crate::env::Clock;
use accord_core::group::{GroupEvent, SubmitError};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Notify;

/// A group that does not exist.
#[derive(Debug)]
pub enum CorosyncGroup {}

impl CorosyncGroup {
    /// Says why not.
    ///
    /// # Errors
    /// [`CorosyncError::NotBuilt`].
    pub fn start(_: GroupConfig, _: u64, _: Clock) -> Result<Self, CorosyncError> {
        Err(CorosyncError::NotBuilt)
    }

    /// Never called.
    pub fn news(&self) -> Arc<Notify> {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    /// Never.
    pub fn submit(&self, _: Bytes) -> Result<(), SubmitError> {
        match *self {}
    }

    /// Never called.
    pub const fn poll_event(&self) -> Option<GroupEvent> {
        match *self {}
    }

    /// Never called.
    pub const fn status(&self) -> GroupStatus {
        match *self {}
    }

    /// Never called.
    pub const fn leave(&self) {
        match *self {}
    }
}
