// --- plots: drawn when they come into view, and again after a change of theme ------------------------------------

// Plotly is large: it is unpacked while the page is read, and its script runs when the first plot is wanted, at once,
// so that a page can be printed at any time
let plotlyScript = null;
const plotlyUnpacked = unpacked("plotly-script").then((text) => { plotlyScript = text; });
function plotly() {
  if (!window.Plotly) document.head.append(element("script", {}, plotlyScript));
  return window.Plotly;
}

const drawings = new Map(); // by the element that holds the plot
const watcher = new IntersectionObserver((entries) => entries.forEach(({ isIntersecting, target }) => {
  const drawing = drawings.get(target);
  if (!isIntersecting || !drawing || drawing.drawn) return;
  start(drawing);
}), { rootMargin: "200px" });

// Draw a plot once what was asked of its element before is done: Plotly fails where one is taken away half drawn
function start(drawing) {
  drawing.drawn = true;
  drawing.done = drawing.done.then(drawing.again);
}

// Draw a plot into an element. ``label``: what it shows, for those who hear the page
function draw(place, label, make) {
  const again = async () => {
    if (plotlyScript === null) await plotlyUnpacked; // only then: what is printed must be drawn at once
    const [traces, layout] = make();
    const text = colour("--text"), line = colour("--line");
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
    await plotly().react(place, traces, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: text, size: 12 },
      margin: { l: 50, r: 10, t: 10, b: 45 }, hovermode: "closest", ...layout, ...(printing ? { width: 470, height: 280, autosize: false } : { width: undefined, height: undefined, autosize: true }),
      xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
    }, { responsive: true, displaylogo: false, displayModeBar: false });
  };
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", label);
  const before = drawings.get(place);
  const drawing = { again, drawn: false, done: before?.done ?? Promise.resolve() };
  drawings.set(place, drawing);
  if (before?.drawn) start(drawing);
  else watcher.observe(place);
}

function drawAgain() {
  for (const drawing of drawings.values()) if (drawing.drawn) start(drawing);
}

// On paper every plot is in view, light and of one size. Printing does not wait, and so plots are drawn here and now.
let printing = false, darkBefore = false;
addEventListener("beforeprint", () => {
  printing = true;
  darkBefore = document.documentElement.classList.contains("dark");
  document.documentElement.classList.remove("dark");
  drawings.forEach((drawing) => {
    drawing.drawn = true;
    drawing.done = drawing.again();
  });
});
addEventListener("afterprint", () => {
  printing = false;
  document.documentElement.classList.toggle("dark", darkBefore);
  drawAgain();
});

// Give up the plots within an element that is about to be emptied
function forgetPlots(container) {
  for (const [place, drawing] of drawings) {
    if (!container.contains(place)) continue;
    watcher.unobserve(place);
    if (drawing.drawn) drawing.done.then(() => plotly().purge(place));
    drawings.delete(place);
  }
}

