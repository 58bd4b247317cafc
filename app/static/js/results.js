// ---- results -----------------------------------------------------------------------------------------------------

let view = {}; // the last answer, one of the views of views.py
let cards = [];
const tools = find(".tools"), strip = find(".strip");

function render(answer) {
  const question = unanswered;
  if (!answer || answer.kind === "loading" || !isAwaited(answer)) return;
  document.body.classList.remove("searching");
  if (!answer.appended) clearMistakes();
  const passes = answer.passes || (answer.kind === "empty" && hadImages);
  if (passes) {
    unanswered = question ?? {};
    showAway(answer.problem ?? "error_no_collection", answer.details);
    if (cards.length) return; // the cards stay
  }
  if (answer.place && view.kind) return showMistake(answer);
  const known = answer.appended ? cards.length : 0;
  cards = [...cards.slice(0, known), ...(answer.cards ?? [])];
  view = answer;
  hadImages ||= view.collection.rows > 0;
  if (!passes && away === "error_columns") showAway("");
  rewriteAddress(view.url);
  if (known) {
    showCards(known);
    if (shown >= 0) place(shown);
    return;
  }
  const focused = document.activeElement?.dataset?.key;
  renderFrame();
  showCards(0);
  followAddress();
  showPlace();
  if (focused && document.activeElement === document.body) find(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

// Renders everything except the images.
function renderFrame() {
  showWords();
  describe();
  renderTokens();
  renderParts();
  renderFilters();
  element.dataset.kind = view.kind;
  renderOrder();
  renderOffers();
  find(".chips").hidden = view.kind !== "start";
  find(".chips").replaceChildren(...view.collection.examples.map(({ text, url }) => pointTo(create("a", {}, text), url)));
  fitTools();
}

// Fills in the texts around the images.
function describe() {
  const query = subject();
  const { rows, model, advice } = view.collection;
  const remarks = (view.notes ?? []).map(([key, values]) => text(key, values)).join(" ");
  const found = view.kind === "results", start = view.kind === "start";
  document.title = query ? `${query} – ${text("title")}` : text("title");
  const status = found ? statusLine(query, rows) : "";
  fill(document.getElementById("header"), { rows: rows ? plural("rows", rows) : "", model: model && ` · ${model}`, status });
  fill(element, {
    status, remarks, command: view.command, about: start ? text("status_start") : "",
    notice: start && advice ? text("demo_notice", { model }) : "", advice: start ? advice : "",
    message: { nothing: () => (query ? text("nothing_title", { query }) : text("nothing_left")), empty: () => text("empty_title"), error: () => text(view.problem, view.details) }[view.kind]?.(),
    hint: { nothing: text("nothing_hint"), empty: text("empty_hint"), error: view.message }[view.kind],
  });
  find(".message").hidden = !["nothing", "empty", "error"].includes(view.kind);
  find(".message pre").hidden = !view.command;
  for (const button of element.querySelectorAll(".actions button")) button.hidden = !found || (button.matches(".copy") && !navigator.clipboard);
  find(".actions").hidden = find(".menu").hidden = !cards.length;
}

// There is a single line above the images. What does not fit into it is reached by scrolling, or is in the menu.
function fitTools() {
  const isCut = ({ scrollWidth, clientWidth, scrollLeft = 0 }) => scrollLeft + clientWidth < scrollWidth - 1;
  tools.classList.remove("tight");
  tools.classList.toggle("tight", innerWidth <= 760 || isCut(strip) || isCut(find(".status")));
  strip.onscroll = () => strip.classList.toggle("cut", isCut(strip));
  strip.onscroll();
}

strip.addEventListener("wheel", (event) => {
  if (event.deltaX || strip.scrollWidth <= strip.clientWidth) return;
  event.preventDefault();
  strip.scrollLeft += event.deltaY;
}, { passive: false });

// Says how many images there are to look at: those that match the filter, or those above the minimum score.
function statusLine(query, rows) {
  const { total, above, form, dates } = view;
  const shown = numbers.format(above ?? total), narrowed = above !== null || form.active.length + dates.length > 0;
  return !query ? (narrowed ? plural("status_browsed", rows, { shown }) : plural("rows", rows)) : narrowed ? plural("status_found", rows, { shown, query })
    : text("status_all", { images: plural("rows", rows), query });
}

// Returns the query as a sum, followed by its dates: “beach” + image “cat” − “people” · Taken: 2021-05.
function subject() {
  const terms = view.parts.map((part) => [part.weight < 0 ? "−" : "+", partName(part)]);
  const sum = terms.map(([sign, name], index) => (index || sign === "−" ? `${sign} ${name}` : name)).join(" ");
  const dates = view.dates.map((term) => term.replace(/^(-?)(.+):/, (_, sign, name) => `${sign && "− "}${columnName(name, name)}: `));
  return [sum, ...dates].filter(Boolean).join(" · ");
}

function partName(part) {
  if (part.kind === "text") return text("quoted", { text: part.name });
  return part.name ? text("image_named", { name: part.name }) : text("your_image");
}

// Makes the element of a card. It is used again for other images.
function makeItem() {
  const item = find("template.card").content.firstElementChild.cloneNode(true), image = find("img", item);
  image.onerror = () => {
    item.classList.add("missing");
    find(".image", item).setAttribute("aria-disabled", "true");
  };
  image.onload = () => {
    const index = indexOf(item);
    if (items.get(index) !== item) return; // the card is already out of sight
    item.classList.add("loaded");
    correctRatio(cards[index], index, image);
  };
  return item;
}

function dress(item, card, index) {
  const image = find("img", item), button = find(".image", item), alike = find(".alike", item);
  item.classList.remove("loaded", "missing");
  button.removeAttribute("aria-disabled");
  item.dataset.index = index;
  item.layout = 0;
  item.ariaPosInSet = index + 1;
  item.ariaSetSize = view.more ? -1 : cards.length;
  fill(item, { label: card.label, score: card.score && scores.format(card.score) });
  find(".label", item).title = card.name;
  image.alt = card.label;
  image.src = `thumb/${encodeURIComponent(card.id)}`;
  button.setAttribute("aria-label", text("enlarge", { name: card.label }));
  find(".select", item).setAttribute("aria-label", text("select", { name: card.label }));
  showSelected(item, card);
  alike.hidden = !card.alike;
  if (card.alike) pointTo(alike, card.alike_url).textContent = `+${numbers.format(card.alike)}`;
  if (card.alike) alike.title = alike.ariaLabel = plural("alike", card.alike);
  linkCard(item, card);
  for (const action of item.querySelectorAll("a, button")) action.tabIndex = index === current ? 0 : -1;
  return item;
}

function linkCard(root, card) {
  for (const [kind, key] of [["similar", "find_similar"], ["use", "use_in_query"]]) {
    const link = pointTo(find(`.${kind}`, root), card[kind]);
    link.setAttribute("aria-label", `${text(key)}: ${card.label}`);
    link.title = text(key);
    link.hidden = !card[kind];
  }
}
