//! The `accord` command as a user has it: real processes, their output and their exit codes.

mod commands;
mod display;
mod processes;
mod settings;
mod shell;
mod streams;
mod support;
