// One image: what is known about it, to be changed. Only what was changed is sent.
"use strict";

const editor = document.getElementById("editor");
const editorForm = editor.querySelector("form");
const details = editor.querySelector(".metadata ul");
const FIXED_FIELDS = new Set(
  "id name url src width height filesize extension editable tags namespace public created_at expires_at date external_id"
    .split(" "),
);
const LONG_VALUE_CHARS = 60; // more are hard to see in one line
let shown = null; // the image as the API told it
let untouched = new Map(); // the fields as they were filled in: a field cannot hold every text to the letter

gallery.addEventListener("click", (event) => {
  const link = event.target.closest(".tile a");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  openEditor(link.closest(".tile").dataset.id);
});

editorForm.addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});

document.getElementById("add-detail").addEventListener("click", () => addDetail("", "").querySelector(".key").focus());

document.getElementById("delete-one").addEventListener("click", async () => {
  const tile = tileOf(shown.id) ?? makeTile(shown); // it may be further down than is loaded
  if (!(await confirmDeletion(1)) || !(await deleteTiles([tile]))) return;
  editor.close();
  focusGallery();
});

document.getElementById("close-editor").addEventListener("click", leaveEditor);

editor.addEventListener("cancel", (event) => {
  event.preventDefault();
  leaveEditor();
});

// The open editor is a step in the history, so that Back closes it and leads back to it from the page of the image.
editor.addEventListener("close", () => {
  if (history.state?.editor) history.back();
});

addEventListener("popstate", async ({ state }) => {
  if (state?.editor) return editor.open || showImage(state.editor);
  if (!editor.open) return;
  if (await mayLeave()) editor.close();
  else history.forward();
});

addEventListener("beforeunload", (event) => {
  if (editor.open && hasEdits()) event.preventDefault();
});

async function openEditor(id) {
  if (await showImage(id)) history.pushState({ ...history.state, editor: id }, "");
}

async function showImage(id) {
  try {
    fill(await callApi("GET", `/media/${id}`));
    editor.showModal();
    return true;
  } catch (refused) {
    tell(refused.words, "bad");
    return false;
  }
}

async function leaveEditor() {
  if (await mayLeave()) editor.close();
}

async function mayLeave() {
  return !hasEdits() || ask("Leave without saving?", "What you have changed here is lost then.", "Discard changes", "Keep editing");
}

function hasEdits() {
  return Object.keys(changes()).length > 0;
}

function fill(media) {
  shown = media;
  editor.querySelector("h2 bdi").textContent = media.name;
  const picture = editor.querySelector(".preview img");
  picture.src = pictureAddress(media, ".avif?size=m");
  picture.width = media.width;
  picture.height = media.height;
  picture.hidden = false;
  editor.querySelector("a.page").href = `${gallery.dataset.base}/${media.id}`;
  editor.querySelector("a.original").href = pictureAddress(media, `.${media.extension}`);
  editor.querySelector(".facts-line").textContent = facts(media);
  for (const [name, value] of Object.entries(fieldValues(media))) editorForm.elements[name].value = value;
  editorForm.elements.public.checked = media.public;
  details.replaceChildren();
  for (const [key, value] of Object.entries(metadataOf(media))) addDetail(key, asText(value), key);
  untouched = new Map([...editorForm.elements].map((field) => [field, field.value]));
  showProblems({});
}

function isTouched(field) {
  return field.value !== untouched.get(field);
}

function facts(media) {
  const parts = [`${media.width} × ${media.height} pixels`, `${Math.ceil(media.filesize / 1024).toLocaleString("en")} KB`];
  parts.push(`uploaded ${whenItIs(media.created_at)}`);
  if (media.expires_at) parts.push(`expires ${whenItIs(media.expires_at)}`);
  return parts.join(" · ");
}

// As all pages write times, but in the time of this device.
function whenItIs(at) {
  const time = new Date(at * 1000);
  const clock = time.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return `${time.toLocaleDateString("en-GB", { dateStyle: "long" })}, ${clock}`;
}

