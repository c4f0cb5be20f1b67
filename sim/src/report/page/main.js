// The reader's hand: filters, zoom, pan, steps, details. What the page shows is told in attributes
// of the body as well, for tests and for other programs.

const byId = (id) => document.getElementById(id);
let errors = 0;
window.addEventListener("error", () => {
  errors += 1;
  document.body.dataset.errors = String(errors);
});

function element(kind, parent, words, style) {
  const made = document.createElement(kind);
  if (words !== undefined) made.textContent = words;
  if (style) made.className = style;
  if (parent) parent.appendChild(made);
  return made;
}

let due = false;
function refresh() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => { due = false; redraw(); });
}

// How many there are of something, with its word.
function count(number, word) {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}

function redraw() {
  draw();
  nameLanes();
  const told = document.body.dataset;
  for (const [name, count] of Object.entries(drawn)) told[`drawn${name[0].toUpperCase()}${name.slice(1)}`] = String(count);
  told.from = String(Math.round(view.from));
  told.to = String(Math.round(view.to));
  const chosen = ops.filter(isOperationWanted).length;
  byId("found").textContent = `${steps.length} events and messages, ${count(chosen, "operation")} ` +
    `chosen; ${drawn.events + drawn.messages} and ${drawn.operations} in view (${spanWords(Math.round(view.to - view.from))})`;
}

function nameLanes() {
  const names = byId("names");
  names.textContent = "";
  names.style.height = `${view.height}px`;
  lanes.forEach((lane, number) => {
    const name = element("div", names, lane.name, wanted.lanes[number] ? "lane" : "lane off");
    name.dataset.lane = String(number);
    name.style.top = `${places[number].line}px`;
    if (!wanted.lanes[number]) return;
    if (lane.kind === "world" || lane.role === "observer") element("small", name, lane.role);
    if (places[number].rows > 0) {
      const below = element("div", names, "operations", "lane operations");
      below.classList.remove("lane");
      below.style.cssText = `position:absolute;right:8px;top:${places[number].operations - 1}px`;
    }
  });
}

function setView(from, to) {
  const span = Math.min(Math.max(to - from, 20), end * 1.02);
  const begin = Math.min(Math.max(from, -0.01 * end), end * 1.01 - span);
  view.from = begin;
  view.to = begin + span;
  refresh();
}

function zoom(by, around) {
  const at = around === undefined ? (view.from + view.to) / 2 : around;
  setView(at - (at - view.from) * by, at + (view.to - at) * by);
}

function pan(part) {
  const by = (view.to - view.from) * part;
  setView(view.from + by, view.to + by);
}

function show(at) {
  const span = view.to - view.from;
  if (at < view.from + span * 0.05 || at > view.to - span * 0.05) setView(at - span / 2, at + span / 2);
}

function select(item) {
  selected = item;
  selectedOperation = null;
  show(itemTime(item));
  tellItem(item);
  refresh();
}

function selectOperation(op) {
  selected = null;
  selectedOperation = op.number;
  show(op.from);
  tellOperation(op);
  refresh();
}

function stepBy(by) {
  if (steps.length === 0) return;
  let place;
  if (selected === null) {
    place = firstAt(stepTimes, view.from);
    if (by < 0) place -= 1;
  } else {
    place = firstAt(stepTimes, itemTime(selected));
    while (place < steps.length && steps[place] !== selected && stepTimes[place] <= itemTime(selected)) place += 1;
    if (steps[place] === selected || by < 0) place += by;
  }
  select(steps[Math.min(Math.max(place, 0), steps.length - 1)]);
}

function listItem(list, item, here) {
  const line = element("li", list, undefined, item === here ? "here" : "");
  element("span", line, exactly(itemTime(item)), "at");
  element("span", line, lanes[itemLane(item)].name, "who");
  element("span", line, itemWords(item).slice(0, 160));
  line.addEventListener("click", () => select(item));
}

