"use strict";
// Text only ever enters the page through textContent, so that no name can become markup.
const arenas = JSON.parse(document.getElementById("data").textContent);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick" || name === "onchange") made[name] = value;
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  for (const child of children) made.append(child);
  return made;
}

// Plotly reads a small set of tags in its texts: take their brackets away
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const percent = (thousandths) => `${(thousandths / 10).toFixed(thousandths > 995 || thousandths < 5 ? 1 : 0)} %`;

const drawings = []; // how to draw each plot again, after a change of theme
function draw(place, make) {
  const again = () => {
    const [traces, layout] = make();
    const text = colour("--text"), line = colour("--line");
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
    Plotly.react(place, traces, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: text, size: 12 },
      margin: { l: 50, r: 10, t: 10, b: 45 }, hovermode: "closest", ...layout,
      xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
    }, { responsive: true, displaylogo: false, displayModeBar: false });
  };
  drawings.push(again);
  again();
}

function evenTicks(low, high) {
  const rough = (high - low) / 3 || low / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * power >= rough) * power;
  const ticks = Array.from({ length: 8 }, (_, i) => (Math.floor(low / step) - 1 + i) * step).filter((tick) => tick > 0);
  return { tickvals: ticks, ticktext: ticks.map((tick) => tick.toLocaleString("en", { maximumSignificantDigits: 3 })) };
}

// Ticks of a logarithmic axis as plain numbers: 10, 20, 50, 100 ...
function logTicks(values) {
  if (Math.max(...values) / Math.min(...values) < 5) return { type: "log", tickmode: "array", ...evenTicks(Math.min(...values), Math.max(...values)) };
  const ticks = [];
  for (let power = Math.floor(Math.log10(Math.min(...values))) - 1; power <= Math.ceil(Math.log10(Math.max(...values))); power++) {
    for (const step of [1, 2, 5]) ticks.push(step * 10 ** power);
  }
  return { type: "log", tickvals: ticks, ticktext: ticks.map((tick) => tick.toLocaleString("en", { maximumSignificantDigits: 3 })) };
}

// In the dark the darkest colours must be lighter
const shade = (row) => (document.documentElement.classList.contains("dark")
  ? { "#000000": "#e8e8e8", "#0072B2": "#5fb2e8", "#B84E00": "#f08a45", "#9E4A7E": "#dd8fc0" }[row.colour] ?? row.colour
  : row.colour);

function speedPlot(arena, place) {
  draw(place, () => {
    const largest = Math.max(1, ...arena.rows.map((row) => row.memory ?? 0));
    const points = arena.rows.filter((row) => row.speed);
    const traces = points.map((row) => ({
      x: [row.speed], y: [row.macro_f1], name: plain(row.name), mode: "markers", showlegend: false,
      error_y: row.interval ? { type: "data", symmetric: false, array: [row.interval[1] - row.macro_f1], arrayminus: [row.macro_f1 - row.interval[0]], thickness: 1, width: 0, color: shade(row) } : undefined,
      marker: { symbol: row.symbol + (row.pretrained ? "" : "-open"), color: shade(row), size: row.memory ? Math.max(6, 24 * Math.sqrt(row.memory / largest)) : 10 },
      hovertemplate: `${plain(row.name)}<br>macro-F1 %{y:.3f}<br>%{x:.4g} images/s<br>${row.memory ? Math.round(row.memory) + " MB" : ""}<br>${plain(row.speed_block)}<extra></extra>`,
    }));
    for (const [name, front] of Object.entries(arena.fronts)) {
      traces.unshift({ x: front.map((point) => point[0]), y: front.map((point) => point[1]), mode: "lines", line: { shape: "vh", dash: "dash", color: colour("--quiet"), width: 1 }, hoverinfo: "skip", showlegend: false, name: plain(name) });
    }
    const entry = (name, marker) => ({ x: [null], y: [null], mode: "markers", name: plain(name), marker: { size: 9, color: colour("--quiet"), ...marker }, hoverinfo: "skip" });
    for (const row of new Map(points.map((point) => [point.library, point])).values()) traces.push(entry(row.library, { color: shade(row) }));
    for (const row of new Map(points.map((point) => [point.framework, point])).values()) traces.push(entry(`runs on ${row.framework}`, { symbol: row.symbol }));
    return [traces, { xaxis: { ...logTicks(points.map((row) => row.speed)), title: { text: "inference throughput (images/s, log scale)" } }, yaxis: { title: { text: "macro-F1, with 95 % interval" } }, showlegend: innerWidth > 600, legend: { orientation: "h", y: 1.15 }, margin: { l: 50, r: 10, t: 30, b: 45 } }];
  });
}

