// ---- filters: a panel with a field for each column; the values and their counts come from /api/facets --------------

const panel = find(".panel"), toggle = find(".toggle");
let shape = ""; // columns of the current form; it is rebuilt only if they change, so that the focus stays
let counted = null; // number of rows and filter of the last request for facets
let facets = null;

function renderFilters() {
  const { columns, conditions, min_score, fold, active, unfiltered } = view.form;
  toggle.hidden = !view.collection.rows;
  if (toggle.hidden) unfold(false);
  const wanted = JSON.stringify(columns.map(({ name, kind }) => [name, kind]));
  const edited = panel.contains(document.activeElement) && document.activeElement.matches("input:not([type=checkbox])") ? document.activeElement : null;
  const typing = edited?.value; // the answer must not reset a field in which the reader is typing
  if (wanted !== shape) find(".fields").replaceChildren(...columns.map(makeField));
  shape = wanted;
  for (const column of columns) setField(column);
  panel.elements.conditions.value = conditions;
  panel.elements.min_score.value = min_score ?? 0;
  if (edited?.isConnected) edited.value = typing;
  panel.elements.fold.checked = fold !== null;
  showScore();
  find(".names", panel).textContent = columns.filter(({ kind }) => kind !== "folder").map(({ order }) => order).join(", ");
  pointTo(find(".clear", panel), unfiltered).hidden = !active.length;
  find(".count", toggle).hidden = find(".active").hidden = !active.length;
  find(".count", toggle).textContent = numbers.format(active.length);
  find(".active").replaceChildren(...active.map(makeCondition));
  if (!panel.hidden) showFacets();
}

// Makes a link for a condition of the filter. The link removes the condition.
function makeCondition({ column: name, text: written, url }) {
  const words = name ? describeChosen(view.form.columns.find((column) => column.name === name)) : written || text("status_above", { score: numbers.format(view.form.min_score) });
  return create("li", {}, pointTo(create("a", { title: words, "aria-label": text("remove", { part: words }) }, create("span", {}, words), "×"), url));
}

function describeChosen({ name, kind, label: own, anywhere, chosen: { values = [], low, high, words } }) {
  const label = columnName(name, own);
  if (kind === "folder") return `${label}: ${words}`;
  if (words) return `${label} ${text(anywhere ? "contains" : "starts_with")} ${text("quoted", { text: words })}`;
  const shown = (bound) => (kind === "date" ? dayInWords(bound) : bound);
  if (low === high && low !== undefined) return `${label}: ${shown(low)}`;
  if (low || high) return low && high ? `${label}: ${shown(low)} – ${shown(high)}` : `${label} ${low ? "≥" : "≤"} ${shown(low ?? high)}`;
  return `${label}: ${values.map((value) => nameOf(name, value)).join(", ")}`;
}

const dayInWords = (day) => new Date(day).toLocaleDateString(LOCALE, { dateStyle: "medium", timeZone: "UTC" });
const named = (name) => find(`[data-column="${CSS.escape(name)}"]`, panel);

function makeField(column) {
  const title = columnName(column.name, column.label);
  const make = { number: makeRange, date: makeDates, text: makeText, folder: makeFolders }[column.kind] ?? makeChoices;
  return create("fieldset", { class: `field ${column.kind}`, "data-column": column.name }, create("legend", {}, title), ...make(column, title));
}

function makeChoices({ kind }, title) {
  const values = create("div", { class: "values" });
  if (kind !== "many") return [values];
  const box = create("input", { class: "add", placeholder: text("choose_value"), "aria-label": title, autocomplete: "off" });
  box.oninput = () => listValues(named(box.closest("fieldset").dataset.column), box.value);
  return [box, values];
}

function makeBound(kind, side, word, title, limit) {
  const label = `${title} ${text(word)}`;
  if (kind === "date") return makeDay(side, label, text(word));
  return create("input", { inputmode: "decimal", class: side, "aria-label": label, autocomplete: "off", placeholder: limit === null ? text(word) : `${text(word)} ${limit}` });
}

// A browser writes dates in its own language. Here only the field that has the focus shows what the browser writes.
function makeDay(side, label, empty) {
  const input = create("input", { type: "date", class: side, "aria-label": label }), said = create("span", { "aria-hidden": "true" });
  input.say = () => (said.textContent = input.value ? dayInWords(input.value) : empty);
  input.addEventListener("change", input.say);
  return create("span", { class: "day" }, input, said);
}

function makeRange({ kind, low, high }, title) {
  const dash = create("span", { "aria-hidden": "true" }, "–");
  return [create("div", { class: "range" }, makeBound(kind, "low", "from", title, low), dash, makeBound(kind, "high", "to", title, high))];
}

