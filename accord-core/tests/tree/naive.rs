//! The tree once more, written plainly from the description of ZooKeeper: a map from paths to
//! nodes, in which everything is looked for when it is needed, and a copy of it for what may fail.

use accord_core::limits::Limits;
use accord_core::state::tree::{Acl, CreateMode, Identity, Life, TreeEventKind, TreeStep, perms};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub data: Option<Vec<u8>>,
    pub acl: Vec<Acl>,
    pub czxid: u64,
    pub mzxid: u64,
    pub pzxid: u64,
    pub ctime: u64,
    pub mtime: u64,
    pub version: i32,
    pub creations: i32,
    pub aversion: i32,
    pub life: Life,
    /// The session of an ephemeral.
    pub owner: u64,
}

/// What a step did: the path of a created node, if it created one.
pub type Done = Option<String>;
/// What happened to which node.
pub type Happened = (TreeEventKind, String);

#[derive(Clone, Debug)]
pub struct Naive {
    pub nodes: BTreeMap<String, Node>,
    pub revision: u64,
    pub now: u64,
    pub events: Vec<Happened>,
    limits: Limits,
}

/// Who asks: the session and its identities.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    pub session: u64,
    pub who: &'a [Identity],
}

fn parent_of(path: &str) -> String {
    match path.rfind('/') {
        Some(0) | None => "/".to_owned(),
        Some(at) => path[..at].to_owned(),
    }
}

fn valid(path: &str) -> bool {
    let names = || path[1..].split('/');
    path == "/"
        || path.starts_with('/')
            && names().all(|name| !name.is_empty() && name != "." && name != "..")
}

impl Naive {
    pub fn new(limits: Limits) -> Self {
        let node = |acl: Acl, aversion| Node {
            data: Some(Vec::new()),
            acl: vec![acl],
            czxid: 0,
            mzxid: 0,
            pzxid: 0,
            ctime: 0,
            mtime: 0,
            version: 0,
            creations: 0,
            aversion,
            life: Life::Persistent,
            owner: 0,
        };
        let mut nodes = BTreeMap::new();
        for path in ["/", "/zookeeper", "/zookeeper/quota"] {
            nodes.insert(path.to_owned(), node(Acl::open(), 0));
        }
        nodes.insert("/zookeeper/config".to_owned(), node(Acl::read_only(), -1));
        Self { nodes, revision: 0, now: 0, events: Vec::new(), limits }
    }

    /// The names of the children, in order.
    pub fn children(&self, path: &str) -> Vec<String> {
        let child = |other: &&String| *other != "/" && parent_of(other) == path;
        let name = |other: &String| other[other.rfind('/').unwrap() + 1..].to_owned();
        let mut names: Vec<_> = self.nodes.keys().filter(child).map(name).collect();
        names.sort();
        names
    }

    pub fn below(&self, path: &str) -> Vec<&Node> {
        let inside = |other: &str| match path {
            "/" => other != "/",
            _ => other.starts_with(&format!("{path}/")),
        };
        self.nodes.iter().filter(|(other, _)| inside(other)).map(|(_, node)| node).collect()
    }

    pub fn ephemerals(&self, session: u64) -> Vec<String> {
        let owned = self.nodes.iter().filter(|(_, node)| node.owner == session);
        owned.map(|(path, _)| path.clone()).collect()
    }

