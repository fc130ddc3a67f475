// The API key that somebody asked this tab to keep. It is gone when the tab is closed.

const ITEM = "imgpro-key";

// Browsers may be told to keep nothing, and then refuse even to be asked.
export function keep(text) {
  try {
    if (text) sessionStorage.setItem(ITEM, text);
    else sessionStorage.removeItem(ITEM);
  } catch {}
}

export function kept() {
  try {
    return sessionStorage.getItem(ITEM) ?? "";
  } catch {
    return "";
  }
}
