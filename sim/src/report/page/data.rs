//! What a page is drawn from: the record of a run and the judgement of its histories, as JSON.
//!
//! Times are in microseconds since the world's start. Lanes are numbered: the world, the servers,
//! the clients. Events and messages are columns, and their texts are kept once each, since a run
//! has tens of thousands of them that say much the same.

use crate::judge::Property;
use crate::plan::WorkloadKind;
use crate::plan::options::Options;
use crate::plan::{FaultKind, Plan};
use crate::report::record::{Message, Recording, Sort, Spell, Told};
use crate::workload::check_options;
use crate::world::Run;
use crate::world::clock::WorldTime;
use crate::world::who::Actor;
use accord_models::history::{History, Operation, Process};
use accord_models::{Verdict, check};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap};

/// The data of a run.
///
/// # Panics
/// If it was not recorded.
pub(super) fn of(plan: &Plan, run: &Run) -> Json {
    let record = run.record.as_ref().expect("the run was recorded");
    let lanes = Lanes::of(&plan.options);
    let spans = spans(record, &lanes);
    let mut texts = Texts::default();
    let events = events(record, &lanes, &mut texts);
    let messages = messages(record, &lanes, &spans, &mut texts);
    let (operations, explanations) = operations(run, &lanes);
    let judged = |property: &Property| run.counts.is_judged(*property);
    let not_judged = Property::ALL.into_iter().filter(|property| !judged(property));
    json!({
        "seed": plan.options.seed,
        "digest": format!("{:016x}", run.digest),
        "plan": plan.to_string(),
        "end": run.counts.simulated_ns / 1000,
        "violation": run.violation.as_ref().map(|violation| json!({
            "property": violation.property.name(),
            "says": violation.property.says(),
            "at": micros(violation.at),
            "detail": violation.detail,
        })),
        "undecided": run.undecided,
        "not_judged": not_judged.map(Property::name).collect::<Vec<_>>(),
        "left_out": record.left_out,
        "lanes": lanes.json(&plan.options),
        "sorts": Sort::ALL.map(Sort::name),
        "events": events,
        "messages": messages,
        "texts": texts.list,
        "spans": spans.iter().map(Span::json).collect::<Vec<_>>(),
        "faults": record.faults.iter().map(|it| fault(it, &lanes)).collect::<Vec<_>>(),
        "operations": operations,
        "explanations": explanations,
    })
}

const fn micros(at: WorldTime) -> u64 {
    at.as_nanos() / 1000
}

/// Who has which lane.
#[derive(Clone, Copy)]
struct Lanes {
    servers: u32,
    clients: u32,
}

impl Lanes {
    const fn of(options: &Options) -> Self {
        Self { servers: options.nodes(), clients: options.clients }
    }

    const fn lane(self, who: Actor) -> u32 {
        match who {
            Actor::World => 0,
            Actor::Server(node) => node,
            Actor::Client(client) => self.servers + client,
        }
    }

    fn json(self, options: &Options) -> Vec<Json> {
        let server = |node: u32| {
            let role = if node <= options.servers { "server" } else { "observer" };
            json!({"name": format!("n{node}"), "kind": "server", "role": role})
        };
        let client = |client: u32| json!({"name": format!("client {client}"), "kind": "client", "role": "client"});
        let world = json!({"name": "world", "kind": "world", "role": "faults"});
        let servers = (1..=self.servers).map(server);
        std::iter::once(world).chain(servers).chain((1..=self.clients).map(client)).collect()
    }

    /// The lane of an operation's process: a client goes on as another process, congruent to it,
    /// after an operation that nobody knows the outcome of.
    fn of_process(self, process: &Process) -> u32 {
        match process {
            Process::Client(number) => match number % u64::from(self.clients + 1) {
                0 => 0,
                client => self.servers + client as u32,
            },
            Process::Named(_) => 0,
        }
    }
}

/// Texts, each once.
#[derive(Default)]
struct Texts {
    list: Vec<String>,
    places: HashMap<String, usize>,
}

