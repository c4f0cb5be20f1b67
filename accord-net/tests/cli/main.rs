//! The `accord` command as a user has it: real processes, their output and their exit codes.

mod commands;
mod display;
mod holds;
mod processes;
mod reading;
mod relay;
mod settings;
mod shell;
mod streams;
mod support;
