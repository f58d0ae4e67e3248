// Columns that pages ask for by name: typed arrays out of scripts, as pages opened from disk may load nothing else.
"use strict";
window.clibd = (() => {
  const waiting = new Map(), there = new Map();

  function decoded([type, content, codes]) {
    if (type === "words") return { words: content, codes: codes ? decoded(codes) : Int32Array.from(content.keys()) };
    const letters = atob(content), bytes = new Uint8Array(letters.length);
    for (let place = 0; place < letters.length; place++) bytes[place] = letters.charCodeAt(place);
    return new globalThis[type](bytes.buffer);
  }

  // Called by the script of some columns when it has arrived.
  function columns(name, told) {
    const found = Object.fromEntries(Object.entries(told).map(([column, values]) => [column, decoded(values)]));
    there.set(name, found);
    (waiting.get(name) || []).forEach((resolve) => resolve(found));
    waiting.delete(name);
  }

  // The columns of a name, from the script at an address; loaded once.
  function load(name, address) {
    if (there.has(name)) return Promise.resolve(there.get(name));
    return new Promise((resolve, reject) => {
      const others = waiting.get(name);
      if (others) return others.push(resolve);
      waiting.set(name, [resolve]);
      const script = document.createElement("script");
      script.src = address;
      script.onload = () => script.remove();
      script.onerror = () => {
        waiting.delete(name);
        script.remove();
        reject(new Error(`${name} cannot be read`));
      };
      document.head.append(script);
    });
  }

  // Columns that are other ones the next time they are loaded.
  const forget = (name) => there.delete(name);

  const word = (column, row) => (column.codes[row] < 0 ? null : column.words[column.codes[row]]);

  // Runs for each element of a kind, now and whenever a part of the page was renewed.
  const kinds = [];
  function each(selector, begin) {
    kinds.push([selector, begin]);
    document.querySelectorAll(selector).forEach((element) => start(element, begin));
  }
  function start(element, begin) {
    if (element.dataset.begun) return;
    element.dataset.begun = "yes";
    begin(element);
  }
  function renewed() {
    for (const [selector, begin] of kinds) document.querySelectorAll(selector).forEach((one) => start(one, begin));
  }

  // What a page says to its scripts, in <script type="application/json"> within an element.
  const told = (element) => JSON.parse(element.querySelector('script[type="application/json"]').textContent);

  return { columns, load, forget, word, each, renewed, told };
})();
