//! What a start finds in a directory, and what it mends.
//!
//! First everything is read and judged, and nothing is changed ([`judge`], which an inspection runs
//! as well): the checkpoint file, then every frame from its base on. Only then is mended what a
//! crash may leave: what was written and not
//! synced is synced before anybody relies on it, the sectors of an unfinished frame are set back to
//! zero, and files that are not needed are removed. All of it may be cut off and done again.

use super::checkpoint::{self, CheckpointFile, Contents};
use super::disk::{Access, Directory, DiskFile, LOCK_NAME, SECTOR_BYTES};
use super::error::{Damage, OpenError, StorageError};
use super::index::LogIndex;
use super::scan::{Scanned, Scanner};
use super::segment::{self, Owner, UNFINISHED};
use super::state_file;
use super::store::{CLUSTER_NAME_DEFAULT, Log, Opened, Options, Store};
use super::worker::{Shared, Worker};
use accord_core::ids::{Epoch, Index, LogPosition, NodeId, StoreId};
use accord_core::replica::io::Record;
use accord_core::replica::log::Recovered;
use std::io;
use std::sync::Arc;

/// What is read at once.
const PIECE_BYTES: usize = 1 << 20;

pub(super) fn open(
    directory: Arc<dyn Directory>,
    node: NodeId,
    options: Options,
) -> Result<Opened, OpenError> {
    // Taking the lock makes a file, and nothing is to be made in somebody else's directory.
    refuse_foreign(directory.as_ref())?;
    let path = || directory.describe(LOCK_NAME);
    let guard = directory.lock().map_err(|error| OpenError::io("lock", path(), error))?;
    let guard = guard.ok_or_else(|| OpenError::Locked { path: path() })?;
    let whose = Some((node, &options));
    let (names, found) = judge(directory.as_ref(), whose, options.cache_bytes)?;
    let Some(Found { contents, scanned, mut recovered }) = found else {
        clean_up(directory.as_ref(), &names, u64::MAX, None)?;
        let shared = Shared::new(directory, guard, options);
        let store = Store::new(node, shared.clone(), None);
        return Ok(Opened { store, worker: Worker::new(shared), recovered: None, allowed: false });
    };
    let base = contents.base.clone();
    let state = base.snapshot.as_ref().map(|_| base.generation);
    mend(directory.as_ref(), &names, state, &scanned)?;
    let file = CheckpointFile::open(directory.as_ref(), base, options.cache_bytes)?;
    let allowed = options.bootstrap && !recovered.bootstrap && holds_nothing(&recovered);
    if allowed {
        let failed = |error: StorageError| OpenError::Io {
            what: "write",
            path: directory.describe(checkpoint::NAME),
            source: io::Error::other(error),
        };
        file.allow_bootstrap(contents.identity).map_err(failed)?;
        recovered.bootstrap = true;
    }
    clean_up(directory.as_ref(), &names, contents.base.at.segment, state)?;
    let shared = Shared::new(directory, guard, options);
    let log = continue_log(&shared, &contents, &scanned)?;
    shared.set_file(file, contents.base.at.segment);
    let store = Store::new(node, shared.clone(), Some(log));
    Ok(Opened { store, worker: Worker::new(shared), recovered: Some(recovered), allowed })
}

/// True if a server has only ever waited here: it took no part in any cluster, so it may as well be
/// new.
pub fn holds_nothing(recovered: &Recovered) -> bool {
    recovered.snapshot.is_none()
        && recovered.log.last() == LogPosition::default()
        && recovered.log.voters().is_empty()
        && recovered.promised == Epoch(0)
}

/// What a directory holds.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) contents: Contents,
    pub(super) scanned: Scanned,
    pub(super) recovered: Recovered,
}

/// Reads and judges everything, and changes nothing: the names of the files, and what is in them;
/// nothing, if no server has been here. `whose`: the server and the cluster that it must be of, if
/// that matters.
pub(super) fn judge(
    directory: &dyn Directory,
    whose: Option<(NodeId, &Options)>,
    cache_bytes: usize,
) -> Result<(Vec<String>, Option<Found>), OpenError> {
    let names = names(directory)?;
    if names.iter().any(|name| name == checkpoint::NAME) {
        let found = find(directory, &names, whose, cache_bytes)?;
        return Ok((names, Some(found)));
    }
    refuse_orphans(directory, &names)?;
    Ok((names, None))
}

