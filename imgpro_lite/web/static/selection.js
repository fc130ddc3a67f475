// Choosing many images with mouse or keyboard, and changing them together.
"use strict";

const selection = document.getElementById("selection");
const MAX_BATCH_IMAGES = 100; // of one request to the API
let lastPicked = null;

gallery.addEventListener("click", (event) => {
  if (!event.target.matches(".choose input")) return;
  if (event.shiftKey && lastPicked) pickBetween(lastPicked, event.target);
  lastPicked = event.target;
  showSelection();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) pickAll(false);
});

document.getElementById("select-all")?.addEventListener("click", () => pickAll(true));
document.getElementById("select-none").addEventListener("click", () => pickAll(false));

for (const form of selection.querySelectorAll("form")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    changeSelected(form, event.submitter.value);
  });
}

document.getElementById("delete-selected").addEventListener("click", async () => {
  if (await confirmDeletion(pickedTiles().length)) await deleteTiles(pickedTiles());
});

function boxes() {
  return [...gallery.querySelectorAll(".choose input")];
}

function pickedTiles() {
  return [...gallery.querySelectorAll(".tile:has(.choose input:checked)")];
}

function pickBetween(one, other) {
  const all = boxes();
  const [first, last] = [all.indexOf(one), all.indexOf(other)].sort((a, b) => a - b);
  for (const box of all.slice(Math.max(first, 0), last + 1)) box.checked = other.checked;
}

function pickAll(isPicked) {
  for (const box of boxes()) box.checked = isPicked;
  lastPicked = null;
  showSelection();
}

function showSelection() {
  const count = pickedTiles().length;
  selection.hidden = count === 0;
  document.getElementById("selected").textContent = `${countImages(count)} selected`;
}

async function changeSelected(form, choice) {
  const fields = new FormData(form);
  const update = {
    tags: () => ({ tags: fields.get("tags"), tag_mode: choice }),
    namespace: () => ({ namespace: fields.get("namespace").trim() || null }),
    public: () => ({ public: choice === "true" }),
  }[form.dataset.change]();
  const tiles = pickedTiles();
  try {
    let updated = 0;
    for (const ids of batches(tiles)) updated += (await callApi("PATCH", "/media/batch", { ids, update })).updated;
    for (const tile of tiles) showUpdate(tile, update);
    settle(tiles);
    showSelection();
    form.reset();
    tell(`${countImages(updated)} changed`);
  } catch (refused) {
    tell(refused.message, "bad");
  }
}

// What a batch has changed, of which the API tells only how many there were.
function showUpdate(tile, update) {
  if ("public" in update) tile.querySelector(".badge").hidden = update.public;
  if ("namespace" in update) tile.dataset.namespace = update.namespace || "";
  if ("tags" in update) {
    const tags = new Set(splitTags(tile.dataset.tags));
    for (const tag of splitTags(update.tags)) update.tag_mode === "add" ? tags.add(tag) : tags.delete(tag);
    tile.dataset.tags = [...tags].join(",");
  }
}

function batches(tiles) {
  const ids = tiles.map((tile) => tile.dataset.id);
  const found = [];
  for (let start = 0; start < ids.length; start += MAX_BATCH_IMAGES) found.push(ids.slice(start, start + MAX_BATCH_IMAGES));
  return found;
}

// Ask before images are deleted: whether they are to be.
function confirmDeletion(count) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-title").textContent = `Delete ${countImages(count)}?`;
  dialog.returnValue = "keep";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "delete"), { once: true });
  });
}

async function deleteTiles(tiles) {
  try {
    let deleted = 0;
    for (const ids of batches(tiles)) deleted += (await callApi("DELETE", "/media/batch", { ids })).deleted;
    for (const tile of tiles) tile.remove();
    lastPicked = null;
    settle([]);
    showSelection();
    tell(`${countImages(deleted)} deleted`);
    return true;
  } catch (refused) {
    tell(refused.message, "bad");
    return false;
  }
}

showSelection(); // the browser keeps boxes over a reload