impl Texts {
    fn place(&mut self, text: &str) -> usize {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        self.list.push(text.to_owned());
        self.places.insert(text.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }
}

fn sort_number(sort: Sort) -> usize {
    Sort::ALL.iter().position(|other| *other == sort).expect("all are in the list")
}

fn events(record: &Recording, lanes: &Lanes, texts: &mut Texts) -> Json {
    let mut columns: [Vec<u64>; 4] = Default::default();
    for Told { at, who, sort, text } in &record.events {
        let row = [
            micros(*at),
            u64::from(lanes.lane(*who)),
            sort_number(*sort) as u64,
            texts.place(text) as u64,
        ];
        columns.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
    }
    let [at, lane, sort, text] = columns;
    json!({"at": at, "lane": lane, "sort": sort, "text": text})
}

fn messages(record: &Recording, lanes: &Lanes, spans: &[Span], texts: &mut Texts) -> Json {
    let mut all: Vec<&Message> = record.messages.iter().chain(&record.datagrams).collect();
    all.sort_by_key(|message| message.sent);
    let mut columns: [Vec<i64>; 6] = Default::default();
    for message in all {
        let to = lanes.lane(message.to);
        // A negative delay: it never arrives, or nobody is there.
        let delay = match message.arrives {
            None => -1,
            Some(at) if is_down(spans, to, micros(at)) => -2,
            Some(at) => micros(at).saturating_sub(micros(message.sent)) as i64,
        };
        let row = [
            micros(message.sent) as i64,
            delay,
            i64::from(lanes.lane(message.from)),
            i64::from(to),
            sort_number(message.sort) as i64,
            texts.place(&message.text) as i64,
        ];
        columns.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
    }
    let [sent, delay, from, to, sort, text] = columns;
    json!({"sent": sent, "delay": delay, "from": from, "to": to, "sort": sort, "text": text})
}

/// A time in which a server is down, paused, or primary in an epoch.
struct Span {
    lane: u32,
    from: u64,
    /// `None`: to the end of the run.
    to: Option<u64>,
    what: &'static str,
    text: String,
}

impl Span {
    fn json(&self) -> Json {
        let Self { lane, from, to, what, text } = self;
        json!({"lane": lane, "from": from, "to": to, "what": what, "text": text})
    }
}

fn is_down(spans: &[Span], lane: u32, at: u64) -> bool {
    spans.iter().any(|span| {
        let within = span.from < at && span.to.is_none_or(|to| at < to);
        span.what == "down" && span.lane == lane && within
    })
}

/// What the events of servers amount to.
fn spans(record: &Recording, lanes: &Lanes) -> Vec<Span> {
    let mut done = Vec::new();
    let mut open: BTreeMap<(u32, &'static str), Span> = BTreeMap::new();
    for Told { at, who, text, .. } in &record.events {
        let Actor::Server(_) = who else { continue };
        let (lane, at) = (lanes.lane(*who), micros(*at));
        let (ends, begins): (&[&str], Option<&'static str>) = match text.as_str() {
            "dies" => (&["paused", "primary"], Some("down")),
            "is paused" => (&["paused"], Some("paused")),
            "goes on" => (&["paused"], None),
            "is primary no longer" => (&["primary"], None),
            text if text.starts_with("starts") => (&["down", "primary"], None),
            text if text.starts_with("open ") => (&["primary"], Some("primary")),
            _ => continue,
        };
        for what in ends {
            if let Some(span) = open.remove(&(lane, *what)) {
                done.push(Span { to: Some(at), ..span });
            }
        }
        if let Some(what) = begins {
            let text = text.strip_prefix("open ").unwrap_or_default().to_owned();
            open.insert((lane, what), Span { lane, from: at, to: None, what, text });
        }
    }
    done.extend(open.into_values());
    done.sort_by_key(|span| (span.from, span.lane));
    done
}

fn fault(spell: &Spell, lanes: &Lanes) -> Json {
    let kind = &spell.fault.kind;
    let mut touched: Vec<u32> = match kind {
        FaultKind::OneWay(from, _) => from.iter().collect(),
        kind => kind.nodes().iter().collect(),
    };
    touched.extend(kind.client().map(|client| lanes.lane(Actor::Client(client))));
    json!({
        "from": micros(spell.from),
        "to": spell.to.map(micros),
        "lasts": kind.kind().lasts(),
        "kind": kind.kind().name(),
        "text": spell.fault.to_string(),
        "lanes": touched,
    })
}

/// The operations of all histories, one history after the other, and why some are refused.
fn operations(run: &Run, lanes: &Lanes) -> (Vec<Json>, Vec<Json>) {
    let (mut operations, mut explanations) = (Vec::new(), Vec::new());
    let seen = run.violation.as_ref().map(|violation| violation.at.as_nanos());
    for (workload, history) in &run.histories {
        let first = operations.len();
        let points = points(workload, history);
        let mut guilty = Vec::new();
        if let Some(explanation) = refusal(workload, history) {
            guilty.clone_from(&explanation.operations);
            let indices = explanation.operations.iter().map(|index| first + index);
            let links = explanation.links.iter().map(|link| {
                json!({"from": first + link.from, "to": first + link.to, "kind": link.kind,
                    "why": link.why})
            });
            explanations.push(json!({
                "workload": workload,
                "anomaly": explanation.anomaly,
                "summary": explanation.summary,
                "operations": indices.collect::<Vec<_>>(),
                "links": links.collect::<Vec<_>>(),
                "notes": explanation.notes,
            }));
        }
        for (index, op) in history.operations().iter().enumerate() {
            // The answer in which a property was seen not to hold belongs to what is marked.
            let bad =
                guilty.contains(&index) || op.completed.is_some_and(|at| Some(at.time_ns) == seen);
            operations.push(operation(workload, op, lanes, points.get(&index), bad));
        }
    }
    (operations, explanations)
}

fn operation(
    workload: &str,
    op: &Operation,
    lanes: &Lanes,
    point: Option<&(usize, u64)>,
    bad: bool,
) -> Json {
    json!({
        "workload": workload,
        "lane": lanes.of_process(&op.process),
        "f": op.f,
        "input": op.input.to_string(),
        "output": op.error.as_ref().unwrap_or(&op.output).to_string(),
        "outcome": op.outcome.name(),
        "from": op.invoked.time_ns / 1000,
        "to": op.completed.map(|moment| moment.time_ns / 1000),
        "order": point.map(|(place, _)| place),
        "point": point.map(|(_, at)| at / 1000),
        "bad": bad,
    })
}

fn refusal(workload: &str, history: &History) -> Option<accord_models::Explanation> {
    let model = WorkloadKind::named(workload)?.model()?;
    match check::check(history, model, &check_options()) {
        Ok(Verdict::Invalid(explanation)) => Some(explanation),
        _ => None,
    }
}

/// The place of each operation in the order that explains it, and the latest moment by which the
/// order can have come to it, in nanoseconds.
fn points(workload: &str, history: &History) -> BTreeMap<usize, (usize, u64)> {
    let mut points = BTreeMap::new();
    let Some(model) = WorkloadKind::named(workload).and_then(WorkloadKind::model) else {
        return points;
    };
    for order in check::orders(history, model, &check_options()).unwrap_or_default() {
        let mut reached = 0;
        for (place, index) in order.operations.into_iter().enumerate() {
            reached = history.operations()[index].invoked.time_ns.max(reached);
            points.insert(index, (place + 1, reached));
        }
    }
    points
}
