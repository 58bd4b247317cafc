// ---- images of the query: tokens in the search box ---------------------------------------------------------------

const tokens = create("ul", { class: "tokens" });
bar.prepend(tokens);

function renderTokens() {
  const images = view.parts.filter((part) => part.kind !== "text");
  tokens.hidden = !images.length;
  tokens.replaceChildren(...images.map(makeToken));
}

function makeToken(part) {
  const label = text("remove", { part: partName(part) });
  const link = pointTo(create("a", { "aria-label": label, title: label }, create("img", { alt: "", src: part.thumb })), part.remove);
  find("img", link).onerror = () => link.replaceChildren("?");
  return create("li", { class: part.weight < 0 ? "negative" : "" }, link);
}

box.addEventListener("keydown", (event) => {
  const last = find("li:last-child a", tokens);
  if (event.key !== "Backspace" || box.selectionStart || box.selectionEnd || !last) return;
  event.preventDefault();
  last.click();
});

// ---- query parts with their weights: shown if there are several, or if the only one has another weight than 1 ----

function renderParts() {
  find(".parts").hidden = view.parts.length < 2 && (view.parts[0]?.weight ?? 1) === 1;
  find(".parts ul").replaceChildren(...view.parts.map(makePart));
}

function makePart(part, index) {
  const item = find("template.part").content.firstElementChild.cloneNode(true);
  const name = partName(part);
  const shown = part.name || text("your_image");
  find(".name", item).textContent = shown;
  find(".name", item).title = shown;
  find("img", item).hidden = part.kind === "text";
  if (part.kind !== "text") find("img", item).src = part.thumb;
  item.classList.toggle("negative", part.weight < 0);
  const weight = numbers.format(Math.abs(part.weight));
  find(".weight", item).textContent = (part.weight < 0 ? "−" : "") + weight;
  find(".weight", item).title = text("weight", { weight: find(".weight", item).textContent });
  const links = { less: "less_of", greater: "more_of", remove: "remove" };
  for (const [kind, key] of Object.entries(links)) {
    const link = find(`.${kind}`, item);
    link.setAttribute("aria-label", text(key, { part: name }));
    link.title = text(key, { part: name });
    link.dataset.key = `${kind} ${index}`;
    if (part[kind] === null) link.removeAttribute("href");
    else pointTo(link, part[kind]);
  }
  return item;
}