function makeDates(column, title) {
  return [...makeRange(column, title), create("div", { class: "tree" })];
}

function makeText({ anywhere }, title) {
  return [create("input", { class: "words", placeholder: text(anywhere ? "contains" : "starts_with"), "aria-label": title, autocomplete: "off" })];
}

function makeFolders(column, title) {
  return [create("input", { class: "words", placeholder: text("choose_value"), "aria-label": title, autocomplete: "off" }), create("div", { class: "tree" })];
}

function setField(column) {
  const field = named(column.name);
  const { values = [], low = "", high = "", words = "" } = column.chosen;
  field.chosen = values;
  if (find(".add", field)) find(".add", field).value = "";
  if (find(".values", field)) listValues(field);
  for (const [selector, value] of Object.entries({ ".low": low, ".high": high, ".words": words })) if (find(selector, field)) find(selector, field).value = value;
  for (const day of field.querySelectorAll(".day input")) day.say();
}

// Lists the values of a column: first the chosen ones, then those with the most images.
function listValues(field, typed = "") {
  const { column } = field.dataset, known = facets?.columns.find(({ name }) => name === column)?.values ?? [];
  const shown = known.filter(({ value }) => !field.chosen.includes(String(value)) && nameOf(column, value).toLowerCase().includes(typed.toLowerCase()));
  const chosen = field.chosen.map((value) => known.find((other) => String(other.value) === value) ?? { value });
  find(".values", field).replaceChildren(...[...chosen, ...shown].map(({ value, count }) => {
    const box = create("input", { type: "checkbox", value });
    box.checked = field.chosen.includes(String(value));
    return create("label", { class: count === 0 ? "none" : "" }, box, create("span", {}, nameOf(column, value)), countOf(count));
  }));
}

const nameOf = (column, value) => (typeof value === "boolean" ? text(value ? "yes" : "no") : ["true", "false"].includes(value) ? text(value === "true" ? "yes" : "no") : column === "label" ? value.replaceAll("_", " ") : value);
const countOf = (count) => create("small", {}, count === undefined ? "" : numbers.format(count));

// ---- facets: fetched while the panel is open -----------------------------------------------------------------------

async function showFacets() {
  const filter = view.form.counted, asked = `${view.collection.rows} ${filter}`;
  if (asked === counted) return;
  counted = asked;
  const found = await fetch(`api/facets?${new URLSearchParams({ filter, folders: 300 })}`).then((answer) => answer.ok && answer.json()).catch(() => null);
  if (asked !== counted) return; // the filter has changed in the meantime
  if (!found) {
    counted = null;
    return setTimeout(() => panel.hidden || showFacets(), 3000);
  }
  facets = found;
  for (const field of panel.querySelectorAll("fieldset")) {
    const { column } = field.dataset, facet = facets.columns.find(({ name }) => name === column);
    if (find(".values", field)) listValues(field, find(".add", field)?.value);
    if (field.matches(".date")) find(".tree", field).replaceChildren(...facet.years.map((year) => makeYear(field, year)));
    if (field.matches(".folder")) find(".tree", field).replaceChildren(...facets.folders.map((folder) => makeFolder(field, folder)));
  }
}

// Makes a node of a tree: a button that chooses it, and the nodes below it.
function makeNode(field, name, count, settings, children) {
  const button = create("button", { type: "button" }, create("span", {}, name), countOf(count));
  button.onclick = () => {
    for (const [side, value] of Object.entries(settings)) find(`.${side}`, field).value = value;
    askForm();
  };
  if (!children.length) return create("div", { class: "leaf" }, button);
  const below = create("div", { class: "below", hidden: "" }, ...children), opener = create("button", { type: "button", class: "opener", "aria-expanded": "false", "aria-label": name }, "›");
  opener.onclick = () => {
    below.hidden = !below.hidden;
    opener.ariaExpanded = String(!below.hidden);
  };
  return create("div", {}, create("div", { class: "row" }, opener, button), below);
}

function makeFolder(field, { path, name, count, folders }) {
  return makeNode(field, name, count, { words: path.replace(/(.)\/$/, "$1") }, folders.map((folder) => makeFolder(field, folder)));
}

function makeYear(field, { year, count, months }) {
  const long = new Intl.DateTimeFormat(LOCALE, { month: "long", timeZone: "UTC" }), start = String(year).padStart(4, "0");
  const days = (month) => new Date(Date.UTC(year, month, 0)).toISOString().slice(0, 10);
  const below = months.map(({ month, count }) => makeNode(field, long.format(Date.UTC(2000, month - 1, 15)), count, { low: `${days(month).slice(0, 8)}01`, high: days(month) }, []));
  return makeNode(field, start, count, { low: `${start}-01-01`, high: `${start}-12-31` }, below);
}

