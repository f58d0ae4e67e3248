// Keeps a page as its runs are: the server says what has changed, and parts that show it are renewed.
//
// A part is an element with an id and data-renew="RUN", "SWEEP" or "*" (several with blanks between). The page is
// fetched once for all parts that a burst of changes touches; each part is replaced by what it is now.
"use strict";
(() => {
  const body = document.body;
  if (!body.dataset.live) return;
  const BURST = 250, LOOK_EVERY = 5000;
  let shown = Number(body.dataset.look), pending = new Set(), timer = null, fetching = false, polling = null;

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
      const now = new DOMParser().parseFromString(await reply.text(), "text/html");
      shown = Number(now.body.dataset.look) || shown;
      ids.forEach((id) => replace(document.getElementById(id), now.getElementById(id)));
      clibd.renewed();
      document.dispatchEvent(new CustomEvent("clibd:renewed", { detail: ids }));
    } catch {
      soon(["*"]);
    } finally {
      fetching = false;
    }
  }

  // What a reader has opened stays open, and who stands on a link stays there.
  function replace(old, part) {
    if (!old || !part || old.outerHTML === part.outerHTML) return;
    const open = [...old.querySelectorAll("details")].map((one) => one.open);
    const focused = old.contains(document.activeElement) ? focusable(old).indexOf(document.activeElement) : -1;
    const renewed = document.importNode(part, true);
    [...renewed.querySelectorAll("details")].forEach((one, place) => (one.open = open[place] ?? one.open));
    old.replaceWith(renewed);
    if (focused >= 0) focusable(renewed)[focused]?.focus();
  }
  const focusable = (element) => [...element.querySelectorAll("a[href], button, input, select, summary, [tabindex]")];

  function heard(name, told) {
    if (name === "look") return void (told.look !== shown && soon(["*"]));
    soon(told.changed);
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