    /// Carries out steps: all of them, or none.
    pub fn run(
        &mut self,
        caller: Caller<'_>,
        steps: &[TreeStep],
    ) -> Result<Vec<Done>, (usize, i32)> {
        self.events.clear();
        if steps.len() > self.limits.steps_max as usize {
            return Err((0, -8));
        }
        let saved = self.clone();
        let mut all = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            match self.step(caller, step) {
                Ok(done) => all.push(done),
                Err(code) => {
                    *self = saved;
                    return Err((at, code));
                }
            }
        }
        if !self.events.is_empty() {
            self.revision += 1;
        }
        Ok(all)
    }

    /// A session ends: `next` is the revision of that.
    pub fn end(&mut self, session: u64) {
        self.events.clear();
        for path in self.ephemerals(session) {
            self.take_out(&path);
        }
        self.revision += 1;
    }

    /// Ends what may end now.
    pub fn reap(&mut self) -> usize {
        self.events.clear();
        let due = |(path, node): (&String, &Node)| {
            let over = match node.life {
                Life::Container => node.creations > 0,
                Life::Ttl(ms) => self.now > node.mtime + ms as u64,
                _ => false,
            };
            (over && self.children(path).is_empty()).then(|| path.clone())
        };
        let due: Vec<_> = self.nodes.iter().filter_map(due).collect();
        due.iter().for_each(|path| self.take_out(path));
        self.revision += u64::from(!due.is_empty());
        due.len()
    }

    fn step(&mut self, caller: Caller<'_>, step: &TreeStep) -> Result<Done, i32> {
        let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
        let bytes = |data: &Option<bytes::Bytes>| data.as_ref().map(|data| data.to_vec());
        match step {
            TreeStep::Create { path, data, acl, mode } => {
                self.create(caller, &text(path), bytes(data), acl, *mode)
            }
            TreeStep::Delete { path, version } => self.delete(caller, &text(path), *version),
            TreeStep::SetData { path, data, version } => {
                self.set_data(caller, &text(path), bytes(data), *version)
            }
            TreeStep::SetAcl { path, acl, version } => {
                let path = text(path);
                if !valid(&path) {
                    return Err(-8);
                }
                let list = self.expand(caller, acl)?;
                let node = self.nodes.get(&path).ok_or(-101)?;
                allowed(caller, node, perms::ADMIN)?;
                same_version(node.aversion, *version)?;
                let node = self.nodes.get_mut(&path).unwrap();
                node.acl = list;
                node.aversion += 1;
                // A version of -1 is none, and the list of the configuration begins with it.
                self.events.push((TreeEventKind::AclChanged, path));
                Ok(None)
            }
            TreeStep::Check { path, version } => {
                let path = text(path);
                if !valid(&path) {
                    return Err(-8);
                }
                let node = self.nodes.get(&path).ok_or(-101)?;
                allowed(caller, node, perms::READ)?;
                same_version(node.version, *version)?;
                Ok(None)
            }
        }
    }

    fn create(
        &mut self,
        caller: Caller<'_>,
        path: &str,
        data: Option<Vec<u8>>,
        acl: &[Acl],
        mode: CreateMode,
    ) -> Result<Done, i32> {
        match mode.life {
            Life::Unknown => return Err(-8),
            Life::Ttl(ms) if !(1..1 << 40).contains(&ms) => return Err(-8),
            _ => {}
        }
        let parent_path = match path.rfind('/') {
            None => return Err(-8),
            Some(0) => "/".to_owned(),
            Some(at) => path[..at].to_owned(),
        };
        let acl = self.expand(caller, acl)?;
        let parent = self.nodes.get(&parent_path).ok_or(-101)?;
        allowed(caller, parent, perms::CREATE)?;
        let number =
            if mode.sequential { format!("{:010}", parent.creations) } else { String::new() };
        let path = format!("{path}{number}");
        if !valid(&path) || path.len() > self.limits.key_bytes_max as usize {
            return Err(-8);
        }
        if self.nodes.contains_key(&path) {
            return Err(-110);
        }
        if parent.life == Life::Ephemeral {
            return Err(-108);
        }
        let length = data.as_ref().map_or(0, Vec::len) as i64;
        self.room(&path, 1, length, length, path.len() as i64 + length)?;
        let ephemeral = mode.life == Life::Ephemeral;
        let owned = self.ephemerals(caller.session).len();
        if ephemeral && owned >= self.limits.ephemerals_max as usize {
            return Err(-125);
        }
        let (next, now) = (self.revision + 1, self.now);
        let node = Node {
            data,
            acl,
            czxid: next,
            mzxid: next,
            pzxid: next,
            ctime: now,
            mtime: now,
            version: 0,
            creations: 0,
            aversion: 0,
            life: mode.life,
            owner: if ephemeral { caller.session } else { 0 },
        };
        self.nodes.insert(path.clone(), node);
        let parent = self.nodes.get_mut(&parent_path).unwrap();
        parent.creations += 1;
        parent.pzxid = next;
        self.begin_counting(&path);
        self.count(&path, 1, length);
        self.events.push((TreeEventKind::Created, path.clone()));
        Ok(Some(path))
    }

    fn delete(&mut self, caller: Caller<'_>, path: &str, version: i32) -> Result<Done, i32> {
        let always = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
        if !path.contains('/') || always.contains(&path) {
            return Err(-8);
        }
        let parent = self.nodes.get(&parent_of(path)).ok_or(-101)?;
        allowed(caller, parent, perms::DELETE)?;
        let node = self.nodes.get(path).ok_or(-101)?;
        same_version(node.version, version)?;
        if !self.children(path).is_empty() {
            return Err(-111);
        }
        self.take_out(path);
        Ok(None)
    }

    fn take_out(&mut self, path: &str) {
        let node = self.nodes.remove(path).unwrap();
        self.nodes.get_mut(&parent_of(path)).unwrap().pzxid = self.revision + 1;
        self.count(path, -1, -(node.data.map_or(0, |data| data.len()) as i64));
        self.events.push((TreeEventKind::Deleted, path.to_owned()));
    }

    fn set_data(
        &mut self,
        caller: Caller<'_>,
        path: &str,
        data: Option<Vec<u8>>,
        version: i32,
    ) -> Result<Done, i32> {
        if !valid(path) {
            return Err(-8);
        }
        let node = self.nodes.get(path).ok_or(-101)?;
        allowed(caller, node, perms::WRITE)?;
        let length = data.as_ref().map_or(0, Vec::len) as i64;
        let more = length - node.data.as_ref().map_or(0, Vec::len) as i64;
        self.room(path, 0, more, length, more.max(0))?;
        same_version(node.version, version)?;
        let (next, now) = (self.revision + 1, self.now);
        let node = self.nodes.get_mut(path).unwrap();
        node.data = data;
        node.version += 1;
        node.mzxid = next;
        node.mtime = now;
        self.count(path, 0, more);
        self.events.push((TreeEventKind::DataChanged, path.to_owned()));
        Ok(None)
    }

    fn expand(&self, caller: Caller<'_>, acl: &[Acl]) -> Result<Vec<Acl>, i32> {
        let most = self.limits.acl_entries_max as usize;
        if acl.is_empty() || acl.len() > most {
            return Err(-114);
        }
        let mut list: Vec<Acl> = Vec::new();
        for (at, entry) in acl.iter().enumerate() {
            if acl[..at].contains(entry) {
                continue;
            }
            match &entry.identity.scheme[..] {
                b"world" | b"digest" => list.push(entry.clone()),
                b"auth" => {
                    let own: Vec<_> =
                        caller.who.iter().filter(|one| one.scheme == "digest").collect();
                    if own.is_empty() {
                        return Err(-114);
                    }
                    list.extend(
                        own.into_iter()
                            .map(|one| Acl { perms: entry.perms, identity: one.clone() }),
                    );
                    if list.len() > most {
                        return Err(-114);
                    }
                }
                _ => return Err(-114),
            }
        }
        Ok(list)
    }

    fn room(&self, path: &str, count: i64, more: i64, length: i64, bytes: i64) -> Result<(), i32> {
        if let Some(quota) = self.quota_of(path)
            && let Some(stats) = self.nodes.get(&format!("{quota}/zookeeper_stats"))
        {
            let limits = numbers(&self.nodes[&format!("{quota}/zookeeper_limits")].data);
            let stats = numbers(&stats.data);
            let over = |name: &str, hard: &str, added: i64| {
                let hard = limits.get(hard).copied().unwrap_or(-1);
                added != 0 && hard > -1 && stats.get(name).copied().unwrap_or(-1) + added > hard
            };
            let exceeded =
                over("count", "countHardLimit", count) || over("bytes", "byteHardLimit", more);
            if self.limits.quota_enforced && exceeded {
                return Err(-125);
            }
        }
        if length as u64 > self.limits.value_bytes_max {
            return Err(-8);
        }
        let size = |(path, node): (&String, &Node)| {
            let path = if path == "/" { 0 } else { path.len() };
            path + node.data.as_ref().map_or(0, Vec::len)
        };
        let all: usize = self.nodes.iter().map(size).sum();
        if all as u64 + bytes as u64 > self.limits.store_bytes_max { Err(-125) } else { Ok(()) }
    }

    /// The node of the deepest quota for a path.
    fn quota_of(&self, path: &str) -> Option<String> {
        let mut at = path.to_owned();
        while at != "/" {
            let quota = format!("/zookeeper/quota{at}");
            if self.nodes.contains_key(&format!("{quota}/zookeeper_limits")) {
                return Some(quota);
            }
            at = parent_of(&at);
        }
        None
    }

    fn count(&mut self, path: &str, count: i64, bytes: i64) {
        let Some(quota) = self.quota_of(path) else { return };
        let Some(node) = self.nodes.get_mut(&format!("{quota}/zookeeper_stats")) else { return };
        let mut stats = numbers(&node.data);
        *stats.entry("count".to_owned()).or_insert(-1) += count;
        *stats.entry("bytes".to_owned()).or_insert(-1) += bytes;
        node.data = Some(written(&stats));
    }

    fn begin_counting(&mut self, path: &str) {
        let subject = path.strip_prefix("/zookeeper/quota");
        let Some(subject) = subject.and_then(|rest| rest.strip_suffix("/zookeeper_stats")) else {
            return;
        };
        if subject.is_empty() {
            return;
        }
        let length = |node: &Node| node.data.as_ref().map_or(0, Vec::len) as i64;
        let mut stats: BTreeMap<String, i64> =
            [("count".to_owned(), 0), ("bytes".to_owned(), 0)].into();
        if let Some(node) = self.nodes.get(subject) {
            let below = self.below(subject);
            *stats.get_mut("count").unwrap() = below.len() as i64 + 1;
            let bytes = below.iter().map(|node| length(node)).sum::<i64>() + length(node);
            *stats.get_mut("bytes").unwrap() = bytes;
        }
        self.nodes.get_mut(path).unwrap().data = Some(written(&stats));
    }
}

