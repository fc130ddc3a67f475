// Files and addresses that are dropped on the page or pasted into it.

const PICTURE_NAME = /\.(avif|bmp|gif|hei[cf]|jpe?g|png|svg|tiff?|webp)$/i;
const TAKEN = ["Files", "text/uri-list"];

export const looksLikePicture = (file) => file.type.startsWith("image/") || PICTURE_NAME.test(file.name);

export function takePastes({ onFiles, onAddress }) {
  document.addEventListener("paste", (event) => {
    const text = event.clipboardData.getData("text/plain").trim();
    if (event.clipboardData.files.length) {
      event.preventDefault();
      onFiles(event.clipboardData.files);
    } else if (!isField(event.target) && /^https?:\/\/\S+$/.test(text)) {
      onAddress(text);
    }
  });
}

// Drops anywhere on the page, because one beside the target would leave the page. The target says that it takes them.
export function takeDrops(target, { onFiles, onAddress, onUnreadable }) {
  let isOwn = false; // a picture of this page, that is moved about
  const takes = ({ dataTransfer }) => !isOwn && dataTransfer.types.some((type) => TAKEN.includes(type));
  document.addEventListener("dragstart", () => (isOwn = true));
  document.addEventListener("dragend", () => (isOwn = false));
  document.addEventListener("dragover", (event) => {
    if (takes(event)) event.preventDefault();
    target.classList.toggle("over", takes(event));
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || target.classList.remove("over"));
  document.addEventListener("drop", async (event) => {
    target.classList.remove("over");
    if (!takes(event)) return;
    event.preventDefault();
    const address = event.dataTransfer.getData("text/uri-list").split("\n")[0].trim();
    try {
      const files = await filesOf(event.dataTransfer);
      if (files.length) onFiles(files);
      else if (address) onAddress(address);
      else onUnreadable("There is no picture in what was dropped.");
    } catch {
      onUnreadable("What was dropped cannot be read.");
    }
  });
}

const isField = (element) => Boolean(element.closest?.("input, textarea"));

async function filesOf(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  return (await Promise.all(entries.map(readEntry))).flat();
}

// A file, or the pictures of a folder and of those in it.
async function readEntry(entry) {
  if (entry instanceof File) return [entry];
  const ask = (one, method) => new Promise((resolve, reject) => one[method](resolve, reject));
  if (entry.isFile) return [await ask(entry, "file")];
  const [reader, found] = [entry.createReader(), []];
  for (let some; (some = await ask(reader, "readEntries")).length; ) found.push(...some);
  return (await Promise.all(found.map(readEntry))).flat().filter(looksLikePicture);
}
