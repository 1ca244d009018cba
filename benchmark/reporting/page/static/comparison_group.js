// --- one data set with its table: its plots, the row that is chosen, its images ---------------------------------

const panel = (heading, ...children) => element("div", { class: "panel" }, element("h3", {}, heading), ...children);

// A fact in words: numbers without the digits that nobody reads, what belongs together on one line
function factText(value) {
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(5)));
  if (value === null || typeof value !== "object") return String(value);
  return Array.isArray(value) ? value.map(factText).join(", ") : Object.entries(value).map(([name, each]) => `${name}: ${factText(each)}`).join("; ");
}

// Facts of a record as a table of names and values, nested ones under dotted names
function factTable(value) {
  if (typeof value !== "object" || value === null) return element("pre", {}, String(value));
  const table = element("table", { class: "facts" }), lines = [];
  const visit = (each, name) => {
    if (each !== null && typeof each === "object" && !Array.isArray(each)) Object.entries(each).forEach(([key, inner]) => visit(inner, name ? `${name}.${key}` : key));
    else if (each !== null && each !== "" && each.length !== 0) lines.push([name, Array.isArray(each) ? each.map(factText).join(typeof each[0] === "object" ? "\n" : ", ") : factText(each)]);
  };
  visit(value, "");
  table.append(...lines.map(([name, text]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, text))));
  return table;
}

function showRow(comparisonGroup, row, place) {
  comparisonGroup.chosen = row;
  const matrix = element("div", { class: "matrix" }), curves = element("div", { class: "plot" }), reliable = element("div", { class: "plot" });
  const images = element("div", { class: "cell-images" });
  const facts = Object.entries(row.details).filter(([, value]) => value).map(([name, value]) => element("details", name === "command" ? { open: "" } : {}, element("summary", {}, name === "command" ? "command that reproduces it" : name), factTable(value)));
  const seed = row.seeds > 1 ? ` (matrix and images: seed ${row.seed})` : "";
  const measure = element("select", { "aria-label": "what the curves show" }, element("option", { value: "loss" }, "cross-entropy"), element("option", { value: "f1" }, "macro-F1 on validation images"));
  const heatMaps = panel("Where it looks");
  forgetPlots(place);
  place.replaceChildren(
    element("h3", { class: "row-name" }, `${row.name}, ${row.block}${seed}`),
    element("div", { class: "panels three" }, panel("Confusion matrix (choose a cell to see its images)", matrix), panel("Learning curves", measure, curves), panel("Reliability", reliable)),
    images,
    element("div", { class: "panels apart" }, heatMaps, panel("Details", ...facts)));
  confusion(comparisonGroup, row, matrix, images);
  curvePlot(row, curves, measure);
  reliabilityPlot(row, reliable);
  showHeatMaps(comparisonGroup, row, heatMaps);
  if (row.cam?.randomized.length) {
    const check = element("div", { class: "plot low" });
    heatMaps.append(element("h4", {}, "Do the maps notice when weights are drawn anew?"), check);
    randomizedPlot(row, check);
  }
  document.querySelectorAll("table.board tbody tr").forEach((line) => line.classList.toggle("chosen", line.dataset.key === row.key));
  document.querySelectorAll("button.pick").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.key === row.key)));
}

