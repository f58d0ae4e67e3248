// Draws the charts of a page with Plotly, in the colours of the page, and adds what comes while a run goes on.
// Plotly is loaded for the first chart that comes near the view, or when the browser has nothing else to do; a chart is
// drawn when it comes near, or before the page is printed.
"use strict";
(() => {
  // Plotly finds these style sheets, which it would else write into the page, as the policy forbids.
  const sheet = document.createElement("link");
  sheet.id = "plotly.js-style-global";
  sheet.className = "no-inline-styles";
  sheet.rel = "stylesheet";
  sheet.href = `${document.body.dataset.static}charts.css`;
  const styled = new Promise((resolve) => (sheet.onload = sheet.onerror = resolve));
  document.head.append(sheet);
  // The style of maps, which no chart here is: Plotly writes it where nothing has this name.
  const maps = document.createElement("meta");
  maps.id = "9f215cf04c5486422605d13261cb87401f4e7763b6296af81e98efbc0130da53";
  document.head.append(maps);

  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
  const MARKERS = ["circle", "square", "diamond", "cross", "triangle-up", "x", "star", "pentagon"];
  const MODES = { line: "lines", points: "markers", both: "lines+markers" };
  const CONFIG = { displayModeBar: false, displaylogo: false, responsive: true, showTips: false, showLink: false };
  const FEW = 40; // points of a line that get a marker each
  const LONGEST = 42; // letters of a name in the legend
  const LONGEST_TICK = 24; // and of a word along an axis
  const NEAR = "300px"; // below or above the view
  const charts = new Map(); // by their elements

  // Plotly reads some HTML in text; this is text.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const cut = (text, most) => plain(text.length > most ? `${text.slice(0, most - 1)}…` : text);
  const short = (text) => cut(text, LONGEST);

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const named = (name) => style.getPropertyValue(name).trim();
    const lines = [1, 2, 3, 4, 5, 6, 7, 8].map((number) => named(`--c${number}`));
    return { ground: named("--ground"), ink: named("--ink"), soft: named("--soft"), line: named("--line"), raised: named("--raised"), lines };
  }

  function values(numbers, axis) {
    if (axis.words) return numbers.map(plain);
    return axis.share ? numbers.map((value) => (value === null ? null : 100 * value)) : numbers;
  }

  function errors(one, axis, color) {
    if (!one.low.length) return undefined;
    const scale = axis.share ? 100 : 1;
    const from = (ends, sign) => ends.map((end, n) => (end === null || one.y[n] === null ? 0 : scale * sign * (end - one.y[n])));
    return { type: "data", symmetric: false, array: from(one.high, 1), arrayminus: from(one.low, -1), thickness: 1, width: 3, color };
  }

  function trace(told, one, number, ink) {
    const colour = ink.lines[number % ink.lines.length];
    const few = one.drawn === "line" && told.kind === "lines" && one.x.length <= FEW;
    const drawn = { name: short(one.name), x: values(one.x, told.x), y: values(one.y, told.y), error_y: errors(one, told.y, told.kind === "bars" ? ink.ink : colour) };
    const pointed = one.words.length
      ? { hovertext: one.words.map(plain), hoverinfo: "text" }
      : { hovertemplate: `%{x}: %{y:.4~g}<extra>${short(one.name).replace(/%\{/g, "% {")}</extra>` };
    if (told.kind === "bars") {
      const pattern = { shape: ["", "/", ".", "x", "-", "\\", "|", "+"][number % 8], bgcolor: colour, fgcolor: ink.ground, size: 6 };
      return { ...drawn, ...pointed, type: "bar", marker: { color: colour, pattern } };
    }
    return {
      ...drawn,
      ...pointed,
      type: "scatter",
      mode: few || told.kind === "parallel" ? "lines+markers" : MODES[one.drawn],
      line: { color: colour, dash: DASHES[number % DASHES.length], width: 1.75 },
      marker: { color: colour, symbol: MARKERS[number % MARKERS.length], size: told.kind === "scatter" ? 8 : 5 },
      connectgaps: false,
    };
  }

  // Of exponents that are raised Plotly writes the style into the page, as the policy forbids: hence 1e-5.
  function axis(told, ink, places) {
    const type = told.words ? "category" : told.log ? "log" : "linear";
    const lines = { gridcolor: ink.line, linecolor: ink.line, zerolinecolor: ink.line, tickcolor: ink.line };
    const ticks = told.words ? { tickvals: places.map(plain), ticktext: places.map((text) => cut(text, LONGEST_TICK)) } : {};
    return { ...lines, ...ticks, type, title: { text: plain(told.title), standoff: 8 }, automargin: true, exponentformat: told.log ? "none" : "e", separatethousands: true };
  }

  // The axes of parallel lines: an upright for each field, with the words or the ends of its values beside.
  function uprights(told, ink) {
    const shapes = told.ticks.map((_, n) => ({ type: "line", x0: n, x1: n, y0: 0, y1: 1, line: { color: ink.soft, width: 1 }, layer: "below" }));
    const annotations = told.ticks.flatMap(([, ...texts], n) => {
      const place = (number) => (texts.length === 1 ? 0.5 : number / (texts.length - 1));
      const kept = texts.map((text, number) => [text, place(number)]).filter((_, number) => texts.length <= 8 || number === 0 || number === texts.length - 1);
      return kept.map(([text, y]) => ({ x: n, y, text: short(text), showarrow: false, font: { size: 11, color: ink.ink }, xanchor: "left", xshift: 4, bgcolor: ink.ground }));
    });
    const ticktext = told.ticks.map(([field]) => plain(field).replace(/([._]| (?!\())/g, "$1<br>")); // a word a line
    const xaxis = { tickvals: told.ticks.map((_, n) => n), ticktext, range: [-0.2, told.ticks.length - 0.4], showgrid: false, zeroline: false, automargin: true, side: "top", tickangle: 0, fixedrange: true };
    return { shapes, annotations, xaxis, yaxis: { visible: false, range: [-0.06, 1.06], fixedrange: true }, legend: { orientation: "h", y: -0.03, yanchor: "top", x: 0 }, margin: { l: 10, r: 10, t: 50, b: 10 } };
  }

  function layout(told, ink) {
    const several = told.series.length > 1;
    const plainly = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink.ink, size: 12, family: getComputedStyle(document.body).fontFamily },
      margin: { l: 56, r: 12, t: 10, b: 48 },
      hoverlabel: { bgcolor: ink.raised, bordercolor: ink.line, font: { color: ink.ink }, align: "left", namelength: -1 },
      hovermode: "closest",
      showlegend: several,
      legend: { orientation: "h", y: 1.03, yanchor: "bottom", x: 0, font: { size: 11 } },
      barmode: "group",
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: axis(told.x, ink, [...new Set(told.series.flatMap((one) => (told.x.words ? one.x : [])))]),
      yaxis: axis(told.y, ink, []),
    };
    return told.kind === "parallel" ? { ...plainly, ...uprights(told, ink) } : plainly;
  }

  let plotly = null;
  function loaded() {
    return (plotly ||= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${document.body.dataset.static}vendor/plotly-basic-4.1.1.min.js`;
      script.onload = resolve;
      script.onerror = reject;
      document.head.append(script);
    }).then(() => styled));
  }

  function draw(one) {
    const ink = colours(), { element, told } = one;
    const size = document.body.classList.contains("printing") ? { width: element.clientWidth, height: element.clientHeight } : {};
    return Plotly.react(element, told.series.map((series, n) => trace(told, series, n, ink)), { ...layout(told, ink), ...size }, CONFIG);
  }

  const near = new IntersectionObserver((seen) => seen.filter((one) => one.isIntersecting).forEach(({ target }) => soon(charts.get(target))), { rootMargin: NEAR });

  function begin(element) {
    charts.set(element, { element, told: clibd.told(element), drawn: false });
    near.observe(element);
  }

  // One after the other, so that the first one is seen before the last is drawn.
  let turn = Promise.resolve();
  function soon(one) {
    near.unobserve(one.element);
    const pause = () => new Promise((resolve) => setTimeout(resolve));
    turn = turn.then(loaded).then(() => first(one), () => unable(one)).then(pause);
  }

  // Draws before it waits for anything, as a printer waits for nothing.
  async function first(one) {
    if (one.drawn) return;
    one.drawn = true;
    one.element.replaceChildren();
    try {
      await draw(one);
    } catch {
      return unable(one);
    }
    one.element.on("plotly_click", ({ points: [point] }) => {
      const link = one.told.series[point.curveNumber].links[point.pointNumber];
      if (link) location.assign(link);
    });
  }

  function unable({ element }) {
    element.textContent = "The picture cannot be drawn here; its numbers stand below.";
  }

  // All that a reader may see, as wide as a sheet; and afterwards anew, as wide as the window.
  function printing() {
    if (!window.Plotly) return;
    document.body.classList.add("printing");
    for (const one of charts.values()) if (one.element.checkVisibility()) one.drawn ? draw(one) : first(one);
  }
  function printed() {
    document.body.classList.remove("printing");
    for (const one of charts.values()) {
      if (!one.drawn) continue;
      Plotly.purge(one.element);
      one.drawn = false;
      near.observe(one.element);
    }
  }

  // Further points of a run that goes on; the charts of one address share what is loaded.
  let busy = false, again = null;
  async function more(event) {
    if (busy) return void (again = event);
    busy = true;
    for (const element of charts.keys()) if (!element.isConnected) charts.delete(element);
    const changed = new Set(event.detail.changed);
    const growing = [...charts.values()].filter(({ element }) => element.dataset.more && changed.has(element.dataset.run));
    const loads = new Map(growing.map(({ element, told }) => [element.dataset.more, { after: element.dataset.after, mark: element.dataset.mark, name: told.more }]));
    for (const [address, { after, mark, name }] of loads) {
      try {
        const columns = await clibd.load(`${name}-${after}`, `${address}${address.includes("?") ? "&" : "?"}after=${after}&mark=${mark}`);
        clibd.forget(`${name}-${after}`); // there may be more under this name the next time
        growing.filter((one) => one.element.dataset.more === address).forEach((one) => grow(one, columns));
      } catch {
        // The server is away; the next change asks again.
      }
    }
    busy = false;
    const next = again;
    again = null;
    if (next) more(next);
  }

  function grow(one, columns) {
    const x = columns[one.told.moreX], known = Number(one.element.dataset.after), [from] = columns.from;
    if (!x.length && from === known) return;
    // A run that went on from a checkpoint has others in place of some points: all of them are there again.
    if (from < known) one.told.series.forEach((series) => Object.assign(series, { x: [], y: [] }));
    for (const series of one.told.series) {
      for (const [n, value] of (columns[series.column] || []).entries()) {
        if (!Number.isFinite(value)) continue;
        series.x.push(x[n]);
        series.y.push(value);
      }
    }
    one.element.dataset.after = String(from + x.length);
    one.element.dataset.mark = clibd.word(columns.mark, 0);
    if (one.drawn) draw(one);
  }

  clibd.each("[data-chart]", begin);
  addEventListener("load", () => charts.size && (window.requestIdleCallback || setTimeout)(() => loaded().catch(() => null)));
  addEventListener("beforeprint", printing);
  addEventListener("afterprint", printed);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((one) => one.drawn && draw(one)));
  document.addEventListener("clibd:changed", more);
})();
