//! The exhaustive test: the power goes at every single change of the disk.
//!
//! A scripted run is watched by a witness. In the middle of each write, sync and change of a name,
//! the disk is copied, loses power in several ways, and is started again: it must hold what was
//! durable, and of what was under way a prefix. Some starts are cut in turn, at every change that
//! they make, also after a kill of the process alone; and some stores go on being written to.

use crate::script::{Author, Model, NODE, batch, check, identity, prefixes, tiny};
use accord_core::ids::Epoch;
use accord_core::replica::io::Record;
use accord_core::rng::Rng;
use accord_storage::simdisk::SimDisk;
use accord_storage::{Opened, Store};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};

/// Ways in which the power goes at each change.
const IMAGES: u64 = 4;

/// What the run has come to, for the witness.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Records that are durable.
    acked: usize,
    /// Records that were handed in.
    written: usize,
}

/// What was tried.
#[derive(Debug, Default)]
struct Counts {
    cuts: u64,
    images: u64,
    cuts_at_start: u64,
    images_at_start: u64,
    /// Of starts after the process alone was killed.
    images_after_kill: u64,
    went_on: u64,
    /// Of starts after the process alone was killed, too.
    went_on_after_kill: u64,
    /// Starts that found only what was durable, all, or something between.
    found: [u64; 3],
}

fn start(disk: &SimDisk) -> Opened {
    Store::open(disk.clone(), NODE, tiny()).unwrap_or_else(|error| panic!("no start: {error}"))
}

/// The power is lost on a copy of the disk, and comes back.
fn lost_power(disk: &SimDisk, seed: u64) -> SimDisk {
    let image = disk.fork(seed);
    image.lose_power();
    image
}

/// Starts on `image`, and compares what is found.
fn verify(image: &SimDisk, models: &[Model], progress: Progress, what: &str) -> usize {
    let opened = start(image);
    let found = check(models, progress.acked, progress.written, opened.recovered.as_ref());
    let found = found.unwrap_or_else(|why| panic!("{what}: {why}"));
    // The destructors of a dead process reach nothing.
    image.crash();
    drop(opened);
    found
}

/// Starts on `image`, and cuts the power at every change that the start makes.
fn verify_cut_starts(
    image: &SimDisk,
    models: &Arc<Vec<Model>>,
    progress: Progress,
    cut: u64,
) -> u64 {
    let images = Arc::new(Mutex::new(0));
    let (counted, models) = (images.clone(), models.clone());
    image.set_witness(Some(Box::new(move |disk| {
        for seed in 0..2 {
            let again = lost_power(disk, cut * 31 + seed);
            verify(&again, &models, progress, "a start that was cut off, and another");
        }
        *counted.lock().unwrap() += 2;
    })));
    let opened = start(image);
    image.set_witness(None);
    image.crash();
    drop(opened);
    *images.lock().unwrap()
}

/// Goes on writing to what was found, loses power again, and finds it again.
fn verify_going_on(image: &SimDisk, seed: u64) {
    let Opened { mut store, mut worker, recovered, .. } = start(image);
    let Some(recovered) = recovered else { return };
    let mut rng = Rng::new(seed);
    let mut epoch = recovered.promised.0;
    for _ in 0..rng.below(4) {
        epoch += 1 + rng.below(3);
        store.commit(&[Record::Promise(Epoch(epoch))]).expect("a healthy disk");
    }
    if rng.chance(1, 2) {
        worker.run().expect("a healthy disk");
    }
    let last = recovered.log.last();
    let under_way = match rng.below(2) {
        0 => Record::Promise(Epoch(epoch + 1)),
        // Of several sectors, of which some may reach the disk.
        _ => {
            let bytes = rng.below(2500) as usize;
            batch(last.epoch.0.max(1), last.index.0 + 1, bytes, rng.next_u64() as u8)
        }
    };
    store.write(&[under_way]).expect("a healthy disk");
    image.lose_power();
    drop((store, worker));
    let mut again = start(image).recovered.expect("it was there before");
    assert!((epoch..=epoch + 1).contains(&again.promised.0), "{} of {epoch}", again.promised);
    if again.log.last().index == last.index.next() {
        again.log.truncate(last.index.next());
    }
    assert_eq!(again.log, recovered.log);
}

