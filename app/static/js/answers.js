// ---- answers -----------------------------------------------------------------------------------------------------

let view = { cards: [] };
let replacing = true; // the first answer and those to the back button correct the address; others add to it

function render(answer) {
  if (!answer || answer.kind === "loading" || !isAwaited(answer)) return;
  document.body.classList.remove("searching");
  const focused = document.activeElement?.dataset?.key;
  if (answer.appended) answer = { ...answer, cards: [...view.cards, ...answer.cards] };
  const known = answer.appended ? view.cards.length : 0;
  view = answer;
  rewriteAddress(view.url);
  showWords();
  describe();
  renderParts();
  renderFilters();
  element.dataset.kind = view.kind;
  find(".chips").replaceChildren(...view.chips.map(makeChip));
  const cards = view.cards.map(makeCard).slice(known);
  if (known) find("ol.cards").append(...cards);
  else find("ol.cards").replaceChildren(...cards);
  find(".more").hidden = !view.more;
  if (known) find(".image", cards[0])?.focus({ preventScroll: true });
  if (focused && document.activeElement === document.body) find(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

// The words around the images.
function describe() {
  const query = subject();
  const failed = view.problem && text(view.problem, view.details);
  const notice = view.cut ? text("text_cut") : view.demo ? text("demo_notice", { model: view.model }) : "";
  const found = view.kind === "results";
  document.title = query ? `${query} – ${text("title")}` : text("title");
  const rows = view.rows ? plural("rows", view.rows) : "";
  fill(document.getElementById("header"), { rows, model: view.model && ` · ${view.model}` });
  fill(element, {
    status: found ? plural("status_found", view.rows, { shown: numbers.format(view.cards.length), query })
      : view.kind === "start" ? text("status_start") : "",
    timing: found ? text(view.embed_ms ? "timing" : "timing_stored", { embed: view.embed_ms, search: view.search_ms }) : "",
    notice, advice: view.demo && !view.cut ? view.advice : "", command: view.command,
    message: { nothing: text("nothing_title", { query }), unfilled: text("unfilled_title"), error: failed || text("error_title") }[view.kind],
    hint: { nothing: text("nothing_hint"), unfilled: text("unfilled_hint"), error: view.message }[view.kind],
  });
  find(".message").hidden = !["nothing", "unfilled", "error"].includes(view.kind);
  find(".message pre").hidden = !view.command;
  find(".actions").hidden = !found;
}

// What was asked, as a sum: “beach” + image “cat” − “people”.
function subject() {
  const terms = view.parts.map((part) => [part.weight < 0 ? "−" : "+", partName(part)]);
  return terms.map(([sign, name], index) => (index || sign === "−" ? `${sign} ${name}` : name)).join(" ");
}

function partName(part) {
  if (part.kind === "text") return text("quoted", { text: part.name });
  return part.kind === "like" ? text("image_named", { name: part.name }) : text("your_image");
}

function makeChip(chip) {
  return pointTo(create("a", {}, chip.text), chip.url);
}

function makeCard(card, index) {
  const item = find("template.card").content.firstElementChild.cloneNode(true);
  const image = find("img", item);
  fill(item, { label: card.label, score: card.score });
  image.alt = card.label;
  image.loading = index < 12 ? "eager" : "lazy";
  image.onerror = () => {
    item.classList.add("missing");
    find(".image", item).setAttribute("aria-disabled", "true");
  };
  image.onload = () => item.classList.add("loaded");
  image.src = `thumb/${encodeURIComponent(card.id)}`;
  find(".label", item).title = card.name;
  find(".image", item).onclick = () => item.classList.contains("missing") || open(index);
  find(".image", item).setAttribute("aria-label", text("enlarge", { name: card.label }));
  find(".alike", item).hidden = !card.alike;
  if (card.alike) find(".alike", item).textContent = `+${numbers.format(card.alike)}`;
  if (card.alike) find(".alike", item).title = plural("alike", card.alike);
  linkCard(item, card);
  return item;
}

function linkCard(root, card) {
  for (const [kind, key] of [["similar", "find_similar"], ["use", "use_in_query"]]) {
    const link = pointTo(find(`.${kind}`, root), card[kind]);
    link.setAttribute("aria-label", `${text(key)}: ${card.label}`);
    link.hidden = !card[kind];
  }
}
