//! Carrying out operations: each step as ZooKeeper checks and does it, or nothing at all.
//!
//! The order of the checks is part of what clients see: it decides which error a step gets that has
//! several. A step checks everything before it changes anything, so one alone takes nothing back.

use super::super::compact::Value;
use super::super::event::Event;
use super::acl::{self, Acl, Identity, perms};
use super::error::TreeError;
use super::event::{TreeEvent, TreeEventKind};
use super::op::{CreateMode, Life, TreeChange, TreeOp, TreeStep};
use super::outcome::{StepDone, TreeOutcome, TreeResult};
use super::path;
use super::quota::{self, Added};
use super::stat::{Lifetime, TTL_MS_MAX, ZnodeStat};
use super::store::{Store, Znode, next_version};
use crate::ids::{Revision, SessionId, Stamp};
use crate::limits::Limits;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt::Write;

/// What an operation is carried out with, besides the store.
pub(in crate::state) struct Context<'a> {
    /// What the changes are pushed to, in order.
    pub(in crate::state) events: &'a mut Vec<Event>,
    pub(in crate::state) limits: &'a Limits,
    /// The session that asks.
    pub(in crate::state) session: SessionId,
    /// The state's revision so far.
    pub(in crate::state) revision: Revision,
    /// The time of the batch.
    pub(in crate::state) now: Stamp,
}

/// The digits of a sequential znode's number; a negative one has a sign and ten more.
const SEQUENCE_DIGITS: usize = 10;

/// An operation being carried out.
struct Run<'a, 'b> {
    store: &'b mut Store,
    context: &'b mut Context<'a>,
    who: &'b [Identity],
    /// The revision of the changes.
    revision: Revision,
}

/// Carries out an operation: all of its steps, or nothing.
pub(super) fn run(store: &mut Store, op: &TreeOp, mut context: Context<'_>) -> TreeOutcome {
    let unchanged = context.revision;
    let revision = unchanged.next();
    let mut run = Run { store, context: &mut context, who: &op.identities, revision };
    let result = match &op.change {
        TreeChange::One(step) => match run.step(step) {
            Ok(done) => TreeResult::One(done),
            Err(error) => TreeResult::Failed(error),
        },
        TreeChange::Multi(steps) => run.multi(steps),
    };
    let changed = !context.events.is_empty();
    TreeOutcome { revision: if changed { revision } else { unchanged }, result }
}

/// Deletes the znodes of a session that ends, in `revision`.
pub(super) fn end_session(
    store: &mut Store,
    session: SessionId,
    revision: Revision,
    events: &mut Vec<Event>,
) {
    let paths: Vec<_> = store.ephemerals_of(session).cloned().collect();
    for held in paths {
        events.push(delete(store, &held, revision));
    }
}

/// Takes a znode out that has no children, and gives the event of that.
pub(super) fn delete(store: &mut Store, held: &[u8], revision: Revision) -> Event {
    let event = event(store, revision, TreeEventKind::Deleted, Bytes::copy_from_slice(held));
    let node = store.remove(held).expect("the caller found it");
    store.update(path::parent(held), |parent| {
        parent.children -= 1;
        parent.pzxid = revision;
    });
    quota::count(store, held, Added::node(node.data_len()).removed());
    event
}

/// A change of a znode that is there, as an event.
fn event(store: &Store, revision: Revision, kind: TreeEventKind, path: Bytes) -> Event {
    let held = path::held(&path);
    let list = |held: &[u8]| store.get(held).expect("the caller found it").acl.clone();
    let children = matches!(kind, TreeEventKind::Created | TreeEventKind::Deleted);
    let parent_acl = children.then(|| list(path::parent(held)));
    let acl = list(held);
    Event::Tree(TreeEvent { revision, kind, path, acl, parent_acl })
}

fn check_version(found: i32, wanted: i32) -> Result<(), TreeError> {
    let fits = wanted == -1 || wanted == found;
    if fits { Ok(()) } else { Err(TreeError::BadVersion) }
}

impl Run<'_, '_> {
    fn multi(&mut self, steps: &[TreeStep]) -> TreeResult {
        let count = steps.len() as u32;
        if count > self.context.limits.steps_max {
            let error = TreeError::BadArguments;
            return TreeResult::MultiFailed { step: 0, steps: count, error };
        }
        self.store.begin();
        let mut all = Vec::with_capacity(steps.len());
        for (step, what) in steps.iter().enumerate() {
            match self.step(what) {
                Ok(done) => all.push(done),
                Err(error) => {
                    self.store.roll_back();
                    self.context.events.clear();
                    if error == TreeError::Marshalling {
                        return TreeResult::Failed(error);
                    }
                    return TreeResult::MultiFailed { step: step as u32, steps: count, error };
                }
            }
        }
        self.store.commit();
        TreeResult::Multi(all)
    }

