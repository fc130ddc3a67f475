// Examples read without this. It puts a button that copies beside each, and the API key that this tab keeps into them.

import { copy } from "./clipboard.js";
import { isHidden, keep, kept, setHidden } from "./kept_key.js";

const PLACEHOLDER = "YOUR_API_KEY"; // as the server writes it: samples.py
const TOLD_MILLISECONDS = 2000; // so that the same words are told again the next time

const slots = document.querySelectorAll("[data-api-key]");
const notice = document.getElementById("kept-key");
const hide = document.getElementById("hide-key");
const told = document.getElementById("code-status");

for (const block of document.querySelectorAll(".code")) {
  const code = block.querySelector("code");
  const button = document.getElementById("copy-code").content.firstElementChild.cloneNode(true);
  const text = { get value() { return code.textContent; }, select: () => getSelection().selectAllChildren(code) };
  button.addEventListener("click", async () => {
    told.textContent = (await copy(text, button)) ? "The example is on the clipboard." : "It cannot be copied here.";
    setTimeout(() => (told.textContent = ""), TOLD_MILLISECONDS);
  });
  block.append(button);
}

function showKey() {
  const key = slots.length ? kept() : "";
  for (const slot of slots) slot.textContent = key && !isHidden() ? key : PLACEHOLDER;
  notice.hidden = !key;
  notice.firstElementChild.textContent = isHidden()
    ? "The API key that this tab keeps is hidden."
    : "The examples have the API key that this tab keeps.";
  hide.textContent = isHidden() ? "Show it" : "Hide it";
}

hide.addEventListener("click", () => {
  setHidden(!isHidden());
  showKey();
});

document.getElementById("forget-key").addEventListener("click", () => {
  keep("");
  showKey();
});

showKey();