/// Loses the power in the middle of a change.
fn cut(
    disk: &SimDisk,
    seed: u64,
    models: &Arc<Vec<Model>>,
    progress: Progress,
    counts: &mut Counts,
) {
    counts.cuts += 1;
    let cut = counts.cuts;
    // The process alone is killed, and the next one writes on before the power goes: what it
    // builds on was in the system's memory only, unless its start saw to that.
    let killed = disk.fork(cut);
    killed.crash();
    verify_going_on(&killed, cut);
    counts.went_on_after_kill += 1;
    for image_seed in cut * IMAGES..(cut + 1) * IMAGES {
        let image = lost_power(disk, image_seed);
        let copy = image.fork(image_seed);
        let what = format!("seed {seed}, change {cut}, image {image_seed}");
        let found = verify(&image, models, progress, &what);
        let outcome = match found {
            found if found == progress.acked => 0,
            found if found == progress.written => 1,
            _ => 2,
        };
        counts.found[outcome] += 1;
        counts.images += 1;
        if image_seed.is_multiple_of(29) {
            counts.cuts_at_start += 1;
            counts.images_at_start += verify_cut_starts(&copy, models, progress, cut);
            // The process is killed in the middle of the change, and the power goes in the start
            // after: what the system had not written yet is seen by that start, and may be gone.
            let killed = disk.fork(image_seed);
            killed.crash();
            counts.images_after_kill += verify_cut_starts(&killed, models, progress, cut);
        } else if image_seed.is_multiple_of(2) {
            counts.went_on += 1;
            verify_going_on(&copy, image_seed);
        }
    }
}

type Failure = Arc<Mutex<Option<Box<dyn std::any::Any + Send>>>>;

/// Runs the script of `seed` on a disk that is watched. Returns what was tried.
fn run(seed: u64, batches: usize) -> Counts {
    let mut author = Author::new(seed);
    let mut rng = Rng::new(seed + 1);
    let mut script = vec![vec![identity()]];
    for _ in 1..batches {
        script.push((0..=rng.below(6)).map(|_| author.next()).collect());
    }
    let models = Arc::new(prefixes(&script.concat()));
    let progress = Arc::new(Mutex::new(Progress::default()));
    let counts = Arc::new(Mutex::new(Counts::default()));
    let disk = SimDisk::new(seed);
    let (watched, tried, known) = (progress.clone(), counts.clone(), models.clone());
    let failure: Failure = Arc::default();
    let failed = failure.clone();
    disk.set_witness(Some(Box::new(move |disk| {
        // A panic in the middle of a write of redb's would be one too many for its destructors.
        let progress = *watched.lock().unwrap();
        let mut counts = tried.lock().unwrap();
        let tried =
            catch_unwind(AssertUnwindSafe(|| cut(disk, seed, &known, progress, &mut counts)));
        if let Err(panic) = tried {
            failed.lock().unwrap().get_or_insert(panic);
        }
    })));
    let Opened { mut store, mut worker, .. } = start(&disk);
    for records in &script {
        progress.lock().unwrap().written += records.len();
        store.commit(records).expect("a healthy disk");
        let mut progress = progress.lock().unwrap();
        progress.acked = progress.written;
        drop(progress);
        for _ in 0..rng.below(9) {
            worker.step().expect("a healthy disk");
        }
        if let Some(panic) = failure.lock().unwrap().take() {
            resume_unwind(panic);
        }
    }
    worker.run().expect("a healthy disk");
    disk.set_witness(None);
    disk.crash();
    drop((store, worker));
    verify(&disk, &models, *progress.lock().unwrap(), "the end");
    std::mem::take(&mut *counts.lock().unwrap())
}

// Claims: C-store-durable, C-store-prefix
#[test]
fn the_power_goes_at_every_change_and_nothing_durable_is_lost() {
    let counts = run(1, 120);
    println!("{counts:?}");
    assert!(counts.cuts > 1000 && counts.images == counts.cuts * IMAGES, "{counts:?}");
    assert!(counts.images_at_start > 5000 && counts.went_on > 100, "{counts:?}");
    assert!(counts.images_after_kill > 5000 && counts.went_on_after_kill > 1000, "{counts:?}");
    assert!(counts.found.iter().all(|count| *count > 0), "every outcome is met: {counts:?}");
}
