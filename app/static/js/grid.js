// ---- grid: rows of whole images; only the cards near the window are in the document --------------------------------

const list = find("ol.cards");
const sizer = find(".size input");
const GAP = 6; // pixels between images
const NARROWEST = 0.45, WIDEST = 3.2; // width / height of a card; images outside this range are shown whole, with bars
const ratios = new Map(); // width / height of loaded images, by id
const items = new Map(); // index → the card's element
let boxes = []; // the place of each card: { left, top, width, height, row }
let rows = []; // index of the first card of each row
let current = 0; // index of the card that Tab reaches
let drawing = 0;
let end = 0; // height of all rows
let layouts = 0; // number of the last layout; each element stores the number of the layout that placed it
const spare = []; // elements of cards that are out of sight, to be used again
const MOST_SPARE = 100;

function rowHeight() {
  const phone = list.clientWidth < 700;
  return Math.round((phone ? 150 : 210) * 2 ** (Number(sizer.value) / 2));
}

function ratioOf(card) {
  return Math.min(WIDEST, Math.max(NARROWEST, ratios.get(card.id) || card.ratio || 4 / 3));
}

// Lays out the row of a card and all rows after it.
function layOut(from = 0) {
  const width = list.clientWidth, wanted = rowHeight();
  let first = boxes[from] ? rows[boxes[from].row] : 0, top = boxes[first]?.top ?? 0, sum = 0;
  rows.length = boxes[first]?.row ?? 0;
  boxes.length = first;
  layouts++;
  for (let index = first; index < cards.length; index++) {
    sum += ratioOf(cards[index]);
    const room = width - GAP * (index - first);
    if (sum * wanted < room && index < cards.length - 1) continue;
    const height = Math.min(wanted, room / sum); // the last row need not be full
    let left = 0;
    for (let place = first; place <= index; place++) {
      const own = ratioOf(cards[place]) * height;
      boxes.push({ left, top, width: own, height, row: rows.length });
      left += own + GAP;
    }
    rows.push(first);
    top += height + GAP;
    first = index + 1;
    sum = 0;
  }
  end = top;
  list.style.height = cards.length ? `${end}px` : "";
}

// Lays out the cards again. The card that has the focus, or else the first one in the window, stays where it is.
function layOutAgain(from = 0) {
  const top = list.getBoundingClientRect().top, focused = list.contains(document.activeElement) ? indexOf(document.activeElement) : 0;
  const anchor = top < 0 && boxes.length ? focused || rows[rowAt(-top)] : 0;
  const before = boxes[anchor];
  const seen = focused && before && top + before.top >= 0 && top + before.top + before.height <= innerHeight;
  layOut(from);
  if (anchor && boxes[anchor]) scrollBy(0, boxes[anchor].top - before.top);
  if (seen) reveal(focused);
  draw();
}

