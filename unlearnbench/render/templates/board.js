"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;

  // Light or dark: as the system says until the reader chooses.
  byId("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // Sorting: rows without a value stay last; controls stay below the methods.
  const table = byId("rows");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const initial = [...body.rows];
  function sort(column, order) {
    const number = heads[column].dataset.kind === "number";
    const value = (row) => row.cells[column].dataset.value ?? "";
    const rows = [...initial].sort((a, b) => {
      const control = a.classList.contains("control") - b.classList.contains("control");
      if (control) return control;
      const [x, y] = [value(a), value(b)];
      if ((x === "") !== (y === "")) return x === "" ? 1 : -1;
      const step = number ? Number(x) - Number(y) : x.localeCompare(y);
      return order === "ascending" ? step : -step;
    });
    body.append(...rows);
    heads.forEach((head, i) => (i === column ? head.setAttribute("aria-sort", order) : head.removeAttribute("aria-sort")));
  }
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const first = head.dataset.first ?? "ascending";
      sort(column, now === null ? first : now === "ascending" ? "descending" : "ascending");
    });
  });

  // Filtering: every word has to occur in the method or in its distribution.
  function filter() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = `${row.dataset.method} ${row.dataset.family}`;
      const control = row.classList.contains("control");
      row.hidden = (control && !byId("controls").checked) || !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    byId("none").hidden = shown > 0;
  }
  byId("filter").addEventListener("input", filter);
  byId("controls").addEventListener("change", filter);
  byId("more")?.addEventListener("change", (event) => {
    for (const cell of table.querySelectorAll(".more")) cell.hidden = !event.target.checked;
  });

  // One interference matrix at a time.
  const tabs = [...document.querySelectorAll("[role=tab]")];
  function choose(tab) {
    for (const other of tabs) {
      other.setAttribute("aria-selected", String(other === tab));
      byId(other.getAttribute("aria-controls")).hidden = other !== tab;
    }
  }
  tabs.forEach((tab) => tab.addEventListener("click", () => choose(tab)));
  if (tabs.length) choose(tabs[0]);

  // Sensitive images: one at a time by a click, or all.
  for (const image of document.querySelectorAll("img.blur")) {
    image.addEventListener("click", () => image.classList.toggle("shown"));
  }
  byId("sensitive")?.addEventListener("change", (event) => root.classList.toggle("show-sensitive", event.target.checked));
})();
