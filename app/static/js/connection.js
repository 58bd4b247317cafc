// ---- connection: shows when the page's process or Milvus is away, and keeps what was typed until it is back --------

let away = ""; // key of the text that says what is away; "" if nothing is
let isLost = false; // whether the page's process was away: Gradio's session was lost with it
let hadImages = false; // whether there were images; without any, readyz might open a file that an insert needs

async function checkServer() {
  if (!document.hidden || away) {
    const answer = await fetch(hadImages || away ? "readyz" : "healthz", { cache: "no-store", signal: AbortSignal.timeout(10_000) }).catch((error) => error);
    const told = answer.status === 503 ? (await answer.json().catch(() => ({}))).key : "";
    const key = answer.name === "TimeoutError" ? away : told || (answer.status < 500 ? "" : "server_away"); // a server that is only busy is not away
    if (!key && away === "error_columns") comeBack(); // the notice stays until there is an answer
    else showAway(key);
  }
  setTimeout(checkServer, away ? 1500 : 5000);
}
setTimeout(checkServer, 5000);

function showAway(key, values) {
  if (key === away && !values) return;
  find(".lost-server").textContent = key && text(key, values);
  if (key === away) return;
  if (!key && isLost) return location.reload(); // while `away` is still set, so that keepPlace stores the unanswered request
  const isBack = away && !key;
  away = key;
  isLost ||= key === "server_away";
  document.body.classList.toggle("away", away);
  find(".lost-server").hidden = !away;
  if (isBack) comeBack();
}

// Returns the text for a request that was refused or got no answer.
function refusal(answer, otherwise) {
  return text({ 413: "error_too_much", 429: "error_too_often", 503: "error_busy" }[answer?.status] ?? otherwise);
}

// Gradio sends the requests, but does not report that one was refused. So this watches all calls of fetch.
const passOn = window.fetch;
window.fetch = async (...request) => {
  const answer = await passOn(...request);
  if (answer.url.includes("/queue/join") && [413, 429, 503].includes(answer.status)) beRefused(answer);
  return answer;
};

function beRefused(answer) {
  const question = waiting ?? unanswered, refused = turn;
  toast(refusal(answer));
  sentAt = 0;
  document.body.classList.remove("searching");
  const seconds = Number(answer.headers.get("Retry-After"));
  if (seconds) setTimeout(() => refused === turn && send(question), 1000 * seconds);
}

// Sends the unanswered request again, and loads images again that were missing in the meantime.
function comeBack() {
  if (!sentAt && (unanswered || !cards.length)) send(unanswered ?? {});
  for (const [index, item] of items) if (item.matches(".missing")) { item.remove(); items.delete(index); }
  draw();
}