fn find(
    directory: &dyn Directory,
    names: &[String],
    whose: Option<(NodeId, &Options)>,
    cache_bytes: usize,
) -> Result<Found, OpenError> {
    let contents = checkpoint::read(directory, cache_bytes)?;
    if let Some((node, options)) = whose {
        check_identity(directory, node, options, &contents)?;
    }
    let scanned = scan(directory, names, &contents)?;
    let recovered = replay(directory, &contents, &scanned)?;
    Ok(Found { contents, scanned, recovered })
}

pub(super) fn names(directory: &dyn Directory) -> Result<Vec<String>, OpenError> {
    directory.list().map_err(|error| OpenError::io("list", directory.describe("."), error))
}

/// A server's files other than its log, states and checkpoint. The list of servers is its driver's.
const OWN_NAMES: [&str; 4] = [LOCK_NAME, SUSPECT_NAME, "servers.json", "servers.json.new"];

/// True if a server makes files of this name in its directory.
pub fn is_own(name: &str) -> bool {
    let finished = name.strip_suffix(UNFINISHED).unwrap_or(name);
    OWN_NAMES.contains(&name)
        || finished == checkpoint::NAME
        || segment::id_of(finished).is_some()
        || state_file::generation_of(name).is_some()
}

/// Refuses a directory in which no server has been, but something else is: it belongs to another
/// program.
///
/// # Errors
/// [`OpenError::Foreign`] with the first such name; [`OpenError::Io`] if it cannot be listed.
pub fn refuse_foreign(directory: &dyn Directory) -> Result<(), OpenError> {
    let names = names(directory)?;
    // A file system has this when it is new.
    let mut others = names.iter().filter(|name| !is_own(name) && *name != "lost+found");
    if names.iter().any(|name| name == checkpoint::NAME) {
        return Ok(());
    }
    match others.next() {
        Some(name) => Err(OpenError::Foreign { path: directory.describe("."), name: name.clone() }),
        None => Ok(()),
    }
}

/// Without a checkpoint file there is no store. Segments may be there if its creation was cut off,
/// but then they are unused: one with records in it says that the file was lost.
fn refuse_orphans(directory: &dyn Directory, names: &[String]) -> Result<(), OpenError> {
    let orphaned = |what: &str| {
        let path = directory.describe(checkpoint::NAME);
        let why = format!("the file is missing, but there are {what}");
        Damage { path, offset: None, after: None, why }
    };
    if names.iter().any(|name| state_file::generation_of(name).is_some()) {
        return Err(orphaned("states").into());
    }
    for name in names.iter().filter(|name| segment::id_of(name).is_some()) {
        let failed = |error| OpenError::io("read", directory.describe(name), error);
        let file = directory.open(name, Access::Read).map_err(failed)?;
        let bytes = file.len_bytes().map_err(failed)?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut at = SECTOR_BYTES as u64;
        while at < bytes {
            let piece = &mut piece[..(bytes - at).min(PIECE_BYTES as u64) as usize];
            file.read_at(at, piece).map_err(failed)?;
            if piece.iter().any(|byte| *byte != 0) {
                return Err(orphaned("segments of a log").into());
            }
            at += piece.len() as u64;
        }
    }
    Ok(())
}

fn check_identity(
    directory: &dyn Directory,
    node: NodeId,
    options: &Options,
    contents: &Contents,
) -> Result<(), OpenError> {
    let path = directory.describe(checkpoint::NAME);
    let (found, label) = (contents.identity.owner.node, contents.identity.cluster);
    if label != options.cluster {
        return Err(OpenError::OtherCluster {
            path,
            found: cluster_named(label, &contents.cluster_name),
            expected: cluster_named(options.cluster, &options.cluster_name),
        });
    }
    if found != node {
        return Err(OpenError::OtherServer { path, found, expected: node });
    }
    Ok(())
}

