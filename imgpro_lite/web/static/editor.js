// One image: what is known about it, to be changed. Only what was changed is sent.
"use strict";

const editor = document.getElementById("editor");
const editorForm = editor.querySelector("form");
const details = editor.querySelector(".metadata ul");
const FIXED_FIELDS = new Set(
  "id name url src width height filesize extension editable tags namespace public created_at expires_at date external_id"
    .split(" "),
);
let shown = null; // the image as the API told it

gallery.addEventListener("click", (event) => {
  const link = event.target.closest(".tile a");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  openEditor(link.closest(".tile").dataset.id);
});

editorForm.addEventListener("submit", (event) => {
  if (event.submitter?.value === "close") return;
  event.preventDefault();
  save();
});

document.getElementById("add-detail").addEventListener("click", () => addDetail("", "").querySelector(".key").focus());

document.getElementById("delete-one").addEventListener("click", async () => {
  const tile = tileOf(shown.id);
  if ((await confirmDeletion(1)) && (await deleteTiles([tile]))) editor.close();
});

async function openEditor(id) {
  try {
    fill(await callApi("GET", `/media/${id}`));
    editor.showModal();
  } catch (refused) {
    tell(refused.message, "bad");
  }
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
  for (const [key, value] of Object.entries(metadataOf(media))) addDetail(key, asText(value));
  showProblems({});
}

function facts(media) {
  const parts = [`${media.width} × ${media.height} pixels`, `${Math.ceil(media.filesize / 1024).toLocaleString("en")} KB`];
  parts.push(`uploaded ${new Date(media.created_at * 1000).toLocaleString()}`);
  if (media.expires_at) parts.push(`expires ${new Date(media.expires_at * 1000).toLocaleString()}`);
  return parts.join(", ");
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

function addDetail(key, value) {
  const row = document.getElementById("detail").content.firstElementChild.cloneNode(true);
  row.querySelector(".key").value = key;
  row.querySelector(".value").value = value;
  row.querySelector("button").addEventListener("click", () => row.remove());
  details.append(row);
  return row;
}

// What differs from the image as it is, in the words of the API.
function changes() {
  const before = fieldValues(shown);
  const changed = {};
  for (const name of Object.keys(before)) {
    const value = editorForm.elements[name].value.trim();
    if (value !== before[name]) changed[name] = value || (name === "name" ? "" : null);
  }
  if (changed.date) changed.date = Math.floor(new Date(changed.date).getTime() / 1000);
  if (editorForm.elements.public.checked !== shown.public) changed.public = editorForm.elements.public.checked;
  const metadata = metadataChanges();
  if (Object.keys(metadata).length) changed.metadata = metadata;
  return changed;
}

function metadataChanges() {
  const before = metadataOf(shown);
  const rows = [...details.children].map((row) => [row.querySelector(".key").value.trim(), row.querySelector(".value").value]);
  const after = Object.fromEntries(rows.filter(([key]) => key));
  const changed = Object.entries(after).filter(([key, value]) => !(key in before) || asText(before[key]) !== value);
  const removed = Object.keys(before).filter((key) => !(key in after));
  return Object.fromEntries([...changed, ...removed.map((key) => [key, null])]);
}

async function save() {
  try {
    const media = await callApi("PATCH", `/media/${shown.id}`, changes());
    const tile = tileOf(media.id);
    if (tile) showOnTile(tile, media);
    settle(tile ? [tile] : []);
    editor.close();
    tell("Saved");
  } catch (refused) {
    showProblems(refused.errors, refused.message);
  }
}

// Each message beside its field, and what belongs to none at the end.
function showProblems(errors, message = "") {
  const unplaced = { ...errors };
  for (const line of editorForm.querySelectorAll(".problem")) {
    const name = line.id.replace("problem-", "");
    const text = (errors[name] || []).join(", ");
    line.textContent = text && `This ${text}.`;
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
