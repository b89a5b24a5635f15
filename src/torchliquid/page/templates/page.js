"use strict";
// Charts take their colours from the page's CSS variables and follow it between light and dark.
const specifications = JSON.parse(document.getElementById("specifications").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const narrow = window.matchMedia("(max-width: 560px)");
const mouse = window.matchMedia("(hover: hover) and (pointer: fine)");

function variable(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function coloured(value, key) {
  if (Array.isArray(value)) return value.map((item) => coloured(item, key));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, k)]));
  }
  return typeof value === "string" && /color(scale)?$/.test(key) && value.startsWith("--") ? variable(value) : value;
}

function draw(element) {
  const { data, layout } = coloured(structuredClone(specifications[element.dataset.chart]), "");
  const axis = {
    gridcolor: variable("--grid"), linecolor: variable("--line"), zerolinecolor: variable("--line"), fixedrange: true,
  };
  for (const key of Object.keys(layout)) {
    if (/^[xy]axis/.test(key)) layout[key] = { ...axis, ...layout[key] };
  }
  const controls = document.querySelector(`[data-zoom="${element.dataset.chart}"]`);
  const dragged = controls && mouse.matches; // a finger scrolls the page; it has the buttons
  if (dragged) layout.xaxis.fixedrange = false;
  Object.assign(layout, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: dragged ? "zoom" : false, autosize: true,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: variable("--muted") },
    hoverlabel: { bgcolor: variable("--card"), bordercolor: variable("--line"), font: { color: variable("--ink") } },
  });
  if (narrow.matches) {
    // On a phone only the pair that is compared keeps its names in the chart; the others are in the table.
    if (layout.yaxis.type === "category" && layout.yaxis.ticktext) { // names say what they are, and leave little room
      layout.yaxis.title.text = "";
      layout.xaxis.nticks = 4;
    }
    for (const trace of data) {
      if (trace.mode === "markers+text" && trace.textfont.size < 13) trace.mode = "markers";
    }
  }
  const fresh = !element.data;
  Plotly.react(element, data, layout, { responsive: true, displayModeBar: false, doubleClick: "reset", showTips: false });
  if (fresh && layout.hovermode === "x") tellBeside(element);
  if (fresh && controls) steer(element, controls, layout.xaxis);
}

// What a moment shows stands below the chart, or above where there is no room, and covers no line of it.
const readout = document.createElement("div");
readout.id = "readout";
readout.setAttribute("aria-hidden", "true"); // the table below has it
readout.hidden = true;
document.body.append(readout);

let hovered; // the chart whose moment it shows

function placeReadout() {
  if (readout.hidden) return;
  const chart = hovered.getBoundingClientRect();
  readout.style.left = `${chart.left}px`;
  readout.style.width = `${chart.width}px`;
  const below = chart.bottom + readout.offsetHeight <= window.innerHeight;
  readout.style.top = `${below ? chart.bottom : Math.max(chart.top - readout.offsetHeight, 0)}px`;
}
addEventListener("scroll", placeReadout, { passive: true });
addEventListener("resize", placeReadout);
new ResizeObserver(placeReadout).observe(document.body); // a chart above may be drawn meanwhile

function plain(text) {
  const box = document.createElement("textarea"); // in which tags are text
  box.innerHTML = text.replaceAll("<br>", " ");
  return box.value;
}

function word(value, axis) {
  const place = axis.tickvals ? [...axis.tickvals].indexOf(value) : -1;
  if (place >= 0 && axis.ticktext) return plain(axis.ticktext[place]);
  return typeof value === "number" ? Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 }) : value;
}

function tellBeside(element) {
  element.on("plotly_hover", ({ points }) => {
    const head = document.createElement("b"), { x, xaxis } = points[0];
    head.textContent = xaxis.type === "date" ? String(x).slice(0, 19) : `${plain(xaxis.title.text)}: ${word(x, xaxis)}`;
    readout.replaceChildren(head, ...points.map((point) => {
      const one = document.createElement("span"), swatch = document.createElement("i");
      swatch.style.background = point.data.line?.color ?? point.data.marker?.color;
      one.append(swatch, `${plain(point.data.name)} ${word(point.y, point.yaxis)}`);
      return one;
    }));
    hovered = element;
    readout.hidden = false;
    placeReadout();
  });
  element.on("plotly_unhover", () => { readout.hidden = true; });
}

// Buttons that move along a chart of time, for keyboards and fingers; a mouse can also draw over the stretch to see.
function steer(element, controls, { range, minallowed: least, maxallowed: most }) {
  const first = [...range], number = (end) => (typeof end === "string" ? Date.parse(`${end.replace(" ", "T")}Z`) : end);
  controls.addEventListener("click", ({ target }) => {
    const [low, high] = element.layout.xaxis.range.map(number), half = (high - low) / 2;
    const wanted = {
      earlier: [low - half, high - half], later: [low + half, high + half], whole: [least, most], first,
      in: [low + half / 2, high - half / 2], out: [low - half, high + half],
    }[target.dataset.move];
    if (!wanted) return;
    const over = Math.max(least - wanted[0], 0) || Math.min(most - wanted[1], 0);
    Plotly.relayout(element, { "xaxis.range": [Math.max(wanted[0] + over, least), Math.min(wanted[1] + over, most)] });
  });
}

// A click on a column's head sorts a table by it: by number where most cells begin with one.
function sortable(table) {
  if (narrow.matches || table.tBodies[0].rows.length < 3) return; // on a phone a row is a list, without heads
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows], key = (row) => cellKey(row.cells[column].textContent);
      const numeric = rows.filter((row) => Number.isFinite(key(row)[0])).length > rows.length / 2;
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        const order = numeric
          ? (Number.isFinite(x[0]) ? x[0] : Infinity) - (Number.isFinite(y[0]) ? y[0] : Infinity)
          : x[1].localeCompare(y[1]);
        return down && !(numeric && !(Number.isFinite(x[0]) && Number.isFinite(y[0]))) ? -order : order || 0;
      });
      table.tBodies[0].append(...rows);
    });
  });
}

const UNITS = { "µs": 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600, B: 1, kB: 1e3, MB: 1e6, GB: 1e9 };

function cellKey(text) {
  const found = text.trim().replace("−", "-").match(/^([-+]?[\d,]*\.?\d+)(?:.*?)\s*([µa-zA-Z]*)$/);
  return [found ? Number(found[1].replaceAll(",", "")) * (UNITS[found[2]] ?? 1) : NaN, text];
}
document.querySelectorAll("table").forEach(sortable);

const charts = [...document.querySelectorAll("[data-chart]")];
const drawn = new Set();
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting || drawn.has(entry.target)) continue;
    drawn.add(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "800px" });
charts.forEach((element) => seen.observe(element));
const again = () => drawn.forEach(draw);
dark.addEventListener("change", again);
narrow.addEventListener("change", again);
// Paper is light and as wide as a page, whatever the screen is: charts are drawn anew for it, and after it.
const onPaper = (paper) => {
  document.documentElement.classList.toggle("paper", paper);
  if (paper) charts.forEach((element) => drawn.add(element));
  again();
};
window.addEventListener("beforeprint", () => onPaper(true));
window.addEventListener("afterprint", () => onPaper(false));