/// What people call a cluster.
pub(super) fn cluster_named(label: u64, name: &str) -> String {
    match name {
        "" if label == 0 => CLUSTER_NAME_DEFAULT.to_owned(),
        "" => format!("with label {label:016x}"),
        name => name.to_owned(),
    }
}

fn scan(
    directory: &dyn Directory,
    names: &[String],
    contents: &Contents,
) -> Result<Scanned, OpenError> {
    let owner = contents.identity.owner;
    let later = names.iter().filter_map(|name| segment::id_of(name));
    let mut last_segment = contents.last_segment;
    for id in later.filter(|id| *id > contents.last_segment) {
        // One more than noted may be there, if a crash came between, and it is whole: a segment
        // gets its name last. Else it would be taken for a sign that those before it were used.
        segment::open(directory, owner, id, Access::Read)?;
        last_segment = last_segment.max(id);
    }
    let snapshot = contents.snapshot.as_ref();
    let mut scanner = Scanner {
        directory,
        owner,
        last_segment,
        after: Some(snapshot.map_or(Index(0), |snapshot| snapshot.last.index)),
    };
    let base = &contents.base;
    let scanned = scanner.scan(base.at, base.from)?;
    if scanned.base > base.generation {
        // redb goes back to the commit before if it takes the last one for unfinished.
        let path = directory.describe(checkpoint::NAME);
        let why = format!("base {} is gone, and {} is there", scanned.base, base.generation);
        return Err(Damage { path, offset: None, after: scanner.after, why }.into());
    }
    if (base.at.first..=scanned.end.first).contains(&base.from) {
        return Ok(scanned);
    }
    // Whole sectors of the last frame are zero, as if it had never been written.
    let path = directory.describe(&segment::name(scanned.end.segment));
    let offset = Some(scanned.end.sector * SECTOR_BYTES as u64);
    let why = "the log ends before the checkpoint's end".to_owned();
    Err(Damage { path, offset, after: scanner.after, why }.into())
}

fn replay(
    directory: &dyn Directory,
    contents: &Contents,
    scanned: &Scanned,
) -> Result<Recovered, OpenError> {
    let Owner { node, store } = contents.identity.owner;
    let store = StoreId(store);
    let bootstrap = contents.identity.bootstrap;
    let mut front = vec![Record::Identity { node, store, bootstrap }];
    if contents.base.promised > Epoch(0) {
        front.push(Record::Promise(contents.base.promised));
    }
    front.extend(contents.snapshot.clone().map(Record::Install));
    let records = front.into_iter().chain(scanned.records.iter().map(|(_, record)| record.clone()));
    match Recovered::replay(node, records) {
        Ok(recovered) => Ok(recovered.expect("the identity is a record")),
        Err(source) => Err(OpenError::Inconsistent { path: directory.describe("."), source }),
    }
}

/// Its presence says that a write or a sync failed in an earlier life.
const SUSPECT_NAME: &str = "suspect";

/// Notes that the system may show what never reached the disk. Linux takes for clean what it failed
/// to write, shows it to every reader, and does not write it with a later sync. The note need not
/// be synced: with the system's memory, what it is about is gone as well.
pub(super) fn suspect(directory: &dyn Directory) {
    // The disk has just failed. If it fails at this too, the operator has been told already.
    let _ = directory.create(SUSPECT_NAME);
}

/// Makes durable what was found, and sets back to zero what is left of an unfinished frame.
fn mend(
    directory: &dyn Directory,
    names: &[String],
    state: Option<u64>,
    scanned: &Scanned,
) -> Result<(), OpenError> {
    let suspected = names.iter().any(|name| name == SUSPECT_NAME);
    let state = state.map_or(Ok(()), |generation| {
        mend_database(directory, &state_file::name(generation), suspected)
    });
    let mended = state
        .and_then(|()| mend_database(directory, checkpoint::NAME, suspected))
        .and_then(|()| directory.sync())
        .and_then(|()| mend_log(directory, suspected, scanned))
        .and_then(|()| if suspected { directory.remove(SUSPECT_NAME) } else { Ok(()) });
    mended.map_err(|error| {
        suspect(directory);
        OpenError::io("mend", directory.describe("."), error)
    })
}

