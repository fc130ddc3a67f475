// Uploads from a page: files that are picked, dropped or pasted, and addresses to import, three at a time.

import { Allowance } from "./allowance.js";
import { copy } from "./clipboard.js";
import { keepFinished, keptFinished } from "./finished.js";
import { looksLikePicture, takeDrops, takePastes } from "./intake.js";
import { showTotal } from "./total.js";
import { UploadKey } from "./upload_key.js";
import { Row } from "./upload_row.js";
import { clock, NOTATIONS, reason } from "./words.js";

const PARALLEL = 3; // enough to fill a line; more would only take turns
const LONGEST_WAIT_SECONDS = 3700; // an hourly window is the longest that is worth waiting for
const BYTES_PER_MB = 2 ** 20;
const FINAL_ERRORS = ["file_too_large", "unsupported_format"]; // the same file would be refused again

const box = document.getElementById("upload");
const limits = box.dataset;
const part = (name) => box.querySelector(`[data-part="${name}"]`);
const files = part("files");
const jobs = [];
const left = new Allowance(part("allowance"));
const key = new UploadKey(part, { api: limits.api, left, onChange: go, onCaller: () => (resumesAt = 0) });
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
  showTrouble("");
  addRow(job);
  if (job.file) job.row.preview(job.file);
  enqueue(job);
}

function addRow(job) {
  job.row = new Row(part("row"), job.name, { onAgain: () => enqueue(job), onAway: () => remove(job) });
  jobs.push(job);
  part("rows").append(job.row.element);
  part("uploads").hidden = false;
}

function restore() {
  for (const media of keptFinished(limits.keepsFor)) {
    const job = { name: media.name };
    addRow(job);
    showFinished(job, media);
  }
  pump();
}

function enqueue(job) {
  const problem = job.file && problemOf(job.file);
  if (problem) return fail(job, { error: FINAL_ERRORS[0], message: problem });
  if (!key.isKnown && limits.anonymous !== "true") return fail(job, { message: askForKey() });
  job.state = "waiting";
  job.row.tell("");
  job.row.showWaiting(waitingWords());
  pump();
}

// What the server would refuse is refused before it is sent.
function problemOf(file) {
  const isSvg = file.type === "image/svg+xml" || /\.svg$/i.test(file.name);
  const ordinaryMb = Number(key.isKnown ? limits.fileMb : limits.anonymousFileMb);
  const limitMb = isSvg ? Math.min(ordinaryMb, Number(limits.svgFileMb)) : ordinaryMb;
  if (file.size > limitMb * BYTES_PER_MB) return `The file exceeds the limit of ${limitMb} MB${isSvg ? " for SVG" : ""}.`;
  if (file.size === 0) return "The file is empty.";
  if (file.type && !looksLikePicture(file)) return "The file is not a picture.";
  return "";
}

function askForKey() {
  part("options").open = true;
  part("key").focus();
  return "Uploads here need an API key. Put yours in above, then try again.";
}

// ── The queue ──

const inState = (...states) => jobs.filter((job) => states.includes(job.state));

function pump() {
  if (!key.isHolding && Date.now() >= resumesAt) {
    const free = Math.max(0, PARALLEL - inState("sending").length);
    inState("waiting").slice(0, free).forEach(send);
  }
  if (key.isWrong && inState("waiting").length) part("options").open = true;
  showTotal(part, jobs);
}

function send(job) {
  const xhr = (job.xhr = new XMLHttpRequest());
  Object.assign(job, { state: "sending", key: key.text });
  job.row.tell("");
  showSent(job, 0, job.file?.size, "Fetching …");
  xhr.open("POST", `${limits.api}/${job.file ? "upload" : "import"}`);
  for (const [name, value] of Object.entries(key.headers)) xhr.setRequestHeader(name, value);
  xhr.upload.addEventListener("progress", ({ loaded, total }) => job.file && showSent(job, loaded, total));
  xhr.upload.addEventListener("load", () => job.file && job.row.showProgress("Processing …"));
  xhr.addEventListener("load", () => settle(job));
  xhr.addEventListener("error", () => {
    fail(job, { message: "It did not get through: the server is out of reach, or the file can no longer be read." });
    pump();
  });
  if (!job.file) xhr.setRequestHeader("Content-Type", "application/json");
  xhr.send(job.file ? formOf(job) : JSON.stringify({ url: job.url, ...fields() }));
}

function showSent(job, loaded, total, words = "") {
  job.sentShare = total ? loaded / total : 0;
  job.row.showProgress(words, loaded, total);
  showTotal(part, jobs);
}

function formOf(job) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields())) form.append(name, value);
  form.append("file", job.file, job.name);
  return form;
}