function tellItem(item) {
  const panel = byId("details");
  panel.textContent = "";
  element("h2", panel, `${lanes[itemLane(item)].name}, ${sorts[itemSort(item)]}, ${exactly(itemTime(item))}`);
  element("p", panel, itemWords(item)).id = "detail-text";
  if (item < 0) {
    const i = -1 - item;
    const fate = ms.delay[i] === -1 ? "never arrives" : ms.delay[i] === -2 ? "arrives where nobody is" :
      `arrives at ${exactly(ms.sent[i] + ms.delay[i])}, ${spanWords(ms.delay[i])} later`;
    element("p", panel, `from ${lanes[ms.from[i]].name} to ${lanes[ms.to[i]].name}; ${fate}`, "soft");
  }
  element("h2", panel, "before and after, in the same lane");
  const list = element("ol", panel);
  list.id = "neighbours";
  const lane = itemLane(item);
  const touches = (other) => itemLane(other) === lane || (other < 0 && ms.to[-1 - other] === lane);
  let place = firstAt(stepTimes, itemTime(item));
  while (place < steps.length && steps[place] !== item) place += 1;
  const near = [];
  for (let at = place - 1; at >= 0 && near.length < 5; at -= 1) if (touches(steps[at])) near.unshift(steps[at]);
  near.push(item);
  for (let at = place + 1, after = 0; at < steps.length && after < 5; at += 1) {
    if (touches(steps[at])) { near.push(steps[at]); after += 1; }
  }
  near.forEach((other) => listItem(list, other, item));
}

function tellOperation(op) {
  const panel = byId("details");
  panel.textContent = "";
  element("h2", panel, `operation ${op.number} of ${lanes[op.lane].name}, ${op.workload}`);
  element("p", panel, operationWords(op)).id = "detail-text";
  const until = op.to === null ? "never answered" : `answered at ${exactly(op.to)}, ${spanWords(op.to - op.from)} later`;
  element("p", panel, `called at ${exactly(op.from)}, ${until}`, "soft");
  if (op.order !== null) {
    element("p", panel, `place ${op.order} in the order that explains its object, reached by ${exactly(op.point)}`, "soft");
  }
  if (op.bad) element("p", panel, "This operation is part of what is wrong.");
}

// What was found wrong, with the operations that contradict each other, or their order.
function tellConflict() {
  const panel = byId("conflict");
  const bad = ops.filter((op) => op.bad);
  if (data.violation) {
    element("h2", panel, `violation of ${data.violation.property} at ${exactly(data.violation.at)}`);
    element("p", panel, data.violation.says, "soft");
    element("p", panel, data.violation.detail.split("\n")[0]).id = "violation-detail";
  }
  for (const why of data.explanations) {
    element("h2", panel, `${why.workload}: ${why.anomaly}`);
    element("p", panel, why.summary);
    for (const link of why.links) {
      element("p", panel, `operation ${link.from} before operation ${link.to} (${link.kind}): ${link.why}`, "soft");
    }
    for (const note of why.notes) element("p", panel, note, "soft");
  }
  for (const why of data.undecided) element("p", panel, `undecided: ${why}`);
  if (bad.length > 0) element("h2", panel, "the operations in question");
  const list = element("ol", panel);
  for (const op of bad) {
    const line = element("li", list, undefined, "offending");
    element("span", line, exactly(op.from), "at");
    element("span", line, lanes[op.lane].name, "who");
    element("span", line, operationWords(op));
    line.addEventListener("click", () => selectOperation(op));
  }
  const ordered = ops.filter((op) => op.order !== null).length;
  if (!data.violation) {
    element("h2", panel, "every property held");
    element("p", panel, `${ordered} of ${count(ops.length, "operation")} ${ordered === 1 ? "has" : "have"} a place in an order that the checker found; ` +
      "the others failed, are of unknown outcome and not needed, or are judged by rules instead of an order", "soft");
  }
}