function errorPlot(arena, place) {
  draw(place, () => {
    const rows = [...arena.rows].reverse();
    const lost = rows.map((row) => row.said.filter((said, i) => said >= 0 && said !== arena.labels[i]).length);
    const missed = rows.map((row) => row.said.filter((said, i) => said === arena.negative && arena.labels[i] !== arena.negative).length);
    const names = rows.map((row) => plain(row.name));
    const traces = [{ type: "bar", orientation: "h", y: names, x: lost.map((count, i) => count - (arena.negative === null ? 0 : missed[i])), name: "other errors", marker: { color: "#9EC4DE" }, hovertemplate: "%{x} other errors<extra>%{y}</extra>" }];
    if (arena.negative !== null) traces.unshift({ type: "bar", orientation: "h", y: names, x: missed, name: "missed tumours", marker: { color: colour("--bad") }, hovertemplate: "%{x} missed tumours<extra>%{y}</extra>" });
    return [traces, { barmode: "stack", xaxis: { title: { text: `test images that are wrong, of ${arena.labels.length}` } }, legend: { orientation: "h", y: 1.12 }, margin: { l: 50, r: 10, t: 30, b: 45 } }];
  });
}

function curvePlot(row, place) {
  draw(place, () => {
    const traces = row.history.flatMap((run) => [
      { x: run.epochs, y: run.train, name: `${run.label}, training`, line: { color: colour("--bad"), dash: "dash", width: 1.5 } },
      { x: run.epochs, y: run.validation, name: `${run.label}, validation`, line: { color: colour("--good"), width: 1.5 } },
    ]);
    return [traces, { xaxis: { title: { text: "epoch" } }, yaxis: { ...logTicks(row.history.flatMap((run) => [...run.train, ...run.validation])), title: { text: "cross-entropy (log scale)" } }, showlegend: row.history.length < 3, legend: { orientation: "h", y: 1.15 } }];
  });
}

function reliabilityPlot(row, place) {
  draw(place, () => [[
    { x: [0, 1], y: [0, 1], mode: "lines", line: { color: colour("--quiet"), dash: "dash", width: 1 }, hoverinfo: "skip", showlegend: false },
    { x: row.reliability.confidence, y: row.reliability.accuracy, customdata: row.reliability.counts, mode: "lines+markers", line: { color: colour("--good"), width: 1 }, marker: { size: row.reliability.counts.map((count) => 4 + 16 * Math.sqrt(count / Math.max(...row.reliability.counts))) }, showlegend: false, hovertemplate: "said %{x:.2f}<br>right %{y:.2f}<br>%{customdata} images<extra></extra>" },
  ], { xaxis: { title: { text: `probability of the predicted class (ECE ${row.reliability.error.toFixed(3)})` }, range: [0, 1.02] }, yaxis: { title: { text: "share that is right" }, range: [0, 1.02] } }]);
}

function imageList(arena, numbers, place, heading) {
  const shown = numbers.slice(0, 60);
  const list = element("ul", { class: "images" });
  for (const i of shown) {
    const item = element("li");
    if (arena.thumbnails[i]) item.append(element("img", { src: `data:image/jpeg;base64,${arena.thumbnails[i]}`, alt: `${arena.classes[arena.labels[i]]}, ${arena.images[i]}`, loading: "lazy", width: 80, height: 80 }));
    item.append(element("b", {}, arena.classes[arena.labels[i]]), element("div", {}, arena.images[i]));
    const chances = element("div", { class: "chance" });
    for (const row of arena.rows) {
      if (row.said[i] < 0) continue;
      const right = row.said[i] === arena.labels[i];
      chances.append(element("span", { class: right ? "right" : "wrong" }, `${row.name}: ${arena.classes[row.said[i]]}`), element("span", { title: "probability of the true class" }, percent(row.chances[i][arena.labels[i]])));
    }
    item.append(element("details", {}, element("summary", {}, "what each says (and its probability of the truth)"), chances));
    list.append(item);
  }
  const more = numbers.length > shown.length ? ` (the first ${shown.length})` : "";
  place.replaceChildren(element("h3", {}, `${heading}: ${numbers.length} image${numbers.length === 1 ? "" : "s"}${more}`), list);
}

