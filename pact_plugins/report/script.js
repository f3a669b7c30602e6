"use strict";
// Filters and a search over the elements of a list; without it, everything is shown.
for (const tools of document.querySelectorAll(".tools")) {
  const items = [...document.querySelectorAll("#" + tools.dataset.filters + " > [data-text]")];
  const count = tools.querySelector("output");
  const fields = [...tools.querySelectorAll("select")];
  const search = tools.querySelector("input");
  const update = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of items) {
      const text = item.textContent.toLowerCase();
      const kept = fields.every((field) => !field.value || item.dataset[field.name] === field.value)
        && words.every((word) => text.includes(word));
      item.hidden = !kept;
      shown += kept;
    }
    count.textContent = shown + " of " + items.length + " shown";
  };
  tools.hidden = false;
  tools.addEventListener("input", update);
  update();
}
// On paper nothing can be unfolded.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
