// ---- results -----------------------------------------------------------------------------------------------------

let view = {}; // the last answer: one of the kinds of views.py
let cards = [];
let replacing = true; // whether the next answer corrects the address in place: the first, and after the back button

function render(answer) {
  if (!answer || answer.kind === "loading" || !isAwaited(answer)) return;
  document.body.classList.remove("searching");
  const focused = document.activeElement?.dataset?.key;
  const known = answer.appended ? cards.length : 0;
  const added = answer.cards ?? [];
  cards = [...cards.slice(0, known), ...added];
  view = answer;
  rewriteAddress(view.url);
  showWords();
  describe();
  renderParts();
  renderFilters();
  element.dataset.kind = view.kind;
  find(".chips").replaceChildren(...view.collection.examples.map(({ text, url }) => pointTo(create("a", {}, text), url)));
  if (!known) find("ol.cards").replaceChildren();
  const items = added.map((card, index) => makeCard(card, known + index));
  find("ol.cards").append(...items);
  find(".more").hidden = !view.more;
  if (known) find(".image", items[0])?.focus({ preventScroll: true });
  if (focused && document.activeElement === document.body) find(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

// The texts around the images.
function describe() {
  const query = subject();
  const { rows, model, advice } = view.collection;
  const remarks = (view.notes ?? []).map(([key, values]) => text(key, values)).join(" ");
  const notice = remarks ? remarks : advice ? text("demo_notice", { model }) : "";
  const found = view.kind === "results";
  document.title = query ? `${query} – ${text("title")}` : text("title");
  fill(document.getElementById("header"), { rows: rows ? plural("rows", rows) : "", model: model && ` · ${model}` });
  fill(element, {
    status: found ? plural("status_found", rows, { shown: numbers.format(cards.length), query })
      : view.kind === "start" ? text("status_start") : "",
    timing: found ? text(view.embed_ms ? "timing" : "timing_stored", { embed: view.embed_ms, search: view.search_ms }) : "",
    notice, advice: remarks ? "" : advice, command: view.command,
    message: { nothing: () => text("nothing_title", { query }), empty: () => text("empty_title"), error: () => text(view.problem, view.details) }[view.kind]?.(),
    hint: { nothing: text("nothing_hint"), empty: text("empty_hint"), error: view.message }[view.kind],
  });
  find(".message").hidden = !["nothing", "empty", "error"].includes(view.kind);
  find(".message pre").hidden = !view.command;
  find(".actions").hidden = !found;
}

// The query as a sum: “beach” + image “cat” − “people”.
function subject() {
  const terms = view.parts.map((part) => [part.weight < 0 ? "−" : "+", partName(part)]);
  return terms.map(([sign, name], index) => (index || sign === "−" ? `${sign} ${name}` : name)).join(" ");
}

function partName(part) {
  if (part.kind === "text") return text("quoted", { text: part.name });
  return part.kind === "like" ? text("image_named", { name: part.name }) : text("your_image");
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
