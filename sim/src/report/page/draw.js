// The drawing: lanes, spans, faults, messages, events, operations, and the strip that shows all.
// What is too dense to be told apart is drawn in bundles: lines by pair of lanes and slice of time,
// columns by lane and slice of time. What was drawn is counted in `drawn`.

const canvas = document.getElementById("canvas");
const strip = document.getElementById("strip");
const view = { from: 0, to: end, width: 1, height: 1 };
const drawn = { events: 0, messages: 0, operations: 0, bundles: 0, labels: 0 };
let selected = null;
let selectedOperation = null;

const AXIS = 22;
const ROW = 13;
const MESSAGES_SINGLE_MAX = 1500;
const EVENTS_SINGLE_MAX = 1200;
const SLICE = 6;
const GLYPH = 3.5;

const HUES = {
  "violation": [0, 75], "fault": [28, 80], "process": [330, 55], "view": [262, 50], "epoch": [225, 65],
  "commit": [145, 50], "submit": [185, 60], "deliver": [200, 35], "disk": [40, 25], "server": [0, 0],
  "client asks": [210, 75], "client is told": [165, 65], "client's life": [300, 30],
  "client messages": [210, 55], "peer messages": [280, 35], "ring datagrams": [90, 25],
};
let dark = matchMedia("(prefers-color-scheme: dark)").matches;
let palette = {};
let colours = [];

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function readPalette() {
  dark = matchMedia("(prefers-color-scheme: dark)").matches;
  for (const name of ["back", "panel", "line", "text", "soft", "good", "bad", "warn", "accent"]) {
    palette[name] = color(name);
  }
  colours = sorts.map((sort) => {
    const [hue, saturation] = HUES[sort] || [0, 0];
    return `hsl(${hue} ${saturation}% ${dark ? 66 : 38}%)`;
  });
}

function epochColour(text) {
  const number = parseInt((text.match(/\d+/) || ["0"])[0], 10);
  return `hsl(${(number * 67 + 200) % 360} 45% ${dark ? 42 : 70}%)`;
}

// Where each lane is: a line for what happens, and below a client's line its operations.
let places = [];

function layOut() {
  places = [];
  let y = AXIS;
  lanes.forEach((lane, number) => {
    const shown = wanted.lanes[number];
    const rows = shown ? operationRows[number] : 0;
    const room = !shown ? 10 : lane.kind === "server" ? 58 : lane.kind === "client" ? 34 : 30;
    const line = y + room / 2;
    const below = rows > 0 ? rows * ROW + 6 : 0;
    places.push({ top: y, line, operations: y + room, bottom: y + room + below, rows });
    y += room + below;
  });
  view.height = y + 6;
}

function x(at) {
  return (at - view.from) / (view.to - view.from) * view.width;
}

function timeAt(px) {
  return view.from + px / view.width * (view.to - view.from);
}

function fit(target, width, height) {
  const ratio = window.devicePixelRatio || 1;
  target.width = Math.round(width * ratio);
  target.height = Math.round(height * ratio);
  target.style.height = `${height}px`;
  const pen = target.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

function markDistance() {
  const least = (view.to - view.from) / Math.max(view.width / 90, 1);
  const power = Math.pow(10, Math.floor(Math.log10(Math.max(least, 1))));
  return [1, 2, 5, 10].map((by) => by * power).find((step) => step >= least) || 10 * power;
}

function drawAxis(pen) {
  const step = markDistance();
  pen.font = "11px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
    const px = Math.round(x(at)) + 0.5;
    pen.strokeStyle = palette.line;
    pen.lineWidth = 0.5;
    pen.beginPath();
    pen.moveTo(px, AXIS - 4);
    pen.lineTo(px, view.height);
    pen.stroke();
    const words = timeWords(at, step);
    const half = pen.measureText(words).width / 2;
    pen.fillStyle = palette.soft;
    if (px >= half && px <= view.width - half) pen.fillText(words, px, 9);
  }
}

function isSeen(from, to) {
  return from <= view.to && to >= view.from;
}

// Where labels stand already: left, right, middle. Emptied before each drawing.
let standing = [];
const LABEL_HEIGHT = 11;

