// ---- search: the address is the state; a question sends it with a change, and the answer brings the next address ---

const box = document.querySelector("#text input");
const PATIENCE = 20_000;
let turn = 0; // number of the last question that was sent
let sentAt = 0; // its time, 0 once it is answered
let waiting = null; // the last question that was asked meanwhile
let typed = box.value;

// Sends one question at a time: Gradio may lose answers of several, and each costs the server a search.
function ask(change) {
  document.body.classList.add("searching");
  find("dialog.lightbox").close();
  typed = box.value;
  if (sentAt && Date.now() - sentAt < PATIENCE) waiting = change;
  else send(change);
}

function send(change) {
  waiting = null;
  sentAt = Date.now();
  trigger("ask", { address: location.search, turn: ++turn, ...change });
}

// Whether an answer is to be shown: it answers the last question, and no other was asked meanwhile.
function isAwaited(answer) {
  if (answer.turn !== turn) return false;
  sentAt = 0;
  if (waiting) setTimeout(send, 0, waiting);
  return !waiting;
}

// Puts the words of an answer into the search box, unless they were edited meanwhile.
function showWords() {
  if (box.value !== typed || box.value === view.words) return;
  box.value = view.words;
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

// page.py makes Gradio's text box and button call these.
window.imageSearch = { ask, save };

function pointTo(link, address) {
  link.href = address || "./";
  link.dataset.address = address;
  return link;
}

function rewriteAddress(address) {
  const target = new URL(address || location.pathname, location.origin + location.pathname).href;
  if (target !== location.href) history[replacing || view.appended ? "replaceState" : "pushState"](null, "", target);
  replacing = false;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-address]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  ask({ address: link.dataset.address });
  if (!link.closest(".parts, .panel")) scrollTo({ top: 0 });
});

addEventListener("popstate", () => {
  replacing = true;
  ask({});
});

find(".more").onclick = () => ask({ offset: view.more });

// ---- links and files ---------------------------------------------------------------------------------------------

find(".copy").hidden = !navigator.clipboard; // browsers have it only on https and on localhost
find(".copy").onclick = () => navigator.clipboard.writeText(location.href).then(() => toast(text("link_copied")));

for (const button of element.querySelectorAll(".save")) {
  const format = button.dataset.format;
  button.setAttribute("aria-label", text("download_as", { format }));
  button.title = text("download_as", { format });
  button.onclick = () => trigger("export", { address: location.search, format: format.toLowerCase() });
}

// Saves a file that the server made: its name, a line break, its content.
function save(file) {
  const end = file.indexOf("\n");
  const type = file.slice(0, end).endsWith("json") ? "application/json" : "text/csv";
  const url = URL.createObjectURL(new Blob([file.slice(end + 1)], { type }));
  create("a", { href: url, download: file.slice(0, end) }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

let toastTimer = 0;
function toast(message) {
  const box = find(".toast");
  box.textContent = message;
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (box.hidden = true), 4000);
}
