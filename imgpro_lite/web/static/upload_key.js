// Whose uploads these are: of who is signed in, of the owner of a key, or nobody's. A key is tried before anything is sent
// with it, because every file would be refused.

import { keep, kept } from "./kept_key.js";

const UNKNOWN = "The server does not know this key.";
const NO_KEY = "This is no API key: it has characters that none has.";

export class UploadKey {
  text = "";
  isWrong = false;
  #isTrying = false;
  #csrf = document.querySelector('meta[name="csrf-token"]')?.content; // there where somebody is signed in

  // `part` finds what is on the page; `onCaller` is called when there is another caller, and `onChange` when uploads may
  // go on or must wait. `left` shows the allowance.
  constructor(part, { api, left, onChange, onCaller }) {
    Object.assign(this, { part, api, left, onChange, onCaller });
  }

  begin() {
    if (this.#csrf) return this.#fetchUsage();
    const [field, box] = [this.part("key"), this.part("keep-key")];
    field.value = kept();
    box.checked = Boolean(kept());
    for (const element of [field, box]) element.addEventListener("change", () => this.#use(field.value.trim()));
    return kept() && this.#use(kept());
  }

  get isKnown() {
    return Boolean(this.#csrf || this.text);
  }

  get isHolding() {
    return this.#isTrying || this.isWrong;
  }

  get headers() {
    if (this.#csrf) return { "X-CSRF-Token": this.#csrf };
    return this.text ? { Authorization: `Bearer ${this.text}` } : {};
  }

  // An upload was refused for it.
  refuse() {
    this.#tell(UNKNOWN, { isWrong: true });
  }

  async #use(text) {
    this.text = /^[\x21-\x7e]*$/.test(text) ? text : "";
    const box = this.part("with-key").closest(".fields");
    for (const element of box.querySelectorAll("[data-part=with-key]")) element.hidden = !this.isKnown;
    this.part("without-key").hidden = this.isKnown;
    keep(this.part("keep-key").checked ? this.text : "");
    this.left.forget({ isNobody: !text });
    this.onCaller();
    if (text !== this.text) return this.#tell(NO_KEY, { isWrong: true });
    this.#tell(text && "Trying this key …", { isTrying: Boolean(text) });
    if (!text) return;
    const answer = await this.#fetchUsage();
    if (text !== this.part("key").value.trim()) return; // there is another by now
    if (answer.status === 401) this.refuse();
    else this.#tell(answer.ok ? "This key works." : "");
  }

  #tell(words, { isTrying = false, isWrong = false } = {}) {
    this.#isTrying = isTrying;
    this.isWrong = isWrong;
    this.part("key-state").textContent = words;
    this.part("key-state").classList.toggle("trouble", isWrong);
    this.onChange();
  }

  // A server that is out of reach gives nothing: each upload will tell.
  async #fetchUsage() {
    const asked = this.text;
    try {
      const answer = await fetch(`${this.api}/usage`, { headers: this.headers });
      if (answer.ok && asked === this.text) this.#showUsage(await answer.json(), answer.headers);
      return answer;
    } catch {
      return {};
    }
  }

  #showUsage(usage, headers) {
    const known = {
      "X-Monthly-Uploads-Limit": usage.uploads_limit,
      "X-Monthly-Uploads-Remaining": usage.uploads_remaining,
      "X-Storage-Limit": usage.storage_limit_bytes,
      "X-Storage-Remaining": Math.max(0, usage.storage_limit_bytes - usage.storage_used_bytes),
    };
    this.left.show((name) => (known[name] === null ? "" : String(known[name] ?? headers.get(name) ?? "")));
  }
}
