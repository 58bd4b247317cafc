// ---- query parts: shown unless the query is one plain text -------------------------------------------------------

function renderParts() {
  const [only] = view.parts;
  const plain = !only || (view.parts.length === 1 && only.kind === "text" && only.weight === 1);
  find(".parts").hidden = plain;
  find(".parts ul").replaceChildren(...view.parts.map(makePart));
}

function makePart(part, index) {
  const item = find("template.part").content.firstElementChild.cloneNode(true);
  const name = partName(part);
  const shown = part.kind === "text" ? part.name : part.kind === "like" ? part.name : text("your_image");
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
