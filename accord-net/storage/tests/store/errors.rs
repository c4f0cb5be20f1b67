//! What a start finds wrong is told apart, named, and left as it was. On a simulated disk; the same
//! on real files is in `files.rs`.

use crate::script::{Author, NODE, identity, tiny};
use accord_core::ids::{Epoch, Index, NodeId};
use accord_core::replica::io::Record;
use accord_core::rng::Rng;
use accord_storage::simdisk::SimDisk;
use accord_storage::{Damage, Directory, OpenError, Options, StorageError, Store, inspect};

const CHECKPOINT: &str = "checkpoint.redb";

/// A disk with a checkpoint, some segments of log, and nothing on its way.
fn written(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let opened = Store::open(disk.clone(), NODE, tiny()).expect("an empty disk");
    let (mut store, mut worker) = (opened.store, opened.worker);
    let mut author = Author::new(seed);
    store.commit(&[identity()]).expect("a healthy disk");
    let mut checkpoints = 0;
    for batch in 0.. {
        let records: Vec<Record> = (0..4).map(|_| author.next()).collect();
        let checkpoint = records.iter().any(|record| matches!(record, Record::Checkpoint(_)));
        checkpoints += u32::from(checkpoint);
        store.commit(&records).expect("a healthy disk");
        if batch < 20 || checkpoints < 2 {
            worker.run().expect("a healthy disk");
        } else if batch > 40 {
            break;
        }
    }
    drop((store, worker));
    disk.crash();
    disk
}

fn open(disk: &SimDisk, node: NodeId, options: Options) -> Result<(), OpenError> {
    Store::open(disk.clone(), node, options).map(|_| ())
}

/// The error of a start, which must have changed nothing.
fn refusal(disk: &SimDisk) -> OpenError {
    let before = disk.all_contents();
    let error = open(disk, NODE, tiny()).expect_err("it must be refused");
    assert_eq!(disk.all_contents(), before, "{error}");
    error
}

fn damage(disk: &SimDisk) -> Damage {
    match refusal(disk) {
        OpenError::Damaged { damage } => damage,
        other => panic!("not called damage: {other}"),
    }
}

/// The file with the state that counts: a start leaves no other.
fn state(disk: &SimDisk) -> String {
    let image = disk.fork(0);
    image.crash();
    open(&image, NODE, tiny()).expect("an intact disk");
    let names = image.list().expect("it has power").into_iter();
    let states: Vec<String> = names.filter(|name| name.starts_with("state-")).collect();
    assert_eq!(states.len(), 1, "{states:?}");
    states[0].clone()
}

/// Segments that the log on the disk reaches into, without the empty one.
fn segments(disk: &SimDisk) -> Vec<String> {
    let used = |name: &String| disk.contents(name)[512..].iter().any(|byte| *byte != 0);
    let names = disk.list().expect("it has power").into_iter();
    names.filter(|name| name.starts_with("log-")).filter(used).collect()
}

// Claims: C-store-owner, C-store-untouched
#[test]
fn another_servers_or_clusters_directory_is_refused_and_says_whose_it_is() {
    let disk = written(1);
    let before = disk.all_contents();
    let other = open(&disk, NodeId(8), tiny()).expect_err("not its own");
    let text = other.to_string();
    assert!(matches!(other, OpenError::OtherServer { found: NODE, expected: NodeId(8), .. }));
    assert!(text.contains(CHECKPOINT) && text.contains("own directory"), "{text}");
    let cluster = open(&disk, NODE, Options { cluster: 5, ..tiny() }).expect_err("not its own");
    assert!(matches!(cluster, OpenError::OtherCluster { .. }), "{cluster}");
    assert_eq!(disk.all_contents(), before);
    assert!(open(&disk, NODE, tiny()).is_ok());
}

#[test]
fn a_directory_in_use_is_refused() {
    let disk = written(2);
    let opened = Store::open(disk.clone(), NODE, tiny()).expect("nobody uses it");
    assert!(matches!(refusal(&disk), OpenError::Locked { .. }));
    let (store, worker) = (opened.store, opened.worker);
    drop(store);
    assert!(matches!(refusal(&disk), OpenError::Locked { .. }), "the worker still uses it");
    drop(worker);
    assert!(open(&disk, NODE, tiny()).is_ok());
}