fn allowed(caller: Caller<'_>, node: &Node, perms: i32) -> Result<(), i32> {
    let is = |entry: &Acl| entry.identity.scheme == "world" || caller.who.contains(&entry.identity);
    let granted = node.acl.iter().any(|entry| entry.perms & perms != 0 && is(entry));
    let all = caller.who.iter().any(|one| one.scheme == "super");
    if granted || all { Ok(()) } else { Err(-102) }
}

fn same_version(found: i32, wanted: i32) -> Result<(), i32> {
    if wanted == -1 || wanted == found { Ok(()) } else { Err(-103) }
}

fn numbers(data: &Option<Vec<u8>>) -> BTreeMap<String, i64> {
    let text = String::from_utf8(data.clone().unwrap_or_default()).unwrap();
    let mut all = BTreeMap::new();
    for pair in text.split([',', ';']) {
        let mut parts = pair.split('=');
        let (name, number) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        if let Ok(number) = number.parse() {
            all.insert(name.to_owned(), number);
        }
    }
    all
}

fn written(all: &BTreeMap<String, i64>) -> Vec<u8> {
    let get = |name: &str| all.get(name).copied().unwrap_or(-1);
    let mut text = format!("count={},bytes={}", get("count"), get("bytes"));
    let others = all.iter().filter(|(name, _)| *name != "count" && *name != "bytes");
    for (at, (name, number)) in others.enumerate() {
        text += &format!("{}{name}={number}", if at == 0 { "=;" } else { ";" });
    }
    text.into_bytes()
}