    fn step(&mut self, step: &TreeStep) -> Result<StepDone, TreeError> {
        match step {
            TreeStep::Create { path, data, acl, mode } => self.create(path, data, acl, *mode),
            TreeStep::Delete { path, version } => self.delete(path, *version),
            TreeStep::SetData { path, data, version } => self.set_data(path, data, *version),
            TreeStep::SetAcl { path, acl, version } => self.set_acl(path, acl, *version),
            TreeStep::Check { path, version } => self.check(path, *version),
        }
    }

    fn find(&self, path: &[u8]) -> Result<&Znode, TreeError> {
        self.store.get(path::held(path)).ok_or(TreeError::NoNode)
    }

    fn create(
        &mut self,
        path: &Bytes,
        data: &Option<Bytes>,
        acl: &[Acl],
        mode: CreateMode,
    ) -> Result<StepDone, TreeError> {
        let limits = self.context.limits;
        let lifetime = self.lifetime(mode.life)?;
        let parent_path = path::parent_to_create_in(path)?;
        let list = acl::expand(acl, self.who, limits.acl_entries_max)?;
        let parent = self.find(parent_path)?;
        acl::check(parent.acl.entries(), perms::CREATE, self.who)?;
        let sequential = mode.sequential.then(|| numbered(path, parent.creations));
        let path = sequential.unwrap_or_else(|| Bytes::copy_from_slice(path));
        path::validate(&path, limits.key_bytes_max)?;
        if self.find(&path).is_ok() {
            return Err(TreeError::NodeExists);
        }
        if matches!(parent.lifetime(), Lifetime::Session(_)) {
            return Err(TreeError::NoChildrenForEphemerals);
        }
        let data_bytes = data.as_ref().map_or(0, Bytes::len);
        self.check_room(&path, Added::node(data_bytes), data_bytes, path.len() + data_bytes)?;
        self.check_ephemerals(lifetime)?;
        let list = self.store.acl(&list);
        let value = data.as_ref().map(|data| Value::new(data));
        let node = Znode::new(value, list, lifetime, (self.revision, self.context.now));
        let stat = node.stat();
        self.store.insert(&path, node);
        self.on_created(&path, Added::node(data_bytes));
        Ok(StepDone::Created { path, stat })
    }

    fn on_created(&mut self, path: &Bytes, added: Added) {
        let revision = self.revision;
        self.store.update(path::parent(path), |parent| {
            parent.children += 1;
            // ZooKeeper's number of creations stays where it is at the end of 32 bits, and the
            // revision of the last change with it.
            if let Some(next) = parent.creations.checked_add(1) {
                parent.creations = next;
                parent.pzxid = revision;
            }
        });
        quota::on_create(self.store, path);
        quota::count(self.store, path, added);
        let event = event(self.store, revision, TreeEventKind::Created, path.clone());
        self.context.events.push(event);
    }

    const fn lifetime(&self, life: Life) -> Result<Lifetime, TreeError> {
        match life {
            Life::Persistent => Ok(Lifetime::Persistent),
            Life::Ephemeral => Ok(Lifetime::Session(self.context.session)),
            Life::Container => Ok(Lifetime::Container),
            Life::Ttl(ms) if ms > 0 && ms as u64 <= TTL_MS_MAX => Ok(Lifetime::Ttl(ms as u64)),
            Life::Ttl(_) | Life::Unknown => Err(TreeError::BadArguments),
            Life::Unfit => Err(TreeError::Marshalling),
        }
    }

    /// Checks that there is room for a change: in the quota, in one znode, and in the whole tree.
    fn check_room(
        &self,
        path: &[u8],
        added: Added,
        data_bytes: usize,
        bytes: usize,
    ) -> Result<(), TreeError> {
        let limits = self.context.limits;
        if limits.quota_enforced {
            quota::check(self.store, path::held(path), added)?;
        }
        if data_bytes as u64 > limits.value_bytes_max {
            return Err(TreeError::BadArguments);
        }
        let full = self.store.bytes().saturating_add(bytes as u64) > limits.store_bytes_max;
        if full { Err(TreeError::QuotaExceeded) } else { Ok(()) }
    }

    fn check_ephemerals(&self, lifetime: Lifetime) -> Result<(), TreeError> {
        let owned = match lifetime {
            Lifetime::Session(session) => self.store.ephemerals(session),
            _ => return Ok(()),
        };
        let full = owned >= self.context.limits.ephemerals_max as usize;
        if full { Err(TreeError::QuotaExceeded) } else { Ok(()) }
    }

    fn delete(&mut self, path: &Bytes, version: i32) -> Result<StepDone, TreeError> {
        let parent = self.find(path::parent_to_delete_from(path)?)?;
        acl::check(parent.acl.entries(), perms::DELETE, self.who)?;
        let node = self.find(path)?;
        check_version(node.version, version)?;
        if node.children > 0 {
            return Err(TreeError::NotEmpty);
        }
        let event = delete(self.store, path, self.revision);
        self.context.events.push(event);
        Ok(StepDone::Deleted)
    }

