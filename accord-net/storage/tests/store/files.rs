//! The store on real files: what it keeps, and each error with the data left as it was.

use crate::scratch::{Scratch, written};
use crate::script::{Author, Model, NODE, STORE, identity, tiny};
use accord_core::ids::{Epoch, NodeId};
use accord_core::replica::io::Record;
use accord_storage::{
    Access, Directory, DiskFile, Guard, OpenError, Options, RealDirectory, StorageError, Store,
    inspect,
};
use redb::{Database, TableDefinition};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::{DirEntryExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const CHECKPOINT: &str = "checkpoint.redb";

#[test]
fn what_was_written_is_there_at_the_next_start() {
    let (scratch, model) = written("kept");
    let opened = Store::open(scratch.directory(), NODE, tiny()).expect("it is intact");
    model.is(opened.recovered.as_ref()).expect("what was written");
    assert!(opened.recovered.is_some_and(|found| found.snapshot.is_some()));
}

#[test]
fn segments_that_are_not_needed_become_new_ones() {
    let scratch = Scratch::new("reused");
    let (mut author, mut model) = (Author::new(12), Model::empty());
    let (mut made, mut files, mut at_once) = (BTreeSet::new(), BTreeMap::new(), 0);
    let opened = Store::open(scratch.directory(), NODE, tiny()).expect("it is new");
    let (mut store, mut worker) = (opened.store, opened.worker);
    for batch in 0..300 {
        let mut records: Vec<Record> = (0..5).map(|_| author.next()).collect();
        if batch == 0 {
            records.insert(0, identity());
        }
        records.iter().for_each(|record| model.write(record));
        store.commit(&records).expect("a healthy disk");
        worker.run().expect("a healthy disk");
        let entries = fs::read_dir(&scratch.0).expect("it is there").map(|entry| entry.unwrap());
        let is_segment = |entry: &DirEntry| entry.file_name().to_string_lossy().starts_with("log-");
        let segments: Vec<_> = entries.filter(is_segment).collect();
        at_once = at_once.max(segments.len());
        made.extend(segments.iter().map(DirEntry::file_name));
        for segment in &segments {
            // Held open, so that no other file is given its number.
            let open = || fs::File::open(segment.path()).expect("it is there");
            files.entry(segment.ino()).or_insert_with(open);
        }
    }
    let (made, files) = (made.len(), files.len());
    assert!(made > 100 && files * 4 < made * 3 && at_once < 12, "{made}, {files}, {at_once}");
    drop((store, worker));
    let opened = Store::open(scratch.directory(), NODE, tiny()).expect("it is intact");
    model.is(opened.recovered.as_ref()).expect("what was written");
}

#[test]
fn there_is_one_state_but_while_the_next_is_written() {
    let scratch = Scratch::new("states");
    let mut author = Author::new(14);
    let mut states = BTreeSet::new();
    for life in 0..4 {
        let opened = Store::open(scratch.directory(), NODE, tiny()).expect("it is intact");
        let (mut store, mut worker) = (opened.store, opened.worker);
        for batch in 0..60 {
            let mut records: Vec<Record> = (0..5).map(|_| author.next()).collect();
            if (life, batch) == (0, 0) {
                records.insert(0, identity());
            }
            store.commit(&records).expect("a healthy disk");
            let entries = fs::read_dir(&scratch.0).expect("it is there");
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let found: Vec<String> = names.filter(|name| name.starts_with("state-")).collect();
            // The one, the next, and one that an installed state has made needless.
            assert!(found.len() <= 3, "{found:?}");
            states.extend(found);
            // The last life ends in the middle of whatever it is at.
            let busy = if batch < 50 { worker.run().map(|()| false) } else { worker.step() };
            busy.expect("a healthy disk");
        }
    }
    assert!(states.len() > 10, "{states:?}");
    let opened = Store::open(scratch.directory(), NODE, tiny()).expect("it is intact");
    let left = scratch.contents().into_keys().filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("state-"))
    });
    assert_eq!(left.collect::<Vec<_>>(), [scratch.state()]);
    drop(opened);
}

