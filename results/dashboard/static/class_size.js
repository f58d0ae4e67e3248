// Many taxa by their number of keys, as a field of points with axes.
"use strict";
(() => {
  const STATES = clibd.painter.STATES, MOST_LISTED = 200, SPREAD = 0.012;

  async function begin(element) {
    const { low, high, numbers } = clibd.told(element), plot = element.querySelector(".plot");
    let columns;
    try {
      columns = await clibd.load("class-size", element.dataset.columns);
    } catch {
      return; // means and their table stand below
    }
    const { keys, accuracy, queries, unseen } = columns, count = keys.length;
    // The middle four fifths of the field: taxa at the edges are whole.
    const along = (number) => 1.8 * ((Math.log10(number || 10 ** low) - low) / (high - low)) - 0.9;
    const upwards = (share) => 1.7 * share - 0.85;
    const places = new Int16Array(2 * count);
    for (let n = 0; n < count; n++) {
      // Of a sequence that fills a square evenly, so that what lies on one place is spread.
      const [aside, above] = [0.7549, 0.5698].map((step) => SPREAD * (2 * ((n * step) % 1) - 1));
      places[2 * n] = 32767 * (along(keys[n]) + (unseen[n] ? 0.006 : -0.006) + aside / 3);
      places[2 * n + 1] = 32767 * (upwards(accuracy[n]) + above);
    }
    const points = { count, places, slot: Uint8Array.from(unseen), shape: Uint8Array.from(unseen), state: new Uint8Array(count).fill(STATES.shown) };
    const several = (many, one, more) => `${many.toLocaleString("en")} ${many === 1 ? one : more}`;
    const said = (n) => ({
      lines: [clibd.word(columns.name, n), `${(100 * accuracy[n]).toFixed(1)} % of ${several(queries[n], "query", "queries")} right`, `${several(keys[n], "key", "keys")}, ${unseen[n] ? "unseen" : "seen"}`],
    });

    const chosen = element.querySelector(".chosen");
    function chose(selected) {
      chosen.hidden = !selected.length;
      const more = selected.length > MOST_LISTED ? `; the first ${MOST_LISTED} are listed` : "";
      chosen.querySelector(".said").textContent = `${selected.length.toLocaleString("en")}${more}.`;
      chosen.querySelector(".names").replaceChildren(...selected.slice(0, MOST_LISTED).map((n) => {
        const item = document.createElement("li"), [name, ...rest] = said(n).lines;
        item.append(linked(name), ` ${rest.join(", ")}`);
        return item;
      }));
    }
    function linked(name) {
      const { species, rank, partition, served } = element.dataset;
      if (!species || served === undefined) return name;
      const link = document.createElement("a");
      link.href = `${species}?${new URLSearchParams({ name, rank, partition })}`;
      link.textContent = name;
      return link;
    }

    const field = plot.querySelector(".field"), labels = document.createElement("div");
    labels.className = "ticks";
    labels.setAttribute("aria-hidden", "true");
    const ticks = [
      ...[0, ...numbers].map((number) => ["x", along(number), number.toLocaleString("en")]),
      ...[0, 20, 40, 60, 80, 100].map((percent) => ["y", upwards(percent / 100), `${percent} %`]),
    ].map(([axis, place, text]) => {
      const label = Object.assign(document.createElement("span"), { className: axis, textContent: text });
      labels.append(label);
      return [axis, place, label];
    });
    function moved(project) {
      for (const [axis, place, label] of ticks) {
        const [left, top] = project(place, place), most = axis === "x" ? field.clientWidth : field.clientHeight;
        const at = axis === "x" ? left : top;
        label.hidden = at < 0 || at > most;
        label.style[axis === "x" ? "left" : "top"] = `${at}px`;
      }
    }
    clibd.scatter(plot, points, { same: false, said, chose, moved });
    field.append(labels);
    element.dataset.ready = "yes";
  }

  addEventListener("DOMContentLoaded", () => clibd.each("[data-class-size]", begin));
})();