function isFree(left, right, y) {
  return standing.every((other) => Math.abs(other.y - y) >= LABEL_HEIGHT || other.right <= left || other.left >= right);
}

// A label that stands within its room and over no other, or not at all.
function label(pen, words, from, to, y, ink) {
  const left = Math.max(from, 2);
  if (words === "" || to - left < 14) return;
  pen.font = "10.5px system-ui, sans-serif";
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  let shown = words;
  while (shown.length > 3 && pen.measureText(shown).width > to - left) {
    shown = `${shown.slice(0, Math.floor(shown.length * 0.85) - 1)}\u2026`;
  }
  if (shown.length <= 3 && shown !== words) return;
  const right = left + pen.measureText(shown).width;
  if (!isFree(left, right, y)) return;
  standing.push({ left, right, y });
  pen.fillStyle = ink;
  pen.fillText(shown, left, y);
  drawn.labels += 1;
}

function drawFaults(pen) {
  const ends = [];
  for (const fault of faults) {
    const to = fault.to === null ? (fault.lasts ? end : fault.from) : fault.to;
    if (!isSeen(fault.from, to)) continue;
    const from = x(fault.from);
    const width = Math.max(x(to) - from, 1.5);
    const isCut = ["partition", "oneway", "sever", "unreachable", "isolate"].includes(fault.kind);
    for (const lane of fault.lanes) {
      if (!wanted.lanes[lane]) continue;
      const place = places[lane];
      pen.fillStyle = isCut ? "rgba(214, 120, 20, 0.16)" : "rgba(140, 90, 200, 0.13)";
      pen.fillRect(from, place.top + 1, width, place.operations - place.top - 2);
    }
    if (!wanted.lanes[0]) continue;
    const world = places[0];
    // Faults that overlap share the world's lane in up to three rows. With more of them at once, a
    // row is drawn over; its label then stands where there is room, or not at all.
    let row = ends.findIndex((until) => until <= from);
    if (row < 0) row = ends.length < 3 ? ends.length : ends.indexOf(Math.min(...ends));
    ends[row] = from + Math.max(width, 3);
    const height = (world.bottom - world.top - 4) / 3;
    const top = world.top + 2 + row * height;
    pen.fillStyle = isCut ? "rgba(214, 120, 20, 0.55)" : "rgba(140, 90, 200, 0.45)";
    pen.fillRect(from, top, width, height - 1);
    if (width > 60) label(pen, fault.text.replace(/^at \S+ (for \S+ )?/, ""), from + 3, from + width, top + height / 2, palette.text);
  }
}

function drawLanes(pen) {
  lanes.forEach((lane, number) => {
    const place = places[number];
    pen.strokeStyle = palette.line;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(0, Math.round(place.bottom) + 0.5);
    pen.lineTo(view.width, Math.round(place.bottom) + 0.5);
    if (lane.kind !== "world") {
      pen.moveTo(0, place.line);
      pen.lineTo(view.width, place.line);
    }
    pen.stroke();
  });
}

function drawSpans(pen) {
  for (const span of spans) {
    const to = span.to === null ? end : span.to;
    if (!wanted.lanes[span.lane] || !isSeen(span.from, to)) continue;
    const place = places[span.lane];
    const from = Math.max(x(span.from), -4);
    const until = Math.min(x(to), view.width + 4);
    if (span.what === "primary") {
      pen.fillStyle = epochColour(span.text);
      pen.fillRect(from, place.line - 5, Math.max(until - from, 1), 10);
      label(pen, span.text.split(" ")[0], from + 3, until - 2, place.line - 12, palette.soft);
      continue;
    }
    pen.fillStyle = palette.back;
    pen.fillRect(from, place.line - 9, Math.max(until - from, 1), 18);
    pen.save();
    pen.beginPath();
    pen.rect(from, place.line - 9, Math.max(until - from, 1.5), 18);
    pen.clip();
    pen.strokeStyle = span.what === "down" ? palette.bad : palette.warn;
    pen.lineWidth = 1.2;
    pen.beginPath();
    for (let px = Math.floor(from / 7) * 7 - 18; px < until; px += 7) {
      pen.moveTo(px, place.line + 9);
      pen.lineTo(px + 18, place.line - 9);
    }
    pen.stroke();
    pen.restore();
    label(pen, span.what, from + 3, until - 2, place.line - 16, span.what === "down" ? palette.bad : palette.warn);
  }
}

