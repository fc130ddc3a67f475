// Uploads from a page: files that are picked, dropped or pasted, and addresses to import, three at a time.

import { copy } from "./clipboard.js";
import { looksLikePicture, takeDrops, takePastes } from "./intake.js";
import { keep, kept } from "./kept_key.js";
import { Row } from "./upload_row.js";
import { allowance, clock, NOTATIONS, timeIn } from "./words.js";

const PARALLEL = 3; // enough to fill a line; more would only take turns
const LONGEST_WAIT_SECONDS = 3700; // an hourly window is the longest that is worth waiting for
const BYTES_PER_MB = 2 ** 20;
const FINAL_ERRORS = ["file_too_large", "unsupported_format"]; // the same file would be refused again

const box = document.getElementById("upload");
const limits = box.dataset;
const csrf = document.querySelector('meta[name="csrf-token"]')?.content; // there where somebody is signed in
const part = (name) => box.querySelector(`[data-part="${name}"]`);
const files = part("files");
const jobs = [];
let key = "";
let resumesAt = 0; // milliseconds, as Date.now() counts
let isPausing = false;
let added = 0; // since the queue was empty

// ── What comes in ──

function addFiles(list) {
  for (const file of list) add({ file, name: file.name });
}

function addAddress(text) {
  const url = /^[a-z][a-z0-9+.-]*:/i.test(text) ? text : `https://${text}`;
  add({ url, name: url });
}

// What was pasted may be meant for somewhere else, so the button has to be pressed.
function showAddress(address) {
  part("url").value = address;
  part("url").focus();
}

function add(job) {
  added = inState("waiting", "sending").length ? added + 1 : 1;
  job.row = new Row(part("row"), job.name, { onAgain: () => enqueue(job), onAway: () => remove(job) });
  if (job.file) job.row.preview(job.file);
  jobs.push(job);
  part("rows").append(job.row.element);
  part("uploads").hidden = false;
  enqueue(job);
}

function enqueue(job) {
  const problem = job.file && problemOf(job.file);
  if (problem) return fail(job, { error: FINAL_ERRORS[0], message: problem });
  if (!isKnown() && limits.anonymous !== "true") return fail(job, { message: askForKey() });
  job.state = "waiting";
  job.row.tell("");
  job.row.showWaiting("Waiting");
  pump();
}

// What the server would refuse is refused before it is sent.
function problemOf(file) {
  const isSvg = file.type === "image/svg+xml" || /\.svg$/i.test(file.name);
  const ordinaryMb = Number(isKnown() ? limits.fileMb : limits.anonymousFileMb);
  const limitMb = isSvg ? Math.min(ordinaryMb, Number(limits.svgFileMb)) : ordinaryMb;
  if (file.size > limitMb * BYTES_PER_MB) return `The file exceeds the limit of ${limitMb} MB${isSvg ? " for SVG" : ""}.`;
  if (file.size === 0) return "The file is empty.";
  if (file.type && !looksLikePicture(file)) return "The file is not a picture.";
  return "";
}

const isKnown = () => Boolean(csrf || key);

function askForKey() {
  part("options").open = true;
  part("key").focus();
  return "Uploads here need an API key. Put yours in above, then try again.";
}

// ── The queue ──

const inState = (...states) => jobs.filter((job) => states.includes(job.state));

function pump() {
  if (Date.now() < resumesAt) return;
  for (const job of inState("waiting")) {
    if (inState("sending").length >= PARALLEL) return;
    send(job);
  }
}

function send(job) {
  const xhr = (job.xhr = new XMLHttpRequest());
  job.state = "sending";
  job.row.tell("");
  job.row.showProgress("Fetching …", 0, job.file?.size);
  xhr.open("POST", `${limits.api}/${job.file ? "upload" : "import"}`);
  for (const [name, value] of Object.entries(credentials())) xhr.setRequestHeader(name, value);
  xhr.upload.addEventListener("progress", ({ loaded, total }) => job.file && job.row.showProgress("", loaded, total));
  xhr.upload.addEventListener("load", () => job.file && job.row.showProgress("Processing …"));
  xhr.addEventListener("load", () => settle(job));
  xhr.addEventListener("error", () => {
    fail(job, { message: "It did not get through: the server is out of reach, or the file can no longer be read." });
    pump();
  });
  if (!job.file) xhr.setRequestHeader("Content-Type", "application/json");
  xhr.send(job.file ? formOf(job) : JSON.stringify({ url: job.url, ...fields() }));
}

function formOf(job) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields())) form.append(name, value);
  form.append("file", job.file, job.name);
  return form;
}

function credentials() {
  if (csrf) return { "X-CSRF-Token": csrf };
  return key ? { Authorization: `Bearer ${key}` } : {};
}

function fields() {
  const given = { tags: part("tags").value.trim(), namespace: part("namespace").value.trim() };
  if (isKnown()) Object.assign(given, { ttl: part("ttl").value, public: part("private").checked ? "false" : "" });
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value));
}

function settle(job) {
  const answer = parse(job.xhr.responseText);
  showAllowance((name) => job.xhr.getResponseHeader(name));
  const isBusy = answer.error === "overloaded";
  const waitSeconds = isBusy ? Number(job.xhr.getResponseHeader("Retry-After")) : answer.action?.seconds;
  if (job.xhr.status === 201) finish(job, answer);
  else if (waitSeconds > 0 && waitSeconds <= LONGEST_WAIT_SECONDS) postpone(job, answer, waitSeconds);
  else fail(job, { ...answer, message: reason(answer, job.xhr.status, waitSeconds) });
  pump();
}

