//! The settings of a server: where they come from, and how they become [`ServerOptions`].
//!
//! A setting is looked for in the flags, then in the environment, then in the configuration file
//! (`accord.toml`), then among the defaults. Whatever is wrong is named with its place and with
//! what is allowed; nothing that an operator can write makes a server panic.
//!
//! 1. `schema`: what can be set.
//! 2. `sources`: from where, and mistakes in form.
//! 3. `check`: contradictions, host names and keys, on the way to [`ServerOptions`].
//! 4. `text`: the commented default configuration.
//!
//! [`ServerOptions`]: crate::server::ServerOptions

mod check;
mod key;
mod schema;
mod sources;
mod suggest;
mod text;

pub use check::Ready;
pub use key::{key_from_hex, new_key};
pub use schema::{
    ClientSettings, CorosyncSettings, GroupKind, LogFormat, Member, Mode, NetSettings, OnDamage,
    ReplicaSettings, RingSettings, RingTimeoutSettings, Settings, StateSettings,
};
pub use sources::{Given, Loaded, Place, SettingsError, Sources};
pub use suggest::closest;
pub use text::commented_default;
