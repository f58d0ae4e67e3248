// Keeps all columns that name a row in view, where they leave room for the numbers; without this, only the first stays.
"use strict";
clibd.each("table.sheet", (table) => {
  const region = table.parentElement;
  const names = [...table.tHead.rows[0].cells].filter((cell) => cell.classList.contains("name"));

  function pin() {
    const widths = names.map((cell) => cell.getBoundingClientRect().width);
    const room = widths.reduce((sum, width) => sum + width, 0) < region.clientWidth / 2;
    let left = 0;
    names.forEach((name, column) => {
      for (const row of [table.tHead.rows[0], ...table.tBodies[0].rows]) {
        const cell = row.cells[column];
        cell.classList.toggle("pinned", room);
        cell.style.left = room ? `${left}px` : "";
      }
      left += widths[column];
    });
  }
  pin();
  addEventListener("resize", pin);
});
