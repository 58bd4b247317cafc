// The files of static/js are joined in the order of SCRIPTS in appearance.py and run once, as one asynchronous function, with
// `element`, `trigger`, `props`, `upload` and `watch` from gr.HTML.
//
// Text of users and data sets is inserted by textContent and setAttribute only. It must never pass through the
// component's own template: Gradio evaluates the output of the template again, as a JavaScript template string.

const find = (selector, root = element) => root.querySelector(selector);

// Gradio mounts its components in any order.
const others = ["#header header", "#image label", "#text input", "#go"];
while (others.some((selector) => !document.querySelector(selector))) await new Promise((later) => setTimeout(later, 5));

// ---- texts: in the browser's language; the head of the document has already requested them ------------------------

const { language: LANGUAGE, texts: TEXTS } = await window.imageSearchTexts;
const LOCALE = navigator.language.startsWith(LANGUAGE) ? navigator.language : LANGUAGE; // British and American dates differ
const numbers = new Intl.NumberFormat(LOCALE);
const scores = new Intl.NumberFormat(LOCALE, { minimumFractionDigits: 3 });
const plurals = new Intl.PluralRules(LANGUAGE);

function text(key, values = {}) {
  return TEXTS[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function plural(key, count, values = {}) {
  return text(`${key}_${plurals.select(count)}`, { count: numbers.format(count), ...values });
}

// Columns that the program itself fills have names in the reader's language. Other columns keep their own names.
const COLUMNS = [
  "column_label", "column_taken", "column_taken_offset", "column_modified", "column_camera", "column_lens", "column_rating", "column_title", "column_description",
  "column_keywords", "column_place", "column_width", "column_height", "column_latitude", "column_longitude",
];

function columnName(name, own) {
  if (name === "path") return text("folder");
  return COLUMNS.includes(`column_${name}`) ? text(`column_${name}`) : own;
}

// Inserts the fixed texts, which the markup names by their keys.
function translate(root) {
  for (const target of root.querySelectorAll("[data-text]")) target.textContent = text(target.dataset.text);
  for (const target of root.querySelectorAll("[data-title]")) target.title = text(target.dataset.title);
  for (const target of root.querySelectorAll("[data-label]")) target.setAttribute("aria-label", text(target.dataset.label));
  for (const target of root.querySelectorAll("[data-placeholder]")) target.placeholder = text(target.dataset.placeholder);
  for (const template of root.querySelectorAll("template")) translate(template.content);
}

// Puts each value into the slot of its name.
function fill(root, values) {
  for (const target of root.querySelectorAll("[data-slot]")) {
    if (target.dataset.slot in values) target.textContent = values[target.dataset.slot] || "";
  }
}

function create(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Stores small choices of the reader. A private window may not store them.
function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* not stored */ }
}

function remembered(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

document.documentElement.lang = LANGUAGE;
document.body.dataset.drop = text("drop_here");
document.body.dataset.searching = text("searching");
for (const root of [element, document.getElementById("header"), document.getElementById("image")]) translate(root);
Object.assign(document.querySelector("#text input"), { placeholder: text("text_placeholder"), ariaLabel: text("text_placeholder") });
document.getElementById("go").textContent = text("search");
