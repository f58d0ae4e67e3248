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

// A link that was followed keeps the focus when htmx has renewed it.
let followed = null;
document.addEventListener("click", (event) => {
  const link = event.target.closest("#example a[rel]");
  followed = link && link === document.activeElement ? link.rel : null;
});
document.addEventListener("htmx:after:swap", () => {
  const link = followed && document.querySelector(`#example a[rel="${followed}"]`);
  if (link) link.focus({ preventScroll: true });
  followed = null;
});
