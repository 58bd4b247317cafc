// ---- filters: a form of the collection's own columns -------------------------------------------------------------

const panel = find(".panel");
const toggle = find(".toggle");
let shape = ""; // of the form that stands there: it is only made anew for other columns, so that focus stays

function renderFilters() {
  const columns = view.columns;
  toggle.hidden = !view.rows;
  if (!view.rows) unfold(false);
  if (view.kept_form) return; // the form itself was at fault: as it was filled in, to be put right
  const wanted = JSON.stringify(columns.map(({ name, kind, choices }) => [name, kind, choices]));
  if (wanted !== shape) find(".fields").replaceChildren(...columns.map(makeField));
  shape = wanted;
  for (const column of columns) setField(column);
  panel.elements.conditions.value = view.conditions;
  panel.elements.min_score.value = view.min_score ?? 0;
  panel.elements.fold.checked = view.fold !== null;
  showScore();
  pointTo(find(".clear"), view.unfiltered);
  find(".clear").hidden = !view.active;
  find(".count", toggle).hidden = !view.active;
  find(".count", toggle).textContent = numbers.format(view.active);
}

function makeField(column, index) {
  const title = column.kind === "folder" ? text("folder") : column.label;
  const make = { choices: makeChoices, bool: makeChoices, many: makeCombination, number: makeRange, text: makeText, folder: makeText }[column.kind];
  const grouped = !["text", "folder"].includes(column.kind);
  const field = create(grouped ? "fieldset" : "label", { class: `field ${column.kind}${column.choices.length > 5 ? " wide" : ""}`, "data-column": column.name });
  field.append(create(grouped ? "legend" : "span", {}, title), ...make(column, title, `values-${index}`));
  return field;
}

function choiceTexts(column) {
  return column.kind === "bool" ? [["true", text("yes")], ["false", text("no")]] : column.choices;
}

function makeChoices(column) {
  return [create("div", { class: "pills" }, ...choiceTexts(column).map(([value, name]) => makePill(value, name)))];
}

function makePill(value, name) {
  return create("label", { class: "pill" }, create("input", { type: "checkbox", value }), create("span", {}, name));
}

// Many values: those chosen as pills, and a box that suggests the others.
function makeCombination(column, title, id) {
  const list = create("datalist", { id }, ...column.choices.map(([value, name]) => create("option", { value: name, "data-value": value })));
  const box = create("input", { list: id, class: "add", placeholder: text("choose_value"), "aria-label": title, autocomplete: "off" });
  return [create("div", { class: "pills" }), box, list];
}

function makeRange(column, title) {
  const bound = (side, word, limit) => create("input", {
    inputmode: "decimal", class: side, "aria-label": `${title} ${text(word)}`, autocomplete: "off",
    placeholder: limit === null ? text(word) : `${text(word)} ${limit}`,
  });
  return [create("div", { class: "range" }, bound("low", "from", column.low), create("span", { "aria-hidden": "true" }, "–"), bound("high", "to", column.high))];
}

// Part of a text, or a folder, of which those there are are suggested.
function makeText(column, title, id) {
  const words = { text: column.anywhere ? "contains" : "starts_with", folder: "choose_value" }[column.kind];
  const box = create("input", { class: "words", placeholder: text(words), autocomplete: "off" });
  if (column.kind === "text") return [box];
  box.setAttribute("list", id);
  return [box, create("datalist", { id }, ...column.choices.map(([value]) => create("option", { value })))];
}

function setField(column) {
  const field = find(`[data-column="${CSS.escape(column.name)}"]`);
  const { values = [], low = "", high = "", words = "" } = column.chosen;
  if (column.kind === "many") {
    const names = new Map(column.choices);
    find(".pills", field).replaceChildren(...values.map((value) => makePill(value, names.get(value) ?? value)));
    find(".add", field).value = "";
  }
  for (const box of field.querySelectorAll("input[type=checkbox]")) box.checked = values.includes(box.value);
  for (const [selector, value] of Object.entries({ ".low": low, ".high": high, ".words": words })) if (find(selector, field)) find(selector, field).value = value;
}

function readField(field) {
  const values = [...field.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.value);
  const added = find(".add", field)?.value.trim();
  if (added) {
    const known = [...field.querySelectorAll("option")].find((option) => option.value.toLowerCase() === added.toLowerCase());
    values.push(known?.dataset.value ?? added);
  }
  const read = (selector) => find(selector, field)?.value.trim() ?? "";
  return { values, low: read(".low"), high: read(".high"), words: read(".words") };
}

function showScore() {
  const score = Number(panel.elements.min_score.value);
  find("output", panel).textContent = score ? numbers.format(score) : text("off");
}

function unfold(open) {
  panel.hidden = !open;
  toggle.setAttribute("aria-expanded", open);
}

toggle.onclick = () => unfold(panel.hidden);
panel.onsubmit = (event) => event.preventDefault();
panel.elements.min_score.oninput = showScore;
panel.onchange = () => {
  const fields = [...panel.querySelectorAll("[data-column]")].map((field) => [field.dataset.column, readField(field)]);
  const { conditions, min_score, fold } = panel.elements;
  // As pairs: a key "path" is, to the server's guard, the name of a file.
  ask({ form: { columns: fields, conditions: conditions.value, min_score: min_score.value, fold: fold.checked } });
};