/// What a killed process wrote is in the system's memory, but maybe not on the disk: the base must
/// be there before what it replaces is removed.
fn mend_database(directory: &dyn Directory, name: &str, suspected: bool) -> io::Result<()> {
    let file = directory.open(name, Access::Write)?;
    if suspected {
        // Of two commits in the file at most the later is not on the disk, and no page of the
        // earlier is written by it but the first, which says which of them counts.
        rewrite(file.as_ref(), HEAD_BYTES, file.len_bytes()?)?;
        rewrite(file.as_ref(), 0, HEAD_BYTES)?;
    }
    file.sync()
}

/// The first page of a redb file.
const HEAD_BYTES: u64 = 4096;

/// Writes the last frame once more and syncs it. All frames before it were durable before it was
/// written; of it, that is unknown. A sync alone would not do, see [`suspect`].
fn mend_log(directory: &dyn Directory, suspected: bool, scanned: &Scanned) -> io::Result<()> {
    let end = &scanned.end;
    let byte = |sector: u64| sector * SECTOR_BYTES as u64;
    if let Some(last) = scanned.frames.last() {
        let file = directory.open(&segment::name(last.segment), Access::Write)?;
        let to = if end.segment == last.segment { byte(end.sector) } else { file.len_bytes()? };
        rewrite(file.as_ref(), byte(last.sector), to)?;
    }
    if scanned.torn.is_empty() && !suspected {
        return Ok(());
    }
    // Else they could be taken for parts of the frame that will be written there.
    let file = directory.open(&segment::name(end.segment), Access::Write)?;
    for sector in &scanned.torn {
        file.write_at(byte(*sector), &[0; SECTOR_BYTES])?;
    }
    match suspected {
        true => rewrite(file.as_ref(), byte(end.sector), file.len_bytes()?),
        false => file.sync(),
    }
}

/// Writes what is there once more, and syncs it.
fn rewrite(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    let mut piece = vec![0; PIECE_BYTES];
    while at < to {
        let piece = &mut piece[..(to - at).min(PIECE_BYTES as u64) as usize];
        file.read_at(at, piece)?;
        file.write_at(at, piece)?;
        at += piece.len() as u64;
    }
    file.sync()
}

/// Removes what is not needed: segments before `first`, all states but that of generation `state`,
/// and what was never finished.
fn clean_up(
    directory: &dyn Directory,
    names: &[String],
    first: u64,
    state: Option<u64>,
) -> Result<(), OpenError> {
    for name in names {
        let old = segment::id_of(name).is_some_and(|id| id < first)
            || state_file::generation_of(name).is_some_and(|found| Some(found) != state);
        let unfinished = name
            .strip_suffix(UNFINISHED)
            .is_some_and(|name| name == checkpoint::NAME || segment::id_of(name).is_some());
        if old || unfinished {
            let removed = directory.remove(name);
            removed.map_err(|error| OpenError::io("remove", directory.describe(name), error))?;
        }
    }
    Ok(())
}

/// The log as the store goes on with it.
fn continue_log(shared: &Shared, contents: &Contents, scanned: &Scanned) -> Result<Log, OpenError> {
    let (base, owner) = (&contents.base, contents.identity.owner);
    let last = contents.snapshot.as_ref().map_or(Index(0), |snapshot| snapshot.last.index);
    let mut index = LogIndex::new(base.at, base.from, base.promised, last);
    for (number, record) in &scanned.records {
        assert_eq!(*number, index.next(), "the records are read in order");
        index.note(record);
    }
    scanned.frames.iter().for_each(|frame| index.note_frame(*frame));
    let directory = shared.directory.as_ref();
    let segment = segment::open(directory, owner, scanned.segment.id, Access::Write)?;
    match scanned.last_segment > segment.id {
        true => {
            let next = segment::open(directory, owner, segment.id + 1, Access::Write)?;
            shared.has_segment(owner, next);
        }
        // Else the first frame of this one, which is still to be written, comes before.
        false if scanned.end.sector > 1 => shared.want_segment(owner, segment.id + 1),
        false => {}
    }
    Ok(Log { owner, segment, at: scanned.end, base: base.generation, index })
}
