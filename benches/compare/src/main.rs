//! `accord-bench`: Accord measured beside ZooKeeper and etcd.
//!
//! One generator drives all systems with the same workloads ([`generator`], [`workload`]), over a
//! protocol without IO for each ([`systems`]). [`load`] measures one workload on one cluster;
//! [`compare`], [`curves`], [`watch`] and [`regress`] are made of many of those, in turns;
//! [`stats`], [`report`] and [`plots`] make figures of them, which [`svg`] draws. What the figures
//! mean, and what they do not, is in `docs/benchmarks.md`.

mod cli;
mod commands;
mod compare;
mod curves;
mod failure;
mod generator;
mod interrupt;
mod library;
mod load;
mod measure;
mod plan;
mod plots;
mod progress;
mod regress;
mod report;
mod results;
mod stats;
mod svg;
mod systems;
mod watch;
mod workload;

use clap::Parser;
use cli::{Cli, Command};
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = interrupt::catch().and_then(|()| match &cli.command {
        Command::Compare(args) => commands::compare(args),
        Command::Load(args) => commands::load(args),
        Command::Curves(args) => commands::curves(args),
        Command::Watch(args) => commands::watch(args),
        Command::Report(args) => commands::redraw(args),
        Command::Regress(args) => commands::regress(args),
    });
    match done {
        Ok(()) if accord_testbed::out::has_failed() => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            accord_testbed::complain!("accord-bench: {error}");
            match error {
                Failure::Usage(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
