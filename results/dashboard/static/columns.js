// Columns that pages ask for by name: typed arrays out of scripts, as pages opened from disk may load nothing else.
"use strict";
window.clibd = (() => {
  const there = new Map(), awaited = new Map();

  // Called by the script of some columns when it has arrived.
  const columns = (name, content) => awaited.get(name)?.(unpacked(content));

  // The columns of a name, from the script at an address; loaded once.
  function load(name, address) {
    if (there.has(name)) return there.get(name);
    const found = new Promise((resolve, reject) => {
      awaited.set(name, resolve);
      const script = document.createElement("script");
      script.src = address;
      script.onload = script.onerror = () => {
        script.remove();
        reject(new Error(`${name} cannot be read`)); // which says nothing where columns have come
      };
      document.head.append(script);
    });
    there.set(name, found);
    found.catch(() => there.delete(name)).finally(() => awaited.delete(name));
    return found;
  }

  // Columns that are other ones the next time they are loaded.
  const forget = (name) => there.delete(name);

  async function unpacked(text) {
    const letters = atob(text), packed = new Uint8Array(letters.length);
    for (let place = 0; place < letters.length; place++) packed[place] = letters.charCodeAt(place);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return decoded(new Uint8Array(await new Response(stream).arrayBuffer()));
  }

  // A line that says what there is, and then the numbers: of each column the lowest bytes, then the next.
  function decoded(content) {
    const end = content.indexOf(10), told = JSON.parse(new TextDecoder().decode(content.subarray(0, end)));
    let place = end + 1;
    function numbers([type, length]) {
      const array = new globalThis[type](length), bytes = new Uint8Array(array.buffer), size = array.BYTES_PER_ELEMENT;
      for (let byte = 0; byte < size; byte++) for (let n = byte; n < bytes.length; n += size) bytes[n] = content[place++];
      return array;
    }
    const words = ([dictionary, codes]) => ({ words: dictionary, codes: codes ? numbers(codes) : Int32Array.from(dictionary.keys()) });
    return Object.fromEntries(told.map(([column, type, ...more]) => [column, type === "words" ? words(more) : numbers([type, ...more])]));
  }

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
