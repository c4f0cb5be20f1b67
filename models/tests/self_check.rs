//! Every checker against trying everything, on a few thousand random histories of each model; the
//! command `accord-models self-check` goes through more.

use accord_models::{Model, self_check};

const HISTORIES: u64 = 4_000;

fn agrees(model: Model) {
    let tally =
        self_check::run(model, 0..HISTORIES, |_| {}).unwrap_or_else(|wrong| panic!("{wrong}"));
    // A generator that makes only one kind would test nothing.
    assert!(tally.valid > HISTORIES / 10 && tally.invalid > HISTORIES / 10, "{model:?}: {tally:?}");
}

#[test]
fn registers() {
    agrees(Model::Register);
}

#[test]
fn registers_with_compare_and_set() {
    agrees(Model::CasRegister);
}

#[test]
fn transactions() {
    agrees(Model::Txn);
}

#[test]
fn lists() {
    agrees(Model::ListAppend);
}

#[test]
fn locks() {
    agrees(Model::Lock);
}

#[test]
fn queues() {
    agrees(Model::Queue);
}

#[test]
fn sessions() {
    agrees(Model::Session);
}

#[test]
fn watches() {
    agrees(Model::Watch);
}
