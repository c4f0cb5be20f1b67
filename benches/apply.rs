//! Decoding and applying one command: what each replica pays for each write of the whole cluster.

use accord_core::rng::Rng;
use accord_core::state::{Compare, Flags, Relation, Step, Width};
use accord_core_bench::{World, scattered, write};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Times `iters` commands, encoded ahead in portions so that encoding is not timed and memory stays
/// small.
fn timed(world: &mut World, iters: u64, mut txn: impl FnMut() -> Vec<Step>) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = iters;
    while left > 0 {
        let portion = left.min(4096);
        let commands = world.encode((0..portion).map(|_| txn()));
        let start = Instant::now();
        world.apply(&commands);
        total += start.elapsed();
        left -= portion;
    }
    black_box(world.state.digest());
    total
}

fn eight_byte_writes(c: &mut Criterion) {
    let mut group = c.benchmark_group("apply 8-byte write");
    group.throughput(Throughput::Elements(1));
    for keys in [1_000u64, 1_000_000] {
        let mut world = World::with_keys(keys);
        let mut rng = Rng::new(1);
        group.bench_function(BenchmarkId::new("existing keys", keys), |bencher| {
            bencher.iter_custom(|iters| {
                timed(&mut world, iters, || write(scattered(rng.below(keys))))
            });
        });
        let mut fresh = keys;
        group.bench_function(BenchmarkId::new("fresh keys", keys), |bencher| {
            bencher.iter_custom(|iters| {
                timed(&mut world, iters, || {
                    fresh += 1;
                    write(scattered(fresh))
                })
            });
        });
    }
    group.finish();
}

/// Two reads, a comparison, five writes, an increment and a deletion, on 1 M keys.
fn ten_steps(c: &mut Criterion) {
    let keys = 1_000_000;
    let mut world = World::with_keys(keys);
    let mut rng = Rng::new(2);
    let counter = Bytes::from_static(b"counter");
    let steps = |rng: &mut Rng| {
        let read = |rng: &mut Rng| Step::Read {
            key: scattered(rng.below(keys)),
            offset: 0,
            length_max: 8,
        };
        let scratch = Bytes::from_static(b"scratch");
        let mut steps = vec![read(rng), read(rng)];
        steps.push(Step::Compare(Compare::Version {
            key: scattered(rng.below(keys)),
            relation: Relation::Greater,
            version: 0,
        }));
        (0..4).for_each(|_| steps.extend(write(scattered(rng.below(keys)))));
        steps.extend(write(scratch.clone()));
        let (key, offset, width, flags) = (counter.clone(), None, Width::Eight, Flags::CREATE);
        steps.push(Step::Increment { key, delta: 1, offset, width, flags });
        steps.push(Step::Delete { key: scratch });
        steps
    };
    let mut group = c.benchmark_group("apply transaction");
    group.throughput(Throughput::Elements(1));
    group.bench_function("10 steps, 1000000 keys", |bencher| {
        bencher.iter_custom(|iters| timed(&mut world, iters, || steps(&mut rng)));
    });
    group.finish();
}

criterion_group!(benches, eight_byte_writes, ten_steps);
criterion_main!(benches);
