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
  const isTyping = event.target.matches("textarea, select, input:not([type=checkbox], [type=radio])");
  if (event.key === "Escape" && !isTyping && !document.querySelector("dialog[open]")) pickAll(false);
});

document.getElementById("select-all").addEventListener("click", () => pickAll(true));
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
  const hasFocus = [...selection.querySelectorAll("*"), document.body].includes(document.activeElement);
  const isToGo = count === 0 && !selection.hidden;
  selection.hidden = count === 0;
  document.getElementById("selected").textContent = `${countImages(count)} selected`;
  if (isToGo && hasFocus) focusGallery();
}

async function changeSelected(form, choice) {
  const fields = new FormData(form);
  const update = {
    tags: () => ({ tags: fields.get("tags"), tag_mode: choice }),
    namespace: () => ({ namespace: choice === "none" ? null : fields.get("namespace").trim() }),
    public: () => ({ public: choice === "true" }),
  }[form.dataset.change]();
  const isDone = await eachBatch(pickedTiles(), "changed", async (batch) => {
    const { updated } = await callApi("PATCH", "/media/batch", { ids: idsOf(batch), update });
    for (const tile of batch) showUpdate(tile, update);
    settle(batch);
    return updated;
  });
  if (isDone) form.reset();
}

// Do something with images, as many at once as the API takes, and tell how it went: whether all of it did. What was not
// done stays selected, so that it can be tried again.
async function eachBatch(tiles, done, act) {
  let count = 0;
  for (let start = 0; start < tiles.length; start += MAX_BATCH_IMAGES) {
    const batch = tiles.slice(start, start + MAX_BATCH_IMAGES);
    try {
      count += await act(batch);
    } catch (refused) {
      for (const tile of tiles.slice(0, start)) tile.querySelector(".choose input").checked = false;
      showSelection();
      tell(start ? `${count} of ${countImages(tiles.length)} ${done}. ${refused.words}` : refused.words, "bad");
      return false;
    }
    if (start + MAX_BATCH_IMAGES < tiles.length) tell(`${count} of ${countImages(tiles.length)} ${done} …`);
  }
  showSelection();
  tell(`${countImages(count)} ${done}`);
  return true;
}

function idsOf(tiles) {
  return tiles.map((tile) => tile.dataset.id);
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

// Ask before something is lost: whether it is to be.
function ask(question, words, yes, no) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-title").textContent = question;
  document.getElementById("confirm-words").textContent = words;
  document.getElementById("confirm-yes").textContent = yes;
  document.getElementById("confirm-no").textContent = no;
  dialog.returnValue = "keep";
  dialog.showModal();
  return new Promise((resolve) => {
    const settle = () => {
      if (dialog.open) return; // browsers tell late that it was closed: that was the question before
      dialog.removeEventListener("close", settle);
      resolve(dialog.returnValue === "delete");
    };
    dialog.addEventListener("close", settle);
  });
}

function confirmDeletion(count) {
  const [what, whom] = count === 1 ? ["It is", "it"] : ["They are", "them"];
  const words = `${what} gone from every address at once. You cannot bring ${whom} back yourself.`;
  return ask(`Delete ${countImages(count)}?`, words, "Delete", "Keep");
}

// Delete images, which are then gone from the gallery: whether all are.
function deleteTiles(tiles) {
  lastPicked = null;
  return eachBatch(tiles, "deleted", async (batch) => {
    const { deleted } = await callApi("DELETE", "/media/batch", { ids: idsOf(batch) });
    for (const tile of batch) tile.remove();
    settle([]);
    return deleted;
  });
}