    fn set_data(
        &mut self,
        path: &Bytes,
        data: &Option<Bytes>,
        version: i32,
    ) -> Result<StepDone, TreeError> {
        path::validate(path, u32::MAX)?;
        let node = self.find(path)?;
        acl::check(node.acl.entries(), perms::WRITE, self.who)?;
        let (before, after) = (node.data_len(), data.as_ref().map_or(0, Bytes::len));
        let added = Added { count: 0, bytes: after as i64 - before as i64 };
        let found = node.version;
        self.check_room(path, added, after, after.saturating_sub(before))?;
        check_version(found, version)?;
        let (revision, now) = (self.revision, self.context.now);
        let held = path::held(path);
        let stat = self.store.update(held, |node| {
            node.data = data.as_ref().map(|data| Value::new(data));
            node.version = next_version(node.version);
            node.mzxid = revision;
            node.mtime = now;
        });
        quota::count(self.store, held, added);
        self.push(TreeEventKind::DataChanged, path);
        Ok(StepDone::DataSet(stat))
    }

    fn set_acl(&mut self, path: &Bytes, acl: &[Acl], version: i32) -> Result<StepDone, TreeError> {
        path::validate(path, u32::MAX)?;
        let list = acl::expand(acl, self.who, self.context.limits.acl_entries_max)?;
        let node = self.find(path)?;
        acl::check(node.acl.entries(), perms::ADMIN, self.who)?;
        check_version(node.aversion, version)?;
        let stat: ZnodeStat = self.store.set_acl(path::held(path), &list);
        self.push(TreeEventKind::AclChanged, path);
        Ok(StepDone::AclSet(stat))
    }

    fn check(&self, path: &Bytes, version: i32) -> Result<StepDone, TreeError> {
        path::validate(path, u32::MAX)?;
        let node = self.find(path)?;
        acl::check(node.acl.entries(), perms::READ, self.who)?;
        check_version(node.version, version)?;
        Ok(StepDone::Checked)
    }

    fn push(&mut self, kind: TreeEventKind, path: &Bytes) {
        let event = event(self.store, self.revision, kind, Bytes::copy_from_slice(path));
        self.context.events.push(event);
    }
}

/// The path with the number of a sequential znode.
fn numbered(path: &[u8], number: i32) -> Bytes {
    let mut digits = alloc::string::String::with_capacity(SEQUENCE_DIGITS + 1);
    write!(digits, "{number:0SEQUENCE_DIGITS$}").expect("a string takes all");
    Bytes::from([path, digits.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    /// As a ZooKeeper 3.8.0 that started from a snapshot with such numbers.
    #[test]
    fn the_count_of_creations_stays_at_the_end_of_32_bits() {
        let (mut store, limits) = (Store::default(), Limits::default());
        let list = store.acl(&[Acl::open()]);
        let mut root = Znode::new(None, list, Lifetime::Persistent, (Revision(0), Stamp(0)));
        root.creations = i32::MAX - 1;
        store.insert(path::held(path::ROOT), root);
        let mode = CreateMode { life: Life::Persistent, sequential: true };
        let (path, acl) = (Bytes::from_static(b"/n-"), vec![Acl::open()]);
        let step = TreeStep::Create { path, data: None, acl, mode };
        let op = TreeOp { identities: Vec::new(), change: TreeChange::One(step) };
        let mut create = |revision: u64| {
            let mut events = Vec::new();
            let (session, revision, now) = (SessionId(1), Revision(revision), Stamp(0));
            let context = Context { events: &mut events, limits: &limits, session, revision, now };
            let outcome = run(&mut store, &op, context);
            let root = store.get(b"").expect("the root is there").stat();
            (outcome.result, root.pzxid.0, root.cversion)
        };
        let path = |result: TreeResult| match result {
            TreeResult::One(StepDone::Created { path, .. }) => path,
            other => panic!("{other:?}"),
        };
        let (first, pzxid, cversion) = create(6);
        assert_eq!((path(first), pzxid, cversion), ("/n-2147483646".into(), 7, -3));
        let (second, pzxid, cversion) = create(7);
        assert_eq!((path(second), pzxid, cversion), ("/n-2147483647".into(), 7, -4));
        assert_eq!(create(8).0, TreeResult::Failed(TreeError::NodeExists));
    }

    #[test]
    fn numbers_are_written_as_zookeeper_does() {
        let table = [
            (0, "/n-0000000000"),
            (7, "/n-0000000007"),
            (i32::MAX, "/n-2147483647"),
            (-1, "/n--000000001"),
            (i32::MIN, "/n--2147483648"),
        ];
        for (number, expected) in table {
            assert_eq!(numbered(b"/n-", number), expected);
        }
    }
}
