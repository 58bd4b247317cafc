// ---- filters: a form with a field for each column of the collection ------------------------------------------------

const panel = find(".panel");
const toggle = find(".toggle");
let shape = ""; // columns of the present form: it is rebuilt only for other columns, so that the focus stays

function renderFilters() {
  const { columns, conditions, min_score, fold, active, unfiltered } = view.form;
  toggle.hidden = !view.collection.rows;
  if (toggle.hidden) unfold(false);
  if (view.form_kept) return; // the mistake is in the form, where it can be corrected
  const wanted = JSON.stringify(columns.map(({ name, kind, choices }) => [name, kind, choices]));
  if (wanted !== shape) find(".fields").replaceChildren(...columns.map(makeField));
  shape = wanted;
  for (const column of columns) setField(column);
  panel.elements.conditions.value = conditions;
  panel.elements.min_score.value = min_score ?? 0;
  panel.elements.fold.checked = fold !== null;
  showScore();
  pointTo(find(".clear"), unfiltered);
  find(".clear").hidden = !active;
  find(".count", toggle).hidden = !active;
  find(".count", toggle).textContent = numbers.format(active);
}

function makeField(column, index) {
  const title = column.kind === "folder" ? text("folder") : column.label;
  const make = { choices: makeChoices, bool: makeChoices, many: makeCombination, number: makeRange, date: makeDates, text: makeText, folder: makeText }[column.kind];
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

// A field with many values: the chosen ones as pills, and a box that suggests the others.
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

function makeDates(column, title) {
  const bound = (side, word) => create("input", { type: "date", class: side, "aria-label": `${title} ${text(word)}`, min: column.low ?? "", max: column.high ?? "" });
  return [create("div", { class: "range" }, bound("low", "from"), create("span", { "aria-hidden": "true" }, "–"), bound("high", "to"))];
}

// A field for a part of a text, or for a folder, with suggestions.
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
panel.onchange = ({ target }) => {
  if (target.type === "date" && target.value.startsWith("0")) return; // the year is being typed: 0002, 0020, 0202
  const fields = [...panel.querySelectorAll("[data-column]")].map((field) => [field.dataset.column, readField(field)]);
  const { conditions, min_score, fold } = panel.elements;
  // Pairs, because the server takes any value under a key "path" for the name of a file.
  ask({ form: { columns: fields, conditions: conditions.value, min_score: min_score.value, fold: fold.checked } });
};
