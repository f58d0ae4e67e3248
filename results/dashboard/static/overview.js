// What has changed since the reader's last visit: the states of runs then are kept in this browser, and nowhere else.
"use strict";
(() => {
  const GOOD = 30; // lines that are listed

  function before(key) {
    try {
      return JSON.parse(localStorage.getItem(key));
    } catch {
      return null; // no storage, or somebody else's
    }
  }

  function keep(key, states) {
    try {
      localStorage.setItem(key, JSON.stringify({ when: Date.now(), states }));
    } catch {
      // Without storage every visit is the first.
    }
  }

  const line = (text, kind = "p") => Object.assign(document.createElement(kind), { textContent: text });

  function changes(runs, then) {
    const now = new Map(runs.map(([run, label, sweep, state]) => [run, { label, sweep, state }]));
    const other = [...now].filter(([run, { state }]) => then[run] !== state);
    const words = other.map(([run, { label, sweep, state }]) => `${sweep}, ${label}: ${state}${then[run] ? `, was ${then[run]}` : ", new"}`);
    const gone = Object.keys(then).filter((run) => !now.has(run));
    return gone.length ? [...words, `${gone.length} runs are gone`] : words;
  }

  // The last visit is that of the page that was loaded before this one: renewing a part is no visit.
  const last = new Map();
  clibd.each("[data-since]", (element) => {
    const key = `clibd since ${element.dataset.since}`;
    const runs = clibd.told(element);
    if (!last.has(key)) last.set(key, before(key));
    const visit = last.get(key);
    keep(key, Object.fromEntries(runs.map(([run, , , state]) => [run, state])));
    if (!visit || typeof visit.states !== "object" || !visit.states) {
      return element.replaceChildren(line("This is your first visit with this browser; the next one says what has changed."));
    }
    const words = changes(runs, visit.states);
    const when = `your last visit on ${new Date(visit.when).toISOString().slice(0, 16).replace("T", " ")} UTC`;
    if (!words.length) return element.replaceChildren(line(`Nothing has changed since ${when}.`));
    const list = document.createElement("ul");
    list.append(...words.slice(0, GOOD).map((text) => line(text, "li")));
    const rest = words.length > GOOD ? [line(`And ${words.length - GOOD} more.`)] : [];
    element.replaceChildren(line(`Since ${when}:`), list, ...rest);
  });
})();