function arrow(pen, fromX, fromY, toX, toY, head) {
  pen.beginPath();
  pen.moveTo(fromX, fromY);
  pen.lineTo(toX, toY);
  pen.stroke();
  if (!head) return;
  const angle = Math.atan2(toY - fromY, toX - fromX);
  pen.beginPath();
  pen.moveTo(toX, toY);
  pen.lineTo(toX - 7 * Math.cos(angle - 0.35), toY - 7 * Math.sin(angle - 0.35));
  pen.lineTo(toX - 7 * Math.cos(angle + 0.35), toY - 7 * Math.sin(angle + 0.35));
  pen.fill();
}

function drawMessage(pen, i, head) {
  const from = places[ms.from[i]].line;
  const to = places[ms.to[i]].line;
  const sent = x(ms.sent[i]);
  const lost = ms.delay[i] < 0;
  const isChosen = selected === -1 - i;
  pen.strokeStyle = lost ? palette.bad : colours[ms.sort[i]];
  pen.fillStyle = pen.strokeStyle;
  pen.lineWidth = isChosen ? 3 : 1;
  pen.globalAlpha = isChosen ? 1 : lost ? 0.75 : 0.6;
  if (lost) {
    // It ends on half its way, wherever that is.
    const midX = sent + 9;
    const midY = from + (to - from) * 0.4;
    pen.setLineDash([4, 3]);
    arrow(pen, sent, from, midX, midY, false);
    pen.setLineDash([]);
    pen.beginPath();
    pen.moveTo(midX - 3, midY - 3);
    pen.lineTo(midX + 3, midY + 3);
    pen.moveTo(midX - 3, midY + 3);
    pen.lineTo(midX + 3, midY - 3);
    pen.stroke();
  } else {
    arrow(pen, sent, from, x(ms.sent[i] + ms.delay[i]), to, head);
  }
  pen.globalAlpha = 1;
  drawn.messages += 1;
}

function drawMessages(pen) {
  const first = firstAt(ms.sent, view.from - delayMax);
  const last = firstAt(ms.sent, view.to + 1);
  const shown = [];
  for (let i = first; i < last; i += 1) {
    if (isMessageWanted(i) && ms.sent[i] + Math.max(ms.delay[i], 0) >= view.from) shown.push(i);
  }
  if (shown.length <= MESSAGES_SINGLE_MAX) {
    const head = shown.length < 700;
    shown.forEach((i) => drawMessage(pen, i, head));
    return;
  }
  const bundles = new Map();
  for (const i of shown) {
    const slice = Math.floor(x(ms.sent[i]) / SLICE);
    const lost = ms.delay[i] < 0 ? 1 : 0;
    const key = ((slice * 128 + ms.from[i]) * 128 + ms.to[i]) * 64 + ms.sort[i] * 2 + lost;
    const bundle = bundles.get(key);
    if (bundle) bundle.count += 1; else bundles.set(key, { i, slice, lost, count: 1 });
  }
  for (const { i, slice, lost, count } of bundles.values()) {
    pen.strokeStyle = lost ? palette.bad : colours[ms.sort[i]];
    pen.globalAlpha = Math.min(0.1 + 0.09 * Math.log2(1 + count), 0.7);
    pen.lineWidth = Math.min(0.8 + 0.35 * Math.log2(count + 1), 3);
    const from = places[ms.from[i]].line;
    const to = places[ms.to[i]].line;
    const left = (slice + 0.5) * SLICE;
    arrow(pen, left, from, left + (lost ? 2 : SLICE * 0.7), lost ? from + (to - from) * 0.4 : to, false);
    drawn.bundles += 1;
  }
  pen.globalAlpha = 1;
  drawn.messages += shown.length;
}

