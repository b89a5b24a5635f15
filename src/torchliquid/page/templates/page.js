"use strict";
// Charts take their colours from the page's CSS variables and follow it between light and dark.
const specifications = JSON.parse(document.getElementById("specifications").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const narrow = window.matchMedia("(max-width: 560px)");

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
  Object.assign(layout, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false, autosize: true,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: variable("--muted") },
    hoverlabel: { bgcolor: variable("--card"), bordercolor: variable("--line"), font: { color: variable("--ink") } },
    xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
  });
  if (narrow.matches) {
    // On a phone only the pair that is compared keeps its names in the chart; the others are in the table.
    for (const trace of data) {
      if (trace.mode === "markers+text" && trace.textfont.size < 13) trace.mode = "markers";
    }
  }
  Plotly.react(element, data, layout, { responsive: true, displayModeBar: false });
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
