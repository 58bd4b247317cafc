// ---- query image: chosen in the search bar, or dropped or pasted anywhere -----------------------------------------

const MAX_MEGABYTES = 25; // MAX_UPLOAD_BYTES of bodies.py
const chooser = find("input[type=file]", document.getElementById("image"));

async function give(files) {
  const [file] = files || [];
  if (!file) return;
  const image = [...files].find((candidate) => candidate.type.startsWith("image/"));
  if (!image) return toast(text("not_an_image"));
  if (image.size > MAX_MEGABYTES * 2 ** 20) return toast(text("too_large", { size: MAX_MEGABYTES }));
  document.body.classList.add("searching");
  try {
    const { path } = await upload(image);
    ask({ path });
  } catch ({ message }) { // Gradio's message: "HTTP 413: …"
    document.body.classList.remove("searching");
    const status = Number(/^HTTP (\d+)/.exec(message)?.[1]);
    toast(status === 413 ? text("too_large", { size: MAX_MEGABYTES }) : refusal({ status }, "upload_failed"));
  }
}

chooser.onchange = async () => {
  await give(chooser.files);
  chooser.value = ""; // so that choosing the same file again is a change
};

const carriesFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
addEventListener("paste", (event) => event.clipboardData?.files.length && give(event.clipboardData.files));
addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  document.body.classList.add("dropping");
  event.preventDefault();
});
for (const over of ["dragleave", "drop"]) {
  addEventListener(over, (event) => (over === "drop" || !event.relatedTarget) && document.body.classList.remove("dropping"), true);
}
addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  give(event.dataTransfer.files);
});
