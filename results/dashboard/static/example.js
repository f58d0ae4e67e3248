// Goes through the queries of a list with the keys ← and →, as its links do.
"use strict";
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest("input, select, textarea, .wide, summary")) return;
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const where = rel && document.querySelector(`#example [rel="${rel}"]`);
  if (!where) return;
  event.preventDefault();
  where.click();
});
