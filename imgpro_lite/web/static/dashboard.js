// The API of this server for the scripts of the dashboard, and the line that tells how something went.
"use strict";

const gallery = document.getElementById("gallery");
const TOLD_MILLISECONDS = 6000; // long enough to be read
const FIELD_LABELS = {
  external_id: "Your own id",
  ids: "The selection",
  metadata: "Details",
};
let hiding;
let hasSessionEnded = false;
const csrfToken = document.querySelector("meta[name=csrf-token]").content;

// A refusal. `errors` has the messages of each wrong field, `body` the whole answer.
class Refused extends Error {
  constructor(message, body = {}) {
    super(message);
    this.errors = body.errors || {};
    this.body = body;
  }

  // What was wrong, for a line of its own.
  get words() {
    const fields = Object.entries(this.errors).map(([field, messages]) => fieldProblem(field, messages));
    return fields.join(" ") || this.message;
  }
}

// The answer of the API to a request. Raises Refused.
async function callApi(method, path, body) {
  const headers = { "X-CSRF-Token": csrfToken };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(gallery.dataset.api + path, { method, headers, body: JSON.stringify(body) });
  } catch {
    throw new Refused("The server cannot be reached. Check your connection and try again.");
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  hasSessionEnded = answer.status === 401;
  throw new Refused(content.message || "Something went wrong on the server.", content);
}

// The messages of the API about a field, which go on where its name ends.
function fieldProblem(field, messages) {
  const name = field.split(".").pop();
  const label = FIELD_LABELS[name] || name.charAt(0).toUpperCase() + name.slice(1);
  return `${label} ${messages.join(", ")}.`;
}

// Tell it to everybody, screen readers too. A problem stays until it is closed or something else is told; "aside" is
// for screen readers alone.
function tell(text, kind = "") {
  const toast = document.getElementById("toast");
  if (text && kind === "aside" && toast.className !== "unseen") return; // what everybody reads now goes first
  document.getElementById("status").textContent = text;
  toast.className = kind === "aside" ? "unseen" : `toast ${kind}`;
  document.getElementById("status-close").hidden = kind !== "bad";
  document.getElementById("sign-in-again").hidden = kind !== "bad" || !hasSessionEnded;
  clearTimeout(hiding);
  if (kind !== "bad") hiding = setTimeout(() => tell("", "aside"), TOLD_MILLISECONDS);
}

document.getElementById("status-close").addEventListener("click", () => {
  tell("", "aside");
  focusGallery();
});

function countImages(number) {
  return number === 1 ? "1 image" : `${number.toLocaleString("en")} images`;
}
