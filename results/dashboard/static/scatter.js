// A field of points that one moves about in, points at and selects from, by pointer and by keyboard.
//
// clibd.scatter(element, points, { same, said, chose, moved }): `element` is a .plot, `points` as scatter_draw.js has them.
// `same`: both axes have one scale. said(n): lines about a point, or a promise of them, with a picture perhaps, as
// { lines, picture }. chose(list of points): called when others are selected. moved(project): the view is another one.
"use strict";
clibd.scatter = (element, points, { same, said, chose, moved }) => {
  const STATES = clibd.painter.STATES;
  const MOST_ZOOM = 64, NEAR = 14, CELLS = 256, STEP = 0.15;
  const MOST_MOVING = 150_000, STILL = 200; // points that are drawn while the view moves; ms until it stands still
  const field = element.querySelector(".field"), status = element.querySelector(".status");
  const canvas = document.createElement("canvas"), marks = document.createElement("canvas"), hint = document.createElement("div");
  marks.className = "marks";
  hint.className = "hint";
  hint.hidden = true;
  field.append(canvas, marks, hint);
  element.hidden = false;
  const painter = clibd.painter(canvas, points);
  element.dataset.drawn = painter.way;
  const view = { x: 0, y: 0, zoom: 1 };
  let mode = "move", ink, waiting = false, still = 0, pointed = -1;

  // --- What is seen ------------------------------------------------------------------------------------------------
  const rgb = (text) => {
    const context = document.createElement("canvas").getContext("2d");
    context.fillStyle = text;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  function colours() {
    const named = (name) => rgb(getComputedStyle(element).getPropertyValue(name).trim());
    const own = [1, 2, 3, 4, 5, 6, 7, 8].map((number) => named(`--c${number}`));
    ink = { colours: [...own, named("--other"), named("--nameless")], ink: named("--ink") };
  }
  const ratio = () => Math.min(2, devicePixelRatio || 1);
  function scales() {
    const [width, height] = [canvas.width, canvas.height], least = Math.min(width, height);
    const [x, y] = same ? [least, least] : [width, height];
    return { perX: 0.47 * x * view.zoom, perY: 0.47 * y * view.zoom };
  }
  // Where a place of the points is in the field, in CSS pixels.
  const project = (x, y) => {
    const { perX, perY } = scales(), r = ratio();
    return [(canvas.width / 2 + (x - view.x) * perX) / r, (canvas.height / 2 - (y - view.y) * perY) / r];
  };
  const unproject = (left, top) => {
    const { perX, perY } = scales(), r = ratio();
    return [view.x + (left * r - canvas.width / 2) / perX, view.y - (top * r - canvas.height / 2) / perY];
  };
  const at = (n) => [points.places[2 * n] / 32767, points.places[2 * n + 1] / 32767];
  const size = () => ratio() * Math.max(2, Math.min(9, 160 / Math.sqrt(points.count) + 1)) * Math.min(2.5, view.zoom ** 0.35) + (points.count < 5000 ? 2 : 0);

  // Machines without a graphics card take seconds for a million points: some of them do while the view moves.
  function draw(moving = false) {
    clearTimeout(still);
    let every = moving ? Math.min(61, Math.ceil(points.count / MOST_MOVING)) : 1;
    while (every > 1 && (every % 2 === 0 || every % 3 === 0)) every++; // specimens have two or three points in turn
    if (every > 1) still = setTimeout(draw, STILL);
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      painter.draw({ ...view, ...scales(), size: size() }, ink, every);
      if (moved) moved(project);
      element.dataset.frames = String(Number(element.dataset.frames || 0) + 1);
    });
  }
  function resized() {
    const r = ratio(), box = field.getBoundingClientRect();
    for (const one of [canvas, marks]) [one.width, one.height] = [Math.max(1, Math.round(box.width * r)), Math.max(1, Math.round(box.height * r))];
    draw(true);
  }
  function moveTo(x, y) {
    view.x = Math.max(-1, Math.min(1, x));
    view.y = Math.max(-1, Math.min(1, y));
    hint.hidden = true;
    draw(true);
  }
  function zoom(factor, left = field.clientWidth / 2, top = field.clientHeight / 2) {
    const [x, y] = unproject(left, top);
    const before = view.zoom;
    view.zoom = Math.max(0.5, Math.min(MOST_ZOOM, view.zoom * factor));
    const part = 1 - before / view.zoom;
    moveTo(view.x + (x - view.x) * part, view.y + (y - view.y) * part);
  }
  function whole() {
    view.zoom = 1;
    moveTo(0, 0);
  }

  // --- Which points are where: cells of the whole, each with its points -------------------------------------------
  let starts, listed;
  const cell = (value) => Math.max(0, Math.min(CELLS - 1, Math.floor(((value + 1) / 2) * CELLS)));
  function sorted() {
    if (starts) return;
    starts = new Int32Array(CELLS * CELLS + 1);
    const where = new Int32Array(points.count);
    for (let n = 0; n < points.count; n++) {
      const [x, y] = at(n);
      starts[(where[n] = cell(y) * CELLS + cell(x)) + 1]++;
    }
    for (let n = 0; n < CELLS * CELLS; n++) starts[n + 1] += starts[n];
    const next = starts.slice();
    listed = new Int32Array(points.count);
    for (let n = 0; n < points.count; n++) listed[next[where[n]]++] = n;
  }
  function* within(x0, y0, x1, y1) {
    sorted();
    for (let row = cell(y0); row <= cell(y1); row++) {
      for (let k = starts[row * CELLS + cell(x0)]; k < starts[row * CELLS + cell(x1) + 1]; k++) {
        if (points.state[listed[k]] !== STATES.hidden) yield listed[k];
      }
    }
  }
  function nearest(left, top) {
    const [[x0, y1], [x1, y0]] = [unproject(left - NEAR, top - NEAR), unproject(left + NEAR, top + NEAR)];
    let best = -1, least = NEAR * NEAR;
    for (const n of within(x0, y0, x1, y1)) {
      const [px, py] = project(...at(n)), far = (px - left) ** 2 + (py - top) ** 2;
      if (far < least) [best, least] = [n, far];
    }
    return best;
  }

  // --- Pointing and selecting --------------------------------------------------------------------------------------
  async function point(n, left, top) {
    if (n === pointed && !hint.hidden) return;
    pointed = n;
    if (n < 0) return void (hint.hidden = true);
    const told = await said(n);
    if (pointed !== n) return;
    hint.replaceChildren(...told.lines.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
    if (told.picture) hint.prepend(Object.assign(document.createElement("img"), { src: told.picture, alt: "" }));
    hint.hidden = false;
    hint.style.left = `${Math.max(0, Math.min(left + 14, field.clientWidth - hint.offsetWidth - 4))}px`;
    hint.style.top = `${Math.max(0, top + 14 + hint.offsetHeight > field.clientHeight ? top - hint.offsetHeight - 10 : top + 14)}px`;
  }
  function choose(list) {
    const any = list.length > 0, found = new Set(list);
    for (let n = 0; n < points.count; n++) {
      if (points.state[n] === STATES.hidden) continue;
      points.state[n] = found.has(n) ? STATES.chosen : any ? STATES.pale : STATES.shown;
    }
    painter.looked();
    draw();
    chose(list);
  }
  function inside(path, x, y) {
    let odd = false;
    for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
      const [[ax, ay], [bx, by]] = [path[i], path[j]];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
    }
    return odd;
  }
  function chooseIn(path) {
    const around = path.map(([left, top]) => unproject(left, top));
    const xs = around.map(([x]) => x), ys = around.map(([, y]) => y);
    const found = [];
    for (const n of within(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys))) {
      if (inside(around, ...at(n))) found.push(n);
    }
    choose(found);
  }

  let path = null, from = null;
  const where = (event) => {
    const box = field.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  function outlined() {
    const context = marks.getContext("2d"), r = ratio();
    context.clearRect(0, 0, marks.width, marks.height);
    if (!path || path.length < 2) return;
    context.strokeStyle = `rgb(${ink.ink.join(",")})`;
    context.lineWidth = 1.5 * r;
    context.setLineDash([5 * r, 4 * r]);
    context.beginPath();
    path.forEach(([x, y], n) => (n ? context.lineTo(x * r, y * r) : context.moveTo(x * r, y * r)));
    context.closePath();
    context.stroke();
  }
  field.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    from = { at: where(event), x: view.x, y: view.y, moved: false, mode: event.shiftKey && mode === "move" ? "box" : mode };
    path = from.mode === "lasso" ? [from.at] : null;
    field.setPointerCapture(event.pointerId);
  });
  field.addEventListener("pointermove", (event) => {
    const [left, top] = where(event);
    if (!from) return void point(nearest(left, top), left, top);
    const [along, down] = [left - from.at[0], top - from.at[1]];
    from.moved ||= Math.hypot(along, down) > 4;
    if (!from.moved) return;
    const { perX, perY } = scales();
    if (from.mode === "move") return moveTo(from.x - (along * ratio()) / perX, from.y + (down * ratio()) / perY);
    if (from.mode === "box") path = [from.at, [left, from.at[1]], [left, top], [from.at[0], top]];
    else path.push([left, top]);
    outlined();
  });
  field.addEventListener("pointerup", (event) => {
    if (!from) return;
    const [left, top] = where(event), was = from, drawn = path;
    [from, path] = [null, null];
    outlined();
    if (was.moved) return void (drawn && drawn.length > 2 && chooseIn(drawn));
    const n = nearest(left, top);
    choose(n < 0 ? [] : [n]);
  });
  field.addEventListener("pointercancel", () => {
    [from, path] = [null, null];
    outlined();
  });
  field.addEventListener("pointerleave", () => point(-1));
  field.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== field) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), ...where(event));
  }, { passive: false });
  async function chooseMiddle() {
    const [left, top] = [field.clientWidth / 2, field.clientHeight / 2], n = nearest(left, top);
    choose(n < 0 ? [] : [n]);
    status.textContent = n < 0 ? "Nothing is in the middle." : (await said(n)).lines.join(" · ");
  }
  const KEYS = {
    ArrowLeft: () => moveTo(view.x - STEP / view.zoom, view.y),
    ArrowRight: () => moveTo(view.x + STEP / view.zoom, view.y),
    ArrowUp: () => moveTo(view.x, view.y + STEP / view.zoom),
    ArrowDown: () => moveTo(view.x, view.y - STEP / view.zoom),
    "+": () => zoom(1.4),
    "=": () => zoom(1.4),
    "-": () => zoom(1 / 1.4),
    0: whole,
    Enter: chooseMiddle,
    Escape: () => choose([]),
  };
  field.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  const DO = { in: () => zoom(1.4), out: () => zoom(1 / 1.4), whole, none: () => choose([]) };
  element.querySelectorAll("[data-do]").forEach((button) => button.addEventListener("click", DO[button.dataset.do]));
  const modes = [...element.querySelectorAll("[data-mode]")];
  modes.forEach((button) => button.addEventListener("click", () => {
    mode = button.dataset.mode;
    field.dataset.does = mode;
    modes.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
  }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (colours(), draw()));
  canvas.addEventListener("restored", () => draw());
  colours();
  new ResizeObserver(resized).observe(field); // which calls it at once
  const looked = () => (painter.looked(), draw());
  return { choose, looked, status };
};
