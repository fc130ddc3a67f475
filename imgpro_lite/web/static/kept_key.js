// The API key that somebody asked this tab to keep. It is gone when the tab is closed.

const ITEM = "imgpro-key";
const HIDDEN_ITEM = "imgpro-key-hidden"; // whether examples are to show a word in its place

export const keep = (text) => write(ITEM, text);
export const kept = () => read(ITEM);
export const setHidden = (isHidden) => write(HIDDEN_ITEM, isHidden ? "yes" : "");
export const isHidden = () => Boolean(read(HIDDEN_ITEM));

// Browsers may be told to keep nothing, and then refuse even to be asked.
function write(item, text) {
  try {
    if (text) sessionStorage.setItem(item, text);
    else sessionStorage.removeItem(item);
  } catch {}
}

function read(item) {
  try {
    return sessionStorage.getItem(item) ?? "";
  } catch {
    return "";
  }
}
