// ---- lightbox ----------------------------------------------------------------------------------------------------

const dialog = find("dialog.lightbox");
let shown = 0;

function open(index) {
  const count = cards.length;
  shown = (index + count) % count;
  const card = cards[shown];
  const image = find("img", dialog);
  image.removeAttribute("src"); // otherwise the last image stays until this one is loaded
  image.src = `image/${encodeURIComponent(card.id)}`;
  image.alt = card.label;
  const position = text("position", { number: numbers.format(shown + 1), count: numbers.format(count) });
  fill(dialog, { label: card.label, score: card.score, name: card.name === card.label ? "" : card.name, position });
  const fields = card.fields.flatMap(([name, value]) => [create("dt", {}, name), create("dd", {}, typeof value === "boolean" ? text(value ? "yes" : "no") : value)]);
  find("dl", dialog).replaceChildren(...fields);
  linkCard(dialog, card);
  find(".original", dialog).href = image.src;
  dialog.classList.toggle("single", count < 2);
  if (!dialog.open) dialog.showModal();
  // Fetches the next image in advance.
  if (count > 1) new Image().src = `image/${encodeURIComponent(cards[(shown + 1) % count].id)}`;
}

find(".close", dialog).onclick = () => dialog.close();
find(".previous", dialog).onclick = () => open(shown - 1);
find(".next", dialog).onclick = () => open(shown + 1);
dialog.onclick = (event) => event.target === dialog && dialog.close();
dialog.onclose = () => element.querySelectorAll(".image")[shown]?.focus();
dialog.onkeydown = (event) => {
  const step = { ArrowLeft: shown - 1, ArrowRight: shown + 1, Home: 0, End: cards.length - 1 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  open(step);
};

// Swipes.
let touched = null;
dialog.addEventListener("touchstart", (event) => (touched = event.touches.length === 1 ? event.touches[0].clientX : null), { passive: true });
dialog.addEventListener("touchend", (event) => {
  const moved = touched === null ? 0 : event.changedTouches[0].clientX - touched;
  if (Math.abs(moved) > 60) open(shown + (moved < 0 ? 1 : -1));
  touched = null;
});