function reason({ message = "" }, status, waitSeconds) {
  const words = message || `The server answered with status ${status}.`;
  return waitSeconds ? `${words} Try again after ${timeIn(waitSeconds)}.` : words;
}

function parse(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {}; // a page of a proxy
  }
}

// Who is told to wait would be told so for every other file too.
function postpone(job, answer, seconds) {
  job.state = "waiting";
  job.row.tell(answer.message);
  resumesAt = Math.max(resumesAt, Date.now() + seconds * 1000);
  if (isPausing) return;
  announce(`${answer.message} The next try is in ${clock(seconds)}.`);
  countDown();
}

function countDown() {
  const seconds = Math.ceil((resumesAt - Date.now()) / 1000);
  isPausing = seconds > 0;
  for (const job of inState("waiting")) job.row.showWaiting(isPausing ? `Next try in ${clock(seconds)}` : "Waiting");
  if (isPausing) setTimeout(countDown, 1000);
  else pump();
}

function finish(job, media) {
  Object.assign(job, { state: "done", media });
  const own = media.src.startsWith(limits.srcUrl) ? limits.srcBase + media.src.slice(limits.srcUrl.length) : media.src;
  job.row.showDone(media, { page: `${limits.base}/${media.id}`, thumbnail: `${own}?size=s` });
  showTexts([job]);
  document.dispatchEvent(new CustomEvent("imgpro:uploaded", { detail: media }));
  tellHowItWent(job);
}

function fail(job, answer) {
  job.state = "failed";
  job.row.showFailure(answer.message, answer.action, { isFinal: FINAL_ERRORS.includes(answer.error) });
  announce(`${job.name}: ${answer.message}`);
}

async function tellHowItWent(job) {
  const left = inState("waiting", "sending").length;
  const isCopied = added === 1 && (await job.row.copy());
  const also = isCopied ? " Its link is on the clipboard." : left ? ` ${left} to go.` : "";
  announce(`${job.media.name} is uploaded.${also}`);
}

function remove(job) {
  job.xhr?.abort();
  job.row.showPicture("");
  job.row.element.remove();
  jobs.splice(jobs.indexOf(job), 1);
  part("uploads").hidden = !jobs.length;
  files.focus();
  pump();
}

// ── What is seen ──

// In the notation that is chosen.
function showTexts(done) {
  const notation = NOTATIONS[part("notation").querySelector("input:checked").value];
  for (const job of done) job.row.text = notation(job.media);
  part("notation").hidden = false;
  part("copy-all").hidden = inState("done").length < 2;
}

function copyAll() {
  part("all").value = inState("done").map((job) => job.row.text).join("\n");
  copy(part("all"), part("copy-all"));
}

function showAllowance(get) {
  const words = allowance(get);
  if (words) part("allowance").textContent = `${words}.`;
}

function announce(text) {
  part("status").textContent = text;
}

// ── The key ──

async function useKey(text) {
  key = /^[\x21-\x7e]*$/.test(text) ? text : "";
  for (const element of box.querySelectorAll("[data-part=with-key]")) element.hidden = !isKnown();
  part("without-key").hidden = isKnown();
  keep(part("keep-key").checked ? key : "");
  resumesAt = 0; // another caller need not wait
  pump();
  part("key-state").textContent = text ? await tryKey(text) : "";
}

async function tryKey(text) {
  if (text !== key) return "This is no API key: it has characters that none has.";
  const answer = await fetchUsage();
  if (answer.status === 401) return "The server does not know this key.";
  return answer.ok ? "This key works." : "";
}

async function fetchUsage() {
  const answer = await fetch(`${limits.api}/usage`, { headers: credentials() });
  if (!answer.ok) return answer;
  const usage = await answer.json();
  const known = {
    "X-Monthly-Uploads-Limit": usage.uploads_limit,
    "X-Monthly-Uploads-Remaining": usage.uploads_remaining,
    "X-Storage-Limit": usage.storage_limit_bytes,
    "X-Storage-Remaining": Math.max(0, usage.storage_limit_bytes - usage.storage_used_bytes),
  };
  part("allowance").textContent = ""; // a plan without limits has nothing to say
  showAllowance((name) => (known[name] === null ? "" : String(known[name] ?? "")));
  return answer;
}

// ── What people do ──

function listen() {
  files.multiple = true; // the form without this script sends one
  files.addEventListener("change", () => {
    addFiles(files.files);
    files.value = ""; // so that the same file can be chosen again
  });
  part("import").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = part("url").value.trim();
    if (text) addAddress(text);
    part("url").value = "";
  });
  part("notation").addEventListener("change", () => showTexts(inState("done")));
  part("copy-all").addEventListener("click", copyAll);
  takeDrops(box, { onFiles: addFiles, onAddress: addAddress, onUnreadable: announce });
  takePastes({ onFiles: addFiles, onAddress: showAddress });
  addEventListener("beforeunload", (event) => inState("waiting", "sending").length && event.preventDefault());
}

function listenToKey() {
  part("key").value = kept();
  part("keep-key").checked = Boolean(kept());
  part("key").addEventListener("change", () => useKey(part("key").value.trim()));
  part("keep-key").addEventListener("change", () => useKey(part("key").value.trim()));
  useKey(kept());
}

listen();
if (csrf) fetchUsage();
else listenToKey();
