// How scripts write sizes, times and addresses: as the pages do.

const UNITS = ["bytes", "KB", "MB", "GB", "TB", "PB"];

export function fileSize(bytes) {
  const unit = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), UNITS.length - 1);
  const amount = bytes / 2 ** (10 * unit);
  return `${amount.toFixed(unit > 1 && amount < 100 ? 1 : 0).replace(/\.0$/, "")} ${UNITS[unit]}`;
}

export function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

export function day(unixSeconds) {
  const options = { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" };
  return new Date(unixSeconds * 1000).toLocaleDateString("en-GB", options);
}

// When so many seconds will have passed, by the clock on the wall.
function timeIn(seconds) {
  const options = { day: "numeric", month: "long", hour: "2-digit", minute: "2-digit" };
  return new Date(Date.now() + seconds * 1000).toLocaleString("en-GB", options);
}

// Why an upload was refused, as the server says it.
export function reason({ message = "" }, status, waitSeconds) {
  const words = message || `The server answered with status ${status}.`;
  return waitSeconds ? `${words} Try again after ${timeIn(waitSeconds)}.` : words;
}

// The same texts as on the page of an image: snippets.py.
const markdown = (text) => text.replace(/[\\`*_[\]<>&]/g, "\\$&");
const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;" };
const html = (text) => text.replace(/[&<>"']/g, (char) => ENTITIES[char]);

export const NOTATIONS = {
  page: (media) => media.url,
  image: (media) => media.src,
  markdown: (media) => `![${markdown(media.name)}](${media.src})`,
  html: (media) => `<img alt="${html(media.name)}" src="${media.src}" width="${media.width}" height="${media.height}">`,
  bbcode: (media) => `[img]${media.src}[/img]`,
};
