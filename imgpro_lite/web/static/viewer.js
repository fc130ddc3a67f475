// The page of an image works without this. It copies texts, and follows the choice of size and format at once.
"use strict";

const form = document.querySelector("form[data-stem]");
const download = document.getElementById("download");
const COPIED_MILLISECONDS = 2000; // long enough to be read

for (const field of document.querySelectorAll(".copy input")) {
  const button = field.parentElement.querySelector("button");
  const label = button.firstElementChild;
  field.addEventListener("focus", () => field.select());
  button.addEventListener("click", async () => {
    label.textContent = (await copy(field)) ? "Copied" : "Press Ctrl+C";
    setTimeout(() => (label.textContent = "Copy"), COPIED_MILLISECONDS);
  });
}

form.addEventListener("change", showChoice);
form.addEventListener("submit", (event) => event.preventDefault());

async function copy(field) {
  try {
    await navigator.clipboard.writeText(field.value);
    return true;
  } catch {
    field.select(); // there is no clipboard without TLS, but for this
    return document.execCommand("copy");
  }
}

// The same texts as the server writes: snippets.py.
function showChoice() {
  const size = form.elements.size.value;
  const format = form.querySelector("input[name=format]:checked");
  const [, width, height] = format.dataset.pixels
    .split(", ")
    .map((one) => one.split(" "))
    .find(([name]) => name === size);
  const query = size === "full" ? "" : `?size=${size}`;
  const address = `${form.dataset.stem}.${format.value}${query}`;
  for (const field of document.querySelectorAll(".copy input[data-before]")) {
    const after = field.dataset.after.replace("{w}", width).replace("{h}", height);
    field.value = field.dataset.before + address + after;
  }
  download.search = query ? `${query}&download` : "?download";
  download.pathname = download.pathname.replace(/[^.]+$/, format.value);
  download.lastElementChild.textContent = `${width} × ${height} ${format.nextElementSibling.textContent}`;
}
