// Keeps a page as its runs are: the server says what has changed, and parts that show it are renewed.
//
// A part is an element with an id and data-renew="RUN", "SWEEP", "*tables" for what tables are made of, or "*" for all
// (several with blanks between). The page is fetched once for all parts that a burst of changes touches; each part, and
// what stands above all, is replaced by what it is now.
"use strict";
(() => {
  const body = document.body;
  if (!body.dataset.live) return;
  const BURST = 250, LOOK_EVERY = 5000;
  let shown = Number(body.dataset.look), pending = new Set(), timer = null, fetching = false, polling = null;

  // What the server has sent of each part: scripts draw into parts, so that these say no more whether something changed.
  const sent = new Map();
  document.querySelectorAll("[data-renew][id], #banners").forEach((part) => sent.set(part.id, part.outerHTML));

  const parts = () => [...document.querySelectorAll("[data-renew][id]")];
  const touched = (part) =>
    pending.has("*") || part.dataset.renew === "*" || part.dataset.renew.split(" ").some((name) => pending.has(name));

  function soon(names) {
    names.forEach((name) => pending.add(name));
    if (timer === null && pending.size) timer = setTimeout(renew, BURST);
  }

  async function renew() {
    timer = null;
    if (document.hidden) return; // it is done when somebody looks again
    if (fetching) return soon([]);
    const ids = parts().filter(touched).map((part) => part.id);
    pending = new Set();
    if (!ids.length) return;
    fetching = true;
    try {
      const reply = await fetch(location.href, { credentials: "same-origin", headers: { "clibd-renews": "1" } });
      if (!reply.ok && reply.status !== 404) return;
      if (reply.ok && document.getElementById("missing")) return location.reload(); // it is there now
      const now = new DOMParser().parseFromString(await reply.text(), "text/html");
      shown = Number(now.body.dataset.look) || shown;
      ["banners", ...ids].forEach((id) => replace(document.getElementById(id), now.getElementById(id)));
      clibd.renewed();
      document.dispatchEvent(new CustomEvent("clibd:renewed", { detail: ids }));
    } catch {
      soon(["*"]);
    } finally {
      fetching = false;
    }
  }

  // What a reader has opened, chosen or scrolled stays so, and who stands on a link stays there.
  function replace(old, part) {
    if (!old || !part || sent.get(old.id) === part.outerHTML) return;
    sent.set(old.id, part.outerHTML);
    const open = new Map(named(old, "details", "summary").map(([name, one]) => [name, one.open]));
    const scrolled = new Map(named(old, ".wide").map(([name, { scrollLeft, scrollTop }]) => [name, [scrollLeft, scrollTop]]));
    const chosen = new Map(fields(old));
    const focused = old.contains(document.activeElement) ? focusable(old).indexOf(document.activeElement) : -1;
    const renewed = document.importNode(part, true);
    named(renewed, "details", "summary").forEach(([name, one]) => (one.open = open.get(name) ?? one.open));
    fields(renewed).forEach(([name, one]) => keep(chosen.get(name), one));
    old.replaceWith(renewed);
    for (const [name, one] of named(renewed, ".wide")) [one.scrollLeft, one.scrollTop] = scrolled.get(name) ?? [0, 0];
    if (focused >= 0) focusable(renewed)[focused]?.focus();
  }
  // Things of a kind by what a reader calls them: the row or card that they are in, and their own words; by number where
  // several are called the same.
  function named(part, kind, words) {
    const counts = new Map();
    return [...part.querySelectorAll(kind)].map((one) => {
      const around = one.closest("tr, article")?.querySelector("th, h3")?.textContent ?? "";
      const own = words ? one.querySelector(words)?.textContent : (one.ariaLabel ?? one.getAttribute("aria-labelledby"));
      const name = `${around}|${own}`, count = counts.get(name) ?? 0;
      counts.set(name, count + 1);
      return [`${name}|${count}`, one];
    });
  }
  const fields = (part) =>
    [...part.querySelectorAll("select, input")].map((one) => [one.type === "radio" ? `${one.name}|${one.value}` : one.name, one]);
  function keep(before, one) {
    if (!before) return;
    if (one.type === "radio") one.checked = before.checked;
    else if (one.type !== "hidden" && (!one.options || [...one.options].some(({ value }) => value === before.value))) one.value = before.value;
  }
  const focusable = (element) => [...element.querySelectorAll("a[href], button, input, select, summary, [tabindex]")];

  function heard(name, told) {
    if (name === "look") return void (told.look !== shown && soon(["*"]));
    soon(told.tables ? [...told.changed, "*tables"] : told.changed);
    document.dispatchEvent(new CustomEvent("clibd:changed", { detail: told }));
  }

  // Only the page that is looked at listens: browsers keep six connections to a server, for all of their pages.
  let source = null, again = null;
  function listen() {
    if (document.hidden || source) return;
    if (!window.EventSource) return look();
    source = new EventSource(body.dataset.live);
    for (const name of ["look", "changed"])
      source.addEventListener(name, (event) => {
        clearInterval(polling);
        polling = null;
        heard(name, JSON.parse(event.data));
      });
    // A browser tries again by itself, unless the answer was no stream; meanwhile the page is looked at now and then.
    source.onerror = () => {
      look();
      if (source.readyState !== EventSource.CLOSED) return;
      silent();
      again = setTimeout(listen, LOOK_EVERY);
    };
  }
  function silent() {
    clearTimeout(again);
    if (source) source.close();
    source = null;
  }
  function look() {
    polling ??= setInterval(() => soon(["*"]), LOOK_EVERY);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return silent();
    listen();
    soon([]);
  });
  window.addEventListener("pagehide", silent);
  window.addEventListener("pageshow", listen);
  listen();
})();
