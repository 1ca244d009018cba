// --- test images: thumbnail, heat map, lesion's outline, and what every row says --------------------------------

const INFERNO = ["#000004", "#110a30", "#320a5e", "#57106e", "#781c6d", "#9a2865", "#bc3754", "#d84c3e", "#ed6925", "#f98e09", "#fbb61a", "#f4df53", "#fcffa4"]
  .map((hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16)));
const AT_ONCE = 60; // images that a list shows before more are asked for

const IN_FRONT = 8; // missed tumours that a page shows unasked

// A heat map as a canvas of its own size; the browser enlarges it smoothly
function heatMap(encoded, [high, wide]) {
  const canvas = element("canvas", { width: wide, height: high, class: "heat", "aria-hidden": "true" });
  const context = canvas.getContext("2d"), picture = context.createImageData(wide, high);
  const values = atob(encoded);
  for (let i = 0; i < values.length; i++) {
    const place = (values.charCodeAt(i) / 255) * (INFERNO.length - 1), below = Math.min(Math.floor(place), INFERNO.length - 2);
    for (let channel = 0; channel < 3; channel++) {
      picture.data[4 * i + channel] = INFERNO[below][channel] + (place - below) * (INFERNO[below + 1][channel] - INFERNO[below][channel]);
    }
    picture.data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

function lesionOutline(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 200 200");
  svg.setAttribute("class", "lesion");
  svg.setAttribute("aria-hidden", "true");
  drawn.setAttribute("d", path);
  svg.append(drawn);
  return svg;
}

// Where a picture is: beside the page, to be fetched when it comes into view, or within it
const source = (picture) => (picture.startsWith("images/") ? { src: picture, loading: "lazy" } : { src: `data:image/jpeg;base64,${picture}` });

// The picture of a test image: comparison groups of the same images hold it once
function thumbnail(comparisonGroup, i) {
  const kept = comparisonGroup.thumbnails[i];
  return typeof kept === "number" ? comparisonGroups[comparisonGroup.pictures_of].thumbnails[kept] : kept;
}

// One test image; with the heat map of a row where one is given and it has one
function testImage(comparisonGroup, i, row = null) {
  const seen = element("div", { class: "seen" });
  const picture = thumbnail(comparisonGroup, i);
  if (!picture) {
    seen.classList.add("missing");
    seen.append(element("span", {}, "no picture kept"));
    return seen;
  }
  seen.append(element("img", { ...source(picture), alt: `${comparisonGroup.classes[comparisonGroup.labels[i]]}, ${comparisonGroup.images[i]}`, width: 80, height: 80 }));
  const map = row?.cam?.maps[i];
  if (map) seen.append(heatMap(map, row.cam.size));
  else if (row) seen.append(element("span", { class: "no-map" }, "no map"));
  if (comparisonGroup.lesions[i]) seen.append(lesionOutline(comparisonGroup.lesions[i]));
  return seen;
}

// ``others``: rows that have a bar beside those that plots draw
function probabilityBars(comparisonGroup, i, others = []) {
  const bars = element("div", { class: "probabilities" });
  for (const row of new Set([...others, ...comparisonGroup.drawn.map((number) => comparisonGroup.rows[number])])) {
    if (row.predicted[i] < 0) continue;
    const right = row.predicted[i] === comparisonGroup.labels[i], missed = comparisonGroup.negative !== null && !right && row.predicted[i] === comparisonGroup.negative;
    const probability = row.probabilities[i][comparisonGroup.labels[i]];
    bars.append(
      element("span", { class: "who" }, ...row.name.split(/(?<=[/_:])/).flatMap((part) => [part, element("wbr")])),
      element("span", { class: right ? "right" : missed || comparisonGroup.negative === null ? "wrong" : "other" }, `${right ? "✓" : "✗"} ${comparisonGroup.classes[row.predicted[i]]}`),
      element("span", { class: "probability", title: "probability of the true class", style: `--share: ${probability / 10}%` }, percent(probability)));
  }
  return bars;
}

// A list of test images under a heading. ``row``: whose heat maps can be laid over them; ``open``: what every row
// says stands open from the start; ``first``: how many are shown at first.
// ``other``: a second row whose heat maps stand beside those of the first.
function imageList(comparisonGroup, numbers, place, heading, { row = comparisonGroup.chosen, other = null, open = comparisonGroup.rows.length < 5, first = AT_ONCE } = {}) {
  const list = element("ul", { class: "images" });
  const all = numbers.length, copies = new Map(); // of near-copies in the list the first is shown, with their number
  for (const i of numbers) copies.set(comparisonGroup.copies[i], [...(copies.get(comparisonGroup.copies[i]) ?? []), i]);
  numbers = [...copies.values()].map((each) => each[0]);
  const nearCopies = (i) => {
    const others = copies.get(comparisonGroup.copies[i]).slice(1);
    return others.length ? [element("div", { class: "quiet", title: others.map((each) => comparisonGroup.images[each]).join(", ") }, `and ${others.length} ${others.length === 1 ? "near-copy" : "near-copies"} of it`)] : [];
  };
  const rows = [row, other].filter(Boolean);
  const explained = rows.some((each) => each.cam && numbers.some((i) => each.cam.maps[i]));
  const pictures = (i) => element("div", { class: "pictures" }, ...(heat ? rows.map((each) => testImage(comparisonGroup, i, each)) : [testImage(comparisonGroup, i)]));
  let heat = false, shown = 0;
  const add = () => {
    const until = Math.min(numbers.length, shown ? shown + AT_ONCE : first);
    for (const i of numbers.slice(shown, until)) {
      const patient = comparisonGroup.groups[i] ? element("div", { class: "quiet" }, comparisonGroup.groups[i]) : "";
      const details = element("details", open ? { open: "" } : {}, element("summary", {}, "what each row says, and its probability of the true class"), probabilityBars(comparisonGroup, i, comparisonGroup.drawn_note ? rows : []));
      list.append(element("li", { "data-image": i }, pictures(i), element("b", {}, comparisonGroup.classes[comparisonGroup.labels[i]]), element("div", { class: "quiet" }, comparisonGroup.images[i]), ...nearCopies(i), patient, details));
    }
    shown = until;
    more.hidden = shown >= numbers.length;
    more.textContent = `Show more (${shown} of ${numbers.length} are shown)`;
  };
  const more = element("button", { type: "button", class: "more", onclick: add });
  const controls = element("div", { class: "controls" });
  if (explained) {
    const box = element("input", { type: "checkbox", onchange: () => {
      heat = box.checked;
      list.querySelectorAll("li").forEach((item) => item.querySelector(".pictures").replaceWith(pictures(Number(item.dataset.image))));
    } });
    controls.append(element("label", {}, box, ` heat maps of ${rows.map((each) => each.name).join(" and of ")} (of the class it says)`));
  }
  const count = `${all} image${all === 1 ? "" : "s"}${all > numbers.length ? `, near-copies shown once (${numbers.length})` : ""}`;
  place.replaceChildren(element("h4", {}, element("span", { role: "status" }, `${heading}: ${count}`)), controls, list, more);
  add();
}

function confusion(comparisonGroup, row, place, images) {
  const cells = comparisonGroup.classes.map(() => comparisonGroup.classes.map(() => []));
  row.predicted.forEach((predicted, i) => { if (predicted >= 0) cells[comparisonGroup.labels[i]][predicted].push(i); });
  const table = element("table", { class: "confusion" }, element("caption", { class: "hidden" }, `Confusion matrix of ${row.name}: a line for each true class, a column for each predicted one`));
  table.append(element("tr", {}, element("th", {}, "true ↓ predicted →"), ...comparisonGroup.classes.map((name) => element("th", { scope: "col" }, name))));
  cells.forEach((line, truth) => {
    const total = line.reduce((sum, cell) => sum + cell.length, 0) || 1;
    const buttons = line.map((cell, predicted) => {
      const missed = comparisonGroup.negative !== null && predicted === comparisonGroup.negative && truth !== predicted;
      const name = `${comparisonGroup.classes[truth]} predicted as ${comparisonGroup.classes[predicted]}`;
      const button = element("button", { type: "button", class: missed ? "missed" : "", "aria-pressed": "false", "aria-label": `${cell.length} images of ${name}`,
        style: `background: color-mix(in srgb, var(--good) ${Math.round((45 * cell.length) / total)}%, var(--ground))`,
        onclick: () => {
          table.querySelectorAll("button").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
          imageList(comparisonGroup, cell, images, `${row.name}: ${name}`, { row });
          images.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
        } }, String(cell.length));
      return element("td", {}, button);
    });
    table.append(element("tr", {}, element("th", { scope: "row" }, comparisonGroup.classes[truth]), ...buttons));
  });
  place.replaceChildren(table);
}

// Every missed tumour: those that all rows miss, then those that one misses, then the others
function gallery(comparisonGroup, place) {
  const images = element("div", { class: "cell-images" }), controls = element("div", { class: "controls" });
  const show = (number, first) => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === number)));
    imageList(comparisonGroup, comparisonGroup.gallery[number].images, images, comparisonGroup.gallery[number].title, { open: true, first });
  };
  const buttons = comparisonGroup.gallery.map(({ title, images: numbers }, i) => element("button", { type: "button", "aria-pressed": "false", onclick: () => show(i) }, `${title}: ${numbers.length}`));
  controls.append(...buttons);
  place.append(controls, images);
  if (buttons.length) show(0, IN_FRONT);
  if (!buttons.length) place.append(element("p", {}, comparisonGroup.negative === null ? "No row is wrong on any test image." : "No row calls a tumour healthy."));
}

