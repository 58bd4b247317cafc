// Runs once, with `element`, `trigger`, `props` and `watch` from gr.HTML.
//
// Everything a user or a data set wrote goes in by textContent and setAttribute. It must never go through the
// component's own template: Gradio evaluates what comes out of that once more, as a JavaScript template string.

const find = (selector, root = element) => root.querySelector(selector);
const dialog = find("dialog.lightbox");
const cardTemplate = find("template.card");
let cards = [];
let shown = 0;
let replacing = true; // the first answer and those to the back button correct the address; others add to it

// ---- answers -------------------------------------------------------------------------------------------------

const HINTS = {
  nothing: "Try other words, or all labels.",
  unfilled: "Index a folder or a CSV of pictures, then reload this page:",
};

function render(view) {
  if (!view || view.kind === "loading") return;
  document.body.classList.remove("searching");
  document.title = view.title;
  rewriteAddress(view.url);
  fill(document.getElementById("header"), { rows: view.rows, model: view.model && ` · ${view.model}` });
  fill(element, { ...view, hint: HINTS[view.kind] });
  element.dataset.kind = view.kind;
  find(".message").hidden = !view.message;
  find(".message pre").hidden = !view.command;
  find(".chips").replaceChildren(...view.chips.map(makeChip));
  cards = view.cards;
  find("ol.cards").replaceChildren(...cards.map(makeCard));
}

// Puts each value where the markup has a slot of its name.
function fill(root, values) {
  for (const target of root.querySelectorAll("[data-slot]")) {
    if (target.dataset.slot in values) target.textContent = values[target.dataset.slot] || "";
  }
}

function makeChip(chip) {
  const link = document.createElement("a");
  link.textContent = chip.text;
  return pointTo(link, chip.url);
}

function makeCard(card, index) {
  const item = cardTemplate.content.firstElementChild.cloneNode(true);
  const image = find("img", item);
  fill(item, { label: card.label, score: card.score });
  image.alt = card.alt;
  image.loading = index < 12 ? "eager" : "lazy";
  image.onerror = () => item.classList.add("missing");
  image.onload = () => item.classList.add("loaded");
  image.src = `thumb/${encodeURIComponent(card.id)}`;
  find(".label", item).title = card.name;
  find(".picture", item).onclick = () => open(index);
  find(".picture", item).setAttribute("aria-label", `Enlarge ${card.alt}`);
  find(".similar", item).setAttribute("aria-label", `Find pictures similar to ${card.alt}`);
  pointTo(find(".similar", item), card.similar);
  return item;
}

// ---- addresses -----------------------------------------------------------------------------------------------

function pointTo(link, address) {
  link.href = address || "./";
  link.dataset.address = address;
  return link;
}

function rewriteAddress(address) {
  const target = new URL(address || location.pathname, location.origin + location.pathname).href;
  if (target !== location.href) history[replacing ? "replaceState" : "pushState"](null, "", target);
  replacing = false;
}

function go(address) {
  document.body.classList.add("searching");
  dialog.close();
  trigger("navigate", { address });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-address]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.dataset.address);
  scrollTo({ top: 0 });
});

addEventListener("popstate", () => {
  replacing = true;
  go(location.search);
});

// ---- lightbox ------------------------------------------------------------------------------------------------

function open(index) {
  shown = (index + cards.length) % cards.length;
  const card = cards[shown];
  const image = find("img", dialog);
  image.removeAttribute("src"); // not the last picture under this one's name
  image.src = `image/${encodeURIComponent(card.id)}`;
  image.alt = card.alt;
  fill(dialog, { label: card.label, score: card.score, name: card.name === card.label ? "" : card.name });
  pointTo(find(".similar", dialog), card.similar);
  dialog.classList.toggle("single", cards.length < 2);
  if (!dialog.open) dialog.showModal();
}

find(".close", dialog).onclick = () => dialog.close();
find(".previous", dialog).onclick = () => open(shown - 1);
find(".next", dialog).onclick = () => open(shown + 1);
dialog.onclick = (event) => event.target === dialog && dialog.close();
dialog.onclose = () => element.querySelectorAll(".picture")[shown]?.focus();
dialog.onkeydown = (event) => {
  if (event.key === "ArrowLeft") open(shown - 1);
  if (event.key === "ArrowRight") open(shown + 1);
};

// ---- a picture as query: dropped or pasted anywhere ----------------------------------------------------------

async function give(files) {
  const picture = [...(files || [])].find((file) => file.type.startsWith("image/"));
  if (!picture) return;
  const box = document.getElementById("picture");
  if (!find("input[type=file]", box)) find("button[aria-label='Clear']", box)?.click();
  for (let tries = 0; tries < 40 && !find("input[type=file]", box); tries++) await new Promise((later) => setTimeout(later, 25));
  const input = find("input[type=file]", box);
  if (!input) return;
  const bag = new DataTransfer();
  bag.items.add(picture);
  input.files = bag.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

const carriesFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
const inBox = (event) => event.target.closest?.("#picture");
addEventListener("paste", (event) => give(event.clipboardData?.files));
addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  document.body.classList.add("dropping");
  if (!inBox(event)) event.preventDefault();
});
for (const over of ["dragleave", "drop"]) {
  addEventListener(over, (event) => (over === "drop" || !event.relatedTarget) && document.body.classList.remove("dropping"), true);
}
addEventListener("drop", (event) => {
  if (!carriesFiles(event) || inBox(event)) return;
  event.preventDefault();
  give(event.dataTransfer.files);
});

// ---- light and dark ------------------------------------------------------------------------------------------

const remembered = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
if (remembered()) document.body.classList.toggle("dark", remembered() === "dark");
find(".theme", document.getElementById("header")).onclick = () => {
  const dark = document.body.classList.toggle("dark");
  try { localStorage.setItem("theme", dark ? "dark" : "light"); } catch { /* private window: not remembered */ }
};

// ---- start ---------------------------------------------------------------------------------------------------

find("ol.cards").replaceChildren(...Array.from({ length: 24 }, () => Object.assign(document.createElement("li"), { className: "blank" })));
watch("value", () => render(props.value));
render(props.value);
