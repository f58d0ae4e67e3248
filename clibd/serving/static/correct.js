// What a person says of an answer: kept in this browser, under what was sent, and written into downloads.
"use strict";
(() => {
  const form = document.getElementById("ask"), KEY = `clibd-validated:${form.dataset.database}`, RANKS = ["order", "family", "genus", "species"];
  const downloads = document.getElementById("downloads"), forget = document.getElementById("forget");

  // A browser that keeps nothing, or somebody else's nonsense under this name, costs what was kept and nothing more.
  function kept() {
    try {
      const found = JSON.parse(localStorage.getItem(KEY));
      return found && typeof found === "object" && !Array.isArray(found) ? found : {};
    } catch {
      return {};
    }
  }
  let judged = kept();
  function keep() {
    try {
      localStorage.setItem(KEY, JSON.stringify(judged));
    } catch {
      clibd.identify.complain("This browser keeps nothing, so corrections last until the page is left; download them.");
    }
    forget.hidden = !Object.keys(judged).length;
  }

  const nameOf = (taxon) => taxon[taxon.rank];
  const wordsOf = (taxon) => [taxon.rank, ...RANKS.slice(0, RANKS.indexOf(taxon.rank)).map((rank) => taxon[rank]).filter(Boolean).slice(-1)].join(", ");

  function judge(one, judgement) {
    const { key } = clibd.told(one);
    if (judgement) judged[key] = judgement;
    else delete judged[key];
    keep();
    show(one);
  }

  function show(one) {
    const { key, answer } = clibd.told(one), said = judged[key], taxon = said?.taxon;
    const name = one.querySelector("[data-name]"), rank = one.querySelector("[data-rank]"), score = one.querySelector("[data-score]");
    const machine = answer.error ? "Not read" : answer.rank ? answer[answer.rank] : "No rank holds";
    name.textContent = taxon ? nameOf(taxon) : machine;
    if (rank) rank.textContent = taxon ? taxon.rank : answer.rank;
    if (score) score.hidden = Boolean(taxon);
    one.querySelector("[data-validated]").hidden = !said;
    one.querySelector("[data-forget]").hidden = !said;
    one.querySelector("[data-right]").hidden = Boolean(said) || !answer.rank;
    one.querySelector("[data-said]").textContent = !said ? "" : taxon ? `By hand: ${nameOf(taxon)} (${wordsOf(taxon)}). The machine had said ${machine}.` : "Confirmed by hand.";
  }

  clibd.each(".answer", (one) => {
    const correct = one.querySelector(".correct"), input = correct.elements.taxon, options = one.querySelector("datalist");
    let offered = new Map(), waiting = null;
    options.id = `taxa-of-${one.id}`;
    input.setAttribute("list", options.id);
    correct.hidden = false;
    downloads.hidden = false;
    correct.addEventListener("submit", (event) => event.preventDefault());
    one.querySelector("[data-right]").addEventListener("click", () => judge(one, { right: true }));
    one.querySelector("[data-forget]").addEventListener("click", () => {
      input.value = "";
      judge(one, null);
    });
    async function offer() {
      const reply = await fetch(`/taxa?${new URLSearchParams({ contains: input.value.trim(), limit: 20 })}`, { credentials: "same-origin" });
      if (!reply.ok) return;
      offered = new Map((await reply.json()).map(({ name, rank, order, family, genus }) => {
        const taxon = { order, family, genus, rank, [rank]: name };
        return [`${name} (${wordsOf(taxon)})`, taxon];
      }));
      options.replaceChildren(...[...offered.keys()].map((words) => Object.assign(document.createElement("option"), { value: words })));
      take();
    }
    function take() {
      if (offered.has(input.value)) judge(one, { taxon: offered.get(input.value) });
    }
    input.addEventListener("input", () => {
      take();
      clearTimeout(waiting);
      if (!offered.has(input.value) && input.value.trim()) waiting = setTimeout(offer, 150);
    });
    input.addEventListener("change", () => {
      if (input.value && !offered.has(input.value)) one.querySelector("[data-said]").textContent = "Choose one of the taxa that are offered: names that the database has not are not taken.";
    });
    show(one);
  });

  // --- Downloads --------------------------------------------------------------------------------------------------

  const told = (one) => {
    const { key, answer } = clibd.told(one);
    return { row: answer, right: Boolean(judged[key]?.right), taxon: judged[key]?.taxon ?? null };
  };
  clibd.each("[data-download]", (button) => {
    button.addEventListener("click", async () => {
      const answers = [...document.querySelectorAll(".answer")].map(told), headers = { "content-type": "application/json" };
      try {
        const reply = await fetch("/download", { method: "POST", headers, credentials: "same-origin", body: JSON.stringify({ format: button.dataset.download, answers }) });
        if (!reply.ok) throw new Error((await reply.json()).detail);
        const link = document.createElement("a"), where = URL.createObjectURL(await reply.blob());
        link.href = where;
        link.download = /filename="([^"]+)"/.exec(reply.headers.get("content-disposition"))?.[1] || "identified";
        link.click();
        setTimeout(() => URL.revokeObjectURL(where), 10000);
      } catch (error) {
        clibd.identify.complain(error instanceof TypeError ? "The server does not answer." : error.message);
      }
    });
  });
  forget.hidden = !Object.keys(judged).length;
  forget.addEventListener("click", () => {
    judged = {};
    keep();
    document.querySelectorAll(".answer").forEach(show);
  });
})();
