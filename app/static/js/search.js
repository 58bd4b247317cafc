// ---- search: the address is the state; a question sends it with a change, and the answer brings the next address ---

const bar = document.getElementById("bar");
const box = find("#text input", document);
// Links that go on with the present query: words that were typed and not yet asked for join it.
const JOINING = ".use, .parts li a, .tokens a, .clear, .active a, .nearest a";
const PATIENCE = 20_000;
let turn = 0; // number of the last question that was sent
let sentAt = 0; // its time, 0 once it is answered
let waiting = null; // the last question that was asked meanwhile
let unanswered = null; // the question that was sent
let typed = ""; // the words when the last question was asked
let searched = null; // the query of the address for which results are shown

// Sends one question at a time: Gradio may lose answers of several, and each costs the server a search.
// A `fresh` question leaves words aside that were typed and not asked for; `back` is the state of an entry of the history.
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

// Whether an answer is to be shown: it answers the last question, and no other was asked meanwhile.
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

// Puts the words of an answer into the search box, unless they were edited meanwhile.
function showWords() {
  if (box.value === typed && box.value !== view.words) write(view.words);
}

// page.py makes Gradio's text box and button call these.
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

// ---- history: each entry keeps how far the page was scrolled, and the words that were typed and not asked for ----------

let returning = history.state ?? {}; // the state of the entry that is shown again: after Back, a reload, or a link
let keeping = 0;
history.scrollRestoration = "manual";

function keepPlace(withWords) {
  clearTimeout(keeping);
  const asked = sentAt && history.state?.draft; // while a question waits, the words of the box belong to it
  const draft = withWords ? asked || (!sentAt && isEdited() ? box.value : undefined) : undefined;
  const pending = away && !waiting?.path && !unanswered?.path ? (waiting ?? unanswered) : undefined; // asked again when the server is back
  history.replaceState({ ...history.state, ...whereabouts(), draft: away && isEdited() ? box.value : draft, pending }, "");
}

// How far the page is scrolled, and which card is at the top: rows change while their images come.
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

// Asks for the results after those that are shown, unless a question waits for its answer.
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

// Saves a file that the server made: its name, a line break, its content.
function save(file) {
  const end = file.indexOf("\n");
  if (!end) return toast(text(...JSON.parse(file))); // what went wrong
  if (file.startsWith("paths.txt") && navigator.clipboard) return navigator.clipboard.writeText(file.slice(end + 1)).then(() => toast(text("paths_copied")));
  const type = file.slice(0, end).endsWith("json") ? "application/json" : "text/plain";
  const url = URL.createObjectURL(new Blob([file.slice(end + 1)], { type }));
  create("a", { href: url, download: file.slice(0, end) }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

let toastTimer = 0;
function toast(message) {
  const box = find(".toast");
  (dialog.open ? dialog : element).append(box); // nothing else is seen over a dialog
  box.textContent = message;
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (box.hidden = true), 4000);
}
