//! Exhaustive models: stateright goes through every interleaving of the core itself, within bounds.
//!
//! Nothing of the protocol is told again here. A model's state holds the core's own machines; an
//! action hands one of them one input; what they want sent, written or told is carried out at once
//! or becomes another choice. What is told again, on purpose, is what must hold: each model has an
//! oracle that knows the promises and not the protocol.
//!
//! Read the modules in this order:
//!
//! 1. [`kept`], [`flaw`]: what a state is made of, and what goes wrong in one.
//! 2. [`replica`]: views, crashes, disks, voters, linearizable reads.
//! 3. [`service`]: sessions, requests and watches, with real clients.
//! 4. [`ring`]: the group layer against its contract.
//! 5. [`cases`]: the bounds at which each is gone through.
//! 6. [`run`], [`cli`]: going through them; `planted`: whether they find known mistakes.
#![forbid(unsafe_code)]

pub mod cases;
pub mod cli;
pub mod flaw;
pub mod kept;
#[cfg(feature = "planted")]
pub mod planted;
pub mod replica;
pub mod ring;
pub mod run;
pub mod service;
