// ---- selection: several images by click, keys, a band drawn with the mouse, or a long touch ------------------------

const toolbar = find(".selection");
const selected = new Map(); // id → card
const DRAWN = 8, LONG = 450; // pixels after which a drag draws a band; milliseconds of a long touch
let anchor = 0; // index of the card from which Shift selects
let drag = null; // a press that may become a band: { x, y, before, band }
let pressing = 0;
let silent = false; // whether to ignore the next click, because it ends a band or a long touch

function showSelected(item, card) {
  const chosen = selected.has(card.id);
  item.classList.toggle("picked", chosen);
  find(".select", item).setAttribute("aria-pressed", chosen);
}

function showSelection() {
  for (const [index, item] of items) showSelected(item, cards[index]);
  toolbar.hidden = !selected.size;
  list.classList.toggle("selecting", selected.size > 0);
  fill(toolbar, { selected: selected.size ? plural("selected", selected.size) : "" });
}

function select(index, chosen = !selected.has(cards[index].id)) {
  if (chosen) selected.set(cards[index].id, cards[index]);
  else selected.delete(cards[index].id);
}

function selectOne(index) {
  select(index);
  anchor = index;
  showSelection();
}

function selectRange(index) {
  for (let place = Math.min(anchor, index); place <= Math.max(anchor, index); place++) select(place, true);
  showSelection();
}

function clearSelection() {
  selected.clear();
  anchor = 0;
  showSelection();
}

// Handles a click that selects cards. Returns false for any other click, which enlarges the image.
function selects(event, index) {
  if (event.shiftKey) selectRange(index);
  else if (event.ctrlKey || event.metaKey || selected.size || event.target.closest(".select")) selectOne(index);
  else return false;
  return true;
}

// ---- selecting with a band or a long touch

function startDrag(event) {
  silent = false;
  if (event.button || event.target.closest("a, .select")) return;
  if (event.pointerType === "touch") {
    const item = event.target.closest("li");
    if (item) pressing = setTimeout(() => { silent = true; selectOne(indexOf(item)); }, LONG);
  } else {
    drag = { x: event.pageX, y: event.pageY, before: new Map(event.shiftKey || event.ctrlKey || event.metaKey ? selected : []), band: null };
  }
}

function dragOn(event) {
  if (!drag || (!drag.band && Math.hypot(event.pageX - drag.x, event.pageY - drag.y) < DRAWN)) return;
  if (!drag.band) element.append((drag.band = create("div", { class: "band" })));
  const [left, right] = [drag.x, event.pageX].sort((a, b) => a - b), [top, bottom] = [drag.y, event.pageY].sort((a, b) => a - b);
  drag.band.style.cssText = `left:${left - scrollX}px;top:${top - scrollY}px;width:${right - left}px;height:${bottom - top}px`;
  if (event.clientY > innerHeight - 40 || event.clientY < 40) scrollBy(0, event.clientY < 40 ? -24 : 24);
  const origin = list.getBoundingClientRect(), across = left - origin.left - scrollX, along = top - origin.top - scrollY;
  selected.clear();
  for (const [id, card] of drag.before) selected.set(id, card);
  for (let index = rows[rowAt(along)] ?? 0; index < cards.length && boxes[index].top <= along + bottom - top; index++) {
    const box = boxes[index];
    if (box.left <= across + right - left && box.left + box.width >= across && box.top + box.height >= along) select(index, true);
  }
  showSelection();
}

function endDrag() {
  clearTimeout(pressing);
  if (drag?.band) silent = true;
  drag?.band?.remove();
  drag = null;
}

list.addEventListener("pointerdown", startDrag);
addEventListener("pointermove", dragOn);
for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, endDrag);
list.addEventListener("pointermove", (event) => event.pointerType === "touch" && Math.hypot(event.movementX, event.movementY) > 4 && clearTimeout(pressing));
list.oncontextmenu = (event) => event.pointerType === "touch" && event.preventDefault();
list.addEventListener("click", (event) => {
  const item = event.target.closest("li");
  if (!item || event.target.closest("a")) return;
  if (silent) silent = false;
  else if (!selects(event, indexOf(item)) && !item.classList.contains("missing")) open(indexOf(item));
});
list.addEventListener("keydown", (event) => {
  const index = indexOf(event.target);
  if (event.key === "x" && index in boxes) selectOne(index);
  if ((event.ctrlKey || event.metaKey) && event.key === "a") {
    event.preventDefault();
    for (const index of cards.keys()) select(index, true);
    showSelection();
  }
});
addEventListener("keydown", (event) => event.key === "Escape" && selected.size && !dialog.open && clearSelection());

// ---- actions on the selection

async function saveZip() {
  const body = new URLSearchParams({ ids: [...selected.keys()].join(",") });
  const answer = await fetch("zip", { method: "POST", body }).catch(() => null);
  if (!answer?.ok) return toast(answer?.status === 413 ? text("zip_too_large") : refusal(answer, "add_failed"));
  create("a", { href: (await answer.json()).address, download: "" }).click(); // the browser writes it to disk while it arrives
}

find(".zip", toolbar).onclick = saveZip;
find(".likes", toolbar).onclick = () => ask({ like: [...selected.keys()] }, true);
find(".none", toolbar).onclick = clearSelection;
for (const button of toolbar.querySelectorAll("[data-take]")) {
  button.onclick = () => trigger("export", { address: location.search, shown: cards.length, format: button.dataset.take, ids: [...selected.keys()] });
}
