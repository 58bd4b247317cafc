// ---- light and dark ----------------------------------------------------------------------------------------------

const remembered = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
if (remembered()) document.body.classList.toggle("dark", remembered() === "dark");
find(".theme", document.getElementById("header")).onclick = () => {
  const dark = document.body.classList.toggle("dark");
  try { localStorage.setItem("theme", dark ? "dark" : "light"); } catch { /* not remembered in a private window */ }
};

// ---- start -------------------------------------------------------------------------------------------------------

// A slash focuses the search box, as on most search pages.
addEventListener("keydown", (event) => {
  if (event.key !== "/" || dialog.open || event.target.closest?.("input, textarea")) return;
  event.preventDefault();
  document.querySelector("#text input")?.select();
});

find("ol.cards").replaceChildren(...Array.from({ length: 24 }, () => create("li", { class: "blank", "aria-hidden": "true" })));
watch("value", () => render(props.value));
render(props.value);
