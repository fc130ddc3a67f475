// Where somebody was in the gallery: how much of it was loaded, how far down, and what was selected. The tab keeps it, so
// that Back, a reload and signing in again lead there.
"use strict";

const PLACES_ITEM = "imgpro-places";
const SIGNED_IN_AGAIN = "signed in again"; // in place of an entry of the history, for the next one
const MAX_PLACES = 20; // the pages that somebody goes back over
const MAX_RESTORED_IMAGES = 1000; // ten requests
const PAGE_IMAGES = 100; // the most that the API gives at once

const entry = history.state?.entry ?? `${Date.now()} ${Math.random()}`;
history.replaceState({ ...history.state, entry }, "");
history.scrollRestoration = "manual";

addEventListener("pagehide", () => {
  const places = keptPlaces();
  const name = hasSessionEnded ? SIGNED_IN_AGAIN : entry;
  const picked = [...gallery.querySelectorAll(".tile:has(.choose input:checked)")].map((tile) => tile.dataset.id);
  const place = { search: location.search, images: allTiles().length, top: scrollY, picked };
  const others = Object.entries(places).filter(([other]) => other !== name);
  keepPlaces(Object.fromEntries([...others, [name, place]].slice(-MAX_PLACES)));
});

// Browsers may be told to keep nothing, and then refuse even to be asked.
function keptPlaces() {
  try {
    return JSON.parse(sessionStorage.getItem(PLACES_ITEM)) ?? {};
  } catch {
    return {};
  }
}

function keepPlaces(places) {
  try {
    sessionStorage.setItem(PLACES_ITEM, JSON.stringify(places));
  } catch {}
}

function takePlace() {
  const { [SIGNED_IN_AGAIN]: again, ...places } = keptPlaces();
  keepPlaces(places);
  return places[entry] ?? (again?.search === location.search ? again : null);
}

async function goBackTo({ images, top, picked }) {
  const wanted = Math.min(images, MAX_RESTORED_IMAGES);
  while (allTiles().length < wanted && (await loadMore(PAGE_IMAGES)));
  for (const id of picked) {
    const box = tileOf(id)?.querySelector(".choose input");
    if (box) box.checked = true;
  }
  if (picked.length) showSelection();
  scrollTo(0, top);
}

const kept = takePlace();
if (kept) goBackTo(kept);
