// --- the table of a comparison group: sections, conditions, columns, and the link that keeps them -----------------

const AT_A_TIME = 100; // rows of a large board that stand on a page of the table
const boards = new Map(); // DataTables by the name of their comparison group
let restoring = true; // until all tables stand as the link says, nothing is written to it

// What the page's address keeps: for each comparison group its columns, filter, conditions, order and chosen row
function savedViews() {
  try {
    return JSON.parse(decodeURIComponent(location.hash.match(/^#view=(.*)$/)?.[1] ?? "")) ?? {};
  } catch {
    return {};
  }
}
const savedView = (name) => savedViews()[name];

function keepView() {
  if (restoring) return;
  const views = {};
  for (const [name, table] of boards) {
    const named = (i) => table.column(i).header().dataset.name;
    const conditions = table.searchBuilder.getDetails();
    views[name] = {
      columns: table.columns().indexes().toArray().filter((i) => table.column(i).visible()).map(named),
      order: table.order().map(([i, way]) => [named(i), way]),
      search: table.search(),
      ...(conditions.criteria?.length ? { conditions } : {}),
      row: comparisonGroups.find((each) => each.name === name)?.chosen?.key,
    };
  }
  history.replaceState(null, "", `#view=${encodeURIComponent(JSON.stringify(views))}`);
}

// The heading of each section above its first row that is shown; a folded section opens with its button
function headSections(table, node) {
  node.querySelectorAll("tr.section").forEach((line) => line.remove());
  const rows = [...node.querySelectorAll("tbody tr[data-section]")], wide = node.querySelectorAll("thead th").length;
  const met = new Map(); // rows that meet the conditions, also those of other pages
  for (const row of table.rows({ search: "applied" }).data().toArray()) met.set(row[0]["@data-order"], (met.get(row[0]["@data-order"]) ?? 0) + 1);
  for (const section of new Set(rows.map((row) => row.dataset.section))) {
    const members = rows.filter((row) => row.dataset.section === section), { heading, why, folded } = members[0].dataset;
    const total = met.get(section), count = `${total} ${total === 1 ? "row" : "rows"}${total > members.length ? `, ${members.length} of them here` : ""}`;
    const line = element("tr", { class: "section" });
    const cell = element("th", { colspan: wide, scope: "rowgroup" });
    if (folded) {
      const open = node.dataset[`open${section}`] === "1";
      cell.append(element("button", { type: "button", class: "fold", "aria-expanded": String(open), onclick: () => {
        node.dataset[`open${section}`] = open ? "" : "1";
        headSections(table, node);
      } }, `${open ? "▾" : "▸"} ${heading}: ${count}`), element("span", { class: "why" }, ` ${why}`));
      members.forEach((row) => row.classList.toggle("folded", !open));
    } else cell.append(`${heading}: ${count}`);
    line.append(cell);
    members[0].before(line);
  }
}

// "Clear" can be pressed while there is a filter or a condition, one that still lacks its value included
function markClear(table) {
  const on = table.search() !== "" || table.searchBuilder?.getDetails()?.criteria?.length > 0;
  table.table().container()?.querySelector(".clear")?.toggleAttribute("disabled", !on);
}

// The line of the row whose details are shown, in a table that may show other rows than before
function markChosen(node) {
  const key = comparisonGroups.find((each) => each.name === node.dataset.name)?.chosen?.key;
  node.querySelectorAll("tbody tr").forEach((line) => line.classList.toggle("chosen", key !== undefined && line.dataset.key === key));
  node.querySelectorAll("button.pick").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.key === key)));
}

// The rows of a large table that do not stand in the page as lines: as the library reads those that do, so that a line is
// made only when it is shown
function furtherRows(node, heads) {
  const kept = document.getElementById(node.id.replace("board", "further"));
  if (!kept) return [];
  const told = Object.fromEntries(JSON.parse(node.dataset.sections).map((section, i) => [i, section]));
  return JSON.parse(kept.textContent).map(([key, section, cells]) => {
    const row = { key, told: told[section], 0: { display: "", "@data-order": String(section), "@data-search": String(section) } };
    cells.forEach(([order, display], i) => {
      row[i + 1] = { display, "@data-order": order, "@data-search": heads[i].classList.contains("words") && heads[i].dataset.name !== "backbone" ? null : order };
    });
    return row;
  });
}

