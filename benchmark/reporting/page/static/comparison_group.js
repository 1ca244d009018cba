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
  keepView();
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
    element("div", { class: "panels apart" }, heatMaps, panel("Details", ...facts), runTable(row)));
  confusion(comparisonGroup, row, matrix, images);
  curvePlot(row, curves, measure);
  reliabilityPlot(row, reliable);
  showHeatMaps(comparisonGroup, row, heatMaps);
  if (row.cam?.randomized.length) {
    const check = element("div", { class: "plot low" });
    heatMaps.append(element("h4", {}, "Do the maps change when the weights are replaced by random ones?"), check);
    randomizedPlot(row, check);
  }
  document.querySelectorAll("table.board").forEach(markChosen);
}

// A speed as in the table: three digits, and all of a whole number
const speedText = (speed) => (speed >= 100 ? String(Math.round(speed)) : String(Number(speed.toPrecision(3))));

// Two rows side by side: scores, difference with its interval, images on which they differ with both heat maps
function compareRows(comparisonGroup, place) {
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
  const result = element("div", { class: "controls" }), images = element("div", { class: "cell-images" }), compared = element("p", { role: "status" }), side = element("div", { class: "wide", tabindex: 0, role: "region", "aria-label": `the two rows side by side, ${comparisonGroup.name}` });
  const score = (row) => `${row.macro_f1.toFixed(3)}${row.interval ? ` (${row.interval[0].toFixed(3)} to ${row.interval[1].toFixed(3)})` : ""}`;
  const missed = (row) => comparisonGroup.labels.filter((label, i) => label !== comparisonGroup.negative && row.predicted[i] === comparisonGroup.negative).length;
  const update = () => {
    const a = comparisonGroup.rows[first.value], b = comparisonGroup.rows[second.value];
    const right = (row, i) => row.predicted[i] === comparisonGroup.labels[i];
    const pick = (test) => comparisonGroup.labels.map((_, i) => i).filter((i) => a.predicted[i] >= 0 && b.predicted[i] >= 0 && test(i));
    const groups = [["only the first is right", pick((i) => right(a, i) && !right(b, i))], ["only the second is right", pick((i) => !right(a, i) && right(b, i))], ["both are wrong, not alike", pick((i) => !right(a, i) && !right(b, i) && a.predicted[i] !== b.predicted[i])], ["both are wrong, alike", pick((i) => !right(a, i) && a.predicted[i] === b.predicted[i])]];
    const lines = [["macro-F1 (95 % interval)", score(a), score(b)], ["block", a.block, b.block], ["images/s", ...[a, b].map((row) => (row.speed ? speedText(row.speed) : ""))], ...(comparisonGroup.negative === null ? [] : [["missed tumours", missed(a), missed(b)]])];
    side.replaceChildren(element("table", { class: "side" }, element("caption", { class: "hidden" }, "The two rows side by side"),
      element("tr", {}, element("td"), element("th", { scope: "col" }, a.name), element("th", { scope: "col" }, b.name)),
      ...lines.map(([name, ...cells]) => element("tr", {}, element("th", { scope: "row" }, name), ...cells.map((cell) => element("td", {}, String(cell)))))));
    result.replaceChildren(...groups.map(([name, numbers]) => element("button", { type: "button", onclick: () => imageList(comparisonGroup, numbers, images, `${a.name} and ${b.name}: ${name}`, { row: a, other: b }) }, `${name}: ${numbers.length}`)));
    compared.textContent = comparisonGroup.pairs[[first.value, second.value].sort((x, y) => x - y)] ?? (first.value === second.value ? "This is one row." : "The two are not compared: they were not tested on the same images, or one of them lacks runs.");
    images.replaceChildren();
  };
  first.onchange = update;
  second.onchange = update;
  place.append(element("div", { class: "controls" }, first, "and", second), compared, side, result, images);
  update();
}

