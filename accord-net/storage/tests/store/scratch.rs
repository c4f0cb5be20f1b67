//! Real directories with what a store wrote into them.

use crate::script::{Author, Model, NODE, identity, tiny};
use accord_core::ids::NodeId;
use accord_core::replica::io::Record;
use accord_storage::{OpenError, Options, RealDirectory, Store};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// An empty directory that is removed in the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("storage-{name}"));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    pub fn directory(&self) -> RealDirectory {
        RealDirectory::new(&self.0).expect("a directory can be made")
    }

    pub fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(&self.0).expect("it is there");
        let paths = entries.map(|entry| entry.expect("it is there").path());
        paths.map(|path| (path.clone(), fs::read(path).expect("it is readable"))).collect()
    }

    pub fn segment(&self) -> PathBuf {
        let used = |(_, bytes): &(&PathBuf, &Vec<u8>)| bytes[512..].iter().any(|byte| *byte != 0);
        let contents = self.contents();
        let mut logs =
            contents.iter().filter(|(path, _)| path.display().to_string().contains("log-"));
        logs.rfind(used).expect("there is a log").0.clone()
    }

    pub fn state(&self) -> PathBuf {
        let mut files = self.contents().into_keys();
        let is_state = |path: &PathBuf| path.display().to_string().contains("state-");
        files.find(is_state).expect("there is a checkpoint")
    }

    /// The error of a start, which must have changed nothing.
    pub fn refusal(&self, node: NodeId, options: Options) -> OpenError {
        let before = self.contents();
        let error = Store::open(self.directory(), node, options).expect_err("it is refused");
        assert!(self.contents() == before, "{error}");
        error
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::set_permissions(&self.0, fs::Permissions::from_mode(0o755));
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A directory with a checkpoint and a log, and what was written to it.
pub fn written(name: &str) -> (Scratch, Model) {
    let scratch = Scratch::new(name);
    let mut author = Author::new(11);
    let mut model = Model::empty();
    for life in 0..4 {
        let opened = Store::open(scratch.directory(), NODE, tiny()).expect("it is intact");
        model.is(opened.recovered.as_ref()).expect("what was written");
        let (mut store, mut worker) = (opened.store, opened.worker);
        for batch in 0..30 {
            let mut records: Vec<Record> = (0..5).map(|_| author.next()).collect();
            if (life, batch) == (0, 0) {
                records.insert(0, identity());
            }
            records.iter().for_each(|record| model.write(record));
            store.commit(&records).expect("a healthy disk");
            worker.step().expect("a healthy disk");
        }
        worker.run().expect("a healthy disk");
    }
    (scratch, model)
}
