// What every page does: copies what a button names, and begins again what htmx has renewed.
"use strict";
document.addEventListener("htmx:after:swap", () => clibd.renewed());
clibd.each("button[data-copy]", (button) => {
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy it";
    }
  });
});
