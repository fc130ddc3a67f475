// How a suite in JavaScript tests a client of the img.pro API:
//   imgpro-lite exec -- node --test

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

const { IMGPRO_URL, IMGPRO_KEY, IMGPRO_CONTROL_URL } = process.env;
const PIXEL = Buffer.from("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7", "base64");

// What is tested. Your suite has its own client, told IMGPRO_URL in the place of https://api.img.pro.
function upload(key = IMGPRO_KEY) {
  const body = new FormData();
  body.append("file", new Blob([PIXEL]), "pixel.gif");
  return fetch(`${IMGPRO_URL}/v1/upload`, { method: "POST", headers: { Authorization: `Bearer ${key}` }, body });
}

async function control(method, path, fields) {
  const body = fields && JSON.stringify(fields);
  const answer = await fetch(IMGPRO_CONTROL_URL + path, { method, body });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
}

beforeEach(() => control("POST", "/reset"));

test("quota exceeded", async () => {
  await control("PATCH", "/teams/dev@example.com", { uploads_used: 100 });
  const answer = await upload();
  assert.equal(answer.status, 413);
  assert.equal((await answer.json()).action.type, "upgrade");
  await control("PATCH", "/teams/dev@example.com", { plan: "pro" });
  assert.equal((await upload()).status, 201);
});

test("an unverified upload expires", async () => {
  const { key } = await control("POST", "/keys", { email: "new@example.com" });
  const { src } = await (await upload(key)).json();
  await control("POST", "/clock/advance", { days: 31 });
  assert.equal((await fetch(src)).status, 404);
});

test("verification by mail", async () => {
  const email = "new@example.com";
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(`${IMGPRO_URL}/v1/keys`, { method: "POST", headers, body: JSON.stringify({ email }) });
  const { key } = await answer.json();
  const { mails } = await control("GET", `/outbox?to=${email}&wait_seconds=5`);
  await fetch(mails[0].links[0]);
  const usage = await fetch(`${IMGPRO_URL}/v1/usage`, { headers: { Authorization: `Bearer ${key}` } });
  assert.equal((await usage.json()).verified, true);
});

test("a rate limit", async () => {
  await control("POST", "/faults", { path: "/v1/upload", status: 429, retry_after_seconds: 30 });
  const refused = await upload();
  assert.equal(refused.status, 429);
  assert.equal(refused.headers.get("Retry-After"), "30");
  assert.equal((await upload()).status, 201);
});
