// What is left of a quota or of rate limits, as answers say it.

import { fileSize } from "./words.js";

const COUNTERS = ["X-RateLimit-Remaining", "X-RateLimit-Remaining-Daily", "X-Monthly-Uploads-Remaining"];

export class Allowance {
  #latest = null;

  // `element` has the words for who has no key.
  constructor(element) {
    this.element = element;
    this.ofNobody = element.textContent;
  }

  // Another caller has other limits. A plan without any has nothing to say.
  forget({ isNobody }) {
    this.#latest = null;
    this.element.textContent = isNobody ? this.ofNobody : "";
  }

  // `get` gives the value of a header of an answer, or nothing.
  show(get) {
    const words = allowance(get);
    if (!words || !this.#isLatest(windowOf(get), remaining(get))) return;
    this.element.textContent = `${words}.`;
  }

  // Answers overtake one another: in the same hour or month, the one with less left is the later.
  #isLatest(window, left) {
    const latest = this.#latest;
    if (latest && (window < latest.window || (window === latest.window && left > latest.left))) return false;
    this.#latest = { window, left };
    return true;
  }
}

const remaining = (get) => Number(COUNTERS.map(get).find(Boolean) ?? 0);

function windowOf(get) {
  const date = new Date(get("Date") ?? 0);
  return Number(get("X-RateLimit-Reset")) || date.getUTCFullYear() * 12 + date.getUTCMonth();
}

// What is left of a quota or of rate limits. `get` gives the value of a header, or nothing.
function allowance(get) {
  const left = (name, daily, when) => {
    const [remaining, limit] = [get(`${name}-Remaining${daily}`), get(`${name}-Limit${daily}`)].map(number);
    return limit && `${remaining} of ${limit} uploads left ${when}`;
  };
  const storage = get("X-Storage-Limit");
  return [
    left("X-RateLimit", "", `this hour${get("X-RateLimit-Remaining") === "0" ? ` (more at ${resetTime(get)})` : ""}`),
    left("X-RateLimit", "-Daily", "today"),
    left("X-Monthly-Uploads", "", "this month"),
    storage && `${fileSize(get("X-Storage-Remaining"))} of ${fileSize(storage)} of storage left`,
  ]
    .filter(Boolean)
    .join(", ");
}

const number = (text) => text && Number(text).toLocaleString("en");

function resetTime(get) {
  const options = { hour: "2-digit", minute: "2-digit" };
  return new Date(get("X-RateLimit-Reset") * 1000).toLocaleTimeString("en-GB", options);
}
