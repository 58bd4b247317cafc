// ---- search: the URL is the state; a request sends it with a change, and the answer contains the next URL ----------

const bar = document.getElementById("bar");
const box = find("#text input", document);
// Links that change the current query. They also search for words that were typed and not yet submitted.
const JOINING = ".use, .parts li a, .tokens a, .clear, .active a, .nearest a";
const PATIENCE = 20_000;
let turn = 0; // number of the last request that was sent
let sentAt = 0; // when it was sent; 0 once it is answered
let waiting = null; // the last request that was made while another one was unanswered
let unanswered = null; // the request that was sent and is not answered yet
let typed = ""; // text of the search box at the last request
let searched = null; // query string of the URL whose results are shown

// Makes a request. Only one is sent at a time: of several, Gradio may lose answers, and each costs the server a search.
// A `fresh` request ignores words that were typed and not submitted. `back` is the state of a history entry.
function ask(change, fresh = false, back = null) {
  document.body.classList.add("searching");
  returning = back;
  if (!back) keepPlace(fresh);
  if (!fresh && isEdited()) change = { text: box.value, ...change };
  typed = box.value;
  if (sentAt && Date.now() - sentAt < PATIENCE) waiting = change;
  else send(change);
}

function send(change) {
  waiting = null;
  sentAt = Date.now();
  unanswered = change;
  trigger("ask", { address: location.search, turn: ++turn, ...change });
}

// Returns whether to show an answer: it belongs to the last request, and no other request waits.
function isAwaited(answer) {
  if (answer.turn !== turn) return false;
  sentAt = 0;
  unanswered = null;
  if (waiting) setTimeout(send, 0, waiting);
  return !waiting;
}

function isEdited() {
  return view.words !== undefined && box.value !== view.words;
}

function write(words) {
  box.value = words;
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

// Puts the words of an answer into the search box, unless the reader has edited it in the meantime.
function showWords() {
  if (box.value === typed && box.value !== view.words) write(view.words);
}

// page.py makes Gradio's text box, button and export call these.
window.imageSearch = { submit, save };

function submit() {
  if (matchMedia("(pointer: coarse)").matches) box.blur(); // the keyboard would cover the results
  showSuggestions(false);
  rememberSearch(box.value);
  ask({ text: box.value });
}

function pointTo(link, address) {
  link.href = address || "./";
  link.dataset.address = address;
  return link;
}

// ---- history: each entry stores the scroll position, and the words that were typed and not submitted ---------------

let returning = history.state ?? {}; // state of the history entry that is being shown, after Back, a reload or a link
let keeping = 0;
history.scrollRestoration = "manual";

function keepPlace(withWords) {
  clearTimeout(keeping);
  const asked = sentAt && history.state?.draft; // while a request is unanswered, the text of the box belongs to it
  const draft = withWords ? asked || (!sentAt && isEdited() ? box.value : undefined) : undefined;
  const pending = away && !waiting?.path && !unanswered?.path ? (waiting ?? unanswered) : undefined; // sent again when the server is back
  history.replaceState({ ...history.state, ...whereabouts(), draft: away && isEdited() ? box.value : draft, pending }, "");
}

// Returns the scroll position, and the card at the top, because rows change while their images load.
function whereabouts() {
  const top = list.getBoundingClientRect().top, card = top < 0 && boxes.length ? rows[rowAt(-top)] : 0;
  return { top: scrollY, card, over: card && boxes[card].top + top };
}

const keepSoon = () => {
  clearTimeout(keeping);
  keeping = setTimeout(keepPlace, 200, true);
};
addEventListener("scroll", keepSoon, { passive: true });
addEventListener("beforeunload", () => keepPlace(true)); // at pagehide it is too late
box.addEventListener("input", keepSoon);

function rewriteAddress(address) {
  const target = new URL(address || location.pathname, location.origin + location.pathname).href;
  if (view.appended) history.replaceState({ ...history.state, shown: cards.length }, "");
  else if (returning || target === location.href) history.replaceState(history.state, "", target + location.hash);
  else history.pushState(null, "", target);
  searched = location.search;
}

function showPlace() {
  if (returning?.draft !== undefined) write(returning.draft);
  const { top = 0, card, over } = returning ?? {};
  scrollTo(0, top);
  if (card && boxes[card]) scrollBy(0, list.getBoundingClientRect().top + boxes[card].top - over);
  returning = null;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-address]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  ask({ address: link.dataset.address }, !link.matches(JOINING));
});

addEventListener("popstate", ({ state }) => {
  if (location.search === searched) return followAddress(); // an image was opened or closed
  clearTimeout(keeping);
  ask({ shown: state?.shown }, true, state ?? {});
});

// Requests the results after those that are shown, unless a request is unanswered.
function more() {
  if (!sentAt && !away) send({ offset: view.more });
}

// ---- links and files ---------------------------------------------------------------------------------------------

find(".copy").onclick = () => navigator.clipboard.writeText(location.href).then(() => toast(text("link_copied")));

for (const button of element.querySelectorAll(".save")) {
  const format = button.dataset.format;
  button.setAttribute("aria-label", text("download_as", { format }));
  button.title = text("download_as", { format });
  button.onclick = () => trigger("export", { address: location.search, shown: cards.length, format: format.toLowerCase() });
}

// Saves a file from the server. It is one text: the file's name, a line break, its content.
function save(file) {
  const end = file.indexOf("\n");
  if (!end) return toast(text(...JSON.parse(file))); // an error
  if (file.startsWith("paths.txt") && navigator.clipboard) return navigator.clipboard.writeText(file.slice(end + 1)).then(() => toast(text("paths_copied")));
  const type = file.slice(0, end).endsWith("json") ? "application/json" : "text/plain";
  const url = URL.createObjectURL(new Blob([file.slice(end + 1)], { type }));
  create("a", { href: url, download: file.slice(0, end) }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

let toastTimer = 0;
function toast(message) {
  const box = find(".toast");
  (dialog.open ? dialog : element).append(box); // over an open dialog, only its own elements are visible
  box.textContent = message;
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (box.hidden = true), 4000);
}
