// Barcodes as stripes, and where two of them differ; both lie in one frame. As barcodes.py draws them on the server.
"use strict";
clibd.barcodes = (() => {
  const A_LINE = 110, LINE = 14, HIGH = 9, MARK = 4, BASES = "ACGT", SVG = "http://www.w3.org/2000/svg";
  const box = (begins, line, length) => `M${begins} ${line * LINE}h${length}v${HIGH}h-${length}z`;

  const mark = (place) => `M${place % A_LINE} ${Math.floor(place / A_LINE) * LINE + HIGH}h1v${MARK}h-1z`;

  // Positions at which both have a certain base, and those of them where the bases differ.
  function differences(query, key) {
    const places = [];
    let of = 0;
    for (let place = 0; place < Math.min(query.length, key.length); place++) {
      if (!BASES.includes(query[place]) || !BASES.includes(key[place])) continue;
      of++;
      if (query[place] !== key[place]) places.push(place);
    }
    return { of, places };
  }

  function path(kind, d) {
    const drawn = document.createElementNS(SVG, "path");
    drawn.setAttribute("class", kind);
    drawn.setAttribute("d", d);
    return drawn;
  }

  // A drawing of a barcode, with marks below the bases that differ.
  function stripes(barcode, differs) {
    const lines = Math.max(1, Math.ceil(barcode.length / A_LINE)), drawn = new Map();
    for (let place = 0, next; place < barcode.length; place = next) {
      const line = Math.floor(place / A_LINE), ends = Math.min(barcode.length, (line + 1) * A_LINE);
      next = place + 1;
      while (next < ends && barcode[next] === barcode[place]) next++;
      const kind = BASES.includes(barcode[place]) ? `base-${barcode[place].toLowerCase()}` : "base-n";
      drawn.set(kind, (drawn.get(kind) || "") + box(place % A_LINE, line, next - place));
    }
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "barcode");
    svg.setAttribute("viewBox", `0 0 ${A_LINE} ${lines * LINE}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    const apart = differs ? `, ${differs.places.length} of ${differs.of} differ` : "";
    svg.setAttribute("aria-label", `Barcode, ${barcode.replace(/^N+|N+$/g, "").length} bases${apart}`);
    for (const [kind, d] of drawn) svg.append(path(kind, d));
    const marks = differs ? differs.places.map(mark) : [];
    if (marks.length) svg.append(path("differs", marks.join("")));
    return svg;
  }

  return { differences, stripes };
})();
