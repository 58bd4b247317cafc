// ---- lightbox: one image and its details; its URL is that of the search, followed by #image=ID ---------------------

const dialog = find("dialog.lightbox"), stage = find(".stage", dialog), sheet = find(".sheet", dialog);
const [rough, sharp] = sheet.children; // the thumbnail, and over it the preview or the original
let shown = -1; // index among the results; -1 for an image that is not among them
let opened = null; // card of the image

const imageAddress = (card) => `${location.pathname}${location.search}#image=${encodeURIComponent(card.id)}`;
const mediaAddress = (kind, card) => `${kind}/${encodeURIComponent(card.id)}`;
const previewAddress = (card) => `${mediaAddress("preview", card)}?edge=${Math.round(Math.max(innerWidth, innerHeight) * devicePixelRatio)}`;

function open(index) {
  history.pushState({ ...history.state, enlarged: true }, "", imageAddress(cards[index]));
  enlarge(cards[index], index);
}

// Shows the image that the URL names, or the results if it names none.
function followAddress() {
  const id = decodeURIComponent(/^#image=(.+)/.exec(location.hash)?.[1] ?? "");
  if (!id) return hide();
  const index = cards.findIndex((card) => card.id === id);
  if (opened?.id !== id || !dialog.open) enlarge(cards[index] ?? { id, label: "", name: "", score: "", similar: "", use: "" }, index);
  else if (index !== shown) place(index);
}

function enlarge(card, index) {
  opened = card;
  resetZoom();
  for (const image of [rough, sharp]) image.removeAttribute("src"); // otherwise the previous image stays for a moment
  rough.src = mediaAddress("thumb", card);
  sharp.src = previewAddress(card);
  sharp.alt = card.label;
  find(".lost", dialog).hidden = true;
  find("dl", dialog).replaceChildren();
  find(".original", dialog).href = mediaAddress("image", card);
  find(".download", dialog).href = mediaAddress("download", card);
  find(".folder", dialog).hidden = find(".path", dialog).hidden = true;
  describeCard(card);
  place(index);
  if (!dialog.open) dialog.showModal();
  describeFile(card);
}

function describeCard(card) {
  fill(dialog, { label: card.label, score: card.score && text("score_of", { score: scores.format(card.score) }), name: card.name === card.label ? "" : card.name });
  linkCard(dialog, card);
}

function place(index) {
  shown = index;
  fill(dialog, { position: index < 0 ? "" : text("position", { number: numbers.format(index + 1), count: numbers.format(cards.length) + (view.more ? "+" : "") }) });
  find(".previous", dialog).hidden = index <= 0;
  find(".next", dialog).hidden = index < 0 || (index >= cards.length - 1 && !view.more);
  if (cards[index + 1]) new Image().src = previewAddress(cards[index + 1]); // loads the next image in advance
  if (view.more && index > cards.length - 8) more();
}

// Fills the panel with the details of the image, which the server knows.
async function describeFile(card) {
  const answer = await fetch(mediaAddress("details", card) + location.search).catch(() => null);
  const known = answer?.ok ? await answer.json() : null;
  if (opened !== card) return;
  if (!known) return answer?.status === 404 && lose();
  if (shown < 0) describeCard(opened = { ...known.card, score: "" });
  const size = [known.width && `${numbers.format(known.width)} × ${numbers.format(known.height)}`, known.bytes && fileSize(known.bytes)];
  const facts = [
    [text("folder"), known.folder], [text("file_size"), size.filter(Boolean).join(" · ")],
    [text("file_modified"), known.modified && new Date(known.modified).toLocaleString(LOCALE, { dateStyle: "medium", timeStyle: "short" })],
    ...known.fields.map(([name, own, value]) => [columnName(name, own), typeof value === "boolean" ? text(value ? "yes" : "no") : dateInWords(name, value)]),
  ];
  find("dl", dialog).replaceChildren(...facts.filter(([, value]) => value).flatMap(([name, value]) => [create("dt", {}, name), create("dd", {}, value)]));
  find(".path", dialog).hidden = !navigator.clipboard;
  find(".path", dialog).onclick = () => navigator.clipboard.writeText(known.path).then(() => toast(text("path_copied")));
  find(".folder", dialog).hidden = !known.can_open;
}

function dateInWords(name, value) {
  const isDate = name === "taken" || view.form.columns.some((column) => column.name === name && column.kind === "date");
  if (!isDate || Number.isNaN(Date.parse(value))) return value;
  return new Date(value).toLocaleString(LOCALE, { dateStyle: "medium", ...(value.includes("T") ? { timeStyle: "short" } : { timeZone: "UTC" }) });
}

function fileSize(bytes) {
  const [unit, divisor, digits] = bytes < 1e6 ? ["kilobyte", 1e3, 0] : ["megabyte", 1e6, 1];
  return new Intl.NumberFormat(LOCALE, { style: "unit", unit, maximumFractionDigits: digits }).format(bytes / divisor);
}

function lose() {
  find(".lost", dialog).hidden = false;
  for (const image of [rough, sharp]) image.removeAttribute("src");
}

function step(index) {
  if (!cards[index]) return;
  history.replaceState(history.state, "", imageAddress(cards[index]));
  enlarge(cards[index], index);
}

// Closes by changing the URL, so that Back does not open the image again.
function leave() {
  if (history.state?.enlarged) return history.back();
  history.replaceState(history.state, "", location.pathname + location.search);
  hide();
}

function hide() {
  if (!dialog.open) return;
  dialog.close();
  opened = null;
  for (const image of [rough, sharp]) image.removeAttribute("src");
  if (shown >= 0) focusCard(shown);
}

function showPanel(open) {
  dialog.classList.toggle("bare", !open);
  find(".info", dialog).setAttribute("aria-expanded", open);
}

showPanel(remembered("details") ? remembered("details") === "shown" : innerWidth > 760);
sharp.onerror = () => sharp.getAttribute("src") && lose();
rough.onerror = () => rough.removeAttribute("src");
find(".close", dialog).onclick = leave;
find(".previous", dialog).onclick = () => step(shown - 1);
find(".next", dialog).onclick = () => step(shown + 1);
find(".info", dialog).onclick = () => {
  showPanel(dialog.classList.contains("bare"));
  remember("details", dialog.classList.contains("bare") ? "hidden" : "shown");
};
find(".folder", dialog).onclick = async () => {
  const answer = await fetch(mediaAddress("folder", opened), { method: "POST" }).catch(() => null);
  if (!answer?.ok) toast(refusal(answer, "folder_failed"));
};
dialog.oncancel = (event) => {
  event.preventDefault();
  leave();
};
dialog.onkeydown = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const pan = scale > 1 && { ArrowLeft: [120, 0], ArrowRight: [-120, 0], ArrowUp: [0, 120], ArrowDown: [0, -120] }[event.key];
  const aim = { ArrowLeft: shown - 1, ArrowRight: shown + 1, Home: 0, End: cards.length - 1 }[event.key];
  const action = pan ? () => moveBy(...pan) : {
    "+": () => zoomTo(scale * 1.5), "=": () => zoomTo(scale * 1.5), "-": () => zoomTo(scale / 1.5), "0": resetZoom, i: () => find(".info", dialog).click(),
  }[event.key] ?? (aim !== undefined && shown >= 0 && (() => step(aim)));
  if (!action) return;
  event.preventDefault();
  action();
};