function readField(field) {
  const values = [...field.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.value);
  const added = find(".add", field)?.value.trim();
  if (added) {
    const { column } = field.dataset, known = facets?.columns.find(({ name }) => name === column)?.values ?? [];
    values.push(known.find(({ value }) => nameOf(column, value).toLowerCase() === added.toLowerCase())?.value ?? added);
  }
  const read = (selector) => find(selector, field)?.value.trim() ?? "";
  return { values, low: read(".low"), high: read(".high"), words: read(".words") };
}

function askForm() {
  const fields = [...panel.querySelectorAll("[data-column]")].map((field) => [field.dataset.column, readField(field)]);
  const { conditions, min_score, fold } = panel.elements;
  // Pairs, because the server takes any value under the key "path" for the name of a file.
  ask({ form: { columns: fields, conditions: conditions.value, min_score: min_score.value, fold: fold.checked } });
}

function showScore() {
  const score = Number(panel.elements.min_score.value);
  find("output", panel).textContent = score ? numbers.format(score) : text("off");
}

// ---- mistakes: shown beside their field, while the page keeps its results -----------------------------------------

function showMistake({ problem, details, message: detail, place }) {
  const field = place === "conditions" ? find(".conditions", panel) : place === "text" ? null : find(`[data-column="${CSS.escape(place)}"]`);
  const message = create("p", { class: "mistake", role: "alert" });
  if (field) unfold(true);
  (field ?? find(".said")).append(message);
  message.append(text(problem, details), " ", create("small", { lang: "en" }, detail)); // added when the element is in the page, so that it is read out
  if (!field) box.setAttribute("aria-invalid", "true");
  else for (const input of field.querySelectorAll("input")) input.setAttribute("aria-invalid", "true");
}

function clearMistakes() {
  for (const message of element.querySelectorAll(".mistake")) message.remove();
  for (const input of document.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
}

function unfold(open) {
  panel.hidden = !open;
  document.querySelector("main.fillable, .main.fillable").style.paddingRight = open && innerWidth >= 1000 ? "344px" : "";
  toggle.setAttribute("aria-expanded", open);
  if (open) showFacets();
}

toggle.onclick = () => unfold(panel.hidden);
find(".shut", panel).onclick = () => {
  unfold(false);
  toggle.focus();
};
panel.addEventListener("keydown", ({ key }) => key === "Escape" && find(".shut", panel).click());
panel.onsubmit = (event) => event.preventDefault();
panel.elements.min_score.oninput = showScore;
panel.onchange = ({ target }) => {
  if (target.type === "date" && target.value.startsWith("0")) return; // the year is being typed: 0002, 0020, 0202
  askForm();
};

// ---- order -------------------------------------------------------------------------------------------------------

const order = find(".order"), orders = find("select", order);

function renderOrder() {
  const { columns } = view.form, [, by, direction] = /^(.*?)(?::(asc|desc))?$/s.exec(view.sort);
  const dated = columns.some(({ kind }) => kind === "date");
  const choices = [...(view.parts.length || !view.sort ? [["", text("sort_relevance")]] : []), ...(dated ? [["date", text("sort_date")]] : []), ["name", text("sort_name")], ["path", text("sort_path")],
    ...columns.filter(({ kind }) => kind !== "folder").map(({ order, name, label }) => [order, columnName(name, label)])];
  order.hidden = !view.collection.rows;
  orders.replaceChildren(...choices.map(([value, name]) => create("option", { value }, name)));
  orders.value = by;
  const isDate = by === "date" || columns.some((column) => column.order === by && column.kind === "date");
  find(".turn", order).hidden = !by;
  find(".turn", order).onclick = () => ask({ sort: `${by}:${(direction ? direction === "desc" : isDate) ? "asc" : "desc"}` });
}
orders.onchange = () => ask({ sort: orders.value });

// Offers a filter for a date in words, and the most similar values for one that no image has.
function renderOffers() {
  const offers = view.offer ? [pointTo(create("a", { class: "plain" }, text("offer_date", { words: view.offer.words })), view.offer.url)] : [];
  find(".offer").replaceChildren(...offers);
  const links = (view.suggestions ?? []).flatMap(({ nearest }) => nearest).map(({ text, url }) => pointTo(create("a", { class: "plain" }, text), url));
  find(".nearest").replaceChildren(...(links.length ? [text("nearest_values"), ...links] : []));
}
