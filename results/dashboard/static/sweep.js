// The two runs that a reader has chosen to compare stay chosen when the table of trials is renewed.
"use strict";
clibd.each("form[data-two]", (form) => {
  const chosen = {};
  form.addEventListener("change", ({ target }) => (chosen[target.name] = target.value));
  document.addEventListener("clibd:renewed", () => {
    for (const one of form.querySelectorAll("input[type=radio]")) one.checked = chosen[one.name] === one.value;
  });
});