function boardOf(node) {
  const heads = [...node.querySelectorAll("thead th")], saved = savedView(node.dataset.name);
  const targets = (test) => heads.flatMap((head, i) => (test(head) ? [i] : []));
  const words = (head) => head.classList.contains("words");
  const shown = (head) => (saved?.columns ? saved.columns.includes(head.dataset.name) : head.dataset.shown === "1" && (innerWidth > 600 || !words(head) || head.dataset.name === "backbone"));
  const place = Object.fromEntries(heads.map((head, i) => [head.dataset.name, i]));
  // a column that no one sees holds the number of the section: sections are kept apart in every order
  heads[0].before(element("th", { scope: "col", "data-name": "section" }, "section"));
  node.querySelectorAll("tbody tr").forEach((row) => row.prepend(element("td", { "data-order": row.dataset.section, "data-search": row.dataset.section })));
  const moved = (numbers) => numbers.map((i) => i + 1);
  const clear = (table) => {
    table.search("").searchBuilder.rebuild();
    table.draw();
  };
  // values as they are, no interval beside them: for other programs
  const raw = { columns: ":visible", orthogonal: "sort", format: { body: (text, row, column, cell) => cell?.dataset.order ?? text, header: (text, column, cell) => cell.dataset.name } };
  const further = furtherRows(node, heads), many = further.length > 0;
  const table = new DataTable(node, {
    paging: many, pageLength: AT_A_TIME, autoWidth: false, orderFixed: [[0, "asc"]],
    order: (saved?.order ?? []).filter(([name]) => name in place).map(([name, way]) => [place[name] + 1, way]),
    search: { search: saved?.search ?? "" },
    columnDefs: [
      { targets: "_all", searchBuilder: { orthogonal: { display: "filter", search: "filter" } } }, // values alone
      { targets: [0, ...moved(targets((head) => !shown(head)))], visible: false },
      { targets: [0, ...moved(targets((head) => !words(head)))], type: "num" },
      { targets: moved(targets(words)), type: "html" },
      { targets: moved(targets((head) => head.dataset.better === "higher")), orderSequence: ["desc", "asc", ""] },
      { targets: moved(targets((head) => head.dataset.better !== "higher")), orderSequence: ["asc", "desc", ""] },
    ],
    language: { search: "Filter:", info: "_TOTAL_ of _MAX_ rows", infoEmpty: "0 of _MAX_ rows", infoFiltered: "", zeroRecords: "No row meets the conditions.", searchBuilder: { button: { 0: "Conditions", _: "Conditions (%d)" }, title: { 0: "Conditions", _: "Conditions (%d)" } } },
    layout: {
      topStart: { buttons: [
        { extend: "colvis", text: "Columns", columns: ":gt(0)" },
        { extend: "searchBuilder", text: "Conditions", config: { columns: heads.map((_, i) => i + 1), ...(saved?.conditions ? { preDefined: saved.conditions } : {}) } },
        { text: "Clear", className: "clear", action: (event, which) => clear(which) },
        { extend: "copy", text: "Copy", exportOptions: raw, title: null, messageTop: null },
        { extend: "csv", text: "CSV", exportOptions: raw, filename: "leaderboard-view" },
        { text: "Link", className: "link", action: (event, which, button) => copyLink(button[0] ?? button) },
      ] },
      topEnd: ["info", "search"], bottomStart: many ? { pageLength: { menu: [AT_A_TIME, 500, { label: "all", value: -1 }] } } : null, bottomEnd: many ? "paging" : null,
    },
    createdRow(line, data, place, cells) { // of a row that did not stand in the page
      if (!data.key) return;
      const { heading, why, folded } = data.told;
      Object.assign(line.dataset, { key: data.key, section: data[0]["@data-order"], heading, why, ...(folded ? { folded } : {}) });
      cells.slice(1).forEach((cell, i) => {
        cell.classList.add(...["words", "who"].filter((name) => heads[i].classList.contains(name)));
        cell.dataset.order = data[i + 1]["@data-order"];
        if (heads[i].dataset.name === "backbone") cell.setAttribute("role", "rowheader");
      });
    },
    drawCallback() {
      const api = this.api();
      headSections(api, node);
      markChosen(node);
      markClear(api);
      keepView();
    },
  });
  const scrolled = node.parentElement;
  for (const [name, value] of Object.entries({ tabindex: 0, role: "region", "aria-label": `Leaderboard of ${node.dataset.name}` })) scrolled.setAttribute(name, value);
  table.on("column-visibility", () => { headSections(table, node); keepView(); });
  // no table is drawn for a condition without a value
  for (const event of ["click", "change"]) table.table().container().addEventListener(event, () => setTimeout(() => markClear(table)));
  boards.set(node.dataset.name, table);
  if (many) table.rows.add(further);
  table.draw();
}

// The page's address holds the view; where the clipboard is closed it stands in the browser's address bar
async function copyLink(button) {
  keepView();
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Link copied";
  } catch {
    button.textContent = "The link is in the address bar";
  }
}

async function tables() {
  const url = URL.createObjectURL(new Blob([await unpacked("tables-script")], { type: "text/javascript" }));
  const { default: DataTable } = await import(url);
  URL.revokeObjectURL(url);
  window.DataTable = DataTable;
  // an empty cell is no number: to the library it would be 0, and a row without scores would have few errors
  for (const name of ["=", "<", "<=", ">", ">=", "between", "!between"]) {
    const condition = DataTable.Criteria.numConditions[name], search = condition.search;
    condition.search = (cell, ...rest) => cell !== "" && search.call(condition, cell, ...rest);
  }
  document.querySelectorAll("table.board").forEach(boardOf);
  restoring = false;
  await plotlyUnpacked; // from here the page can be printed
  document.documentElement.dataset.ready = "1";
}

// Folded rows, notes, audits and strata are on paper; afterwards they are folded as before
let unfolded = [];
const paged = new Map(); // tables of several pages, with how they stood before printing
addEventListener("beforeprint", () => {
  document.querySelectorAll("table.board").forEach((node) => node.classList.add("whole"));
  for (const table of boards.values()) if (table.page.info().pages > 1) { paged.set(table, [table.page.len(), table.page()]); table.page.len(-1).draw(false); }
  unfolded = [...document.querySelectorAll("details:is(.row-notes, .audit, .published, .strata):not([open])")];
  unfolded.forEach((folded) => { folded.open = true; });
});
addEventListener("afterprint", () => {
  document.querySelectorAll("table.board").forEach((node) => node.classList.remove("whole"));
  for (const [table, [length, page]] of paged) table.page.len(length).page(page).draw(false);
  paged.clear();
  unfolded.forEach((folded) => { folded.open = false; });
});