#[test]
fn a_disk_that_cannot_be_written_is_refused() {
    for disk in [SimDisk::new(3), written(3)] {
        disk.set_read_only(true);
        let error = refusal(&disk);
        assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
    }
}

#[test]
fn a_full_disk_stops_the_store_and_room_lets_it_go_on_with_what_was_durable() {
    let mut seen_full = 0;
    for capacity in (20..300).step_by(8) {
        let disk = SimDisk::new(capacity);
        disk.set_capacity_bytes(Some(capacity << 10));
        let opened = Store::open(disk.clone(), NODE, tiny()).expect("it needs no room yet");
        let (mut store, mut worker) = (opened.store, opened.worker);
        let mut author = Author::new(capacity);
        let mut acked = Vec::new();
        let mut batch = vec![identity()];
        let error = loop {
            match store.commit(&batch).and_then(|()| worker.run()) {
                Err(error) => break Some(error),
                Ok(()) if acked.len() > 400 => break None,
                Ok(()) => acked.append(&mut batch),
            }
            batch.push(author.next());
        };
        drop((store, worker));
        disk.lose_power();
        let Some(error) = error else { continue };
        assert!(matches!(error, StorageError::Full { .. }), "{error}");
        seen_full += 1;
        disk.set_capacity_bytes(None);
        let opened = Store::open(disk.clone(), NODE, tiny()).expect("there is room now");
        assert!(opened.recovered.is_some() || acked.is_empty());
    }
    assert!(seen_full >= 5, "{seen_full}");
}

#[test]
fn a_full_disk_does_not_keep_an_intact_store_from_starting_or_says_that_it_is_full() {
    let disk = written(4);
    disk.set_capacity_bytes(Some(0));
    match open(&disk, NODE, tiny()) {
        Ok(()) | Err(OpenError::Full { .. }) => {}
        Err(other) => panic!("{other}"),
    }
}

/// Every byte of the log that a start reads: a turned bit in it is either damage, named by its
/// place, or was part of nothing.
// Claims: C-store-damage
#[test]
fn a_turned_bit_anywhere_in_the_log_is_named_and_never_applied() {
    let disk = written(5);
    let opened = Store::open(disk.clone(), NODE, tiny()).expect("an intact disk");
    let whole = opened.recovered.clone().expect("it was written");
    drop(opened);
    disk.crash();
    let mut named = 0;
    let mut rng = Rng::new(5);
    for name in segments(&disk) {
        for sector in 0..disk.contents(&name).len() as u64 / 512 {
            let image = disk.fork(0);
            image.crash();
            let offset = sector * 512 + rng.below(512);
            image.flip(&name, offset, 1 << rng.below(8));
            match Store::open(image.clone(), NODE, tiny()) {
                // What lies before the base is not read.
                Ok(opened) => assert_eq!(opened.recovered.as_ref(), Some(&whole)),
                Err(OpenError::Damaged { damage }) => {
                    assert!(damage.path.ends_with(&name), "{damage}");
                    assert_eq!(damage.offset.map(|at| at / 512), Some(sector), "{damage}");
                    assert!(sector == 0 || damage.after.is_some(), "{damage}");
                    named += 1;
                }
                Err(other) => panic!("{name} at {offset}: {other}"),
            }
        }
    }
    assert!(named > 50, "{named}");
}

// Claims: C-store-damage
#[test]
fn a_turned_bit_anywhere_in_the_checkpoint_is_named_and_never_applied() {
    let disk = written(6);
    let opened = Store::open(disk.clone(), NODE, tiny()).expect("an intact disk");
    let whole = opened.recovered.clone().expect("it was written");
    drop(opened);
    disk.crash();
    let mut rng = Rng::new(6);
    for name in [CHECKPOINT, &state(&disk)] {
        let bytes = disk.contents(name).len() as u64;
        let (mut named, mut harmless) = (0, 0);
        for piece in 0..bytes / 32 {
            let image = disk.fork(0);
            image.crash();
            let offset = piece * 32 + rng.below(32);
            image.flip(name, offset, 1 << rng.below(8));
            let before = image.all_contents();
            match Store::open(image.clone(), NODE, tiny()) {
                Ok(opened) => {
                    assert_eq!(opened.recovered.as_ref(), Some(&whole), "byte {offset}");
                    harmless += 1;
                }
                Err(OpenError::Damaged { damage }) => {
                    assert!(damage.path.ends_with(name), "{damage}");
                    assert_eq!(image.all_contents(), before, "{damage}");
                    named += 1;
                }
                Err(other) => panic!("byte {offset} of {name}: {other}"),
            }
        }
        println!("{name}: {named} named, {harmless} in parts that hold nothing");
        assert!(named > 20, "{name}: {named} of {harmless}");
    }
}

