// Keeps the page current. It reads the agent's events; when something changed it asks for the page once more and takes
// over what is different, so that all HTML is made in one place. Without it the page shows how things were.

const byId = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// The page's language, in the variety that the person uses.
const [spoken] = document.documentElement.lang.split("-");
const locale = navigator.languages.find((tag) => tag.split("-")[0] === spoken) ?? document.documentElement.lang;
const minutes = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const seconds = new Intl.DateTimeFormat(locale, { dateStyle: "short", timeStyle: "medium" });
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const percents = new Intl.NumberFormat(locale, { style: "percent" });
const ago = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
const units = Object.fromEntries(
  ["second", "minute", "hour"].map((unit) => [unit, new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "short" })]),
);

function size(bytes) {
  if (bytes < 1024) return `${whole.format(bytes)} B`;
  const exponent = Math.floor(Math.log2(bytes) / 10);
  return `${tenths.format(bytes / 1024 ** exponent)} ${["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][exponent - 1]}`;
}

/** A duration in seconds, such as "3 min". */
function duration(total) {
  if (total < 60) return units.second.format(total);
  if (total < 3600) return units.minute.format(Math.ceil(total / 60));
  return `${units.hour.format(Math.floor(total / 3600))} ${units.minute.format(Math.floor((total % 3600) / 60))}`;
}

/** How long ago a time was, such as "3 hours ago". */
function sinceThen(date) {
  const elapsed = (date - Date.now()) / 1000;
  for (const [unit, length] of [["day", 86_400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(elapsed) >= length) return ago.format(Math.trunc(elapsed / length), unit);
  }
  return ago.format(0, "second");
}

/** Writes times and sizes as the person is used to. */
function localize(root) {
  for (const time of root.querySelectorAll("time")) {
    const date = new Date(time.dateTime);
    if (!Number.isNaN(date.valueOf())) {
      time.textContent = "ago" in time.dataset ? sinceThen(date) : ("seconds" in time.dataset ? seconds : minutes).format(date);
      if ("ago" in time.dataset) time.title = minutes.format(date);
    }
  }
  for (const data of root.querySelectorAll("data")) data.textContent = size(Number(data.value));
  for (const percent of root.querySelectorAll(".percent")) {
    const progress = percent.closest("article").querySelector("progress");
    percent.textContent = percents.format(progress.value / 100);
  }
  return root;
}

/** Updates `old` to match `now` in place, so that focus and opened sections stay. */
function morph(old, now) {
  if ("kept" in (old.dataset ?? {}) || old.isEqualNode(now)) return;
  if (!(old instanceof Element) || old.nodeName !== now.nodeName || old.id !== now.id) return old.replaceWith(now);
  for (const { name, value } of now.attributes) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) {
    if (!now.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  morphChildren(old, now);
}

function morphChildren(old, now) {
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let place = old.firstChild;
  const drop = () => {
    const next = place.nextSibling;
    place.remove();
    place = next;
  };
  for (const child of [...now.childNodes]) {
    const same = child.id ? known.get(child.id) : place && !place.id ? place : null;
    while (same && place && place !== same && !(place.id && [...now.children].some(({ id }) => id === place.id))) drop();
    if (!same || place !== same) {
      old.insertBefore(same ?? child, place);
    } else {
      place = place.nextSibling;
    }
    if (same) morph(same, child);
  }
  while (place) drop();
}

const parse = (html) => localize(new DOMParser().parseFromString(html, "text/html"));

/** Takes over what is different in a page that was just asked for. */
function takeOver(page) {
  const fetched = parse(page);
  for (const id of ["summary", "guide", "problems", "uploads", "backups", "locations"]) morph(byId(id), fetched.getElementById(id));
  addRecords([...fetched.querySelectorAll("#records li")]);
  // A verification sends no event as it proceeds.
  if (document.querySelector("[data-running]")) setTimeout(refreshSoon, 1000);
}

let refreshing = null;

/** Asks for the page in a moment: what happens at the same time costs one request. */
function refreshSoon() {
  refreshing ??= sleep(300).then(async () => {
    refreshing = null;
    const response = await fetch(`./${window.location.search}`);
    if (response.ok) takeOver(await response.text());
  }).catch(() => {});
}

/** The lines of an answer, as they come. */
async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    const pieces = (rest + read.value).split("\n");
    rest = pieces.pop();
    yield* pieces;
  }
}