#[test]
fn a_directory_can_be_inspected_and_is_left_as_it_is() {
    let (scratch, _) = written("inspected");
    let before = scratch.contents();
    let found = inspect(&scratch.directory()).expect("it is intact").expect("it was written");
    assert!(scratch.contents() == before);
    let opened = Store::open(scratch.directory(), NODE, tiny()).expect("it is intact");
    let recovered = opened.recovered.as_ref().expect("it was written");
    assert_eq!((found.node, found.store, found.cluster), (NODE, STORE, tiny().cluster));
    assert_eq!((found.promised, found.last), (recovered.promised, recovered.log.last()));
    assert_eq!(found.checkpoint.map(|(last, _)| last), Some(recovered.log.base()));
    assert_eq!(&found.voters, recovered.log.voters());
    assert!(matches!(inspect(&scratch.directory()), Err(OpenError::Locked { .. })));
    let empty = Scratch::new("inspected-empty");
    assert_eq!(inspect(&empty.directory()).expect("nothing is wrong"), None);
}

#[test]
fn another_servers_directory_is_refused() {
    let (scratch, _) = written("other");
    let error = scratch.refusal(NodeId(8), tiny());
    assert!(matches!(error, OpenError::OtherServer { found: NODE, .. }), "{error}");
    let error = scratch.refusal(NODE, Options { cluster: 1, ..tiny() });
    assert!(matches!(error, OpenError::OtherCluster { .. }), "{error}");
}

#[test]
fn a_directory_in_use_is_refused() {
    let (scratch, _) = written("locked");
    let opened = Store::open(scratch.directory(), NODE, tiny()).expect("it is intact");
    let error = scratch.refusal(NODE, tiny());
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    drop(opened);
    Store::open(scratch.directory(), NODE, tiny()).expect("nobody uses it any more");
}

#[test]
fn checkpoint_files_of_other_formats_are_refused() {
    let (scratch, _) = written("other-formats");
    set_format(&scratch, 5);
    let error = scratch.refusal(NODE, tiny());
    assert!(matches!(error, OpenError::NewerFormat { found: 5, known: 4, .. }), "{error}");
    for older in [1, 2, 3] {
        set_format(&scratch, older);
        let error = scratch.refusal(NODE, tiny());
        assert!(matches!(error, OpenError::OlderFormat { known: 4, .. }), "{error}");
        assert!(error.to_string().contains("start the version that wrote it"), "{error}");
    }
}

fn set_format(scratch: &Scratch, format: u32) {
    let mut value = format.to_le_bytes().to_vec();
    value.extend_from_slice(&crc32fast::hash(&value).to_le_bytes());
    let database = Database::open(scratch.0.join(CHECKPOINT)).expect("it is a redb file");
    let transaction = database.begin_write().expect("a healthy disk");
    let meta: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
    let mut table = transaction.open_table(meta).expect("it is there");
    table.insert("format", &value[..]).expect("a healthy disk");
    drop(table);
    transaction.commit().expect("a healthy disk");
}

#[test]
fn segments_of_other_formats_are_refused() {
    let (scratch, _) = written("other-segments");
    set_segment_format(&scratch, 3);
    let error = scratch.refusal(NODE, tiny());
    assert!(matches!(error, OpenError::NewerFormat { found: 3, known: 2, .. }), "{error}");
    set_segment_format(&scratch, 1);
    let error = scratch.refusal(NODE, tiny());
    assert!(matches!(error, OpenError::OlderFormat { found: 1, known: 2, .. }), "{error}");
}