/// redb goes back to the commit before if the last one seems to have been cut off. What that
/// commit made durable must be missed all the same.
#[test]
fn an_installed_state_is_not_lost_to_a_turned_bit_in_the_header_of_the_checkpoint_file() {
    let disk = SimDisk::new(10);
    let opened = Store::open(disk.clone(), NODE, tiny()).expect("an empty disk");
    let mut store = opened.store;
    store.commit(&[identity(), Record::Promise(Epoch(3))]).expect("a healthy disk");
    store.commit(&[Record::Install(Author::new(1).snapshot(2, 80))]).expect("a healthy disk");
    disk.crash();
    drop((store, opened.worker));
    let image = disk.fork(0);
    image.crash();
    let whole = Store::open(image, NODE, tiny()).expect("an intact disk").recovered;
    let (mut named, mut harmless) = (0, 0);
    let files = [CHECKPOINT.to_owned(), state(&disk)];
    for (name, bit) in files.iter().flat_map(|name| (0..512 * 8).map(move |bit| (name, bit))) {
        let image = disk.fork(0);
        image.crash();
        image.flip(name, bit / 8, 1 << (bit % 8));
        match Store::open(image, NODE, tiny()) {
            Ok(opened) => {
                assert!(opened.recovered == whole, "bit {bit} of {name}");
                harmless += 1;
            }
            Err(OpenError::Damaged { .. }) => named += 1,
            Err(other) => panic!("bit {bit} of {name}: {other}"),
        }
    }
    assert!(named > 100, "{named} of {harmless}");
}

#[test]
fn a_truncated_or_missing_file_is_named() {
    let disk = written(7);
    let last = segments(&disk).pop().expect("there is a log");
    let needed = [CHECKPOINT.to_owned(), state(&disk), last];
    for name in segments(&disk).iter().chain(&needed).rev() {
        let bytes = disk.contents(name).len() as u64;
        for len in [0, 1, 511, 512, bytes / 2, bytes - 512, bytes - 1] {
            let image = disk.fork(0);
            image.crash();
            image.truncate(name, len);
            if needed.contains(name) {
                let damage = damage(&image);
                assert!(damage.path.ends_with(name.as_str()), "{name} at {len}: {damage}");
            } else if let Err(error) = open(&image, NODE, tiny()) {
                assert!(error.to_string().contains(name.as_str()), "{name} at {len}: {error}");
            }
        }
        let image = disk.fork(0);
        image.crash();
        image.remove(name).expect("it is there");
        if needed.contains(name) {
            let damage = damage(&image);
            assert!(damage.path.ends_with(name.as_str()), "{damage}");
            assert!(damage.why.contains("missing"), "{damage}");
        }
    }
}

/// States without the file that says which of them counts are no store, even if the log is gone
/// as well.
#[test]
fn states_alone_are_not_taken_for_nothing() {
    let disk = written(13);
    for name in segments(&disk).iter().map(String::as_str).chain([CHECKPOINT]) {
        disk.remove(name).expect("it is there");
    }
    let damage = damage(&disk);
    assert!(damage.path.ends_with(CHECKPOINT) && damage.why.contains("states"), "{damage}");
}

#[test]
fn a_sector_that_cannot_be_read_is_named() {
    let disk = written(8);
    let last = segments(&disk).pop().expect("there is a log");
    disk.lose_sector(&last, 512);
    let damage = damage(&disk);
    assert!(damage.path.ends_with(&last) && damage.why.contains("cannot be read"), "{damage}");
}

