
// The model itself, in WebAssembly: it is stepped here, and what it finds is drawn by the circuit's script.
{
  const MOST_LINES = 4, MOST_MOMENTS = 400, PUSH = 0.01, LEAST_LEFT = 1e-4, KEPT_LIVE = 300, WAIT = 100;
  const RANGE = 16 | 1, TIME = 2 | 32;
  const byId = (id) => document.getElementById(id);
  const TIMES = { us: 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600, d: 86400 };
  let model = null, said = [], beat = null;

  async function load() {
    const bytes = Uint8Array.from(atob(circuit.program), (character) => character.charCodeAt(0));
    const { exports } = (await WebAssembly.instantiate(bytes)).instance;
    const array = (name, length) => new Float32Array(exports.memory.buffer, exports[`web_${name}`](), length);
    model = {
      ...exports,
      inputs: array("inputs", circuit.channels.length),
      outputs: array("outputs", circuit.labels.length || circuit.neurons.filter((n) => n.of === "answers").length),
      hidden: array("hidden", circuit.units),
      features: array("features", circuit.features),
    };
    model.web_init();
  }

  // One sample: NaN is a reading that was not taken.
  function step(readings, elapsed) {
    readings.forEach((value, i) => { model.inputs[i] = value ?? NaN; });
    return model.web_step(elapsed);
  }

  // The time in which a push to each neuron fades to 37 %, were steps like the last one repeated; null: it does not fade.
  function timeConstants(elapsed) {
    return Array.from({ length: circuit.units }, (_, i) => {
      const left = Math.max(Math.abs(model.web_left(i, elapsed, PUSH)), LEAST_LEFT);
      return left < 1 ? -elapsed / Math.log(left) : null;
    });
  }

  function answered(outputs) {
    if (!circuit.labels.length) return outputs[0];
    if (circuit.threshold !== null) {
      return outputs[circuit.positive] >= circuit.threshold ? circuit.positive : 1 - circuit.positive;
    }
    return outputs.indexOf(Math.max(...outputs));
  }

  const observed = (value) => (Number.isFinite(value) ? value : null);

  function clear() {
    for (const name of ["times", "inputs", "states", "taus", "answers"]) circuit[name] = [];
    circuit.strip = circuit.channels.slice(0, MOST_LINES).map(({ name }) => ({ name, values: [] }));
    circuit.strip.push({ name: `${circuit.target}: answer`, values: [], ...(circuit.labels.length && { labels: circuit.labels }) });
  }

  function note(time, readings, elapsed, outputs) {
    circuit.times.push(time);
    circuit.inputs.push([...model.features]);
    circuit.states.push([...model.hidden]);
    circuit.taus.push(timeConstants(elapsed));
    circuit.answers.push(outputs);
    circuit.strip.slice(0, -1).forEach((line, i) => line.values.push(observed(readings[i])));
    circuit.strip.at(-1).values.push(answered(outputs));
  }

  // The whole table goes through the model; of so many samples, evenly spread, the neurons are drawn.
  function run({ times, rows, elapsed, starts, truth }) {
    clear();
    model.web_init();
    said = [];
    const found = { beyond: 0, times: 0 };
    const drawn = new Set(Array.from({ length: MOST_MOMENTS }, (_, i) => Math.round((i * (rows.length - 1)) / (MOST_MOMENTS - 1))));
    const line = truth ? [] : null;
    rows.forEach((readings, i) => {
      if (starts[i]) model.web_init();
      const status = step(readings, elapsed[i]);
      found.beyond += (status & RANGE) > 0;
      found.times += (status & TIME) > 0;
      const outputs = [...model.outputs];
      said.push({ time: times[i], outputs });
      if (!drawn.has(i)) return;
      note(times[i], readings, elapsed[i] > 0 ? elapsed[i] : circuit.gap, outputs);
      line?.push(truth[i]);
    });
    if (line) {
      circuit.strip.at(-1).truth = line;
      circuit.strip.at(-1).name = `${circuit.target}: answer, truth in grey`;
    }
    slider.value = 0;
    renew();
    slider.value = slider.max;
    show();
    tellAnswer();
    byId("save").disabled = false;
    return found;
  }

  function tellAnswer() {
    const outputs = circuit.answers[Number(slider.value)];
    if (!outputs) return;
    const best = answered(outputs);
    byId("answer").textContent = circuit.labels.length
      ? `${circuit.target}: ${circuit.labels[best]}, ${Math.round(100 * outputs[best])} %`
      : `${circuit.target}: ${outputs.map(figure).join(", ")}`;
  }
  slider.addEventListener("input", tellAnswer);
  new MutationObserver(tellAnswer).observe(byId("clock"), { childList: true });

  // What the page begins with: samples with PyTorch's answers, by which the module proves itself.
  function begin() {
    const { readings, elapsed, starts, expected, name } = circuit.began;
    const rows = readings.map((row) => row.map((value) => value ?? NaN));
    let now = 0;
    const times = elapsed.map((gap, i) => (now += i ? Math.max(gap ?? 0, 0) : 0));
    run({ times, rows, elapsed, starts });
    let worst = 0;
    said.forEach(({ outputs }, i) => outputs.forEach((value, k) => { worst = Math.max(worst, Math.abs(value - expected[i][k])); }));
    byId("source").textContent = `${rows.length.toLocaleString("en")} ${name}`;
    byId("proof").textContent = `This module's answers to them differ from PyTorch's by at most ${figure(worst)}.`;
    byId("proof").dataset.worst = worst;
  }

  class Trouble extends Error {}

  function cells(text) {
    const rows = [];
    let row = [], cell = "", quoted = false;
    const endCell = () => { row.push(cell.trim()); cell = ""; };
    const endRow = () => {
      endCell();
      if (row.some((each) => each !== "")) rows.push(row);
      row = [];
    };
    const head = text.slice(0, (text + "\n").indexOf("\n"));
    const separator = [";", "\t", ","].reduce((a, b) => (head.split(b).length > head.split(a).length ? b : a), ",");
    for (let i = 0; i < text.length; i++) {
      const c = text[i];
      if (quoted) {
        if (c !== '"') cell += c;
        else if (text[i + 1] === '"') { cell += c; i++; } else quoted = false;
      } else if (c === '"' && cell.trim() === "") { quoted = true; cell = ""; }
      else if (c === separator) endCell();
      else if (c === "\n") endRow();
      else if (c !== "\r") cell += c;
    }
    endRow();
    return { rows, comma: separator !== "," };
  }

  const MISSING = new Set(["", "na", "n/a", "nan", "null", "none", "-", "?"]);
  const MARKS = circuit.missing.filter((mark) => mark !== ""); // of the training's table
  MARKS.forEach((mark) => MISSING.add(String(mark).toLowerCase()));
  const MISSING_NUMBERS = new Set(MARKS.map(Number));
  const WITHOUT_ZONE = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(:\d\d(\.\d+)?)?)$/;

  function number(text, comma) {
    const plain = comma && /^[-+]?\d*,\d+$/.test(text) ? text.replace(",", ".") : text;
    return plain !== "" && Number.isFinite(Number(plain)) ? Number(plain) : null;
  }

  function table(text) {
    const { rows: [head, ...body], comma } = cells(text.replace(/^\ufeff/, ""));
    if (!head || !body.length) throw new Trouble("the table has no rows under its names");
    const column = (name) => head.indexOf(name);
    const lacking = circuit.channels.filter(({ name }) => column(name) < 0).map(({ name }) => name);
    if (lacking.length) throw new Trouble(`the table has no column ${lacking.join(", ")}; it has ${head.join(", ")}`);
    const places = circuit.channels.map(({ name }) => column(name));
    const rows = body.map((row, i) => places.map((place, k) => {
      const text = row[place] ?? "";
      if (MISSING.has(text.toLowerCase())) return NaN;
      const value = number(text, comma);
      if (value === null) throw new Trouble(`row ${i + 2}, ${circuit.channels[k].name}: ${text.slice(0, 40)} is not a number`);
      return MISSING_NUMBERS.has(value) ? NaN : value;
    }));
    const taken = timeColumn(head, body, places, comma);
    const at = column(circuit.target);
    const truth = at < 0 || circuit.forecast || places.includes(at) ? null : body.map((row) => {
      const text = row[at] ?? "", place = circuit.labels.indexOf(text);
      return circuit.labels.length ? (place < 0 ? null : place) : number(text, comma);
    });
    return { rows, truth: truth?.some((value) => value !== null) ? truth : null, ...taken };
  }

  // The one that training had, or of a usual name; else the first other one that holds numbers or dates, rises and never falls.
  function timeColumn(head, body, places, comma) {
    const none = { times: body.map((_, i) => i), elapsed: body.map(() => 1), from: "one sample a row", starts: [] };
    if (circuit.unit === "samples") return none;
    const others = head.map((_, i) => i).filter((i) => !places.includes(i) && head[i] !== circuit.target);
    const named = others.filter((i) => head[i] === circuit.time || /^(time|timestamp|date|datetime|date_time|t)$/i.test(head[i]));
    for (const at of [...named, ...others]) {
      let times = body.map((row) => number(row[at] ?? "", comma)), dates = false;
      if (times.includes(null)) {
        times = body.map((row) => Date.parse((row[at] ?? "").replace(WITHOUT_ZONE, "$1T$2Z")) / 1000);
        if (times.some(Number.isNaN)) continue;
        if (!(circuit.unit in TIMES)) throw new Trouble(`${head[at]} has dates, and the model counts time in ${circuit.unit}`);
        dates = true;
        times = times.map((time) => time / TIMES[circuit.unit]);
      }
      const back = times.findIndex((time, i) => i > 0 && time < times[i - 1]);
      if (!named.includes(at) && (back >= 0 || (times.length > 1 && times.at(-1) === times[0]))) continue;
      if (back >= 0) throw new Trouble(`row ${back + 2}: the time in ${head[at]} goes back; give one series, in order`);
      const elapsed = times.map((time, i) => (i ? time - times[i - 1] : circuit.gap));
      const from = `time from ${head[at]}${dates ? " (dates)" : ` in ${circuit.unit}`}`;
      return { times: times.map((time) => time - times[0]), elapsed, from, starts: [] };
    }
    throw new Trouble(`the table has no column of times; the model needs them, in ${circuit.unit}`);
  }

  async function read(file) {
    halt();
    byId("trouble").textContent = "";
    try {
      const given = table(await file.text());
      const found = run(given);
      const notes = [`${given.rows.length.toLocaleString("en")} samples of ${file.name}`, given.from];
      if (found.beyond) notes.push(`${found.beyond.toLocaleString("en")} with readings beyond what training had`);
      if (found.times) notes.push(`${found.times.toLocaleString("en")} after gaps beyond what training had`);
      byId("source").textContent = `${notes.join("; ")}.`;
      byId("proof").textContent = "";
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      byId("trouble").textContent = `${file.name}: ${error.message}.`;
    }
  }

  byId("file").addEventListener("change", async ({ target }) => {
    if (!target.files[0]) return;
    await read(target.files[0]);
    target.value = ""; // the same file may be chosen again once it is mended
  });
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      byId("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files[0]) read(event.dataTransfer.files[0]);
    });
  }
  document.addEventListener("dragleave", () => byId("drop").classList.remove("over"));

  byId("save").addEventListener("click", () => {
    const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const names = circuit.labels.length
      ? ["prediction", ...circuit.labels.map((label) => `p(${label})`)]
      : circuit.neurons.filter((n) => n.of === "answers").map((n) => n.name);
    const lines = said.map(({ time, outputs }) =>
      [time, ...(circuit.labels.length ? [quote(circuit.labels[answered(outputs)])] : []), ...outputs].join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([[["time", ...names].map(quote).join(","), ...lines, ""].join("\n")], { type: "text/csv" }));
    link.download = "answers.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });

  // By hand: the inputs stand where their sliders stand, and samples come in at the gap that is set.
  const hands = [...document.querySelectorAll("[data-channel]")];
  const seen = [...document.querySelectorAll("[data-seen]")];

  function reading(i) {
    const { low, high } = circuit.channels[i], wide = 0.25 * (high - low);
    return low - wide + Number(hands[i].value) * (high - low + 2 * wide);
  }

  function tellHands() {
    hands.forEach((hand, i) => {
      const now = seen[i].checked ? figure(reading(i)) : "not observed";
      hand.closest(".controls").querySelector("output").textContent = now;
      hand.setAttribute("aria-valuetext", now);
    });
    byId("gap-now").textContent = `${figure(gapNow())} ${circuit.unit}`;
  }
  const gapNow = () => circuit.gap * 10 ** Number(byId("gap").value);

  function halt() {
    clearInterval(beat);
    beat = null;
    byId("live").textContent = "Start";
    byId("live").setAttribute("aria-pressed", "false");
  }

  function tick() {
    const readings = hands.map((_, i) => (seen[i].checked ? reading(i) : NaN));
    const elapsed = gapNow();
    step(readings, elapsed);
    const outputs = [...model.outputs], time = said.length ? said.at(-1).time + elapsed : 0;
    said.push({ time, outputs });
    note(time, readings, elapsed, outputs);
    const lines = [circuit.times, circuit.inputs, circuit.states, circuit.taus, circuit.answers, ...circuit.strip.map((l) => l.values)];
    if (circuit.times.length > KEPT_LIVE) lines.forEach((line) => line.shift());
    slider.max = slider.value = circuit.times.length - 1;
    measure();
    drawStrip();
    show();
  }

  byId("live").addEventListener("click", () => {
    if (beat !== null) return halt();
    if (timer !== null) stop();
    clear();
    said = [];
    model.web_init();
    byId("source").textContent = "By hand: ten samples a second.";
    byId("proof").textContent = "";
    byId("live").textContent = "Stop";
    byId("live").setAttribute("aria-pressed", "true");
    byId("save").disabled = false;
    tick();
    beat = setInterval(tick, WAIT);
  });
  play.addEventListener("click", halt);
  slider.addEventListener("input", halt);
  [...hands, ...seen, byId("gap")].forEach((each) => each.addEventListener("input", tellHands));

  circuit.channels.forEach(({ mean, low, high }, i) => {
    const wide = 0.25 * (high - low);
    hands[i].value = (mean - low + wide) / (high - low + 2 * wide || 1);
  });
  tellHands();
  load().then(begin);
}
