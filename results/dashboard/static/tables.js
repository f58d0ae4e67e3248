// Keeps the columns that name a row in view, as many as leave half of the room for numbers; without this, the first.
"use strict";
clibd.each("table.sheet", (table) => {
  const region = table.parentElement;
  const names = [...table.tHead.rows[0].cells].filter((cell) => cell.classList.contains("name"));
  const rows = [table.tHead.rows[0], ...table.tBodies[0].rows];

  function pin() {
    if (!table.isConnected) return removeEventListener("resize", pin); // another has taken its place
    const widths = names.map((cell) => cell.getBoundingClientRect().width);
    let left = 0;
    widths.forEach((width, column) => {
      const fits = left + width < region.clientWidth / 2;
      for (const row of rows) {
        row.cells[column].classList.toggle("pinned", fits);
        row.cells[column].style.left = fits ? `${left}px` : "";
      }
      left += width;
    });
  }
  pin();
  addEventListener("resize", pin);
});