// Macro-F1 of each seed and fold of a row: how much it varies when it is trained again
function runTable(row) {
  if (row.runs.length < 2) return "";
  const folded = row.runs.some((run) => run.fold !== null);
  return panel("Seeds and folds", element("table", { class: "side" }, element("caption", { class: "hidden" }, `Macro-F1 of each run of ${row.name}`),
    element("tr", {}, element("th", { scope: "col" }, "seed"), ...(folded ? [element("th", { scope: "col" }, "fold")] : []), element("th", { scope: "col" }, "macro-F1"), element("th", { scope: "col" }, "on validation images")),
    ...row.runs.map((run) => element("tr", {}, element("th", { scope: "row" }, String(run.seed)), ...(folded ? [element("td", {}, String(run.fold))] : []), element("td", {}, run.macro_f1.toFixed(3)), element("td", {}, run.val_macro_f1 === null ? "" : run.val_macro_f1.toFixed(3))))));
}

function showComparisonGroup(section, comparisonGroup) {
  const body = section.querySelector(".comparison-group-body");
  const speed = element("div", { class: "plot" }), errors = element("div", { class: "plot" }), chosen = element("div", { class: "chosen-row" });
  const which = element("select", { "aria-label": "false negatives of which class" }, element("option", { value: "" }, "all classes"), ...comparisonGroup.classes.map((name, i) => element("option", { value: i }, name)));
  const note = () => (comparisonGroup.drawn_note ? [element("p", { class: "quiet" }, comparisonGroup.drawn_note)] : []);
  const different = panel("Compare two rows"), missed = panel(comparisonGroup.negative === null ? "Gallery: every image that a row gets wrong" : "Gallery: every missed tumour");
  body.append(
    element("div", { class: "panels" }, panel("Macro-F1 against throughput", element("p", { class: "quiet" }, "Size of a point: peak memory. Open points: from random weights. Dashed line: rows that no other row beats in both."), ...(comparisonGroup.drawn_note ? [element("p", { class: "quiet" }, `${comparisonGroup.rows.length} rows; the front and the best have names, the pointer tells the others.`)] : []), speed, element("ol", { class: "key" }, ...comparisonGroup.rows.map((row) => element("li", {}, row.name)))), panel("False negatives", ...note(), which, errors)),
    missed, chosen, different);
  speedPlot(comparisonGroup, speed);
  errorPlot(comparisonGroup, errors, which);
  compareRows(comparisonGroup, different);
  section.addEventListener("click", (event) => {
    const button = event.target.closest("button.pick");
    if (!button) return;
    showRow(comparisonGroup, comparisonGroup.rows.find((row) => row.key === button.dataset.key), chosen);
    chosen.querySelector(".row-name").setAttribute("tabindex", "-1");
    chosen.querySelector(".row-name").focus();
  });
  const wanted = savedView(comparisonGroup.name)?.row;
  if (comparisonGroup.rows.length) showRow(comparisonGroup, comparisonGroup.rows.find((row) => row.key === wanted) ?? comparisonGroup.rows[0], chosen);
  gallery(comparisonGroup, missed);
}

function theme(dark) {
  document.documentElement.classList.toggle("dark", dark);
  document.getElementById("theme").setAttribute("aria-pressed", String(dark));
  drawAgain();
}

theme(matchMedia("(prefers-color-scheme: dark)").matches);
// The marks beside a row's name lead to its notes, and a doubt to its audit: both are folded. The page's own address
// keeps the view, and so links inside the page must not change it.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.mark, a.to-audit, a.inside");
  if (!link) return;
  event.preventDefault();
  const aim = document.getElementById(link.hash.slice(1));
  const folded = aim.closest("details");
  if (folded) folded.open = true;
  (aim.matches("details") ? aim.querySelector("summary") : aim).focus();
  aim.scrollIntoView({ block: "nearest" });
});
document.getElementById("print").onclick = () => print();
document.getElementById("theme").onclick = () => theme(!document.documentElement.classList.contains("dark"));
for (const section of document.querySelectorAll("section.comparison-group")) {
  const comparisonGroup = comparisonGroups.find((each) => each.name === section.dataset.comparisonGroup);
  if (comparisonGroup) showComparisonGroup(section, comparisonGroup);
}
tables();
