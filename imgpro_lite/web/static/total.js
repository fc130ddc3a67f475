// How far all uploads are, and which buttons act on many of them at once.

import { fileSize } from "./words.js";

export function showTotal(part, jobs) {
  const [waiting, sending, done, failed] = ["waiting", "sending", "done", "failed"].map((state) =>
    jobs.filter((job) => job.state === state),
  );
  const active = waiting.length + sending.length;
  const words = [
    active || failed.length ? `${done.length} of ${jobs.length} uploaded` : `${done.length} uploaded`,
    active && sizeWords(jobs),
    failed.length && `${failed.length} failed`,
  ];
  part("total").textContent = words.filter(Boolean).join(", ");
  part("total").hidden = jobs.length < 2;
  part("total-progress").value = share(jobs, (job) => job.file?.size || 1);
  part("total-progress").hidden = jobs.length < 2 || !active;
  part("copy-all").hidden = done.length < 2;
  part("again-all").hidden = failed.filter((job) => !job.isFinal).length < 2;
  part("cancel-all").hidden = active < 2;
  part("clear").hidden = !done.length && !failed.length;
}

function sizeWords(jobs) {
  const ofFiles = jobs.filter((job) => job.file);
  const bytes = sum(ofFiles, (job) => job.file.size);
  return bytes && `${fileSize(share(ofFiles, (job) => job.file.size) * bytes)} of ${fileSize(bytes)} sent`;
}

const ENDED = ["done", "failed"];
const share = (jobs, size) =>
  sum(jobs, (job) => size(job) * (ENDED.includes(job.state) ? 1 : (job.state === "sending" && job.sentShare) || 0)) /
  (sum(jobs, size) || 1);
const sum = (jobs, value) => jobs.reduce((total, job) => total + value(job), 0);