// The log

const MOST_RECORDS = 500;
const records = byId("records");
const level = byId("level");
const pause = byId("pause");
let waiting = [];

const isPaused = () => pause.ariaPressed === "true";
const keyOf = (record) => `${record.querySelector("time")?.dateTime} ${record.textContent}`;

/** Puts records in their places; one that is there already stays. */
function addRecords(added) {
  if (isPaused()) {
    waiting = [...waiting, ...added].slice(-MOST_RECORDS);
    return;
  }
  const list = records.querySelector("ol");
  const all = new Map([...list.children, ...added].map((record) => [keyOf(record), record]));
  const timeOf = (record) => record.querySelector("time").dateTime;
  // Stable: records of one millisecond stay in the order in which the agent sent them.
  const sorted = [...all.values()].sort((one, other) => timeOf(one).localeCompare(timeOf(other)));
  list.replaceChildren(...sorted.slice(-MOST_RECORDS));
}

function recordOf({ time, level, message, fields }) {
  const record = byId("record").content.firstElementChild.cloneNode(true);
  record.dataset.level = level;
  record.querySelector("time").dateTime = time;
  record.querySelector("b").textContent = level;
  record.querySelector(".message").textContent = message;
  record.querySelector(".fields").textContent = Object.entries(fields).map((pair) => pair.join("=")).join(" ");
  return localize(record);
}

const lostOf = (count) =>
  recordOf({ time: new Date().toISOString(), level: "warn", message: records.dataset.lost.replace("{count}", count), fields: {} });

pause.addEventListener("click", () => {
  pause.ariaPressed = String(!isPaused());
  if (!isPaused()) addRecords(waiting.splice(0));
});

level.addEventListener("change", () => {
  records.dataset.level = level.value;
  reconnect?.();
});

// The events

const fill = (text, words) => text.replace(/\{(\w+)\}/g, (_, word) => words[word] ?? "");

/** Says what happened, in words that the page has for it. */
function say(what, words) {
  byId("said").textContent = fill(byId("said").dataset[what], words);
}

/** What helps against an error, in the page's language; in English the agent's own words. */
async function detailsOf({ reason, detail, placeholders = {} }) {
  const response = await fetch("hints.json");
  const hint = response.ok ? (await response.json())[reason] : null;
  return hint ? fill(hint, placeholders) : detail;
}

/** Says how an upload ended. */
async function sayEnd({ upload_id, name, state, error }) {
  const location = byId(`upload-${upload_id}`)?.dataset.location ?? "";
  const details = error ? await detailsOf(error).catch(() => error.detail) : "";
  say(state, { name, location, details });
}

const SPEED_MS = 20_000;
const stored = new Map();

/** Speed and time left, from what was stored in the last seconds; the page itself has the average since the start. */
function showSpeed(card, { upload_id, stored_bytes, total_bytes, state, waiting }) {
  const now = Date.now();
  const seen = (stored.get(upload_id) ?? []).filter(([at]) => now - at < SPEED_MS);
  seen.push([now, stored_bytes]);
  stored.set(upload_id, seen);
  const [first, before] = seen[0];
  const speed = ((stored_bytes - before) * 1000) / (now - first);
  const isMoving = state === "receiving" && !waiting;
  if (isMoving && !(now - first > 2000 && speed > 0)) return;
  for (const part of [".speed", ".left"]) card.querySelector(part).hidden = !isMoving;
  card.querySelector(".speed data").value = Math.round(speed);
  const left = card.querySelector(".left");
  left.textContent = fill(left.dataset.left, { time: duration(Math.ceil((total_bytes - stored_bytes) / speed)) });
}

function showUpload(upload) {
  const card = byId(`upload-${upload.upload_id}`);
  if (!["receiving", "storing"].includes(upload.state)) {
    if (card) sayEnd(upload);
    stored.delete(upload.upload_id);
    return refreshSoon();
  }
  if (!card) return refreshSoon();
  // Only the agent has the words for why an upload waits.
  if (Boolean(upload.waiting) !== Boolean(card.querySelector(".trouble"))) refreshSoon();
  card.querySelector("progress").value = upload.total_bytes ? Math.min(100, Math.floor((upload.stored_bytes * 100) / upload.total_bytes)) : 0;
  card.querySelector(".stored").value = upload.stored_bytes;
  card.querySelector(".storing").hidden = upload.state !== "storing";
  showSpeed(card, upload);
  localize(card);
}