function choices() {
  const counts = sorts.map(() => 0);
  for (const sort of ev.sort) counts[sort] += 1;
  for (const sort of ms.sort) counts[sort] += 1;
  const check = (parent, words, count, on, ink, change) => {
    const label = element("label", parent);
    const box = element("input", label);
    box.type = "checkbox";
    box.checked = on;
    if (ink) element("span", label, undefined, "swatch").style.background = ink;
    element("span", label, words);
    if (count !== null) element("span", label, ` ${count}`, "count");
    box.addEventListener("change", () => { change(box.checked); choose(); refresh(); });
  };
  sorts.forEach((sort, number) => {
    if (counts[number] === 0) return;
    check(byId("sorts"), sort, counts[number], wanted.sorts[number], colours[number], (on) => { wanted.sorts[number] = on; });
  });
  lanes.forEach((lane, number) => {
    check(byId("nodes"), lane.name, null, wanted.lanes[number], null, (on) => { wanted.lanes[number] = on; });
  });
}

// What is under the pointer: an operation, an event or a message.
function under(px, py) {
  const op = ops.find((it) => {
    if (!isOperationWanted(it)) return false;
    const box = operationBox(it);
    return py >= box.top && py < box.top + ROW - 1 && px >= box.from - 1 && px <= box.to + 1;
  });
  if (op) return { op };
  let best = null;
  let nearest = 49;
  const span = 9 * (view.to - view.from) / view.width;
  for (let i = firstAt(ev.at, timeAt(px) - span); i < ev.at.length && ev.at[i] <= timeAt(px) + span; i += 1) {
    if (!isEventWanted(i)) continue;
    const place = places[ev.lane[i]];
    const y = lanes[ev.lane[i]].kind === "world" ? place.bottom - 5 : place.line;
    const away = (x(ev.at[i]) - px) ** 2 + (y - py) ** 2;
    if (away < nearest) { nearest = away; best = i; }
  }
  if (best !== null) return { item: best };
  const first = firstAt(ms.sent, timeAt(px) - delayMax);
  const last = firstAt(ms.sent, timeAt(px) + span);
  if (last - first > 20000) return null;
  nearest = 5;
  for (let i = first; i < last; i += 1) {
    if (!isMessageWanted(i)) continue;
    const from = places[ms.from[i]].line;
    const lost = ms.delay[i] < 0;
    const to = from + (places[ms.to[i]].line - from) * (lost ? 0.4 : 1);
    const part = (py - from) / (to - from);
    if (!(part >= 0 && part <= 1)) continue;
    const sent = x(ms.sent[i]);
    const away = Math.abs(sent + (lost ? 9 : x(ms.sent[i] + ms.delay[i]) - sent) * part - px);
    if (away < nearest) { nearest = away; best = -1 - i; }
  }
  return best === null ? null : { item: best };
}

function mouse() {
  let held = null;
  let moved = false;
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      pan((event.deltaX || event.deltaY) / 1000);
    } else {
      zoom(Math.exp(event.deltaY / 400), timeAt(event.offsetX));
    }
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    held = { x: event.clientX, from: view.from, to: view.to };
    moved = false;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (held) {
      const by = (held.x - event.clientX) / view.width * (held.to - held.from);
      moved = moved || Math.abs(held.x - event.clientX) > 3;
      if (moved) setView(held.from + by, held.to + by);
      return;
    }
    const hit = under(event.offsetX, event.offsetY);
    const tip = byId("tip");
    tip.hidden = hit === null;
    if (hit === null) return;
    tip.textContent = hit.op ? operationWords(hit.op) :
      `${exactly(itemTime(hit.item))} ${lanes[itemLane(hit.item)].name} ${itemWords(hit.item)}`;
    tip.style.left = `${Math.min(event.clientX + 12, innerWidth - 320)}px`;
    tip.style.top = `${event.clientY + 14}px`;
  });
  canvas.addEventListener("pointerleave", () => { byId("tip").hidden = true; });
  canvas.addEventListener("pointerup", (event) => {
    held = null;
    if (moved) return;
    const hit = under(event.offsetX, event.offsetY);
    if (hit && hit.op) selectOperation(hit.op); else if (hit) select(hit.item);
  });
  let begin = null;
  const at = (event) => event.offsetX / strip.clientWidth * end;
  strip.addEventListener("pointerdown", (event) => { begin = at(event); strip.setPointerCapture(event.pointerId); });
  strip.addEventListener("pointermove", (event) => {
    if (begin !== null && Math.abs(at(event) - begin) > end / 200) setView(Math.min(begin, at(event)), Math.max(begin, at(event)));
  });
  strip.addEventListener("pointerup", (event) => {
    if (begin !== null && Math.abs(at(event) - begin) <= end / 200) {
      const half = (view.to - view.from) / 2;
      setView(begin - half, begin + half);
    }
    begin = null;
  });
}

