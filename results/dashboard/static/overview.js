// What has changed since the reader's last visit: the states of runs then are kept in this browser, and nowhere else.
"use strict";
(() => {
  const MOST = 30; // lines that are listed
  const AWAY = 30 * 60 * 1000; // milliseconds after which a reader who comes again pays another visit
  const line = (text, kind = "p") => Object.assign(document.createElement(kind), { textContent: text });

  function kept(key) {
    try {
      const found = JSON.parse(localStorage.getItem(key));
      return found && typeof found.seen === "number" && found.states ? found : null;
    } catch {
      return null; // no storage, or what somebody else has left there
    }
  }

  // The visit before this one, {seen, states}, or null; notes that the reader is here and what is shown now.
  function visited(key, states) {
    const found = kept(key);
    const before = found && Date.now() - found.seen < AWAY ? found.before : found && { seen: found.seen, states: found.states };
    try {
      localStorage.setItem(key, JSON.stringify({ seen: Date.now(), states, before: before || null }));
    } catch {
      // Without storage every visit is the first.
    }
    return before || null;
  }

  function changes(runs, then) {
    const now = new Set(runs.map(([run]) => run));
    const other = runs.filter(([run, , , state]) => then[run] !== state);
    const words = other.map(([run, label, sweep, state]) => `${sweep}, ${label}: ${state}, ${then[run] ? `was ${then[run]}` : "new"}`);
    const gone = Object.keys(then).filter((run) => !now.has(run)).length;
    return gone ? [...words, `Runs that are gone: ${gone}`] : words;
  }

  clibd.each("[data-since]", (element) => {
    const runs = clibd.told(element);
    const visit = visited(`clibd since ${element.dataset.since}`, Object.fromEntries(runs.map(([run, , , state]) => [run, state])));
    if (!visit) {
      return element.replaceChildren(line("This is your first visit with this browser; the next one says what has changed."));
    }
    const words = changes(runs, visit.states);
    const when = `your last visit, until ${new Date(visit.seen).toISOString().slice(0, 16).replace("T", " ")} UTC`;
    if (!words.length) return element.replaceChildren(line(`Nothing has changed since ${when}.`));
    const list = document.createElement("ul");
    list.append(...words.slice(0, MOST).map((text) => line(text, "li")));
    const rest = words.length > MOST ? [line(`And ${words.length - MOST} more.`)] : [];
    element.replaceChildren(line(`Since ${when}:`), list, ...rest);
  });
})();