function confusion(arena, row, place, images) {
  const count = arena.classes.map(() => arena.classes.map(() => []));
  row.said.forEach((said, i) => { if (said >= 0) count[arena.labels[i]][said].push(i); });
  const table = element("table", { class: "confusion" }, element("caption", { class: "hidden" }, `Confusion matrix of ${row.name}`));
  table.append(element("tr", {}, element("th", {}, "true ↓ predicted →"), ...arena.classes.map((name) => element("th", { scope: "col" }, name))));
  count.forEach((line, truth) => {
    const total = line.reduce((sum, cell) => sum + cell.length, 0) || 1;
    const cells = line.map((cell, said) => {
      const missed = arena.negative !== null && said === arena.negative && truth !== said;
      const share = cell.length / total;
      const button = element("button", { type: "button", class: missed ? "missed" : "", "aria-pressed": "false", "aria-label": `${cell.length} images of ${arena.classes[truth]} predicted as ${arena.classes[said]}`,
        style: `background: color-mix(in srgb, var(--good) ${Math.round(55 * share)}%, var(--ground))`,
        onclick: () => {
          table.querySelectorAll("button").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
          imageList(arena, cell, images, `${row.name}: ${arena.classes[truth]} predicted as ${arena.classes[said]}`);
        } }, String(cell.length));
      return element("td", {}, button);
    });
    table.append(element("tr", {}, element("th", { scope: "row" }, arena.classes[truth]), ...cells));
  });
  place.replaceChildren(table);
}

const panel = (heading, ...children) => element("div", { class: "panel" }, element("h3", {}, heading), ...children);

function showRow(arena, row, place) {
  const matrix = element("div", { class: "matrix" }), curves = element("div", { class: "plot" }), reliable = element("div", { class: "plot" });
  const images = element("div", { class: "cell-images", "aria-live": "polite" });
  const facts = Object.entries(row.details).filter(([, value]) => value).map(([name, value]) =>
    element("details", {}, element("summary", {}, name), element("pre", {}, typeof value === "string" ? value : JSON.stringify(value, null, 2))));
  const seed = row.seeds > 1 ? ` (matrix and images: seed ${row.seed})` : "";
  place.replaceChildren(
    element("h3", {}, `${row.name}, ${row.block}${seed}`),
    element("div", { class: "panels" }, panel("Confusion matrix (choose a cell to see its images)", matrix), panel("Learning curves", curves), panel("Reliability", reliable), panel("Details", ...facts)),
    images);
  confusion(arena, row, matrix, images);
  curvePlot(row, curves);
  reliabilityPlot(row, reliable);
  document.querySelectorAll("table.board tbody tr").forEach((line) => line.classList.toggle("chosen", line.dataset.key === row.key));
}

function disagreement(arena, place) {
  const choose = (initial) => element("select", {}, ...arena.rows.map((row, i) => {
    const option = element("option", { value: i }, row.name);
    option.selected = i === initial;
    return option;
  }));
  const first = choose(0), second = choose(Math.min(1, arena.rows.length - 1));
  first.setAttribute("aria-label", "first row"); second.setAttribute("aria-label", "second row");
  const result = element("div", { class: "controls" }), images = element("div", { "aria-live": "polite" });
  const update = () => {
    const a = arena.rows[first.value], b = arena.rows[second.value];
    const right = (row, i) => row.said[i] === arena.labels[i];
    const pick = (test) => arena.labels.map((_, i) => i).filter((i) => a.said[i] >= 0 && b.said[i] >= 0 && test(i));
    const groups = [["only the first is right", pick((i) => right(a, i) && !right(b, i))], ["only the second is right", pick((i) => !right(a, i) && right(b, i))], ["both are wrong", pick((i) => !right(a, i) && !right(b, i))]];
    result.replaceChildren(...groups.map(([name, numbers]) => element("button", { type: "button", onclick: () => imageList(arena, numbers, images, `${a.name} and ${b.name}: ${name}`) }, `${name}: ${numbers.length}`)));
    images.replaceChildren();
  };
  first.onchange = update; second.onchange = update;
  place.append(element("div", { class: "controls" }, first, "and", second), result, images);
  update();
}