function gotoViolation() {
  if (!data.violation) return;
  const span = Math.min(view.to - view.from, Math.max(end / 20, 50000));
  setView(data.violation.at - span * 0.8, data.violation.at + span * 0.2);
  const last = steps.filter((item) => item >= 0 && ev.sort[item] === VIOLATION);
  if (last.length > 0) select(last[0]);
}

function search(words) {
  chooseWords(words);
  choose();
  refresh();
}

function buttons() {
  byId("prev").addEventListener("click", () => stepBy(-1));
  byId("next").addEventListener("click", () => stepBy(1));
  byId("in").addEventListener("click", () => zoom(0.5));
  byId("out").addEventListener("click", () => zoom(2));
  byId("all").addEventListener("click", () => setView(0, end));
  byId("goto").addEventListener("click", gotoViolation);
  byId("goto").disabled = !data.violation;
  byId("search").addEventListener("input", (event) => search(event.target.value));
  byId("plan-toggle").addEventListener("click", () => { byId("plan").hidden = !byId("plan").hidden; refresh(); });
  byId("help-toggle").addEventListener("click", () => { byId("help").hidden = !byId("help").hidden; refresh(); });
  const keys = {
    ArrowLeft: () => stepBy(-1), p: () => stepBy(-1), ArrowRight: () => stepBy(1), n: () => stepBy(1),
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), a: () => pan(-0.3), d: () => pan(0.3),
    0: () => setView(0, end), v: gotoViolation, "/": () => byId("search").focus(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.target.tagName === "INPUT" && event.target.type === "search") {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
}

// A view can be written in the address: #from=1.2&to=1.4&q=words&ring=1&step=3&violation=1
function followAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.has("ring")) wanted.sorts[RING] = asked.get("ring") !== "0";
  if (asked.has("lanes")) {
    const names = asked.get("lanes").split(",");
    lanes.forEach((lane, number) => { wanted.lanes[number] = names.includes(lane.name); });
  }
  if (asked.has("q")) { byId("search").value = asked.get("q"); chooseWords(asked.get("q")); }
  choose();
  if (asked.has("from") || asked.has("to")) {
    setView(parseFloat(asked.get("from") || "0") * 1e6, parseFloat(asked.get("to") || String(end / 1e6)) * 1e6);
  }
  if (asked.has("violation")) gotoViolation();
  for (let left = parseInt(asked.get("step") || "0", 10); left > 0; left -= 1) stepBy(1);
}

function begin() {
  readPalette();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readPalette(); refresh(); });
  window.addEventListener("resize", refresh);
  const verdict = byId("verdict");
  const good = data.not_judged.length === 0 ? "every property held" : "every property that was judged held";
  verdict.textContent = data.violation ? `VIOLATION of ${data.violation.property}` : good;
  verdict.title = data.not_judged.length === 0 ? "" : `not judged: ${data.not_judged.join(", ")}`;
  verdict.className = data.violation ? "bad" : "good";
  const servers = lanes.filter((lane) => lane.kind === "server").length;
  byId("summary").textContent = `${count(servers, "server")}, ${count(lanes.length - 1 - servers, "client")}, ${exactly(end)}, ` +
    `${count(ev.at.length, "event")}, ${count(ms.sent.length, "message")}, ${count(ops.length, "operation")}, ${count(faults.length, "fault")}` +
    (data.left_out > 0 ? `; ${data.left_out} older ones are left out` : "");
  byId("plan").textContent = data.plan;
  followAddress();
  choices();
  tellConflict();
  mouse();
  buttons();
  Object.assign(document.body.dataset, {
    errors: String(errors), lanes: String(lanes.length), events: String(ev.at.length),
    messages: String(ms.sent.length), operations: String(ops.length), steps: String(steps.length),
    offending: String(ops.filter((op) => op.bad).length),
  });
  redraw();
  document.body.dataset.ready = "1";
}

begin();