function fields() {
  const given = { tags: part("tags").value.trim(), namespace: part("namespace").value.trim() };
  if (key.isKnown) Object.assign(given, { ttl: part("ttl").value, public: part("private").checked ? "false" : "" });
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value));
}

function settle(job) {
  const answer = parse(job.xhr.responseText);
  left.show((name) => job.xhr.getResponseHeader(name));
  const isBusy = answer.error === "overloaded";
  const waitSeconds = isBusy ? Number(job.xhr.getResponseHeader("Retry-After")) : answer.action?.seconds;
  if (job.xhr.status === 201) finish(job, answer);
  else if (job.key && answer.error === "unauthorized") hold(job);
  else if (waitSeconds > 0 && waitSeconds <= LONGEST_WAIT_SECONDS) postpone(job, answer, waitSeconds);
  else fail(job, { ...answer, message: reason(answer, job.xhr.status, waitSeconds) });
  pump();
}

// Refused for its key, which may have been revoked in the middle, or replaced in the meantime.
function hold(job) {
  job.state = "waiting";
  if (job.key === key.text) key.refuse();
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
  showWaiting();
  if (isPausing) setTimeout(countDown, 1000);
  else pump();
}

// When the key is another one, or has been tried.
function go() {
  showWaiting();
  pump();
}

function showWaiting() {
  for (const job of inState("waiting")) job.row.showWaiting(waitingWords());
}

function waitingWords() {
  if (key.isWrong) return "Waits for an API key that works";
  const seconds = Math.ceil((resumesAt - Date.now()) / 1000);
  return isPausing && seconds > 0 ? `Next try in ${clock(seconds)}` : "Waiting";
}

function finish(job, media) {
  showFinished(job, media);
  keepList();
  document.dispatchEvent(new CustomEvent("imgpro:uploaded", { detail: media }));
  tellHowItWent(job);
}

function keepList() {
  if (limits.keepsFor) keepFinished(limits.keepsFor, inState("done").map((job) => job.media));
}

function showFinished(job, media) {
  Object.assign(job, { state: "done", media });
  const own = media.src.startsWith(limits.srcUrl) ? limits.srcBase + media.src.slice(limits.srcUrl.length) : media.src;
  job.row.showDone(media, { page: `${limits.base}/${media.id}`, thumbnail: `${own}?size=s` });
  showTexts([job]);
}

function fail(job, answer) {
  Object.assign(job, { state: "failed", isFinal: FINAL_ERRORS.includes(answer.error) });
  job.row.showFailure(answer.message, answer.action, job);
  announce(`${job.name}: ${answer.message}`);
  showTotal(part, jobs);
}

async function tellHowItWent(job) {
  const toGo = inState("waiting", "sending").length;
  const isCopied = added === 1 && (await job.row.copy());
  const also = isCopied ? " Its link is on the clipboard." : toGo ? ` ${toGo} to go.` : "";
  announce(`${job.media.name} is uploaded.${also}`);
}

function remove(job) {
  job.xhr?.abort();
  job.row.showPicture("");
  job.row.element.remove();
  jobs.splice(jobs.indexOf(job), 1);
  part("uploads").hidden = !jobs.length;
  part("notation").hidden = !inState("done").length;
  files.focus();
  keepList();
  pump();
}

// Those that wait go first, so that none of them begins when another makes room.
const cancelAll = () => [...inState("waiting"), ...inState("sending")].forEach(remove);
const clearList = () => inState("done", "failed").forEach(remove);
const tryAllAgain = () => inState("failed").forEach((job) => job.isFinal || enqueue(job));

// ── What is seen ──

// In the notation that is chosen.
function showTexts(done) {
  const notation = NOTATIONS[part("notation").querySelector("input:checked").value];
  for (const job of done) job.row.text = notation(job.media);
  part("notation").hidden = false;
}

function copyAll() {
  part("all").value = inState("done").map((job) => job.row.text).join("\n");
  copy(part("all"), part("copy-all"));
}

// What was wrong with a drop that nothing came of.
const showTrouble = (text) => (part("trouble").textContent = text);

function announce(text) {
  part("status").textContent = text;
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
  const buttons = { "copy-all": copyAll, "again-all": tryAllAgain, "cancel-all": cancelAll, clear: clearList };
  for (const [name, act] of Object.entries(buttons)) part(name).addEventListener("click", act);
  takeDrops(box, { onFiles: addFiles, onAddress: addAddress, onUnreadable: showTrouble });
  takePastes({ onFiles: addFiles, onAddress: showAddress });
  addEventListener("beforeunload", (event) => inState("waiting", "sending").length && event.preventDefault());
}

listen();
restore();
key.begin();
