// One upload as it is seen: its picture, how far it is, what went wrong, and what to do about it.

import { copy } from "./clipboard.js";
import { day, fileSize } from "./words.js";

const PREVIEW_BYTES = 20 * 2 ** 20; // larger pictures take too much of a phone's memory to be shown before the upload
const PREVIEWED = /^image\/(jpeg|png|gif|webp|avif|bmp)$/; // what every browser shows

export class Row {
  // `template` is the element in the page; `onAgain` and `onAway` are called when their buttons are pressed.
  constructor(template, name, { onAgain, onAway }) {
    this.element = template.content.cloneNode(true).firstElementChild;
    this.part("name").textContent = name;
    this.part("progress").setAttribute("aria-label", `Progress of ${name}`);
    this.part("again").addEventListener("click", onAgain);
    this.part("away").addEventListener("click", onAway);
    this.part("copy").addEventListener("click", () => this.copy());
    this.part("text").addEventListener("focus", (event) => event.target.select());
    this.part("picture").addEventListener("error", (event) => (event.target.hidden = true));
  }

  part(name) {
    return this.element.querySelector(`[data-part="${name}"]`);
  }

  preview(file) {
    if (file.size <= PREVIEW_BYTES && PREVIEWED.test(file.type)) this.showPicture(URL.createObjectURL(file));
  }

  showPicture(address) {
    const picture = this.part("picture");
    const former = picture.src;
    picture.hidden = !address;
    if (address) picture.src = address;
    else picture.removeAttribute("src");
    if (former.startsWith("blob:")) URL.revokeObjectURL(former); // after it is no longer wanted
  }

  showWaiting(words) {
    this.showState("waiting", words);
    this.part("again").hidden = true;
    this.part("away").textContent = "Cancel";
  }

  // Without a total nobody knows how long it takes.
  showProgress(words, loaded, total) {
    this.showState("sending", total ? `${fileSize(loaded)} of ${fileSize(total)}` : words);
    if (total) this.part("progress").value = loaded / total;
    else this.part("progress").removeAttribute("value");
  }

  showFailure(message, action, { isFinal }) {
    this.showState("failed", "");
    this.tell(message, action);
    this.part("again").hidden = isFinal;
    this.part("away").textContent = "Remove";
  }

  showDone(media, { page, thumbnail }) {
    const kept = media.expires_at ? `, kept until ${day(media.expires_at)}` : "";
    this.showState("done", `${media.width} × ${media.height}, ${fileSize(media.filesize)}${kept}`);
    this.tell("");
    this.showPicture(thumbnail);
    const link = document.createElement("a");
    Object.assign(link, { href: page, textContent: media.name });
    this.part("name").replaceChildren(link);
    this.part("text").setAttribute("aria-label", `Text to copy for ${media.name}`);
    this.part("result").hidden = false;
    this.part("buttons").hidden = true;
  }

  showState(state, words) {
    this.element.dataset.state = state;
    this.part("state").textContent = words;
    this.part("progress").hidden = state !== "sending";
  }

  // What the server says, and where its `action` leads to.
  tell(message, action) {
    this.part("problem").textContent = message;
    this.part("problem").hidden = !message;
    const link = this.part("action");
    link.hidden = !/^https?:/.test(action?.url ?? "");
    if (!link.hidden) Object.assign(link, { href: action.url, textContent: action.label ?? "Go on" });
  }

  get text() {
    return this.part("text").value;
  }

  set text(value) {
    this.part("text").value = value;
  }

  copy() {
    return copy(this.part("text"), this.part("copy"));
  }
}
