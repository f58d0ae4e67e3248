// In an export: any two evaluations side by side, by the fields of their specs that differ and by their accuracies.
"use strict";
clibd.each("[data-sides]", async (section) => {
  const columns = await clibd.load(section.dataset.sidesName, section.dataset.sides).catch(() => null);
  if (!columns) return;
  const choices = ["a", "b"].map((name) => section.querySelector(`select[name=${name}]`)), shown = section.querySelector("div");

  const chosen = () => choices.map((choice) => choice.selectedIndex);
  const texts = (name, rows) => rows.map((row) => clibd.word(columns[name], row) ?? "–");

  function made(tag, text, attributes) {
    return Object.assign(document.createElement(tag), { textContent: text }, attributes);
  }

  // A table of the columns whose names begin so; of fields those that differ, of numbers all.
  function table(begins, what, rows, numbers) {
    const names = Object.keys(columns).filter((name) => name.startsWith(begins)).map((name) => [name.slice(begins.length), texts(name, rows)]);
    const kept = names.filter(([, [a, b]]) => (numbers ? a !== "–" || b !== "–" : a !== b)), kind = numbers ? "n" : "";
    if (!kept.length) return made("p", "None.", { className: "muted" });
    const wide = made("div", "", { className: "wide", tabIndex: 0 }), whole = document.createElement("table"), head = document.createElement("tr");
    wide.setAttribute("role", "region");
    wide.setAttribute("aria-label", what);
    head.append(made("th", what, { className: "first", scope: "col" }), ...choices.map((choice, n) => heading("AB"[n], choice.selectedOptions[0], kind)));
    const body = kept.map(([name, values]) => {
      const row = document.createElement("tr");
      row.append(made("th", name, { className: "first", scope: "row" }), ...values.map((text) => made("td", text, { className: kind })));
      return row;
    });
    whole.createTHead().append(head);
    whole.createTBody().append(...body);
    wide.append(whole);
    return wide;
  }

  function heading(letter, option, kind) {
    const cell = made("th", `${letter}: `, { scope: "col", className: kind });
    cell.append(made("a", option.textContent, { href: option.dataset.page }));
    return cell;
  }

  function show() {
    const rows = chosen();
    shown.replaceChildren(
      made("h3", "Fields in which they differ"), table("field ", "Field", rows, false),
      made("h3", "Top-1 accuracies, in percent with 95 % intervals; n are queries (micro) or names (macro), by species"), table("accuracy ", "Retrieval, partition, average, rank, species", rows, true),
    );
    section.querySelector("pre").textContent = `clibd-results compare ${texts("folder", rows).join(" ")}`;
    history.replaceState(null, "", `#${new URLSearchParams(choices.map((choice) => [choice.name, choice.value]))}`);
  }

  // The address says which two, so that a link keeps them.
  const asked = new URLSearchParams(location.hash.slice(1));
  choices.forEach((choice, n) => {
    choice.selectedIndex = Math.min(n, choice.length - 1);
    if ([...choice.options].some((option) => option.value === asked.get(choice.name))) choice.value = asked.get(choice.name);
    choice.addEventListener("change", show);
  });
  section.hidden = false;
  show();
});
