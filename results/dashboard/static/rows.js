// Retrieval in the export: chooses among the answers, pages through them, and shows a query with its nearest keys.
"use strict";
clibd.each("#answers[data-retrieval-rows]", async (section) => {
  const RANKS = ["order", "family", "genus", "species"], A_PAGE = 24, ONE = 10000, NONE = -32768;
  const LETTERS = { species: "S", genus: "G", family: "F", order: "O", none: "–" };
  const NO_KEY = -2;
  const form = document.getElementById("filters"), said = section.dataset;
  const wanted = ["Rows", "Specimens", "Portraits"].map((kind) => {
    const address = said[`retrieval${kind}`];
    return address ? clibd.load(said[`retrieval${kind}Name`], address) : Promise.resolve(null);
  });
  let rows, specimens, portraits;
  try {
    [rows, specimens, portraits] = await Promise.all(wanted);
  } catch (error) {
    section.prepend(made("p", "problem", `The answers cannot be read: ${error.message}.`));
    return;
  }
  const neighbours = Number(said.neighbours), num = Number(said.num);
  const follow = rows.query.length === 1 && num > 1;
  const query = (row) => (follow ? rows.query[0] + row : rows.query[row]);
  const key = (row, place) => (place < neighbours ? rows.keys[row * neighbours + place] : -1);
  const cosine = (row, place) => rows.cosines[row * neighbours + place] / ONE;
  const code = (specimen, rank) => (specimen < 0 ? NO_KEY : specimens[rank].codes[specimen]);
  const nameOf = (specimen, rank) => clibd.word(specimens[rank], specimen);
  const idOf = (specimen) => clibd.word(specimens.id, specimen);
  const portraitOf = new Map(portraits ? Array.from(portraits.row, (specimen, place) => [specimen, place]) : []);

  function shared(one, other) {
    if (other < 0) return "none";
    return RANKS.findLast((rank) => code(one, rank) >= 0 && code(one, rank) === code(other, rank)) || "none";
  }

  function made(tag, kind, text) {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // --- What was chosen: in the address behind #, so that a link keeps it -------------------------------------------

  const asked = () => new URLSearchParams(location.hash.slice(1));
  const address = (changes) => {
    const next = asked();
    for (const [name, value] of Object.entries(changes)) value === null ? next.delete(name) : next.set(name, value);
    return `#${next}`;
  };

  // Which specimens have a name: as it is written, else in other letters, else beginning so.
  function having(text, ranks) {
    const folded = text.toLowerCase();
    const ways = [(name) => name === text, (name) => name.toLowerCase() === folded, (name) => name.toLowerCase().startsWith(folded)];
    for (const fits of ways) {
      const codes = ranks.map((rank) => [rank, specimens[rank].words.map(fits)]).filter(([, found]) => found.includes(true));
      if (codes.length) return (specimen) => specimen >= 0 && codes.some(([rank, found]) => found[code(specimen, rank)] === true);
    }
    return () => false;
  }

  function tests(chosen) {
    const rank = chosen.get("rank") || "species", outcome = chosen.get("outcome"), found = [];
    const counts = (row) => said.missing === "a_class" || code(query(row), rank) >= 0;
    const right = (row) => key(row, 0) >= 0 && code(query(row), rank) === code(key(row, 0), rank);
    if (outcome === "right") found.push((row) => counts(row) && right(row));
    else if (outcome === "wrong") found.push((row) => counts(row) && !right(row));
    else if (outcome) found.push((row) => shared(query(row), key(row, 0)) === outcome);
    if (chosen.get("subset")) found.push((row) => specimens.unseen[query(row)] === (chosen.get("subset") === "unseen" ? 1 : 0));
    if (chosen.get("taxon")) {
      const fits = having(chosen.get("taxon"), chosen.get("at") ? [chosen.get("at")] : RANKS);
      found.push((row) => fits(query(row)));
    }
    if (chosen.get("within")) {
      const above = RANKS.slice(0, RANKS.indexOf(rank)), name = chosen.get("within");
      found.push((row) => above.some((higher) => nameOf(query(row), higher) === name));
    }
    if (chosen.get("found")) {
      const fits = having(chosen.get("found"), [rank]);
      found.push((row) => fits(key(row, 0)));
    }
    const near = (row) => (neighbours ? cosine(row, 0) : NaN);
    if (chosen.get("least")) found.push((row) => near(row) >= Number(chosen.get("least")) - 0.5 / ONE);
    if (chosen.get("most")) found.push((row) => near(row) <= Number(chosen.get("most")) + 0.5 / ONE && rows.cosines[row * neighbours] !== NONE);
    return { rank, counts, right, fits: (row) => found.every((test) => test(row)) };
  }

  // Rows that fit, those with a picture first.
  function fitting(fits) {
    const pictured = [], others = [];
    for (let row = 0; row < num; row++) if (fits(row)) (portraitOf.has(query(row)) ? pictured : others).push(row);
    return pictured.concat(others);
  }

  // --- What is shown ------------------------------------------------------------------------------------------------

  function badge(rank) {
    const words = made("span", `badge shared-${rank}`);
    const letter = made("b", "", LETTERS[rank]);
    letter.setAttribute("aria-hidden", "true");
    words.append(letter, rank === "none" ? " no rank shared" : ` same ${rank}`);
    return words;
  }

  function picture(specimen) {
    const place = portraitOf.get(specimen), source = place === undefined ? null : clibd.word(portraits.picture, place);
    if (!source) return made("span", "specimen none", "no picture here");
    const image = made("img", "specimen");
    image.src = source;
    image.alt = idOf(specimen);
    return image;
  }

  const barcodeOf = (specimen) => (portraitOf.has(specimen) ? clibd.word(portraits.barcode, portraitOf.get(specimen)) : null);

  function names(specimen, other) {
    const list = made("dl", "names");
    for (const rank of RANKS) {
      const own = made("dd", "", nameOf(specimen, rank) ?? "no name"), same = code(specimen, rank) === code(other, rank);
      if (specimen !== other && code(specimen, rank) >= 0) {
        own.append(" ", made("span", same ? "good-word" : "bad-word", same ? "= same" : "≠ other"));
      }
      list.append(made("dt", "", rank), own);
    }
    return list;
  }

  function figure(specimen, other, caption, kind, more) {
    const drawn = made("figure", kind), own = barcodeOf(specimen), asks = barcodeOf(other);
    const differs = own && asks && specimen !== other ? clibd.barcodes.differences(asks, own) : null;
    const barcode = own ? clibd.barcodes.stripes(own, differs) : made("span", "barcode none", "no barcode here");
    const apart = differs ? ` · ${differs.places.length} of ${differs.of} bases differ` : "";
    drawn.append(caption, picture(specimen), barcode, made("p", "id", idOf(specimen)));
    if (more) drawn.append(made("p", "small", more + apart));
    drawn.append(names(specimen, other));
    return drawn;
  }

  function linked(words, changes, rel) {
    const link = made(changes ? "a" : "span", changes ? "button" : "button muted", words);
    if (changes) link.href = address(changes);
    if (rel && changes) link.rel = rel;
    return link;
  }

  function example(row, list) {
    const at = list.indexOf(row), asks = query(row), article = made("article"), bar = made("div", "row"), grid = made("div", "example");
    article.id = "example";
    article.setAttribute("aria-label", "A query and its nearest keys");
    const beside = (place) => (at >= 0 && list[place] !== undefined ? { specimen: idOf(query(list[place])), page: null } : null);
    bar.append(linked("← before", beside(at - 1), "prev"), linked("next →", beside(at + 1), "next"));
    bar.append(made("span", "muted", `${at < 0 ? "not among what was chosen" : `${(at + 1).toLocaleString("en")} of ${list.length.toLocaleString("en")}`}; keys ← → go through them`));
    const caption = made("figcaption");
    caption.append(made("strong", "", "Query"), ` · ${specimens.unseen[query(row)] ? "unseen" : "seen"} species`);
    grid.append(figure(asks, asks, caption, "query"));
    for (let place = 0; place < neighbours && key(row, place) >= 0; place++) {
      const near = key(row, place), rank = shared(asks, near), head = made("figcaption");
      head.append(badge(rank), " ", made("span", "muted", `key ${place + 1}`));
      grid.append(figure(near, asks, head, `key shared-${rank}`, `cosine ${cosine(row, place).toFixed(4)}`));
    }
    article.append(bar, grid);
    return article;
  }

  const lowest = (specimen) => RANKS.map((rank) => nameOf(specimen, rank)).findLast((name) => name !== null) || "no name";

  function item(row, how) {
    const asks = query(row), near = key(row, 0), rank = shared(asks, near), li = made("li", `shared-${rank}`);
    const pair = made("div", "pair"), words = made("p"), link = made("a", "", lowest(asks));
    pair.append(picture(asks));
    if (near >= 0) pair.append(made("span", "", "→"), picture(near));
    link.href = address({ specimen: idOf(asks) });
    words.append(link, " ", made("span", "muted", specimens.unseen[query(row)] ? "unseen" : "seen"));
    li.append(pair, words);
    if (near >= 0) {
      const verdict = !how.counts(row) ? ["plain", "not counted"] : how.right(row) ? ["good", "✓ right"] : ["bad", "✗ wrong"];
      const found = made("p", "small", "taken for "), badges = made("p");
      found.append(made("strong", "", lowest(near)), `, cosine ${cosine(row, 0).toFixed(3)}`);
      badges.append(badge(rank), " ", made("span", `badge ${verdict[0]}`, `${verdict[1]} at ${how.rank}`));
      li.append(found, badges);
    }
    li.append(made("p", "id", idOf(asks)));
    return li;
  }

  function pager(page, pages) {
    const nav = made("nav", "pager");
    nav.setAttribute("aria-label", "Pages");
    const to = (words, number) => linked(words, number >= 1 && number <= pages && number !== page ? { page: number, specimen: null } : null);
    nav.append(to("first", 1), to("previous page", page - 1), to("next page", page + 1), to("last", pages));
    return nav;
  }

  let listed = { chosen: null, list: [] };
  function show() {
    const chosen = asked(), how = tests(chosen), without = new URLSearchParams(chosen);
    ["specimen", "page"].forEach((name) => without.delete(name));
    if (listed.chosen !== String(without)) listed = { chosen: String(without), list: fitting(how.fits) };
    for (const field of form.elements) if (field.name && field.type !== "hidden") field.value = chosen.get(field.name) || (field.name === "rank" ? "species" : "");
    const list = listed.list, pages = Math.max(1, Math.ceil(list.length / A_PAGE));
    let row = list[0], at = 0;
    if (chosen.get("specimen")) {
      for (let each = 0; each < num; each++) if (idOf(query(each)) === chosen.get("specimen")) row = each;
      at = Math.max(0, list.indexOf(row));
    }
    const page = Math.min(pages, Math.max(1, Number(chosen.get("page")) || Math.floor(at / A_PAGE) + 1));
    if (!chosen.get("specimen")) row = list[(page - 1) * A_PAGE];
    const count = made("p"), gallery = made("ol", "gallery");
    count.setAttribute("role", "status");
    count.append(made("strong", "", list.length.toLocaleString("en")), ` of n = ${num.toLocaleString("en")} queries fit what was chosen${chosen.get("within") ? ` within ${chosen.get("within")}` : ""}.`);
    gallery.start = (page - 1) * A_PAGE + 1;
    for (const each of list.slice((page - 1) * A_PAGE, page * A_PAGE)) gallery.append(item(each, how));
    const parts = [count, ...(row === undefined ? [] : [example(row, list)]), made("h2", "", "Queries")];
    parts.push(made("p", "muted", list.length ? `Page ${page} of ${pages}. Borders and words: the lowest rank shared with the nearest key.` : "No query fits: choose less."));
    section.replaceChildren(...parts, gallery, ...(pages > 1 ? [pager(page, pages)] : []));
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const told = [...new FormData(form)].filter(([name, value]) => value && !["partition", "pair"].includes(name));
    location.hash = new URLSearchParams(told).toString();
  });
  addEventListener("hashchange", show);
  show();
});