/// A frame that was synced and whose sectors are zero again is gone, unless it is the very last.
// Claims: C-store-damage
#[test]
fn a_synced_frame_that_is_gone_is_noticed() {
    let disk = SimDisk::new(9);
    let opened = Store::open(disk.clone(), NODE, tiny()).expect("an empty disk");
    let mut store = opened.store;
    store.commit(&[identity()]).expect("a healthy disk");
    for epoch in 1..=3 {
        store.commit(&[Record::Promise(Epoch(epoch))]).expect("a healthy disk");
    }
    drop((store, opened.worker));
    let first = segments(&disk).pop().expect("there is a log");
    let contents = disk.contents(&first);
    let vanish = |disk: &SimDisk, sector: usize| {
        let range = sector * 512..(sector + 1) * 512;
        for (at, byte) in range.clone().zip(&contents[range]) {
            disk.flip(&first, at as u64, *byte);
        }
    };
    let image = disk.fork(0);
    image.crash();
    vanish(&image, 1);
    let found = damage(&image);
    assert_eq!((found.offset, found.after), (Some(2 * 512), Some(Index(0))), "{found}");
    let image = disk.fork(0);
    image.crash();
    vanish(&image, 3);
    let opened = Store::open(image, NODE, tiny()).expect("as if it had never been synced");
    assert_eq!(opened.recovered.map(|found| found.promised), Some(Epoch(2)));
}

/// The worker is at work while a commit is: it must not have made the segment after the one whose
/// first frame is under way, for then that frame seems to have been durable, and gone. Nor may the
/// worker of a start that finds the frame torn.
#[test]
fn a_power_loss_within_the_first_frame_of_a_segment_is_no_damage() {
    let (mut in_new_segment, mut torn) = (0, 0);
    for seed in 0..120 {
        let disk = SimDisk::new(seed);
        let opened = Store::open(disk.clone(), NODE, tiny()).expect("an empty disk");
        let (mut store, mut worker) = (opened.store, opened.worker);
        store.commit(&[identity()]).expect("a healthy disk");
        worker.run().expect("a healthy disk");
        // A segment holds 24 sectors, and each of these frames takes one, but for the last.
        let durable = 20 + seed % 5;
        for epoch in 1..=durable {
            store.commit(&[Record::Promise(Epoch(epoch))]).expect("a healthy disk");
        }
        let before = segments(&disk).len();
        let last: Vec<_> =
            (durable + 1..durable + 250).map(|it| Record::Promise(Epoch(it))).collect();
        store.write(&last).expect("a healthy disk");
        let is_new = segments(&disk).len() > before;
        in_new_segment += u32::from(is_new);
        worker.run().expect("a healthy disk");
        disk.lose_power();
        drop((store, worker));
        for _ in 0..3 {
            let found = inspect(&disk).expect("nothing durable is gone").expect("it was written");
            torn += u32::from(is_new && found.torn_sectors > 0);
            assert!(found.promised.0 >= durable, "{} of {durable}", found.promised);
            let mut opened = Store::open(disk.clone(), NODE, tiny()).expect("as it was inspected");
            opened.worker.run().expect("a healthy disk");
            disk.lose_power();
            drop(opened);
        }
        // It is written to again, also by a frame for which the segment is too small.
        let opened = Store::open(disk.clone(), NODE, tiny()).expect("nothing durable is gone");
        let (mut store, mut worker) = (opened.store, opened.worker);
        let promised = opened.recovered.expect("it was written").promised.0;
        let large = Options { frame_bytes_max: 1 << 20, ..tiny() };
        if seed % 2 == 0 {
            drop((store, worker));
            let opened = Store::open(disk.clone(), NODE, large).expect("nothing durable is gone");
            (store, worker) = (opened.store, opened.worker);
        }
        let more: Vec<_> = (1..6000).map(|it| Record::Promise(Epoch(promised + it))).collect();
        store.commit(&more).expect("a healthy disk");
        worker.run().expect("a healthy disk");
        store.commit(&[Record::Promise(Epoch(promised + 6000))]).expect("a healthy disk");
        disk.lose_power();
        drop((store, worker));
        let found = inspect(&disk).expect("nothing durable is gone").expect("it was written");
        assert_eq!(found.promised.0, promised + 6000);
    }
    assert!(in_new_segment > 10 && torn > 5, "{in_new_segment}, {torn}");
}
