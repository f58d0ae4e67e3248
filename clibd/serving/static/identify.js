// Sends what is dropped, chosen or pasted, in parts that a request may have, and shows answers as they come.
"use strict";
clibd.identify = (() => {
  const form = document.getElementById("ask"), list = document.getElementById("answers"), drop = document.getElementById("drop");
  const problem = document.getElementById("problem"), count = document.getElementById("count"), results = document.getElementById("results");
  const files = form.elements.files, dropped = document.getElementById("dropped"), stop = document.getElementById("stop");
  const send = form.querySelector("button[type=submit]"), HINT = dropped.textContent;
  const MOST_BYTES = Number(form.dataset.mostBytes), A_PART = MOST_BYTES / 4;
  let chosen = [], stopping = null, done = 0, asked = 0;
  document.body.classList.add("scripted");

  const number = (many) => many.toLocaleString("en");
  const megabytes = (bytes) => `${number(Math.round(bytes / 2 ** 20))} MB`;

  function complain(words) {
    problem.textContent = words;
    problem.hidden = !words;
    if (words) problem.scrollIntoView({ block: "nearest" });
  }

  function choose(more) {
    const large = more.filter((file) => file.size > MOST_BYTES);
    complain(large.length ? `${large[0].name} has ${megabytes(large[0].size)}; at most ${megabytes(MOST_BYTES)} are read. It is left out: send a smaller image, or use clibd identify.` : "");
    chosen = [...chosen, ...more.filter((file) => !large.includes(file))];
    const bytes = chosen.reduce((sum, file) => sum + file.size, 0);
    dropped.textContent = chosen.length ? `${number(chosen.length)} file${chosen.length === 1 ? "" : "s"} (${megabytes(bytes)}): ${chosen.slice(0, 3).map((file) => file.name).join(", ")}${chosen.length > 3 ? " and more" : ""}` : HINT;
  }

  // One request for all, where it is small enough: a photograph and its barcode have to come together.
  function parts() {
    const pasted = form.elements.barcodes.value.trim(), bytes = chosen.reduce((sum, file) => sum + file.size, pasted.length);
    if (bytes <= A_PART) return [{ files: chosen, pasted }];
    const found = [], texts = chosen.filter((file) => !/^image\//.test(file.type)), images = chosen.filter((file) => /^image\//.test(file.type));
    if (texts.length || pasted) found.push({ files: texts, pasted });
    let part = null, size = 0;
    for (const file of images) {
      if (!part || size + file.size > A_PART) found.push((part = { files: [], pasted: "" })), (size = 0);
      part.files.push(file);
      size += file.size;
    }
    return found;
  }

  async function* lines(reply) {
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done: ended } = await reader.read();
      const [...whole] = (rest + (value || "")).split("\n");
      rest = whole.pop();
      for (const line of whole) if (line) yield JSON.parse(line);
      if (ended) return;
    }
  }

  async function ask(part) {
    const body = new FormData();
    part.files.forEach((file) => body.append("files", file));
    if (part.pasted) body.append("barcodes", part.pasted);
    ["confidence", "neighbours"].forEach((name) => body.append(name, form.elements[name].value));
    const reply = await fetch("/shown", { method: "POST", body, credentials: "same-origin", signal: stopping.signal });
    if (reply.status === 401) throw new Error("The token is no longer known: load the page again.");
    if (!reply.ok) throw new Error((await reply.json()).detail);
    for await (const line of lines(reply)) {
      if (line.error) throw new Error(line.error);
      if (line.specimens !== undefined) asked += line.specimens;
      else add(line.html, part.files);
      tell();
    }
  }

  // What the server has written as HTML holds no script that runs: names are text in it, and the policy allows none.
  function add(html, of) {
    const one = document.importNode(new DOMParser().parseFromString(html, "text/html").querySelector(".answer"), true);
    const file = of[Number(one.dataset.upload)], preview = one.querySelector("[data-preview]");
    one.id = `answer-${++done}`;
    if (preview && file) {
      const image = document.createElement("img");
      image.className = "specimen";
      image.alt = "";
      image.src = URL.createObjectURL(file);
      image.addEventListener("error", () => image.replaceWith(preview));
      preview.replaceWith(image);
    }
    list.append(one);
    clibd.renewed();
  }

  function tell(ended) {
    results.hidden = !done && !ended;
    const left = asked - done;
    count.textContent = `${number(done)} specimen${done === 1 ? "" : "s"} answered${left > 0 && !ended ? `, ${number(left)} to go` : ""}`;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!chosen.length && !form.elements.barcodes.value.trim()) return complain("There is nothing to name yet: drop photographs, or paste barcodes.");
    complain("");
    const all = parts(), sent = chosen, pasted = form.elements.barcodes.value;
    stopping = new AbortController();
    send.disabled = true;
    stop.hidden = false;
    try {
      for (const part of all) await ask(part);
      chosen = chosen.filter((file) => !sent.includes(file)); // more may have been dropped meanwhile
      if (form.elements.barcodes.value === pasted) form.elements.barcodes.value = "";
      choose([]);
    } catch (error) {
      complain(error.name === "AbortError" ? "Stopped; what was answered stays." : error instanceof TypeError ? "The server does not answer: is it still there, and was this too large for it?" : error.message);
    }
    asked = done;
    tell(true);
    send.disabled = false;
    stop.hidden = true;
    list.querySelector("summary:not([data-seen])")?.focus({ preventScroll: false });
    list.querySelectorAll("summary").forEach((one) => (one.dataset.seen = "yes"));
  });
  stop.addEventListener("click", () => stopping.abort());

  // --- Choosing ---------------------------------------------------------------------------------------------------

  files.addEventListener("change", () => {
    choose([...files.files]);
    files.value = "";
  });
  files.removeAttribute("name"); // what is chosen is kept here, as more may be dropped
  addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    drop.classList.add("over");
  });
  addEventListener("dragleave", (event) => event.relatedTarget || drop.classList.remove("over"));
  addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    drop.classList.remove("over");
    choose([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) choose([...event.clipboardData.files]);
  });

  // --- Looking ----------------------------------------------------------------------------------------------------

  clibd.each(".answer details", (details) => {
    details.addEventListener("toggle", () => details.open && draw(details));
    if (details.open) draw(details);
  });

  function draw(details) {
    if (details.dataset.drawn || details.querySelector("svg.barcode")) return;
    details.dataset.drawn = "yes";
    const { barcode, neighbours } = clibd.told(details), near = details.querySelector(".near");
    if (!barcode || !near) return;
    const own = document.createElement("li"), words = document.createElement("p");
    words.append(Object.assign(document.createElement("strong"), { textContent: "Asked about" }));
    own.append(words, clibd.barcodes.stripes(barcode, null));
    near.querySelectorAll("[data-near]").forEach((item) => {
      const key = neighbours[Number(item.dataset.near)].barcode;
      if (!key) return;
      const differs = clibd.barcodes.differences(barcode, key), said = document.createElement("p");
      const places = differs.places.slice(0, 12).map((place) => `${place + 1} ${barcode[place]}→${key[place]}`);
      said.className = "small";
      said.textContent = `${differs.places.length} of ${differs.of} bases differ${places.length ? `: ${places.join(", ")}${differs.places.length > 12 ? " …" : ""}` : ""}`;
      item.querySelector("[data-bases]").append(clibd.barcodes.stripes(key, differs), said);
    });
    near.prepend(own);
  }

  document.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || !event.target.closest(".answer summary")) return;
    const all = [...list.querySelectorAll(".answer > details > summary")], next = all[all.indexOf(event.target) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
  addEventListener("beforeprint", () => {
    const all = [...list.querySelectorAll("details")];
    if (all.length <= 30) all.forEach((one) => (one.open = true));
  });

  return { complain, lines };
})();
