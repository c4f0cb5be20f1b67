//! Taking and restoring a snapshot, and the digest over everything, of 1 M records.

use accord_core::limits::Limits;
use accord_core::state::State;
use accord_core_bench::World;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const KEYS: u64 = 1_000_000;

fn snapshots(c: &mut Criterion) {
    let world = World::with_keys(KEYS);
    let bytes = world.state.snapshot();
    let mut group = c.benchmark_group("snapshot of 1000000 keys");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("take", |bencher| bencher.iter(|| world.state.snapshot()));
    group.bench_function("restore", |bencher| {
        bencher.iter(|| State::restore(&bytes, Limits::default()));
    });
    group.bench_function("digest_full", |bencher| bencher.iter(|| world.state.digest_full()));
    group.finish();
}

criterion_group!(benches, snapshots);
criterion_main!(benches);
