"use strict";
// Sorting by a click on a column's name. Empty cells stay last; without scripts the tables are as they are.
const key = (row, column) => {
  const cell = row.cells[column];
  const given = cell.dataset.sort;
  if (given !== undefined) { return Number(given); }
  const words = cell.textContent.trim();
  return words === "" || words === "–" ? null : words.toLowerCase();
};
const compare = (a, b) => {
  if (a === null || b === null) { return 0; }
  if (typeof a === "number" && typeof b === "number") { return a - b; }
  return String(a).localeCompare(String(b), "en", { numeric: true });
};
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (head.textContent.trim() === "") { return; }
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [key(row, column), row]);
      rows.sort(([a], [b]) => (a === null) - (b === null) || (down ? compare(b, a) : compare(a, b)));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