function disagreement(comparisonGroup, place) {
  if (comparisonGroup.rows.length < 2) {
    place.append(element("p", { class: "quiet" }, "There is one row only."));
    return;
  }
  const choose = (initial, label) => element("select", { "aria-label": label }, ...comparisonGroup.rows.map((row, i) => {
    const option = element("option", { value: i }, row.name);
    option.selected = i === initial;
    return option;
  }));
  const rival = comparisonGroup.rows.findIndex((_, i) => `0,${i}` in comparisonGroup.pairs); // a row that the best was compared with
  const first = choose(0, "first row"), second = choose(Math.max(1, rival), "second row");
  const result = element("div", { class: "controls" }), images = element("div", { class: "cell-images" }), compared = element("p", { role: "status" });
  const update = () => {
    const a = comparisonGroup.rows[first.value], b = comparisonGroup.rows[second.value];
    const right = (row, i) => row.predicted[i] === comparisonGroup.labels[i];
    const pick = (test) => comparisonGroup.labels.map((_, i) => i).filter((i) => a.predicted[i] >= 0 && b.predicted[i] >= 0 && test(i));
    const groups = [["only the first is right", pick((i) => right(a, i) && !right(b, i))], ["only the second is right", pick((i) => !right(a, i) && right(b, i))], ["both are wrong, not alike", pick((i) => !right(a, i) && !right(b, i) && a.predicted[i] !== b.predicted[i])], ["both are wrong, alike", pick((i) => !right(a, i) && a.predicted[i] === b.predicted[i])]];
    result.replaceChildren(...groups.map(([name, numbers]) => element("button", { type: "button", onclick: () => imageList(comparisonGroup, numbers, images, `${a.name} and ${b.name}: ${name}`, { row: a }) }, `${name}: ${numbers.length}`)));
    compared.textContent = comparisonGroup.pairs[[first.value, second.value].sort((x, y) => x - y)] ?? (first.value === second.value ? "This is one row." : "The two stand in different blocks and are not compared.");
    images.replaceChildren();
  };
  first.onchange = update;
  second.onchange = update;
  place.append(element("div", { class: "controls" }, first, "and", second), compared, result, images);
  update();
}

function showComparisonGroup(section, comparisonGroup) {
  const body = section.querySelector(".comparison-group-body");
  const speed = element("div", { class: "plot" }), errors = element("div", { class: "plot" }), chosen = element("div", { class: "chosen-row" });
  const which = element("select", { "aria-label": "false negatives of which class" }, element("option", { value: "" }, "all classes"), ...comparisonGroup.classes.map((name, i) => element("option", { value: i }, name)));
  const different = panel("Where two rows disagree"), missed = panel(comparisonGroup.negative === null ? "Gallery: every image that a row gets wrong" : "Gallery: every missed tumour");
  body.append(
    element("div", { class: "panels" }, panel("Macro-F1 against throughput", element("p", { class: "quiet" }, "Size: memory; open: from scratch; dashed: Pareto front."), speed), panel("False negatives", which, errors)),
    missed, chosen, different);
  speedPlot(comparisonGroup, speed);
  errorPlot(comparisonGroup, errors, which);
  disagreement(comparisonGroup, different);
  section.addEventListener("click", (event) => {
    const button = event.target.closest("button.pick");
    if (!button) return;
    showRow(comparisonGroup, comparisonGroup.rows.find((row) => row.key === button.dataset.key), chosen);
    chosen.querySelector(".row-name").setAttribute("tabindex", "-1");
    chosen.querySelector(".row-name").focus();
  });
  if (comparisonGroup.rows.length) showRow(comparisonGroup, comparisonGroup.rows[0], chosen);
  gallery(comparisonGroup, missed);
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
  document.getElementById("theme").setAttribute("aria-pressed", String(dark));
  drawAgain();
}

theme(matchMedia("(prefers-color-scheme: dark)").matches);
// The marks beside a row's name lead to its notes, which are folded
document.addEventListener("click", (event) => {
  const mark = event.target.closest("a.mark");
  if (!mark) return;
  const note = document.getElementById(mark.hash.slice(1));
  note.closest("details").open = true;
  note.focus();
});
document.getElementById("theme").onclick = () => theme(!document.documentElement.classList.contains("dark"));
for (const section of document.querySelectorAll("section.comparison-group")) {
  const comparisonGroup = comparisonGroups.find((each) => each.name === section.dataset.comparisonGroup);
  if (comparisonGroup) showComparisonGroup(section, comparisonGroup);
}
tables();