function drawEvents(pen) {
  const first = firstAt(ev.at, view.from);
  const last = firstAt(ev.at, view.to + 1);
  const shown = [];
  for (let i = first; i < last; i += 1) if (isEventWanted(i)) shown.push(i);
  drawn.events = shown.length;
  const single = shown.length <= EVENTS_SINGLE_MAX;
  if (!single) drawDensity(pen, shown);
  const ends = lanes.map(() => -1e9);
  for (const i of shown) {
    const sort = sorts[ev.sort[i]];
    // The few that matter most are always drawn one by one.
    if (single || sort === "process" || sort === "violation") drawEvent(pen, i);
  }
  if (shown.length > 400) return;
  for (const i of shown) {
    const lane = ev.lane[i];
    const px = x(ev.at[i]);
    if (lanes[lane].kind === "world" || px < ends[lane]) continue;
    const next = shown.find((j) => j > i && ev.lane[j] === lane && x(ev.at[j]) > px + 1);
    const room = Math.min(next === undefined ? 260 : x(ev.at[next]) - px - 8, 260);
    if (room < 36) continue;
    label(pen, data.texts[ev.text[i]], px + 5, px + room, places[lane].line + (lanes[lane].kind === "client" ? -11 : 15), palette.text);
    ends[lane] = px + room;
  }
}

function drawEvent(pen, i) {
  const place = places[ev.lane[i]];
  const px = x(ev.at[i]);
  const sort = sorts[ev.sort[i]];
  const y = lanes[ev.lane[i]].kind === "world" ? place.bottom - 5 : place.line;
  pen.fillStyle = colours[ev.sort[i]];
  pen.strokeStyle = colours[ev.sort[i]];
  if (sort === "view" || sort === "epoch") {
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(px, y - 10);
    pen.lineTo(px, y + 10);
    pen.stroke();
  } else if (sort === "process") {
    pen.beginPath();
    pen.moveTo(px, y - 6);
    pen.lineTo(px + 5, y + 5);
    pen.lineTo(px - 5, y + 5);
    pen.fill();
  } else {
    pen.beginPath();
    pen.arc(px, y, GLYPH, 0, 7);
    pen.fill();
  }
  if (selected === i) {
    pen.strokeStyle = palette.accent;
    pen.lineWidth = 2.5;
    pen.beginPath();
    pen.arc(px, y, 8, 0, 7);
    pen.stroke();
  }
}

// Columns above the line: how much happens in each slice of time, by sort.
function drawDensity(pen, shown) {
  const slices = new Map();
  let most = 1;
  for (const i of shown) {
    const key = ev.lane[i] * 100000 + Math.floor(x(ev.at[i]) / SLICE);
    let counts = slices.get(key);
    if (!counts) slices.set(key, counts = new Map());
    counts.set(ev.sort[i], (counts.get(ev.sort[i]) || 0) + 1);
    counts.total = (counts.total || 0) + 1;
    most = Math.max(most, counts.total);
  }
  for (const [key, counts] of slices) {
    const place = places[Math.floor(key / 100000)];
    const px = (key % 100000) * SLICE;
    let y = place.line + 5 + 16 * Math.sqrt(counts.total / most);
    const scale = (y - place.line - 5) / counts.total;
    for (const [sort, count] of counts) {
      pen.fillStyle = colours[sort];
      pen.globalAlpha = 0.8;
      pen.fillRect(px, y - count * scale, SLICE - 1, count * scale);
      y -= count * scale;
    }
    drawn.bundles += 1;
  }
  pen.globalAlpha = 1;
}

function operationColour(op) {
  if (op.bad) return palette.bad;
  return op.outcome === "ok" ? palette.good : op.outcome === "fail" ? palette.soft : palette.warn;
}

function operationBox(op) {
  const place = places[op.lane];
  const from = x(op.from);
  const to = op.to === null ? view.width + 10 : x(op.to);
  return { from, to: Math.max(to, from + 2), top: place.operations + op.row * ROW };
}

