// The gallery by keyboard: Tab stops at it once, arrow keys go from image to image and Space selects. So what can be
// done with the selected images is one Tab away, however long the gallery is.
"use strict";

const empty = document.getElementById("empty");
const hint = document.getElementById("gallery-hint");
const CONTROLS = "a, .choose input";
let current = null; // the tile that Tab stops at
let currentPlace = 0; // and the how manieth it was, for when it is gone

gallery.addEventListener("focusin", (event) => {
  const tile = event.target.closest(".tile");
  if (tile) stopAt(tile);
});

gallery.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (pick(event) || step(event)) event.preventDefault();
});

// Space on an image is a click on its box, with Shift too: whether it was that.
function pick({ key, shiftKey, target }) {
  if (key !== " " || !target.matches(".choosable a")) return false;
  const click = new MouseEvent("click", { bubbles: true, cancelable: true, shiftKey });
  return current.querySelector(".choose input").dispatchEvent(click);
}

// Go where a key leads: whether it is one of those that lead anywhere.
function step(event) {
  const all = allTiles();
  const columns = all.filter((tile) => tile.offsetTop === all[0].offsetTop).length;
  const places = {
    ArrowLeft: currentPlace - 1,
    ArrowRight: currentPlace + 1,
    ArrowUp: currentPlace - columns,
    ArrowDown: currentPlace + columns,
    Home: 0,
    End: all.length - 1,
  };
  if (!(event.key in places)) return false;
  all[places[event.key]]?.querySelector(event.target.matches("input") ? ".choose input" : "a").focus();
  return true;
}

function allTiles() {
  return [...gallery.querySelectorAll(".tile")];
}

function stopAt(tile) {
  if (current !== tile) for (const one of current?.querySelectorAll(CONTROLS) ?? []) one.tabIndex = -1;
  current = tile;
  currentPlace = allTiles().indexOf(tile);
  for (const one of tile.querySelectorAll(CONTROLS)) one.tabIndex = 0;
}

// Images have come or gone: there is one stop again, or a word that there are none.
function showWhatThereIs() {
  const all = allTiles();
  if (!current?.isConnected) current = null;
  if (!current && all.length) stopAt(all[Math.min(currentPlace, all.length - 1)]);
  if (empty) empty.hidden = all.length > 0 || Boolean(more?.isConnected);
  if (hint) hint.hidden = all.length === 0;
}

// Put the keyboard back to the gallery when what it was at has gone.
function focusGallery() {
  showWhatThereIs();
  (current?.querySelector("a") ?? empty)?.focus({ preventScroll: true });
}

for (const place of [gallery, document.getElementById("tile").content]) {
  for (const one of place.querySelectorAll(CONTROLS)) one.tabIndex = -1;
}
new MutationObserver(showWhatThereIs).observe(gallery, { childList: true });
showWhatThereIs();

// As much of the page as the dock covers is left free by what scrolls to an image.
new ResizeObserver(([{ target }]) => {
  document.documentElement.style.setProperty("--dock", `${target.offsetHeight}px`);
}).observe(document.getElementById("dock"));
