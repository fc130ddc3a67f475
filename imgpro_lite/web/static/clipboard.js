// Copying the text of a field, and saying on its button that it is done.

const SHOWN_MILLISECONDS = 2000; // long enough to be read

export async function copy(field, button) {
  const [label, words] = [button.firstElementChild, button.dataset.words];
  const isCopied = await toClipboard(field);
  if (isCopied) label.textContent = "Copied";
  setTimeout(() => (label.textContent = words), SHOWN_MILLISECONDS);
  return isCopied;
}

async function toClipboard(field) {
  try {
    await navigator.clipboard.writeText(field.value);
    return true;
  } catch {
    if (!navigator.userActivation?.isActive) return false;
    const focused = document.activeElement;
    field.select(); // there is no clipboard without TLS, but for this
    const isCopied = document.execCommand("copy");
    focused?.focus({ preventScroll: true });
    return isCopied;
  }
}
