// The gallery goes on by itself where its end comes into view. Without this, a link leads to the next page.
"use strict";

const more = document.getElementById("more");
const RETRY_MILLISECONDS = 2000; // a server that is being started anew is there again by then
let loading = null; // the page that is on its way

const atTheEnd = new IntersectionObserver(
  (entries) => entries.some((entry) => entry.isIntersecting) && loadMore(),
  { rootMargin: "800px" }, // so far ahead that nobody sees the end
);

// Add the next page to the gallery: whether there was one.
function loadMore(limit = "") {
  loading ??= load(limit).finally(() => (loading = null));
  return loading;
}

async function load(limit) {
  if (!more?.isConnected) return false;
  atTheEnd.unobserve(more);
  try {
    const page = await callApi("GET", `/media?${nextPage(limit)}`);
    for (const item of page.items) gallery.append(makeTile(item));
    gallery.dataset.cursor = page.cursor || "";
    tell(`${countImages(page.items.length)} more`, "aside");
    if (page.has_more) atTheEnd.observe(more);
    else more.parentElement.remove();
    return true;
  } catch (refused) {
    tell(`${refused.words} “More”, below the images, tries again.`, "bad");
    setTimeout(() => addEventListener("scroll", watchTheEnd, { once: true }), RETRY_MILLISECONDS);
    return false;
  }
}

function watchTheEnd() {
  if (more?.isConnected) atTheEnd.observe(more);
}

more?.addEventListener("click", (event) => {
  event.preventDefault();
  loadMore();
});
addEventListener("online", watchTheEnd);
watchTheEnd();

// The upload box tells of each image that it has stored.
document.addEventListener("imgpro:uploaded", (event) => {
  const tile = makeTile(event.detail);
  if (!isWanted(tile) || tileOf(event.detail.id)) return;
  gallery.prepend(tile);
});

// What is dragged or pasted here is taken by the box, which is then to be seen.
for (const kind of ["dragover", "paste"]) {
  document.addEventListener(kind, (event) => {
    const box = document.querySelector(".upload-here");
    if (box && (event.dataTransfer || event.clipboardData).types.includes("Files")) box.open = true;
  });
}

function nextPage(limit) {
  const { namespace, tags, tagMode, cursor } = gallery.dataset;
  const query = { namespace, tags, tag_mode: tagMode, cursor, limit };
  return new URLSearchParams(Object.entries(query).filter(([, value]) => value));
}

function makeTile(item) {
  const tile = document.getElementById("tile").content.firstElementChild.cloneNode(true);
  tile.dataset.id = item.id;
  tile.querySelector("a").href = `${gallery.dataset.base}/${item.id}`;
  tile.querySelector("img").src = pictureAddress(item, ".avif?size=s");
  showOnTile(tile, item);
  return tile;
}

function showOnTile(tile, item) {
  tile.dataset.namespace = item.namespace || "";
  tile.dataset.tags = item.tags.join(",");
  for (const name of tile.querySelectorAll("bdi")) name.textContent = item.name;
  tile.querySelector(".badge").hidden = item.public;
}

// Whether the filter of this page would still find the image of a tile.
function isWanted(tile) {
  const { namespace, tags, tagMode } = gallery.dataset;
  const own = new Set(splitTags(tile.dataset.tags));
  const wanted = splitTags(tags);
  const hasTags = tagMode === "any" ? wanted.some((tag) => own.has(tag)) : wanted.every((tag) => own.has(tag));
  return (!namespace || tile.dataset.namespace === namespace) && (!wanted.length || hasTags);
}

// As the API reads a list of tags.
function splitTags(text) {
  return text.toLowerCase().split(",").map((tag) => tag.trim()).filter(Boolean);
}

// Images have changed: those that the filter no longer finds go, and what is told of the team is asked for anew.
function settle(tiles) {
  for (const tile of tiles) if (!isWanted(tile)) tile.remove();
  document.dispatchEvent(new CustomEvent("imgpro:changed"));
}

// Where a picture of an image is, on the host that this page may load pictures from.
function pictureAddress(item, ending) {
  const [team, file] = item.src.split("/").slice(-2);
  return `${gallery.dataset.src}/${team}/${file.split(".")[0]}${ending}`;
}

function tileOf(id) {
  return gallery.querySelector(`[data-id="${CSS.escape(id)}"]`);
}
