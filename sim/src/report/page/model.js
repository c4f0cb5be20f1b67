// The run, read from the page: events, messages, spans, operations; which of them are wanted; and
// the order in which a reader steps through them. Draws nothing. Times are in microseconds.

const data = JSON.parse(document.getElementById("data").textContent);
const lanes = data.lanes;
const sorts = data.sorts;
const ev = data.events;
const ms = data.messages;
const ops = data.operations;
const spans = data.spans;
const faults = data.faults;
const end = Math.max(data.end, 1);
const RING = sorts.indexOf("ring datagrams");
const VIOLATION = sorts.indexOf("violation");
// The longest delay, so that messages sent before what is shown are found.
const delayMax = ms.delay.reduce((most, delay) => Math.max(most, delay), 0);

const wanted = {
  // The ring's tokens go around all the time and would hide all else.
  sorts: sorts.map((_, sort) => sort !== RING),
  lanes: lanes.map(() => true),
  words: "",
};

// Texts that have the words searched for, each looked at once.
let fits = null;

function chooseWords(words) {
  wanted.words = words.toLowerCase();
  fits = words === "" ? null : data.texts.map((text) => text.toLowerCase().includes(wanted.words));
}

function isEventWanted(i) {
  return wanted.sorts[ev.sort[i]] && wanted.lanes[ev.lane[i]] && (fits === null || fits[ev.text[i]]);
}

function isMessageWanted(i) {
  return wanted.sorts[ms.sort[i]] && (wanted.lanes[ms.from[i]] && wanted.lanes[ms.to[i]]) &&
    (fits === null || fits[ms.text[i]]);
}

function operationWords(op) {
  return `${op.f} ${op.input} -> ${op.outcome}${op.output === "nil" && op.outcome !== "ok" ? "" : " " + op.output}`;
}

function isOperationWanted(op) {
  return wanted.lanes[op.lane] &&
    (wanted.words === "" || `${op.workload} ${operationWords(op)}`.toLowerCase().includes(wanted.words));
}

// The first place in a sorted column that is not before `at`.
function firstAt(column, at) {
  let low = 0;
  let high = column.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column[middle] < at) low = middle + 1; else high = middle;
  }
  return low;
}

// What a reader steps through: wanted events and messages by time. Events are the numbers from 0
// on, messages those from -1 down.
let steps = [];
let stepTimes = [];

function itemTime(item) {
  return item >= 0 ? ev.at[item] : ms.sent[-1 - item];
}

function choose() {
  steps = [];
  let e = 0;
  let m = 0;
  const events = ev.at.length;
  const messages = ms.sent.length;
  while (e < events || m < messages) {
    if (m >= messages || (e < events && ev.at[e] <= ms.sent[m])) {
      if (isEventWanted(e)) steps.push(e);
      e += 1;
    } else {
      if (isMessageWanted(m)) steps.push(-1 - m);
      m += 1;
    }
  }
  stepTimes = steps.map(itemTime);
}

// Rows of operations below a client's lane, so that none covers another.
function layOutOperations() {
  const rows = lanes.map(() => []);
  for (const op of ops) {
    const ends = op.to === null ? end : op.to;
    const free = rows[op.lane].findIndex((until) => until <= op.from);
    op.row = free >= 0 ? free : rows[op.lane].length;
    rows[op.lane][op.row] = Math.max(ends, op.from + 1);
  }
  return rows.map((row) => row.length);
}
const operationRows = layOutOperations();
ops.forEach((op, number) => { op.number = number; });

// "1.234 567 s" in the unit that suits `step`, the distance of two marks.
function timeWords(at, step) {
  if (step >= 1e6) return `${Math.round(at / 1e6)} s`;
  if (step >= 1e3) return `${(at / 1e6).toFixed(step >= 1e5 ? 1 : step >= 1e4 ? 2 : 3)} s`;
  return `${(at / 1e3).toFixed(step >= 100 ? 1 : step >= 10 ? 2 : 3)} ms`;
}

function exactly(at) {
  return `${(at / 1e6).toFixed(6)} s`;
}

function spanWords(span) {
  if (span >= 1e6) return `${(span / 1e6).toFixed(2)} s`;
  return span >= 1e3 ? `${(span / 1e3).toFixed(2)} ms` : `${span} us`;
}

function itemWords(item) {
  if (item >= 0) return data.texts[ev.text[item]];
  const i = -1 - item;
  const fate = ms.delay[i] === -1 ? "LOST: " : ms.delay[i] === -2 ? "NOBODY THERE: " : "";
  return `${fate}to ${lanes[ms.to[i]].name}: ${data.texts[ms.text[i]]}`;
}

function itemLane(item) {
  return item >= 0 ? ev.lane[item] : ms.from[-1 - item];
}

function itemSort(item) {
  return item >= 0 ? ev.sort[item] : ms.sort[-1 - item];
}

choose();
