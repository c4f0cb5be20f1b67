//! Cases as text: commands of clients, and below each what a real ZooKeeper answered.
//!
//! A case is a file of `cases/`. Lines that begin with `#` are comments; `# server: NAME=VALUE`
//! sets a property of the real server, of which `enforceQuota=true` means something here. The
//! others are commands, and below each the lines that `record.py` wrote: `! SESSION TYPE PATH` for
//! each event that a session was told, then `= ANSWER`.
//!
//! ```text
//! open S                                a session, named S
//! S auth digest USER:PASSWORD IDENTITY  its connection proves an identity
//! S close
//! S create|create2|createContainer PATH DATA ACL FLAGS
//! S createTTL PATH DATA ACL FLAGS MS
//! S delete|check PATH VERSION
//! S set PATH DATA VERSION
//! S setacl PATH ACL VERSION
//! S exists|get|children|children2[!] PATH   `!` leaves a watch
//! S getacl|ephemerals|count PATH
//! S watch PATH 0|1                      a persistent watch; 1: of all below
//! S multi STEP ; STEP ...               S multiread QUESTION ; QUESTION ...
//! ```
//!
//! Data is text with `\xNN` for other bytes, `''` for none and `-` for null. A list is `open`,
//! `read`, `none` or `PERMS:SCHEME:ID|...`. In a Stat, `@N` is the command that a zxid belongs to.

