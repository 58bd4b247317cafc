// ---- light and dark ----------------------------------------------------------------------------------------------

if (remembered("theme")) document.body.classList.toggle("dark", remembered("theme") === "dark");
find(".theme", document.getElementById("header")).onclick = () => {
  remember("theme", document.body.classList.toggle("dark") ? "dark" : "light");
};

// ---- start -------------------------------------------------------------------------------------------------------

const keys = find("dialog.keys");
find(".help", document.getElementById("header")).onclick = () => keys.showModal();
keys.onclick = ({ target }) => (target === keys || target.closest("button")) && keys.close();

// A slash focuses the search box, as on most search pages; a question mark shows the keys.
addEventListener("keydown", (event) => {
  if (event.key === "?" && !keys.open && !dialog.open && !event.target.closest?.("input, textarea")) return keys.showModal();
  if (event.key !== "/" || keys.open || dialog.open || event.target.closest?.("input, textarea")) return;
  event.preventDefault();
  document.querySelector("#text input")?.select();
});

list.replaceChildren(...Array.from({ length: 30 }, () => create("li", { class: "blank", "aria-hidden": "true" })));
watch("value", () => render(props.value));
const left = returning;
render(props.value);
if (left?.pending) ask(left.pending);
else if (left?.shown) ask({ shown: left.shown }, true, left); // the reader left or reloaded the page after scrolling
