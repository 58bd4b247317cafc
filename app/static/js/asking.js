// ---- asking: the address is the state; what changes it goes to the server with it, and the answer brings the next --

const box = document.querySelector("#text input");
const PATIENCE = 20_000;
let turn = 0; // of the last question that was sent
let underWay = 0; // since when it is, 0 once it is answered
let waiting = null; // the question to send then; of several the last
let typed = box.value;

// One question at a time: Gradio may lose the answers of several, and each would cost the server a search.
function ask(change) {
  document.body.classList.add("searching");
  find("dialog.lightbox").close();
  typed = box.value;
  if (underWay && Date.now() - underWay < PATIENCE) waiting = change;
  else send(change);
}

function send(change) {
  waiting = null;
  underWay = Date.now();
  trigger("ask", { address: location.search, turn: ++turn, ...change });
}

// Whether an answer is the one to show: to the last question, and no other has been asked meanwhile.
function isAwaited(answer) {
  if (answer.turn !== turn) return false;
  underWay = 0;
  if (waiting) setTimeout(send, 0, waiting);
  return !waiting;
}

// The words of an answer go into the search box, unless somebody has typed on meanwhile.
function showWords() {
  if (box.value !== typed || box.value === view.words) return;
  box.value = view.words;
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

// Gradio's text box and button call this; page.py says so.
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

// ---- taking it along ---------------------------------------------------------------------------------------------

find(".copy").hidden = !navigator.clipboard; // browsers only have one on https and on this machine
find(".copy").onclick = () => navigator.clipboard.writeText(location.href).then(() => toast(text("link_copied")));

for (const button of element.querySelectorAll(".save")) {
  const format = button.dataset.format;
  button.setAttribute("aria-label", text("download_as", { format }));
  button.title = text("download_as", { format });
  button.onclick = () => trigger("export", { address: location.search, format: format.toLowerCase() });
}

// Called with what the server made of the results: its name, a line break, and the file.
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
