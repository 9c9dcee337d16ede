"use strict";
// Makes tables sortable. Without this script they keep their order, best first.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const units = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18 };
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const found = /^(-?[\d.,]+(?:e-?\d+)?)\s*([kMGTPE%]?)/.exec(text);
    if (!found) return text === "–" ? -Infinity : text;
    return Number(found[1].replaceAll(",", "")) * (units[found[2]] || 1);
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.title = "Sort by " + head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") !== "descending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const rows = [...body.rows];
      rows.sort((a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
        return falling ? -order : order;
      });
      body.append(...rows);
    });
  });
}
