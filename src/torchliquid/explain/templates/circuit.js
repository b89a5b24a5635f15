
// The circuit: drawn from plain data, moved through the recording by a slider or the play button.
const circuit = JSON.parse(document.getElementById("data").textContent);
const drawing = document.getElementById("drawing");
const slider = document.getElementById("moment");
const select = document.getElementById("chosen");
const play = document.getElementById("play");
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
const nodes = [];
let chosen = circuit.start;
let timer = null;

function svg(name, attributes, parent, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function figure(value) {
  if (value === null || value === undefined) return "without end";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(1).replace("-", "−");
  return value.toLocaleString("en", { maximumSignificantDigits: 3 }).replace("-", "−");
}

function range(rows, at, logarithm) {
  const values = rows.map((row) => row[at]).filter((v) => v !== null && (!logarithm || v > 0));
  const scaled = logarithm ? values.map(Math.log) : values;
  return [Math.min(...scaled), Math.max(...scaled)];
}

// Of each node the range of what it shows, and that of all time constants.
let spans = [], tauSpan = [0, 0];
function measure() {
  spans = circuit.neurons.map((n) => (n.of === "answers" && circuit.strip.at(-1).labels ? [0, 1] : range(circuit[n.of], n.at)));
  tauSpan = circuit.neurons.filter((n) => n.of === "states").map((n) => range(circuit.taus, n.at, true))
    .reduce((a, b) => [Math.min(a[0], b[0]), Math.max(a[1], b[1])], [Infinity, -Infinity]);
}

function part(value, [low, high]) {
  return high > low ? Math.min(Math.max((value - low) / (high - low), 0), 1) : 0.5;
}

// Wide: layers side by side from left to right. Narrow: one below the other.
function places(width) {
  const upright = width < 620;
  const columns = [...new Set(circuit.neurons.map((n) => n.x))].sort((a, b) => a - b);
  const members = columns.map((x) => circuit.neurons.filter((n) => n.x === x).length);
  const most = Math.max(...members);
  const rows = members.map((n) => Math.ceil(n / 8));
  const tops = rows.reduce((all, n) => [...all, all.at(-1) + 46 * n + 50], [0]); // of each column, when upright
  const height = upright ? 60 + tops.at(-1) : Math.max(300, 28 * most + 50);
  const room = (x) => Math.min(Math.max(...circuit.neurons.filter((n) => n.x === x).map((n) => n.name.length)) * 7 + 24, width / 4);
  const names = room(0), answers = room(1);
  const placed = circuit.neurons.map((n) => {
    const column = columns.indexOf(n.x);
    if (!upright) return [names + n.x * (width - names - answers), 40 + n.y * (height - 50)];
    const row = Math.round(n.y * members[column] - 0.5) % rows[column];
    return [16 + n.y * (width - 32), 46 + tops[column] + 46 * row];
  });
  const heads = columns.map((x, column) => {
    const first = circuit.neurons.findIndex((n) => n.x === x);
    return [circuit.neurons[first].kind, upright ? 2 : placed[first][0], upright ? 22 + tops[column] : 16];
  });
  return { upright, height, placed, heads, radius: 8 };
}

function link(from, to, own, upright, radius) {
  const [x1, y1] = from, [x2, y2] = to;
  if (own) {
    return [`M${x1 - 5} ${y1 - radius}C${x1 - 22} ${y1 - 34} ${x1 + 22} ${y1 - 34} ${x1 + 5} ${y1 - radius - 4}`, [x1 + 5, y1 - radius - 3], Math.PI / 2 + 0.3];
  }
  const same = upright ? Math.abs(y2 - y1) < 47 : Math.abs(x2 - x1) < 1;
  let cx, cy;
  if (same) {
    const away = 20 + 0.22 * Math.hypot(x2 - x1, y2 - y1);
    [cx, cy] = upright ? [(x1 + x2) / 2, (y1 + y2) / 2 + away] : [(x1 + x2) / 2 + away, (y1 + y2) / 2];
  } else {
    [cx, cy] = upright ? [x1 * 0.35 + x2 * 0.65, (y1 + y2) / 2] : [(x1 + x2) / 2, y1 * 0.65 + y2 * 0.35];
  }
  const angle = Math.atan2(y2 - cy, x2 - cx);
  const tip = [x2 - Math.cos(angle) * (radius + 5), y2 - Math.sin(angle) * (radius + 5)];
  return [`M${x1} ${y1}Q${cx} ${cy} ${tip[0]} ${tip[1]}`, tip, angle];
}

// At first only the strongest ways into each node are drawn; those of a chosen neuron all.
const strong = new Set();
const ways = new Map();
circuit.synapses.forEach(([, target, , strength], i) => ways.set(target, [...(ways.get(target) ?? []), [strength, i]]));
for (const into of ways.values()) {
  into.sort((a, b) => b[0] - a[0]).slice(0, 2).forEach(([, i]) => strong.add(i));
}

function lay() {
  const width = drawing.clientWidth || 300;
  const { upright, height, placed, heads, radius } = places(width);
  drawing.replaceChildren();
  nodes.length = 0;
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawing.style.height = `${height}px`;
  const strongest = Math.max(...circuit.synapses.map((s) => s[3]), 1e-12);
  for (const [rank, [source, target, polarity, strength]] of [...circuit.synapses.entries()].reverse()) {
    const kind = polarity > 0 ? "excites" : "inhibits";
    const share = strength / strongest;
    const group = svg("g", { class: "link", "data-source": source, "data-target": target }, drawing);
    group.style.setProperty("--strength", (0.1 + 0.6 * share).toFixed(2));
    group.classList.toggle("weak", !strong.has(rank));
    const [path, [x, y], angle] = link(placed[source], placed[target], source === target, upright, radius);
    svg("path", { d: path, class: `synapse ${kind}` }, group).style.strokeWidth = (0.8 + 2 * share).toFixed(2);
    const turned = { transform: `translate(${x} ${y}) rotate(${(angle * 180) / Math.PI})`, class: `head ${kind}` };
    svg("path", { ...turned, d: polarity > 0 ? "M-5 -4L4 0L-5 4Z" : "M1 -5V5" }, group);
  }
  for (const [kind, x, y] of heads) svg("text", { x, y, class: "layer", "text-anchor": upright ? "start" : "middle" }, drawing, kind);
  circuit.neurons.forEach((neuron, i) => {
    const [x, y] = placed[i];
    const group = svg("g", { class: "neuron", role: "button", tabindex: -1, "aria-label": neuron.name, transform: `translate(${x} ${y})` }, drawing);
    svg("circle", { r: radius + 5, class: "hit" }, group);
    const inside = neuron.of === "states";
    const ring = inside ? svg("circle", { r: radius + 1, class: "ring" }, group) : null;
    const body = inside
      ? svg("circle", { r: radius - 1, class: "body" }, group)
      : svg("rect", { x: -7, y: -7, width: 14, height: 14, rx: 2, class: "body" }, group);
    if (!upright) {
      const left = neuron.x === 0;
      const most = Math.floor((drawing.clientWidth / 4 - 24) / 7);
      const name = neuron.name.length > most ? `${neuron.name.slice(0, most - 1)}…` : neuron.name;
      svg("text", { x: left ? -16 : 16, y: 4, "text-anchor": left ? "end" : "start" }, group, name);
    }
    group.addEventListener("pointerenter", () => choose(i));
    group.addEventListener("click", () => { choose(i); group.focus(); });
    group.addEventListener("focus", () => choose(i));
    group.addEventListener("keydown", walk);
    nodes.push({ group, ring, body });
  });
  choose(chosen, false);
  show();
}

function choose(i, focused = true) {
  chosen = i;
  select.value = i;
  nodes.forEach(({ group }, at) => {
    group.setAttribute("tabindex", at === i ? 0 : -1);
    group.classList.toggle("chosen", at === i);
  });
  drawing.classList.toggle("focused", focused);
  for (const each of drawing.querySelectorAll(".link")) {
    each.classList.toggle("near", Number(each.dataset.source) === i || Number(each.dataset.target) === i);
  }
  tell();
}

function walk(event) {
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  nodes[(chosen + step + nodes.length) % nodes.length].group.focus();
}

function tell() {
  const moment = Number(slider.value), neuron = circuit.neurons[chosen], value = circuit[neuron.of][moment][neuron.at];
  document.getElementById("about-name").textContent = neuron.name;
  document.getElementById("about-now").textContent = {
    inputs: `(input) now ${figure(value)} deviations from the training mean`,
    states: `(${neuron.kind}) now ${figure(value)}, ${circuit.tau} ${figure(circuit.taus[moment][neuron.at])} ${circuit.unit}`,
    answers: `(answer) now ${figure(value)}`,
  }[neuron.of];
  document.getElementById("about-role").textContent = neuron.role ?? "";
}

function show() {
  const moment = Number(slider.value);
  const clock = `${figure(circuit.times[moment])} ${circuit.clock}`;
  document.getElementById("clock").textContent = clock;
  slider.setAttribute("aria-valuetext", clock);
  circuit.neurons.forEach((neuron, i) => {
    const value = circuit[neuron.of][moment][neuron.at];
    nodes[i].body.style.setProperty("--activity", `${Math.round(100 * part(value, spans[i]))}%`);
    if (!nodes[i].ring) return;
    const tau = circuit.taus[moment][neuron.at];
    const long = tau === null ? 1 : part(Math.log(tau), tauSpan);
    nodes[i].ring.style.strokeWidth = (1 + 5 * long).toFixed(2);
  });
  point(moment);
  tell();
}

// The strip: readings in their own units, then the answer over the truth; a cursor stands at the moment.
const strip = document.getElementById("strip");
const ROW = 46;
const now = [];

function across(moment, width) {
  const [first, last] = [circuit.times[0], circuit.times.at(-1)];
  return last > first ? (width * (circuit.times[moment] - first)) / (last - first) : 0;
}

function steps(values, span, width, top) {
  let path = "", pen = "M";
  values.forEach((value, i) => {
    if (value === null) { pen = "M"; return; }
    const y = top + ROW - 6 - (ROW - 24) * part(value, span);
    path += `${pen}${across(i, width).toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  });
  return path;
}

function drawStrip() {
  const width = strip.clientWidth || 300;
  strip.replaceChildren();
  now.length = 0;
  strip.setAttribute("viewBox", `0 0 ${width} ${ROW * circuit.strip.length}`);
  strip.style.height = `${ROW * circuit.strip.length}px`;
  circuit.strip.forEach((line, row) => {
    const both = [...line.values, ...(line.truth ?? [])].filter((v) => v !== null);
    const span = [Math.min(...both), Math.max(...both)];
    if (line.truth) svg("path", { d: steps(line.truth, span, width, row * ROW), class: "true" }, strip);
    svg("path", { d: steps(line.values, span, width, row * ROW), class: line.truth ? "line said" : "line" }, strip);
    svg("text", { x: 2, y: row * ROW + 13 }, strip, line.name);
    now.push(svg("text", { x: width - 2, y: row * ROW + 13, "text-anchor": "end", class: "now" }, strip));
  });
  svg("path", { class: "cursor" }, strip);
  point(Number(slider.value));
}

function point(moment) {
  const cursor = strip.querySelector(".cursor");
  if (!cursor) return;
  const x = across(moment, strip.clientWidth || 300);
  cursor.setAttribute("d", `M${x} 0V${ROW * circuit.strip.length}`);
  const named = (line, value) => (value === null ? "not known" : line.labels ? line.labels[value] : figure(value));
  circuit.strip.forEach((line, row) => {
    const value = line.values[moment];
    now[row].textContent = line.truth
      ? `${named(line, value)}, truth ${named(line, line.truth[moment])}`
      : value === null ? "not observed" : named(line, value);
  });
}

function drag(event) {
  if (!(event.buttons & 1)) return;
  const share = (event.clientX - strip.getBoundingClientRect().left) / strip.clientWidth;
  const wanted = circuit.times[0] + share * (circuit.times.at(-1) - circuit.times[0]);
  const next = circuit.times.findIndex((time) => time >= wanted);
  slider.value = next < 0 ? slider.max : next;
  show();
}
strip.addEventListener("pointerdown", drag);
strip.addEventListener("pointermove", drag);

function stop() {
  clearInterval(timer);
  timer = null;
  play.textContent = "Play";
  play.setAttribute("aria-pressed", "false");
}

play.addEventListener("click", () => {
  if (timer !== null) return stop();
  if (slider.value === slider.max) slider.value = 0;
  play.textContent = "Pause";
  play.setAttribute("aria-pressed", "true");
  // Who asked for less motion gets a few separate pictures instead of a film.
  const stride = still.matches ? Math.ceil(Number(slider.max) / 12) : 1;
  timer = setInterval(() => {
    slider.value = Number(slider.value) + stride;
    show();
    if (slider.value === slider.max) stop();
  }, still.matches ? 1500 : 100);
});
drawing.addEventListener("pointerleave", () => drawing.classList.remove("focused"));
slider.addEventListener("input", show);
select.addEventListener("change", () => choose(Number(select.value)));
let laidAt = 0;
function renew() {
  if (!circuit.times.length) return;
  slider.max = circuit.times.length - 1;
  laidAt = drawing.clientWidth;
  measure();
  lay();
  drawStrip();
}
new ResizeObserver(() => {
  if (drawing.clientWidth !== laidAt) renew();
}).observe(drawing.parentElement);