// Right and wrong cases of each class, as the row sees them
function showHeatMaps(comparisonGroup, row, place) {
  if (!row.cam) {
    place.append(element("p", { class: "quiet" }, row.details["grad-cam"]?.reason || "This run has no heat maps."));
    return;
  }
  place.append(element("p", { class: "quiet" }, `Heat maps of the class it says, from ${row.cam.source}. Right cases, then wrong ones, chosen at random${Object.keys(comparisonGroup.lesions).length ? "; outlined: the lesion" : ""}.`));
  const table = element("table", { class: "heat-maps" }, element("caption", { class: "hidden" }, `Where ${row.name} looks: right and wrong cases of each class`));
  table.append(element("tr", { class: "kinds" }, element("td"), element("th", { scope: "col" }, "right"), element("th", { scope: "col" }, "wrong")));
  row.cam.cases.forEach((cases, label) => {
    if (!cases.right.length && !cases.wrong.length) return;
    const cell = (numbers, kind) => element("td", { "data-kind": kind }, element("div", { class: "pairs" }, ...(numbers.length ? numbers.map((i) => element("figure", {},
      element("div", { class: "pair" }, testImage(comparisonGroup, i), testImage(comparisonGroup, i, row)),
      element("figcaption", {}, `says ${comparisonGroup.classes[row.predicted[i]]} (${percent(row.probabilities[i][row.predicted[i]])})`))) : [element("span", { class: "quiet" }, "none")])));
    table.append(element("tr", {}, element("th", { scope: "row" }, comparisonGroup.classes[label]), cell(cases.right, "right"), cell(cases.wrong, "wrong")));
  });
  place.append(element("div", { class: "wide", tabindex: 0, role: "region", "aria-label": `Heat maps of ${row.name}, ${comparisonGroup.name}` }, table));
}