function drawOperations(pen) {
  for (const op of ops) {
    if (!isOperationWanted(op) || !isSeen(op.from, op.to === null ? end : op.to)) continue;
    const { from, to, top } = operationBox(op);
    drawn.operations += 1;
    const ink = operationColour(op);
    const left = Math.max(from, -3);
    const width = Math.max(Math.min(to, view.width + 3) - left, 2);
    pen.fillStyle = ink;
    pen.globalAlpha = op.bad ? 0.5 : 0.28;
    pen.fillRect(left, top, width, ROW - 2);
    pen.globalAlpha = 1;
    if (op.bad || selectedOperation === op.number || width > 6) {
      pen.strokeStyle = selectedOperation === op.number ? palette.accent : ink;
      pen.lineWidth = selectedOperation === op.number ? 2.5 : op.bad ? 1.8 : 0.7;
      pen.strokeRect(left, top, width, ROW - 2);
    }
    if (op.point !== null && width > 8) {
      pen.fillStyle = palette.text;
      pen.beginPath();
      pen.arc(Math.min(Math.max(x(op.point), from + 2), to - 2), top + ROW / 2 - 1, 2.4, 0, 7);
      pen.fill();
    }
    if (width > 34) label(pen, operationWords(op), left + 7, left + width - 3, top + ROW / 2 - 0.5, palette.text);
  }
}

function drawConflict(pen) {
  for (const why of data.explanations) {
    for (const link of why.links) {
      const from = operationBox(ops[link.from]);
      const to = operationBox(ops[link.to]);
      pen.strokeStyle = palette.bad;
      pen.fillStyle = palette.bad;
      pen.lineWidth = 1.4;
      arrow(pen, from.to, from.top + ROW / 2, to.from, to.top + ROW / 2, true);
    }
  }
  if (data.violation) {
    const px = x(data.violation.at);
    pen.strokeStyle = palette.bad;
    pen.lineWidth = 1.5;
    pen.setLineDash([6, 4]);
    pen.beginPath();
    pen.moveTo(px, AXIS - 6);
    pen.lineTo(px, view.height);
    pen.stroke();
    pen.setLineDash([]);
    if (px >= 0 && px <= view.width) {
      const left = px > view.width - 130;
      pen.font = "bold 11px system-ui, sans-serif";
      pen.textAlign = left ? "right" : "left";
      pen.fillStyle = palette.bad;
      pen.fillText(data.violation.property, px + (left ? -4 : 4), AXIS + 3);
    }
  }
}

function drawStrip() {
  const width = strip.clientWidth;
  const height = 46;
  const pen = fit(strip, width, height);
  const counts = new Array(Math.ceil(width / 2) + 1).fill(0);
  for (const at of stepTimes) counts[Math.floor(at / end * width / 2)] += 1;
  const most = Math.max(1, ...counts);
  pen.fillStyle = palette.soft;
  counts.forEach((count, place) => {
    const tall = Math.sqrt(count / most) * (height - 14);
    pen.fillRect(place * 2, height - tall, 1.6, tall);
  });
  for (const fault of faults) {
    const to = fault.to === null ? (fault.lasts ? end : fault.from) : fault.to;
    pen.fillStyle = "rgba(214, 120, 20, 0.6)";
    pen.fillRect(fault.from / end * width, 3, Math.max((to - fault.from) / end * width, 1.5), 3);
  }
  for (const op of ops) {
    if (!op.bad) continue;
    pen.fillStyle = palette.bad;
    pen.fillRect(op.from / end * width - 1, 8, 3, height - 8);
  }
  if (data.violation) {
    pen.fillStyle = palette.bad;
    pen.fillRect(data.violation.at / end * width - 1, 0, 2, height);
  }
  const from = view.from / end * width;
  const to = view.to / end * width;
  pen.fillStyle = dark ? "rgba(120, 174, 240, 0.16)" : "rgba(31, 95, 174, 0.12)";
  pen.fillRect(from, 0, to - from, height);
  pen.strokeStyle = palette.accent;
  pen.lineWidth = 1.5;
  pen.strokeRect(from + 0.75, 0.75, Math.max(to - from - 1.5, 2), height - 1.5);
}

function draw() {
  for (const name of Object.keys(drawn)) drawn[name] = 0;
  standing = [];
  view.width = document.getElementById("field").clientWidth;
  layOut();
  const pen = fit(canvas, view.width, view.height);
  drawAxis(pen);
  drawFaults(pen);
  drawLanes(pen);
  drawSpans(pen);
  drawMessages(pen);
  drawEvents(pen);
  drawOperations(pen);
  drawConflict(pen);
  drawStrip();
}
