// ---- zoom: the image in the lightbox by wheel, double click, keys and two fingers; one finger swipes ---------------

const LARGEST = 12;
const touches = new Map(); // pointers that are down: id → [x, y]
let scale = 1, panX = 0, panY = 0;
let swiped = 0; // pixels by which one finger has moved an image that is not enlarged

function transform() {
  const room = (length) => (length * (scale - 1)) / 2;
  panX = Math.min(room(stage.clientWidth), Math.max(-room(stage.clientWidth), panX));
  panY = Math.min(room(stage.clientHeight), Math.max(-room(stage.clientHeight), panY));
  sheet.style.transform = `translate(${panX + swiped}px, ${panY}px) scale(${scale})`;
  stage.classList.toggle("enlarged", scale > 1);
}

function resetZoom() {
  scale = 1;
  panX = panY = swiped = 0;
  transform();
}

// Changes the scale. The point of the window at (x, y) stays where it is.
function zoomTo(wanted, x, y) {
  const { left, top, width, height } = stage.getBoundingClientRect();
  const next = Math.min(LARGEST, Math.max(1, wanted));
  const fromX = (x ?? left + width / 2) - left - width / 2, fromY = (y ?? top + height / 2) - top - height / 2;
  panX = fromX - ((fromX - panX) * next) / scale;
  panY = fromY - ((fromY - panY) * next) / scale;
  scale = next;
  transform();
  if (scale > 1) fetchOriginal();
}

function moveBy(x, y) {
  panX += x;
  panY += y;
  transform();
}

// Loads the original. The preview stays until then.
function fetchOriginal() {
  const card = opened, original = new Image(), address = mediaAddress("image", card);
  if (sharp.getAttribute("src") === address || sheet.dataset.fetching === address) return;
  sheet.dataset.fetching = address;
  original.src = address;
  original.decode().then(() => opened === card && sharp.setAttribute("src", address), () => {}).finally(() => delete sheet.dataset.fetching);
}

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomTo(scale * Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), event.clientX, event.clientY);
}, { passive: false });
stage.ondblclick = (event) => zoomTo(scale > 1 ? 1 : 2.5, event.clientX, event.clientY);

const middle = () => [...touches.values()].reduce(([x, y], [a, b]) => [x + a / touches.size, y + b / touches.size], [0, 0]);
const spread = () => { const [[a, b], [c, d]] = [...touches.values()]; return Math.hypot(a - c, b - d); };

stage.onpointerdown = (event) => {
  if (event.button || event.target.closest("button")) return;
  touches.set(event.pointerId, [event.clientX, event.clientY]);
  stage.setPointerCapture(event.pointerId);
};
stage.onpointermove = (event) => {
  if (!touches.has(event.pointerId)) return;
  const [x, y] = middle(), before = touches.size > 1 && spread();
  touches.set(event.pointerId, [event.clientX, event.clientY]);
  const [nextX, nextY] = middle();
  if (touches.size > 1) zoomTo((scale * spread()) / before, nextX, nextY);
  if (scale > 1) moveBy(nextX - x, nextY - y);
  else if (touches.size === 1 && event.pointerType === "touch") swiped += nextX - x;
  transform();
};
stage.onpointerup = stage.onpointercancel = (event) => {
  if (!touches.delete(event.pointerId) || touches.size) return;
  const far = Math.abs(swiped) > 60 && event.type === "pointerup", aim = shown + (swiped < 0 ? 1 : -1);
  swiped = 0;
  transform();
  if (far && shown >= 0) step(aim);
};
