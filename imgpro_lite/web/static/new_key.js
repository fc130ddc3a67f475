// A key that was just made: whether this tab keeps it.

import { keep, kept } from "./kept_key.js";

const box = document.getElementById("keep-key");
const { value } = document.getElementById("copy-key");

box.checked = kept() === value;
box.addEventListener("change", () => keep(box.checked ? value : ""));