function evenTicks(low, high) {
  const rough = (high - low) / 4 || low / 4, power = 10 ** Math.floor(Math.log10(rough));
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

function speedPlot(comparisonGroup, place) {
  draw(place, `Macro-F1 against inference throughput of ${comparisonGroup.rows.length} rows; the same figures stand in the table above`, () => {
    const largest = Math.max(1, ...comparisonGroup.rows.map((row) => row.memory ?? 0));
    // on a phone the names are numbers, which the list below the plot explains
    const named = new Set(comparisonGroup.drawn.map((number) => comparisonGroup.rows[number]));
    const onFront = (row) => comparisonGroup.fronts[row.speed_block]?.some(([x, y]) => x === row.speed && y === row.macro_f1);
    comparisonGroup.rows.filter(onFront).forEach((row) => named.add(row));
    // names of many rows would hide each other: those of the front and of the first few stay, the pointer tells the others
    const written = new Set([...named].filter((row) => !comparisonGroup.drawn_note || onFront(row) || comparisonGroup.rows.indexOf(row) < 6));
    const points = comparisonGroup.rows.filter((row) => row.speed).sort((a, b) => (b.memory ?? 0) - (a.memory ?? 0)); // small bubbles above large ones
    const middle = Math.sqrt(Math.min(...points.map((row) => row.speed)) * Math.max(...points.map((row) => row.speed)));
    const places = [...points].sort((a, b) => b.speed - a.speed); // names of neighbours stand above and below in turn
    const traces = points.map((row) => [row, places.indexOf(row)]).map(([row, place]) => ({
      x: [row.speed], y: [row.macro_f1], name: plain(row.name), mode: written.has(row) ? "markers+text" : "markers", text: [innerWidth > 600 ? plain(row.name) : String(comparisonGroup.rows.indexOf(row) + 1)], textposition: `${["top", "bottom"][place % 2]} ${row.speed > middle ? "left" : "right"}`, textfont: { size: 10 }, cliponaxis: false, showlegend: false,
      error_y: row.interval && named.has(row) ? { type: "data", symmetric: false, array: [row.interval[1] - row.macro_f1], arrayminus: [row.macro_f1 - row.interval[0]], thickness: 1, width: 0, color: shade(row) } : undefined,
      marker: { symbol: row.symbol + (row.pretrained ? "" : "-open"), color: shade(row), opacity: named.has(row) ? 0.75 : 0.3, size: row.memory ? Math.max(6, 24 * Math.sqrt(row.memory / largest)) : 10 },
      hovertemplate: `${plain(row.name)}<br>macro-F1 %{y:.3f}<br>%{x:.4g} images/s<br>${row.memory ? Math.round(row.memory) + " MB" : ""}<br>${plain(row.speed_block)}<extra></extra>`,
    }));
    for (const [name, front] of Object.entries(comparisonGroup.fronts)) {
      traces.unshift({ x: front.map((point) => point[0]), y: front.map((point) => point[1]), mode: "lines", line: { shape: "vh", dash: "dash", color: colour("--quiet"), width: 1 }, hoverinfo: "skip", showlegend: false, name: plain(name) });
    }
    const entry = (name, marker) => ({ x: [null], y: [null], mode: "markers", name: plain(name), marker: { size: 9, color: colour("--quiet"), ...marker }, hoverinfo: "skip" });
    for (const row of new Map(points.map((point) => [point.library, point])).values()) traces.push(entry(row.library, { color: shade(row) }));
    for (const row of new Map(points.map((point) => [point.framework, point])).values()) traces.push(entry(`runs on ${row.framework}`, { symbol: row.symbol }));
    return [traces, { xaxis: { ...logTicks(points.map((row) => row.speed)), title: { text: "inference throughput (images/s, log scale)" } }, yaxis: { title: { text: "macro-F1, with 95 % interval" } }, showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom", font: { size: innerWidth > 600 ? 12 : 10 } }, margin: { l: 50, r: 10, t: 30, b: 45 } }];
  });
}

// ``which``: the select that says of which class the false negatives are; empty for all classes
function errorPlot(comparisonGroup, place, which) {
  const show = () => draw(place, `Test images${which.value ? ` of ${comparisonGroup.classes[which.value]}` : ""} that each row gets wrong, and how many of them are missed tumours; the same counts stand in the table above`, () => {
    const rows = comparisonGroup.drawn.map((number) => comparisonGroup.rows[number]).reverse(), mine = (i) => which.value === "" || comparisonGroup.labels[i] === Number(which.value);
    const ill = comparisonGroup.negative !== null && which.value !== String(comparisonGroup.negative);
    const lost = rows.map((row) => row.predicted.filter((predicted, i) => predicted >= 0 && mine(i) && predicted !== comparisonGroup.labels[i]).length);
    const missed = rows.map((row) => row.predicted.filter((predicted, i) => mine(i) && predicted === comparisonGroup.negative && comparisonGroup.labels[i] !== comparisonGroup.negative).length);
    const names = rows.map((row) => plain(row.name)), total = comparisonGroup.labels.filter((_, i) => mine(i)).length;
    const traces = [{ type: "bar", orientation: "h", y: names, x: lost.map((count, i) => count - (ill ? missed[i] : 0)), name: ill ? "other errors" : "errors", marker: { color: colour("--other") }, hovertemplate: "%{x} other errors<extra>%{y}</extra>" }];
    if (ill) traces.unshift({ type: "bar", orientation: "h", y: names, x: missed, name: "missed tumours", marker: { color: colour("--bad") }, hovertemplate: "%{x} missed tumours<extra>%{y}</extra>" });
    return [traces, { barmode: "stack", xaxis: { title: { text: `wrong test images, of ${total}` } }, showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom" }, margin: { l: 50, r: 10, t: 40, b: 45 } }];
  });
  which.onchange = show;
  show();
}

// ``measure``: the select that says whether losses or macro-F1 are shown
function curvePlot(row, place, measure) {
  const show = () => draw(place, `${row.name}: ${measure.selectedOptions[0].textContent} by epoch`, () => {
    const loss = measure.value === "loss";
    const traces = row.history.flatMap((run) => [
      ...(loss ? [{ x: run.epochs, y: run.train, name: `${run.label}, training`, line: { color: colour("--bad"), dash: "dash", width: 1.5 } }] : []),
      { x: run.epochs, y: loss ? run.validation : run.f1, name: `${run.label}, validation`, line: { color: colour("--good"), width: 1.5 } },
    ]);
    const losses = row.history.flatMap((run) => [...run.train, ...run.validation]).filter((value) => value > 0);
    const axis = loss ? { ...logTicks(losses.length ? losses : [1]), title: { text: "cross-entropy (log scale)" } } : { title: { text: "macro-F1" }, rangemode: "tozero" };
    return [traces, { xaxis: { title: { text: "epoch" }, ...(Math.max(0, ...row.history.flatMap((run) => run.epochs)) < 13 ? { dtick: 1 } : {}) }, yaxis: axis, showlegend: row.history.length < 3, legend: { orientation: "h", y: 1.02, yanchor: "bottom" }, margin: { l: 50, r: 10, t: 40, b: 45 } }];
  });
  measure.onchange = show;
  show();
}

// How much maps still look like the trained network's, the more of its stages have new weights
function randomizedPlot(row, place) {
  draw(place, `${row.name}: rank correlation of its heat maps with those of random weights, the more stages have them`, () => [[
    { x: row.cam.randomized.map((step, i) => i + 1), y: row.cam.randomized.map((step) => step[1]), customdata: row.cam.randomized.map((step) => plain(step[0])), mode: "lines+markers", line: { color: colour("--good"), width: 1.5 }, hovertemplate: "from the head down to %{customdata}<br>%{y:.2f}<extra></extra>", showlegend: false },
  ], { xaxis: { title: { text: "stages with random weights, counted from the head" }, dtick: 1 }, yaxis: { title: { text: "rank correlation" }, range: [-0.55, 1.05] } }]);
}

function reliabilityPlot(row, place) {
  draw(place, `${row.name}: share that is right by probability of the predicted class; expected calibration error ${row.reliability.error.toFixed(3)}`, () => [[
    { x: [0, 1], y: [0, 1], mode: "lines", line: { color: colour("--quiet"), dash: "dash", width: 1 }, hoverinfo: "skip", showlegend: false },
    { x: row.reliability.confidence, y: row.reliability.accuracy, customdata: row.reliability.counts, mode: "lines+markers", line: { color: colour("--good"), width: 1 }, marker: { size: row.reliability.counts.map((count) => 4 + 16 * Math.sqrt(count / Math.max(...row.reliability.counts))) }, showlegend: false, hovertemplate: "probability %{x:.2f}<br>right %{y:.2f}<br>%{customdata} images<extra></extra>" },
  ], { xaxis: { title: { text: `probability of the predicted class (ECE ${row.reliability.error.toFixed(3)})` }, range: [0, 1.02] }, yaxis: { title: { text: "share that is right" }, range: [0, 1.02] } }]);
}
