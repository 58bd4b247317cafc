// ---- indexing: the progress of indexing by the page, and a form that adds a folder or a CSV file ------------------

const indexing = document.querySelector("#header .indexing");
let indexed = ""; // state of the jobs when they were last shown
let refused = ""; // why the last folder was refused

async function followIndexing() {
  const answer = await fetch("api/indexing").then((found) => found.ok && found.json()).catch(() => null);
  if (answer) showIndexing(answer);
  const busy = answer?.jobs.some((job) => job.state === "indexing" || job.state === "waiting");
  if (answer?.jobs.length) setTimeout(followIndexing, busy ? 1000 : 10_000);
}

function showIndexing({ jobs, may_add: mayAdd }) {
  const busy = jobs.find((job) => job.state === "indexing") ?? jobs.find((job) => job.state === "waiting");
  indexing.hidden = !mayAdd && !jobs.some((job) => job.message) && !busy;
  indexing.classList.toggle("idle", mayAdd && !busy);
  find("form", indexing).classList.toggle("closed", !mayAdd);
  const told = jobs.filter((job) => job.message).map((job) => `${job.source}: ${describeFault(job)}`);
  fill(indexing, { summary: busy ? describeJob(busy) : text(mayAdd ? "add_images" : "indexing"), message: [refused, ...told].filter(Boolean).join("\n") });
  const done = jobs.map((job) => `${job.source} ${job.state} ${view.kind === "empty" && job.rows}`).join();
  if (indexed && done !== indexed && ["empty", "start"].includes(view.kind)) ask({});
  indexed = done;
}

// A text without values is followed by the English message, which names the cause.
function describeFault({ key, values, message }) {
  return Object.keys(values).length ? text(key, values) : `${text(key)} (${message})`;
}

function describeJob(job) {
  if (!job.total) return text("indexing");
  const values = { done: numbers.format(job.rows), total: numbers.format(job.total) };
  const minutes = Math.ceil(job.seconds_left / 60);
  return text("indexing_progress", values) + (minutes > 1 ? ` · ${text("minutes_left", { minutes: numbers.format(minutes) })}` : "");
}

find("form", indexing).onsubmit = async (event) => {
  event.preventDefault();
  const { source, watch } = event.target.elements;
  const body = JSON.stringify({ source: source.value, watch: watch.checked });
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body };
  const answer = await fetch("api/indexing", options).catch(() => null), told = await answer?.json().catch(() => null);
  refused = told?.jobs ? "" : told?.key ? text(told.key, { source: source.value }) : refusal(answer, "add_failed");
  if (!refused) source.value = "";
  indexed = "asked";
  followIndexing();
};
followIndexing();

indexing.ontoggle = () => indexing.open && find("[name=source]", indexing).focus();
indexing.onkeydown = ({ key }) => {
  if (key !== "Escape") return;
  indexing.open = false;
  find("summary", indexing).focus();
};
addEventListener("pointerdown", ({ target }) => indexing.contains(target) || (indexing.open = false));