function gallery(arena, place) {
  const errors = arena.labels.map((truth, i) => arena.rows.filter((row) => row.said[i] >= 0 && (arena.negative === null ? row.said[i] !== truth : truth !== arena.negative && row.said[i] === arena.negative)).length);
  const numbers = errors.map((_, i) => i).filter((i) => errors[i] > 0).sort((a, b) => errors[b] - errors[a]);
  const all = numbers.filter((i) => errors[i] === arena.rows.length), one = numbers.filter((i) => errors[i] === 1);
  const images = element("div", { "aria-live": "polite" });
  const what = arena.negative === null ? "wrong" : "missed tumours";
  const button = (label, list) => element("button", { type: "button", onclick: () => imageList(arena, list, images, label) }, `${label}: ${list.length}`);
  place.append(element("div", { class: "controls" }, button(`${what}, by how many rows`, numbers), button("by every row (label errors, or the hard patients)", all), button("by one row only", one)), images);
}

function showArena(section, arena) {
  const notes = section.querySelector(".notes");
  for (const note of arena.notes) notes.append(element("li", {}, note));
  for (const [block, texts] of Object.entries(arena.ranks)) notes.append(element("li", {}, `${block}: ${texts.join(" ")}`));
  const body = section.querySelector(".arena-body");
  const speed = element("div", { class: "plot" }), errors = element("div", { class: "plot" }), chosen = element("div", { class: "chosen-row" });
  const different = panel("Where two rows disagree"), missed = panel(arena.negative === null ? "Errors" : "Missed tumours");
  body.append(element("div", { class: "panels" }, panel("Macro-F1 against throughput (size: memory; open: from scratch; dashed: Pareto front)", speed), panel("Errors", errors)), chosen, element("div", { class: "panels" }, missed, different));
  speedPlot(arena, speed);
  errorPlot(arena, errors);
  gallery(arena, missed);
  disagreement(arena, different);
  section.addEventListener("click", (event) => {
    const button = event.target.closest("button.pick");
    if (button) { showRow(arena, arena.rows.find((row) => row.key === button.dataset.key), chosen); chosen.scrollIntoView({ block: "nearest" }); }
  });
  if (arena.rows.length) showRow(arena, arena.rows[0], chosen);
}

async function tables() {
  const bytes = Uint8Array.from(atob(document.getElementById("tables-script").textContent), (character) => character.charCodeAt(0));
  const url = URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
  const { default: DataTable } = await import(url);
  URL.revokeObjectURL(url);
  document.querySelectorAll("table.board").forEach((table) => {
    const hidden = [...table.querySelectorAll("thead th")].flatMap((cell, i) => (cell.dataset.shown === "1" && (innerWidth > 600 || !cell.classList.contains("words") || cell.textContent === "backbone") ? [] : [i]));
    new DataTable(table, { paging: false, info: false, order: [], autoWidth: false, columnDefs: [{ targets: hidden, visible: false }],
      language: { search: "Filter:", searchBuilder: { button: "Conditions" } }, layout: { topStart: { buttons: [{ extend: "colvis", text: "Columns" }, { extend: "searchBuilder", text: "Conditions" }] }, topEnd: "search" } });
  });
  document.documentElement.dataset.ready = "1";
}

function theme(dark) {
  document.documentElement.classList.toggle("dark", dark);
  drawings.forEach((again) => again());
}
theme(matchMedia("(prefers-color-scheme: dark)").matches);
document.getElementById("theme").onclick = () => theme(!document.documentElement.classList.contains("dark"));
for (const section of document.querySelectorAll("section.arena")) {
  const arena = arenas.find((each) => each.name === section.dataset.arena);
  if (arena) showArena(section, arena);
}
tables();
