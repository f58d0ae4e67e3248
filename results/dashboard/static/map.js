// The map of an evaluation: its columns, the legend that hides and shows, and what is said of a point.
"use strict";
(() => {
  const STATES = clibd.painter.STATES, MOST_LISTED = 200;
  const RANKS = ["order", "family", "genus", "species"];
  const words = (name) => (name === "dna" ? "DNA" : name);

  async function begin(element) {
    const told = clibd.told(element), { columns: address, rank } = element.dataset;
    const plot = element.querySelector(".plot"), status = plot.querySelector(".status");
    if (!address) return;
    let columns;
    try {
      columns = await clibd.load(told.map, address);
    } catch {
      plot.hidden = false;
      status.textContent = "The points cannot be read; their numbers stand below.";
      return;
    }
    const count = columns.x.length, places = new Int16Array(2 * count), state = new Uint8Array(count).fill(STATES.shown);
    const { x, y, modality, part } = columns, slot = columns[`slot_${rank}`];
    for (let n = 0; n < count; n++) [places[2 * n], places[2 * n + 1]] = [x[n], y[n]];
    const points = { count, places, slot: Uint8Array.from(slot), shape: Uint8Array.from(modality), state };
    const owner = new Int32Array(count);
    for (let n = 0, own = 0; n < count; n++) owner[n] = own += columns.steps[n];

    // What is said of specimens is loaded when somebody asks; pictures after it.
    const loaded = (name) => clibd.load(told[name], element.dataset[name]).catch(() => null);
    let loading, portraits;
    const details = () => (loading ||= Promise.all([loaded("specimens"), loaded("answers")]).then(([named, answers]) => named && answers && { ...named, ...answers }));
    const pictures = () => (portraits ||= element.dataset.portraits ? loaded("portraits") : Promise.resolve(null));
    const partOf = (n) => told.called[part[n]];
    async function said(n) {
      const own = await details(), at = owner[n];
      const first = `${words(told.modalities[modality[n]])} of a ${partOf(n)}`;
      if (!own) return { lines: [first, "What it is of cannot be read."] };
      const named = (name) => clibd.word(own[name], at);
      const names = RANKS.map(named).filter(Boolean);
      const lines = [named("id"), names.length ? names.join(" › ") : "no name", first];
      if (own.shares[at] >= 0) {
        const shared = own.shares[at] ? `the same ${RANKS[own.shares[at] - 1]}` : "no name";
        lines.push(`nearest key (${told.pairs[told.parts[part[n]]]}): cosine ${(own.cosine[at] / 1e4).toFixed(3)}, ${shared} shared`);
      }
      return { lines, picture: await picture(at) };
    }
    let shown;
    async function picture(at) {
      const own = await pictures();
      shown ||= new Map(own ? Array.from(own.row, (row, place) => [row, place]) : []);
      return shown.has(at) ? clibd.word(own.picture, shown.get(at)) : null;
    }

    const chosen = element.querySelector(".chosen"), list = chosen.querySelector(".names");
    async function chose(selected) {
      chosen.hidden = !selected.length;
      if (!selected.length) return;
      const own = await details(), rows = new Map(selected.map((n) => [owner[n], n]));
      const count = (many, word) => `${many.toLocaleString("en")} ${word}${many === 1 ? "" : "s"}`;
      const more = rows.size > MOST_LISTED ? `; the first ${MOST_LISTED} are listed` : "";
      chosen.querySelector(".said").textContent = `${count(selected.length, "point")} of ${count(rows.size, "specimen")}${more}.`;
      status.textContent = `Selected: ${count(rows.size, "specimen")}.`;
      if (!own) return;
      list.replaceChildren(...[...rows].slice(0, MOST_LISTED).map(([at, n]) => {
        const item = document.createElement("li"), specimen = clibd.word(own.id, at);
        item.append(linked(specimen, n));
        const names = RANKS.map((name) => clibd.word(own[name], at)).filter(Boolean).slice(-1)[0] || "no name";
        item.append(` ${names}, ${partOf(n)}`);
        return item;
      }));
    }
    function linked(specimen, n) {
      const address = boxes.part[part[n]].dataset.retrieval;
      if (!address) return specimen;
      const link = document.createElement("a"), to = new URL(address, location.href);
      // An exported page chooses by what stands behind #.
      if (element.dataset.served === undefined) to.hash = new URLSearchParams({ specimen });
      else to.searchParams.set("specimen", specimen);
      link.href = to;
      link.textContent = specimen;
      return link;
    }

    const scatter = clibd.scatter(plot, points, { same: true, said, chose });

    // --- The legend ------------------------------------------------------------------------------------------------
    const boxes = { slot: {}, modality: {}, part: {} };
    const kinds = Object.keys(boxes);
    for (const kind of kinds) {
      element.querySelectorAll(`input[data-${kind}]`).forEach((box) => {
        boxes[kind][box.dataset[kind]] = box;
        box.disabled = false;
        box.addEventListener("change", toggled);
      });
    }
    element.querySelectorAll("[data-only]").forEach((button) => {
      button.hidden = false;
      button.addEventListener("click", () => {
        const alone = Object.entries(boxes.slot).every(([slot, box]) => box.checked === (slot === button.dataset.only));
        for (const [slot, box] of Object.entries(boxes.slot)) box.checked = alone || slot === button.dataset.only;
        toggled();
      });
    });
    function toggled() {
      const on = Object.fromEntries(kinds.map((kind) => [kind, (value) => boxes[kind][value].checked]));
      const open = Object.fromEntries(kinds.map((kind) => {
        const every = new Uint8Array(256).fill(1);
        for (const value of Object.keys(boxes[kind])) every[value] = Number(on[kind](value));
        return [kind, every];
      }));
      let seen = 0;
      for (let n = 0; n < count; n++) {
        const is = open.slot[slot[n]] && open.modality[modality[n]] && open.part[part[n]];
        state[n] = is ? STATES.shown : STATES.hidden;
        seen += is;
      }
      chosen.hidden = true;
      scatter.looked();
      status.textContent = `${seen.toLocaleString("en")} of ${count.toLocaleString("en")} points are shown.`;
    }
    element.dataset.ready = "yes";
  }

  addEventListener("DOMContentLoaded", () => clibd.each("[data-map]", begin));
})();
