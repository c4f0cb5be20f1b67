//! How long a verdict takes: 10,000 operations of 50 keys, and the reading of their text.

#[path = "../tests/support/registers.rs"]
mod registers;
#[path = "../tests/support/rng.rs"]
mod rng;

use std::hint::black_box;

use accord_models::check::{Options, check};
use accord_models::{Model, history};
use criterion::{Criterion, criterion_group, criterion_main};
use registers::registers;

fn verdict(criterion: &mut Criterion) {
    for (name, unknown_every) in [("all answered", 0), ("1 % unknown", 100)] {
        let history = registers(10_000, 50, unknown_every);
        criterion.bench_function(&format!("check 10k ops of 50 keys, {name}"), |bencher| {
            bencher.iter(|| check(black_box(&history), Model::CasRegister, &Options::default()));
        });
    }
    let text = registers(10_000, 50, 100).to_string();
    criterion.bench_function("read 10k ops", |bencher| {
        bencher.iter(|| history::read(black_box(text.as_bytes())));
    });
}

criterion_group!(benches, verdict);
criterion_main!(benches);