// Returns the first row that ends below a height in the list.
function rowAt(height) {
  let low = 0, high = rows.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1, box = boxes[rows[middle]];
    if (box.top + box.height < height) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Reads sizes before it changes the document. Read afterwards, each would make the browser lay out the document again.
function draw() {
  drawing = 0;
  const top = -list.getBoundingClientRect().top, high = innerHeight, focused = document.activeElement;
  const from = cards.length ? rows[rowAt(top - high)] : 0;
  const last = cards.length ? rowAt(top + 2 * high) + 1 : 0;
  const to = rows[last] ?? cards.length;
  for (const [index, item] of items) {
    if ((index >= from && index < to) || item.contains(focused)) continue;
    items.delete(index);
    putAway(item);
  }
  let next = [...items.keys()].filter((index) => index >= to).sort((a, b) => a - b).map((index) => items.get(index))[0] ?? null;
  for (let index = to - 1; index >= from; index--) {
    const item = items.get(index) ?? dress(spare.pop() ?? makeItem(), cards[index], index);
    if (item.layout !== layouts) put(item, boxes[index]);
    if (item.nextSibling !== next || !item.isConnected) list.insertBefore(item, next);
    items.set(index, item);
    next = item;
  }
  if (view.more && top + 3 * high > end) more();
}

function put(item, { left, top, width, height }) {
  item.style.cssText = `left:${left}px;top:${top}px;width:${width}px;height:${height}px`;
  item.classList.toggle("narrow", width < 200);
  item.classList.toggle("slim", width < 80);
  item.layout = layouts;
}

// Removes a card that is out of sight. Its image is no longer fetched, and its element is kept for another card.
function putAway(item) {
  item.remove();
  find("img", item).removeAttribute("src");
  if (spare.length < MOST_SPARE) spare.push(item);
}

const drawSoon = () => (drawing ||= requestAnimationFrame(draw));

// Shows the cards of an answer. The first `known` cards are already shown and stay.
function showCards(known) {
  if (!known) {
    items.forEach(putAway);
    items.clear();
    list.replaceChildren();
    boxes = [];
    rows = [];
    clearSelection();
    current = 0;
  }
  list.classList.add("laid");
  layOut(Math.max(0, known - 1));
  draw();
}

let correcting = 0, corrected = 0; // the requested frame, and the first card whose ratio was wrong
function correctRatio(card, index, image) {
  const ratio = image.naturalWidth / image.naturalHeight;
  const off = Math.abs(ratioOf(card) / Math.min(WIDEST, Math.max(NARROWEST, ratio)) - 1) > 0.02;
  ratios.set(card.id, ratio);
  if (!off) return;
  corrected = correcting ? Math.min(corrected, index) : index;
  correcting ||= requestAnimationFrame(() => { correcting = 0; layOutAgain(corrected); });
}

// Scrolls until the whole card is in the window.
function reveal(index) {
  const { top, height } = boxes[index];
  const start = list.getBoundingClientRect().top + top, ceiling = document.getElementById("bar").getBoundingClientRect().bottom + GAP;
  if (start < ceiling) scrollBy(0, start - ceiling);
  else if (start + height > innerHeight) scrollBy(0, start + height - innerHeight + GAP);
}

function focusCard(index) {
  if (!boxes[index]) return;
  reveal(index);
  draw();
  makeCurrent(index);
  find(".image", items.get(index)).focus({ preventScroll: true });
}

// Tab reaches only one card, with its actions. Arrow keys move to the others.
function makeCurrent(index) {
  const reach = (item, order) => item?.querySelectorAll("a, button").forEach((action) => (action.tabIndex = order));
  reach(items.get(current), -1);
  current = index;
  reach(items.get(index), 0);
}

// Returns the card in the row above or below whose middle is nearest.
function beside(index, step) {
  const row = boxes[index].row + step;
  if (row < 0 || row >= rows.length) return index;
  const middle = ({ left, width }) => left + width / 2, here = middle(boxes[index]);
  let best = rows[row];
  for (let other = best; other < (rows[row + 1] ?? cards.length); other++) {
    if (Math.abs(middle(boxes[other]) - here) < Math.abs(middle(boxes[best]) - here)) best = other;
  }
  return best;
}

const indexOf = (target) => Number(target.closest("li")?.dataset.index);

list.onkeydown = (event) => {
  const index = indexOf(event.target);
  if (event.altKey || event.ctrlKey || event.metaKey || !(index in boxes)) return;
  const aim = {
    ArrowLeft: () => index - 1, ArrowRight: () => index + 1, ArrowUp: () => beside(index, -1), ArrowDown: () => beside(index, 1),
    Home: () => 0, End: () => cards.length - 1,
  }[event.key];
  if (!aim) return;
  event.preventDefault();
  const next = Math.min(cards.length - 1, Math.max(0, aim()));
  if (event.shiftKey && !selected.size) anchor = index;
  focusCard(next);
  if (event.shiftKey) selectRange(next);
};
list.addEventListener("focusin", ({ target }) => indexOf(target) in boxes && makeCurrent(indexOf(target)));

sizer.oninput = () => {
  remember("size", sizer.value);
  layOutAgain();
};
sizer.value = remembered("size") ?? 0;
addEventListener("scroll", drawSoon, { passive: true });
let wide = 0;
new ResizeObserver(() => {
  if (list.clientWidth === wide) return;
  wide = list.clientWidth;
  fitTools();
  if (cards.length) layOutAgain();
}).observe(list);
