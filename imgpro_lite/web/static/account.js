// What the team uses and has, kept right while its images change: asked for anew once the page has changed some.

import { fileSize } from "./words.js";

const PAUSE_MILLISECONDS = 400; // many uploads in a row are one question
const MAX_NAMESPACES = 200; // as suggestions: dashboard.py
let asking;

for (const event of ["imgpro:uploaded", "imgpro:changed"]) {
  document.addEventListener(event, () => {
    clearTimeout(asking);
    asking = setTimeout(refresh, PAUSE_MILLISECONDS);
  });
}

async function refresh() {
  try {
    const [usage, { namespaces }] = await Promise.all([callApi("GET", "/usage"), callApi("GET", "/namespaces")]);
    showMeter("uploads", usage.uploads_used, usage.uploads_limit, usage.uploads_used.toLocaleString("en"));
    showMeter("storage", usage.storage_used_bytes, usage.storage_limit_bytes, fileSize(usage.storage_used_bytes));
    document.getElementById("namespaces").replaceChildren(...namespaces.slice(0, MAX_NAMESPACES).map(suggestion));
  } catch {} // the numbers stay as they were; whatever was done has told how it went
}

function showMeter(id, used, limit, text) {
  const words = document.getElementById(id);
  words.querySelector("strong").textContent = text;
  const bar = words.parentElement.querySelector("progress");
  if (!bar) return;
  bar.value = Math.min(used, limit);
  bar.classList.toggle("full", used >= limit);
}

function suggestion({ namespace, count }) {
  const option = document.createElement("option");
  option.value = namespace;
  option.textContent = countImages(count);
  return option;
}
