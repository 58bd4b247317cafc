// ---- suggestions under the search box: recent searches, and labels of the collection -------------------------------

const MOST_RECENT = 8, MOST_LABELS = 6;
const offered = create("ul", { class: "suggestions", id: "suggestions", role: "listbox", "aria-label": text("suggestions"), hidden: "" });
bar.append(offered);
for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-controls": "suggestions", "aria-expanded": "false" })) box.setAttribute(name, value);
let labels = null; // a promise of the labels and keywords of images, once they were requested

const recents = () => { try { return JSON.parse(remembered("recent")) ?? []; } catch { return []; } };

function rememberSearch(words) {
  if (words.trim()) remember("recent", JSON.stringify([words, ...recents().filter((other) => other !== words)].slice(0, MOST_RECENT)));
}

async function fetchLabels() {
  const names = view.form.columns.map(({ name }) => name).filter((name) => ["label", "keywords"].includes(name));
  if (!names.length) return [];
  const answer = await fetch(`api/facets?${new URLSearchParams([["folders", 0], ...names.map((name) => ["column", name])])}`).catch(() => null);
  const { columns } = answer?.ok ? await answer.json() : { columns: [] };
  return [...new Set(columns.flatMap(({ values }) => values.flatMap(({ value }) => value.split(/[;,]\s*/))).map((value) => value.replaceAll("_", " ")))];
}

async function suggest() {
  const typed = box.value.trim().toLowerCase(), fits = (words) => words.toLowerCase().includes(typed) && words.toLowerCase() !== typed;
  const known = typed && view.form ? await (labels ??= fetchLabels()) : [];
  if (typed !== box.value.trim().toLowerCase() || document.activeElement !== box) return;
  const starting = (words) => words.toLowerCase().startsWith(typed);
  const recent = recents().filter(fits), named = known.filter((words) => fits(words) && !recent.includes(words));
  const found = [...named.filter(starting), ...named.filter((words) => !starting(words))].slice(0, MOST_LABELS);
  const options = [[recent, "recent"], [found, "label"]].flatMap(([list, kind]) => list.map((words) => create("li", { role: "option", class: kind, "aria-selected": "false" }, words)));
  options.forEach((option, index) => (option.id = `suggestion-${index}`));
  offered.replaceChildren(...options);
  showSuggestions(options.length > 0);
}

function showSuggestions(shown) {
  offered.hidden = !shown;
  box.setAttribute("aria-expanded", shown);
  box.removeAttribute("aria-activedescendant");
}

function choose(option) {
  write(option.textContent);
  submit();
}

box.addEventListener("input", (event) => { if (event.isTrusted) suggest(); }); // only if the reader types, not if the script writes
box.addEventListener("click", suggest);
box.addEventListener("blur", () => showSuggestions(false));
offered.onmousedown = (event) => {
  event.preventDefault(); // the box keeps the focus
  if (event.target.closest("li")) choose(event.target.closest("li"));
};
box.addEventListener("keydown", (event) => {
  const options = [...offered.children], here = options.findIndex((option) => option.ariaSelected === "true");
  if (event.key === "Escape") return showSuggestions(false);
  if (event.key === "Enter" && !offered.hidden && options[here]) write(options[here].textContent); // Gradio submits it
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  if (offered.hidden) return suggest();
  const next = (here + step + options.length + (here < 0 && step < 0 ? 1 : 0)) % options.length;
  options.forEach((option, index) => (option.ariaSelected = String(index === next)));
  options[next].scrollIntoView({ block: "nearest" });
  box.setAttribute("aria-activedescendant", options[next].id);
});