let instance = null;

function take(event) {
  switch (event.type) {
    case "hello":
      // Another agent, perhaps a newer one: everything may be different.
      if (instance && instance !== event.instance_id) return window.location.reload();
      instance = event.instance_id;
      byId("connection").textContent = "";
      return refreshSoon();
    case "upload":
      return showUpload(event);
    case "log":
      return addRecords([recordOf(event)]);
    case "log_lost":
      return addRecords([lostOf(event.records)]);
    case "location":
    case "backups":
    case "lost":
      return refreshSoon();
  }
}

// The agent says something every 15 seconds; a connection that is silent for longer is dead.
const SILENT_MS = 40_000;
let reconnect = null;

async function follow() {
  const control = new AbortController();
  let silence = 0;
  const listen = () => {
    clearTimeout(silence);
    silence = setTimeout(() => control.abort(), SILENT_MS);
  };
  const changed = new Promise((resolve) => {
    reconnect = () => resolve(control.abort());
  });
  const asked = level.value === "debug" ? "debug" : "info";
  listen();
  try {
    const response = await fetch(`events?log=${asked}`, { signal: control.signal });
    if (response.ok) {
      for await (const line of lines(response)) {
        listen();
        take(JSON.parse(line));
      }
    }
  } catch {
    // It is tried again, whatever it was.
  }
  clearTimeout(silence);
  return Promise.race([changed.then(() => true), sleep(0).then(() => false)]);
}

async function followForEver() {
  for (let wait = 1000; ; ) {
    const began = performance.now();
    if (await follow()) continue;
    byId("connection").textContent = byId("connection").dataset.lost;
    wait = performance.now() - began > 10_000 ? 1000 : Math.min(wait * 2, 30_000);
    await sleep(wait);
  }
}

// The buttons

async function check(form) {
  const area = byId(form.dataset.check);
  const button = form.querySelector("button");
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true";
  area.dataset.kept = "";
  try {
    const response = await fetch(form.action, { method: "POST", headers: { accept: "application/x-ndjson" } });
    if (!response.ok) throw new Error(await response.text());
    for await (const line of lines(response)) morphChildren(area, parse(JSON.parse(line)).body);
  } catch (error) {
    area.querySelector(".outcome").textContent = error.message;
  }
  delete area.dataset.kept;
  button.ariaDisabled = null;
  refreshSoon();
}

/** Sends a form that comes back to the page. */
async function send(form, button) {
  const { says, name, location } = form.dataset;
  const action = button?.hasAttribute("formaction") ? button.formAction : form.action;
  const response = await fetch(action, { method: "POST" });
  const text = await response.text();
  if (!response.ok) {
    byId("said").textContent = text;
    return;
  }
  takeOver(text);
  // The answer is the page as it opens, without the older backups.
  if (window.location.search) refreshSoon();
  if (says) say(says, { name, location });
  // The button may be gone; where it was is the next best place.
  const place = form.closest("details.ask") ?? form;
  if (!place.isConnected) byId("said").focus();
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  event.preventDefault();
  (form.dataset.check ? check(form) : send(form, event.submitter)).catch(() => {});
});

/** Copies a text. Without https, which Home Assistant often has not, only the old way is there. */
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  byId("copy").focus();
  if (!done) throw new Error("not allowed");
}

byId("copy").addEventListener("click", async () => {
  const said = byId("copied");
  said.textContent = "";
  try {
    const response = await fetch("diagnostics");
    if (!response.ok) throw new Error(response.statusText);
    await copy(JSON.stringify(await response.json(), null, 2));
    said.textContent = said.dataset.copied;
  } catch {
    said.textContent = said.dataset.notCopied;
  }
});

localize(document);
setInterval(() => localize(byId("summary")), 60_000);
if (document.querySelector("[data-running]")) refreshSoon();
followForEver();