use crate::world::World;
use accord_core::ids::{Revision, SessionId};
use accord_core::limits::Limits;
use accord_core::state::tree::{
    Acl, Ask, CreateMode, CreateRequest, Identity, Life, NoticeKind, StepDone, TreeAnswer,
    TreeChange, TreeEvent, TreeOp, TreeQuestion, TreeResult, TreeStep, WatchKind, ZnodeAnswer,
    ZnodeQuestion, ZnodeStat,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A case being replayed.
pub struct Script {
    world: World,
    clients: BTreeMap<String, Client>,
    names: BTreeMap<SessionId, String>,
    /// How many commands there were.
    commands: u64,
    /// The command that each revision belongs to.
    made: BTreeMap<Revision, u64>,
}

struct Client {
    session: SessionId,
    identities: Vec<Identity>,
    watches: Vec<(WatchKind, Bytes)>,
}

impl Script {
    /// Before any command, under what the comments say of the server.
    pub fn new(text: &str) -> Self {
        let quota_enforced = text.contains("# server: enforceQuota=true");
        Self {
            world: World::new(Limits { quota_enforced, ..Limits::default() }),
            clients: BTreeMap::new(),
            names: BTreeMap::new(),
            commands: 0,
            made: [(Revision(0), 0)].into(),
        }
    }

    /// Carries out a command, and gives the lines of its answer.
    pub fn run(&mut self, line: &str) -> Vec<String> {
        self.commands += 1;
        self.world.at(self.commands * 1000);
        self.world.events.clear();
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match &words[..] {
            ["open", name] => {
                self.open(name);
                return Vec::new();
            }
            [name, "auth", "digest", password, identity] => self.auth(name, password, identity),
            [name, "close"] => {
                let client = self.clients.remove(*name).expect("it is open");
                self.world.close(client.session);
                "ok".to_owned()
            }
            [name, "multi", ..] => {
                let steps = parts(line).map(|words| step(&words, CreateMode::in_multi)).collect();
                self.multi(name, steps)
            }
            [name, "multiread", ..] => {
                let all = parts(line).map(|words| question(&words)).collect();
                self.multi_read(name, TreeQuestion::Multi(all))
            }
            [name, "watch", path, mode] => {
                let all = [WatchKind::Persistent, WatchKind::PersistentRecursive];
                self.watch(name, all[usize::from(*mode == "1")], path);
                "ok".to_owned()
            }
            [name, "ephemerals", prefix] => self.ephemerals(name, prefix),
            [name, what @ ..] if is_question(what[0]) => self.ask(name, what),
            [name, words @ ..] => {
                let with_stat = words[0] != "create";
                let step = step(words, CreateMode::from_request);
                self.change(name, TreeChange::One(step), &[with_stat])
            }
            [] => unreachable!("a command has words"),
        };
        self.made.entry(self.world.state.revision()).or_insert(self.commands);
        let mut lines = self.told();
        lines.push(format!("= {answer}").trim_end().to_owned());
        lines
    }

    fn open(&mut self, name: &str) {
        let session = self.world.open();
        self.made.insert(self.world.state.revision(), self.commands);
        let identities = vec![Identity::new("ip", "127.0.0.1")];
        self.names.insert(session, name.to_owned());
        let client = Client { session, identities, watches: Vec::new() };
        self.clients.insert(name.to_owned(), client);
    }

    fn auth(&mut self, name: &str, password: &str, identity: &str) -> String {
        let client = self.clients.get_mut(name).expect("it is open");
        if password == "super:test" {
            client.identities.push(Identity::new("super", ""));
        }
        client.identities.push(Identity::new("digest", identity));
        "ok".to_owned()
    }

    fn watch(&mut self, name: &str, kind: WatchKind, path: &str) {
        let watch = (kind, unescape(path));
        let lasts = |kind| matches!(kind, WatchKind::Persistent | WatchKind::PersistentRecursive);
        let watches = &mut self.clients.get_mut(name).expect("it is open").watches;
        // One persistent watch on a path takes the place of the other kind.
        watches.retain(|other| !(lasts(kind) && lasts(other.0) && other.1 == watch.1));
        if !watches.contains(&watch) {
            watches.push(watch);
        }
    }

    fn multi(&mut self, name: &str, steps: Vec<TreeStep>) -> String {
        // There, ZooKeeper tells the Stat of containers and of what has a time to live alone.
        let with_stat = |step: &TreeStep| match step {
            TreeStep::Create { mode, .. } => matches!(mode.life, Life::Container | Life::Ttl(_)),
            _ => true,
        };
        let with_stats: Vec<_> = steps.iter().map(with_stat).collect();
        self.change(name, TreeChange::Multi(steps), &with_stats)
    }

    fn change(&mut self, name: &str, change: TreeChange, with_stats: &[bool]) -> String {
        let client = &self.clients[name];
        let op = TreeOp { identities: client.identities.clone(), change };
        let outcome = self.world.run(client.session, op);
        self.made.entry(outcome.revision).or_insert(self.commands);
        match &outcome.result {
            TreeResult::One(done) => self.done(done, with_stats[0]),
            TreeResult::Failed(error) => format!("err {}", error.code()),
            TreeResult::Multi(all) => {
                let all = all.iter().zip(with_stats);
                let all: Vec<_> = all.map(|(done, with)| self.done(done, *with)).collect();
                format!("multi {}", all.join(" ; "))
            }
            failed @ TreeResult::MultiFailed { .. } => {
                let all: Vec<_> = failed.codes().map(|code| format!("err {code}")).collect();
                format!("multi {}", all.join(" ; "))
            }
        }
    }

    fn done(&self, done: &StepDone, with_stat: bool) -> String {
        match done {
            StepDone::Created { path, stat } if with_stat => {
                format!("ok {} {}", escape(path), self.stat(stat))
            }
            StepDone::Created { path, .. } => format!("ok {}", escape(path)),
            StepDone::DataSet(stat) | StepDone::AclSet(stat) => format!("ok {}", self.stat(stat)),
            StepDone::Deleted | StepDone::Checked => "ok".to_owned(),
        }
    }

    fn ask(&mut self, name: &str, words: &[&str]) -> String {
        let one = question(words);
        let client = &self.clients[name];
        let answer = self.world.answer(&client.identities, TreeQuestion::One(one));
        let TreeAnswer::One(answer) = answer else { panic!("{answer:?}") };
        if words[0].ends_with('!') {
            let found = !matches!(answer, ZnodeAnswer::Failed(_));
            let kind =
                if words[0].starts_with("children") { WatchKind::Child } else { WatchKind::Data };
            if found || words[0] == "exists!" {
                self.watch(name, kind, words[1]);
            }
        }
        self.shown(&answer, words[0].starts_with("children2"))
    }

    fn multi_read(&self, name: &str, questions: TreeQuestion) -> String {
        match self.world.answer(&self.clients[name].identities, questions) {
            TreeAnswer::Multi(all) => {
                let all: Vec<_> = all.iter().map(|answer| self.shown(answer, false)).collect();
                format!("multi {}", all.join(" ; "))
            }
            other => panic!("not the answer to several questions: {other:?}"),
        }
    }

    fn ephemerals(&self, name: &str, prefix: &str) -> String {
        let session = self.clients[name].session;
        let question = TreeQuestion::Ephemerals { session, prefix: unescape(prefix) };
        match self.world.answer(&[], question) {
            TreeAnswer::Ephemerals(paths) => format!("ok {}", names(&paths)),
            other => panic!("not the answer to a question for ephemerals: {other:?}"),
        }
    }

    fn shown(&self, answer: &ZnodeAnswer, with_stat: bool) -> String {
        match answer {
            ZnodeAnswer::Stat(stat) => format!("ok {}", self.stat(stat)),
            ZnodeAnswer::Data(data, stat) => {
                let data = data.as_ref().map_or("-".to_owned(), |data| escape(data));
                format!("ok {data} {}", self.stat(stat))
            }
            ZnodeAnswer::Children(all, stat) if with_stat => {
                format!("ok {} {}", names(all), self.stat(stat))
            }
            ZnodeAnswer::Children(all, _) => format!("ok {}", names(all)),
            ZnodeAnswer::Acl(list, stat) => format!("ok {} {}", show_acl(list), self.stat(stat)),
            ZnodeAnswer::Descendants(count) => format!("ok {count}"),
            ZnodeAnswer::Failed(error) => format!("err {}", error.code()),
        }
    }

    fn stat(&self, stat: &ZnodeStat) -> String {
        for (zxid, time) in [(stat.czxid, stat.ctime), (stat.mzxid, stat.mtime)] {
            assert_eq!(time.0, self.made[&zxid] * 1000, "a time is that of its zxid");
        }
        let owner = match stat.ephemeral_owner() {
            0 => "none",
            session => &self.names[&SessionId(session)],
        };
        let at = |zxid: Revision| self.made[&zxid];
        format!(
            "czxid=@{} mzxid=@{} pzxid=@{} version={} cversion={} aversion={} owner={owner} \
             length={} children={}",
            at(stat.czxid),
            at(stat.mzxid),
            at(stat.pzxid),
            stat.version,
            stat.cversion,
            stat.aversion,
            stat.data_length,
            stat.num_children,
        )
    }

    /// What each session is told of the last command. One-shot watches that were told are gone.
    fn told(&mut self) -> Vec<String> {
        let events = self.world.tree_events();
        let mut lines = Vec::new();
        for (name, client) in &mut self.clients {
            let all = events.iter().flat_map(|event| client.take_notices(event));
            lines.extend(all.map(|(kind, path)| format!("! {name} {} {path}", kind as u8)));
        }
        lines
    }
}

impl Client {
    /// What its watches are told of an event, each once: of the znode, then of its parent.
    fn take_notices(&mut self, event: &TreeEvent) -> Vec<(NoticeKind, String)> {
        let mut told = Vec::new();
        self.watches.retain(|(watch, path)| {
            let Some(kind) = event.notice(*watch, path) else { return true };
            let of = if kind == NoticeKind::ChildrenChanged { path } else { &event.path };
            let notice = (kind, escape(of));
            if event.may_tell(kind, &self.identities) && !told.contains(&notice) {
                told.push(notice);
            }
            matches!(watch, WatchKind::Persistent | WatchKind::PersistentRecursive)
        });
        told.sort();
        told
    }
}

fn parts(line: &str) -> impl Iterator<Item = Vec<&str>> {
    let steps = line.splitn(3, ' ').nth(2).unwrap_or_default().split(" ; ");
    steps.filter(|step| !step.is_empty()).map(|step| step.split_whitespace().collect())
}

fn is_question(word: &str) -> bool {
    let word = word.trim_end_matches('!');
    ["exists", "get", "children", "children2", "getacl", "count"].contains(&word)
}

fn question(words: &[&str]) -> ZnodeQuestion {
    let what = match words[0].trim_end_matches('!') {
        "exists" => Ask::Exists,
        "get" => Ask::Data,
        "children" | "children2" => Ask::Children,
        "getacl" => Ask::Acl,
        "count" => Ask::Descendants,
        other => panic!("{other} is no question"),
    };
    ZnodeQuestion { what, path: unescape(words[1]) }
}

fn step(words: &[&str], mode: impl Fn(CreateRequest, i32) -> CreateMode) -> TreeStep {
    let number = |word: &str| word.parse().expect("a number of 32 bits");
    let path = unescape(words[1]);
    match (words[0], &words[2..]) {
        (kind, [data, acl, flags, rest @ ..]) => {
            let request = match kind {
                "create" | "create2" => CreateRequest::Plain,
                "createContainer" => CreateRequest::Container,
                "createTTL" => CreateRequest::Ttl(rest[0].parse().expect("milliseconds")),
                other => panic!("{other} creates nothing"),
            };
            let mode = mode(request, number(flags));
            TreeStep::Create { path, data: data_of(data), acl: acl_of(acl), mode }
        }
        ("delete", [version]) => TreeStep::Delete { path, version: number(version) },
        ("check", [version]) => TreeStep::Check { path, version: number(version) },
        ("set", [data, version]) => {
            TreeStep::SetData { path, data: data_of(data), version: number(version) }
        }
        ("setacl", [acl, version]) => {
            TreeStep::SetAcl { path, acl: acl_of(acl), version: number(version) }
        }
        _ => panic!("{words:?} is no step"),
    }
}

fn acl_of(word: &str) -> Vec<Acl> {
    let entry = |text: &str| {
        let mut parts = text.splitn(3, ':');
        let perms = parts.next().and_then(|perms| perms.parse().ok()).expect("permissions");
        let mut part = || parts.next().expect("a scheme and an identity").to_owned();
        Acl { perms, identity: Identity::new(&part(), &part()) }
    };
    match word {
        "none" => Vec::new(),
        "open" => vec![Acl::open()],
        "read" => vec![Acl::read_only()],
        list => list.split('|').map(entry).collect(),
    }
}

fn show_acl(list: &[Acl]) -> String {
    let entry = |acl: &Acl| {
        format!("{}:{}:{}", acl.perms, escape(&acl.identity.scheme), escape(&acl.identity.id))
    };
    list.iter().map(entry).collect::<Vec<_>>().join("|")
}

fn names(all: &[Bytes]) -> String {
    format!("[{}]", all.iter().map(|name| escape(name)).collect::<Vec<_>>().join(" "))
}

fn data_of(word: &str) -> Option<Bytes> {
    (word != "-").then(|| unescape(word))
}

fn unescape(word: &str) -> Bytes {
    if word == "''" {
        return Bytes::new();
    }
    let mut bytes = Vec::new();
    let mut parts = word.split("\\x");
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("two digits"));
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Bytes::from(bytes)
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            33..=126 if *byte != b'\\' => text.push(char::from(*byte)),
            _ => write!(text, "\\x{byte:02x}").expect("a string takes all"),
        }
    }
    match text.as_str() {
        "" => "''".to_owned(),
        "-" => "\\x2d".to_owned(),
        _ => text,
    }
}