fn set_segment_format(scratch: &Scratch, format: u8) {
    let path = scratch.segment();
    let mut bytes = fs::read(&path).expect("it is readable");
    bytes[16] = format;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[0; 32]);
    hasher.update(&bytes[4..512]);
    bytes[..4].copy_from_slice(&hasher.finalize().to_le_bytes());
    fs::write(&path, bytes).expect("a healthy disk");
}

#[test]
fn a_truncated_or_turned_file_is_named() {
    let (scratch, _) = written("damaged");
    for path in [scratch.segment(), scratch.0.join(CHECKPOINT), scratch.state()] {
        let whole = fs::read(&path).expect("it is readable");
        fs::write(&path, &whole[..whole.len() / 2]).expect("a healthy disk");
        let error = scratch.refusal(NODE, tiny());
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        let mut turned = whole.clone();
        // The first sector of a segment; a part of the header of a redb file.
        turned[20] ^= 4;
        fs::write(&path, &turned).expect("a healthy disk");
        let error = scratch.refusal(NODE, tiny());
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        fs::write(&path, &whole).expect("a healthy disk");
    }
    fs::remove_file(scratch.0.join(CHECKPOINT)).expect("it is there");
    let error = scratch.refusal(NODE, tiny());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    let (scratch, _) = written("read-only");
    for name in scratch.contents().keys() {
        fs::set_permissions(name, fs::Permissions::from_mode(0o444)).expect("it is ours");
    }
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o555)).expect("it is ours");
    // Permissions mean nothing to a superuser; then there is nothing to see here.
    if fs::write(scratch.0.join("probe"), b"").is_err() {
        let error = scratch.refusal(NODE, tiny());
        assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
    }
}

/// A real directory on a disk that has no room after so many more bytes.
#[derive(Debug)]
struct Quota(RealDirectory, Arc<AtomicU64>);

#[derive(Debug)]
struct QuotaFile(Arc<dyn DiskFile>, Arc<AtomicU64>);

impl QuotaFile {
    fn spend(&self, to: u64) -> io::Result<()> {
        let more = to.saturating_sub(self.0.len_bytes()?);
        let spent =
            self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(more));
        spent.map(|_| ()).map_err(|_| io::ErrorKind::StorageFull.into())
    }
}

impl DiskFile for QuotaFile {
    fn len_bytes(&self) -> io::Result<u64> {
        self.0.len_bytes()
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.spend(offset + data.len() as u64)?;
        self.0.write_at(offset, data)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.spend(len)?;
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

impl Directory for Quota {
    fn lock(&self) -> io::Result<Option<Box<dyn Guard>>> {
        self.0.lock()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(QuotaFile(self.0.open(name, access)?, self.1.clone())))
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(QuotaFile(self.0.create(name)?, self.1.clone())))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn describe(&self, name: &str) -> String {
        self.0.describe(name)
    }
}

#[test]
fn a_full_disk_stops_the_store_and_what_was_durable_is_there() {
    let (scratch, model) = written("full");
    let quota = Quota(scratch.directory(), Arc::new(AtomicU64::new(50 << 10)));
    let opened = Store::open(quota, NODE, tiny()).expect("a start needs next to no room");
    let (mut store, mut worker) = (opened.store, opened.worker);
    let found = opened.recovered.expect("it was written");
    model.is(Some(&found)).expect("what was written");
    let mut promised = found.promised.0;
    let error = loop {
        let records = [Record::Promise(Epoch(promised + 1))];
        match store.commit(&records).and_then(|()| worker.run()) {
            Err(error) => break error,
            Ok(()) => promised += 1,
        }
    };
    assert!(matches!(error, StorageError::Full { .. }), "{error}");
    assert!(matches!(store.commit(&[]), Err(StorageError::Failed { .. })), "it takes no more");
    drop((store, worker));
    let opened = Store::open(scratch.directory(), NODE, tiny()).expect("there is room now");
    let found = opened.recovered.expect("it was written").promised.0;
    assert!((promised..=promised + 1).contains(&found), "{found} of {promised}");
}