function fieldValues(media) {
  return {
    name: media.name,
    tags: media.tags.join(", "),
    namespace: media.namespace || "",
    date: media.date === undefined ? "" : asLocalTime(media.date),
    external_id: media.external_id || "",
  };
}

function metadataOf(media) {
  return Object.fromEntries(Object.entries(media).filter(([key]) => !FIXED_FIELDS.has(key)));
}

function asText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function asLocalTime(at) {
  const time = new Date(at * 1000);
  return new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

// A row for one detail. `original` is the key that the image has it under; a new one has none.
function addDetail(key, value, original = null) {
  const row = document.getElementById("detail").content.firstElementChild.cloneNode(true);
  const isLong = value.includes("\n") || value.length > LONG_VALUE_CHARS;
  row.querySelector(isLong ? "input.value" : "textarea").remove();
  row.querySelector(".key").value = key;
  row.querySelector(".value").value = value;
  row.original = original;
  row.querySelector("button").addEventListener("click", () => row.remove());
  details.append(row);
  return row;
}

// What differs from the image as it is, in the words of the API. What nobody has touched is never sent.
function changes() {
  const changed = {};
  for (const name of Object.keys(fieldValues(shown))) {
    const field = editorForm.elements[name];
    if (isTouched(field)) changed[name] = field.value.trim() || (name === "name" ? "" : null);
  }
  if (changed.date) changed.date = Math.floor(new Date(changed.date).getTime() / 1000);
  if (editorForm.elements.public.checked !== shown.public) changed.public = editorForm.elements.public.checked;
  const metadata = metadataChanges();
  if (Object.keys(metadata).length) changed.metadata = metadata;
  return changed;
}

function metadataChanges() {
  const before = metadataOf(shown);
  const after = new Map([...details.children].map(readDetail).filter(([key]) => key));
  const removed = Object.keys(before).filter((key) => !after.has(key));
  const changed = [...after].filter(([key, value]) => !Object.hasOwn(before, key) || before[key] !== value);
  return Object.fromEntries([...changed, ...removed.map((key) => [key, null])]);
}

// The key and the value of a row: the very ones of the image where nobody has touched them.
function readDetail(row) {
  const [key, value] = [row.querySelector(".key"), row.querySelector(".value")];
  const isNew = row.original === null;
  const old = isNew ? "" : metadataOf(shown)[row.original];
  return [
    isNew || isTouched(key) ? key.value.trim() : row.original,
    isNew || isTouched(value) ? asValue(value.value, old) : old,
  ];
}

// What was no text before (a number, a list) stays what it is where it can.
function asValue(text, old) {
  if (typeof old === "string") return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

async function save() {
  try {
    const media = await callApi("PATCH", `/media/${shown.id}`, changes());
    const tile = tileOf(media.id);
    if (tile) showOnTile(tile, media);
    editor.close();
    settle(tile ? [tile] : []);
    if (tile && !tile.isConnected) focusGallery();
    tell("Saved");
  } catch (refused) {
    showProblems(refused.errors, refused.words);
  }
}

// Each message beside its field, and what belongs to none at the end.
function showProblems(errors, message = "") {
  const unplaced = { ...errors };
  for (const line of editorForm.querySelectorAll(".problem")) {
    const name = line.id.replace("problem-", "");
    const text = errors[name] ? fieldProblem(name, errors[name]) : "";
    line.textContent = text;
    line.hidden = !text;
    editorForm.elements[name]?.setAttribute?.("aria-invalid", String(Boolean(text)));
    delete unplaced[name];
  }
  const isPlaced = Object.keys(errors).length > 0 && Object.keys(unplaced).length === 0;
  const last = document.getElementById("problem-form");
  last.textContent = isPlaced ? "" : message;
  last.hidden = !last.textContent;
  editorForm.querySelector("[aria-invalid=true]")?.focus();
}

if (history.state?.editor) showImage(history.state.editor); // back from its page, or loaded anew
