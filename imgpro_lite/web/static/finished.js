// What this tab has uploaded, so that its links are there again after a look at one of the pages. It is gone when the tab
// is closed, and as soon as somebody else is here: `owner` is who is signed in.

const ITEM = "imgpro-uploads";
const MOST = 300; // of some 500 bytes each; browsers keep 5 MB
const FIELDS = ["id", "name", "url", "src", "width", "height", "filesize", "expires_at"];

const shownOf = (media) => Object.fromEntries(FIELDS.map((field) => [field, media[field]]));

// Browsers may be told to keep nothing, and then refuse even to be asked.
export function keepFinished(owner, all) {
  try {
    if (all.length) sessionStorage.setItem(ITEM, JSON.stringify({ owner, all: all.slice(-MOST).map(shownOf) }));
    else sessionStorage.removeItem(ITEM);
  } catch {}
}

export function keptFinished(owner) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(ITEM));
    if (kept?.owner !== owner) keepFinished(owner, []);
    else return kept.all.filter((media) => !(media.expires_at * 1000 <= Date.now()));
  } catch {}
  return [];
}
