// The API of this server for the scripts of the dashboard, and the line that tells how something went.
"use strict";

const gallery = document.getElementById("gallery");
const TOLD_MILLISECONDS = 6000; // long enough to be read
let hiding;
const csrfToken = document.querySelector("meta[name=csrf-token]").content;

// A refusal. `errors` has the messages of each wrong field, `body` the whole answer.
class Refused extends Error {
  constructor(message, body = {}) {
    super(message);
    this.errors = body.errors || {};
    this.body = body;
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
  throw new Refused(content.message || "Something went wrong on the server.", content);
}

// Tell it to everybody, screen readers too. A problem stays until something else is told; "aside" is for them alone.
function tell(text, kind = "") {
  const line = document.getElementById("status");
  line.textContent = text;
  line.className = kind === "aside" ? "unseen" : `toast ${kind}`;
  clearTimeout(hiding);
  if (kind !== "bad") hiding = setTimeout(() => (line.textContent = ""), TOLD_MILLISECONDS);
}

function countImages(number) {
  return number === 1 ? "1 image" : `${number.toLocaleString("en")} images`;
}
