// The files that were chosen on the page New: sends each once, tells how far it is, and what was
// left unfinished by an earlier visit.

import { discard, forgetFile, unfinished, upload } from "./resumable.js";

const WINDOW_MS = 30_000; // the pace is that of the last 30 s,
const LEAST_MS = 5_000; // and none is told before 5 s

const input = document.getElementById("file");
const zone = document.getElementById("drop");
const zoneText = document.getElementById("file-text");
const bar = document.getElementById("uploading");
const progress = bar.querySelector("progress");
const text = document.getElementById("upload-text");
const left = document.getElementById("unfinished");
const stored = new Map(); // of files by what they are: promises of their URIs
let running = null; // { file, stop }

export function chosen() {
  return [...input.files];
}

export function isRunning() {
  return running !== null;
}

// Why a file would be refused when all others have been sent; empty if none would.
export function refusalOf(files) {
  const most = Number(zone.dataset.maxBytes);
  const large = files.find((each) => each.size > most);
  if (large) return `${large.name} has ${bytes(large.size)}; the limit is ${bytes(most)}.`;
  const empty = files.find((each) => each.size === 0);
  return empty ? `${empty.name} is empty.` : "";
}

// The URI of a file, which is sent unless it is there already.
export function store(file) {
  const key = keyOf(file);
  if (!stored.has(key)) {
    const sent = send(file);
    stored.set(key, sent);
    sent.catch(() => stored.delete(key));
  }
  return stored.get(key);
}

// What was submitted need not be continued.
export async function finish(files) {
  for (const each of files) await forgetFile(each);
}

// onChoice is called when other files were chosen.
export function setUp(onChoice) {
  input.addEventListener("change", () => {
    const names = chosen().map((each) => each.name);
    zoneText.textContent = names.length ? names.join(", ") : "Drop videos here or choose them";
    zone.classList.toggle("full", names.length > 0);
    if (running && !chosen().some((each) => keyOf(each) === keyOf(running.file))) running.stop(false);
    onChoice();
  });
  // A file that is dropped beside the zone is taken, too: the browser would leave the page for it.
  for (const [name, react] of Object.entries({ dragenter: over, dragover: over, dragleave: out, drop })) {
    document.addEventListener(name, (event) => {
      if (event.dataTransfer.types.includes("Files")) react(event);
    });
  }
  document.getElementById("upload-cancel").addEventListener("click", () => running?.stop(true));
  window.addEventListener("beforeunload", (event) => {
    if (running) event.preventDefault();
  });
  listUnfinished();
}

function over(event) {
  event.preventDefault();
  zone.classList.add("over");
}

function out(event) {
  if (!event.relatedTarget) zone.classList.remove("over"); // it left the window
}

function drop(event) {
  event.preventDefault();
  zone.classList.remove("over");
  if (input.disabled) return;
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

async function send(file) {
  while (running) await running.done.catch(() => {});
  const pace = new Pace();
  const sending = upload(file, (sent, all) => show(file, sent, all, pace.left(sent, all)));
  running = { file, ...sending };
  show(file, 0, file.size, null);
  bar.hidden = false;
  try {
    const { uri } = await sending.done;
    return uri;
  } finally {
    running = null;
    bar.hidden = true;
    listUnfinished();
  }
}

function show(file, sent, all, left_s) {
  const files = chosen();
  const number = files.findIndex((each) => keyOf(each) === keyOf(file)) + 1;
  const which = files.length > 1 && number ? ` (${number} of ${files.length})` : "";
  progress.value = sent / all;
  text.textContent = `${file.name}${which}: ${percent(sent, all)} of ${bytes(all)}${left_s === null ? "" : `, ${duration(left_s)} left`}`;
}

async function listUnfinished() {
  const found = await unfinished().catch(() => []); // without a connection there is nothing to tell
  left.hidden = !found.length;
  left.replaceChildren(...found.map((each) => {
    const item = document.createElement("li");
    const what = document.createElement("span");
    what.textContent = `${each.name}: ${percent(each.at, each.size)} of ${bytes(each.size)} uploaded. Choose it again to continue.`;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Discard";
    button.setAttribute("aria-label", `Discard the upload of ${each.name}`);
    button.addEventListener("click", () => discard(each).then(listUnfinished, (problem) => { what.textContent = problem.message; }));
    item.append(what, button);
    return item;
  }));
}

function keyOf(file) {
  return `${file.name}:${file.size}:${file.lastModified}`;
}

// How fast an upload has been of late.
class Pace {
  constructor() {
    this.samples = [];
  }

  // Seconds until all is sent; null while that is not known.
  left(sent, all) {
    const at = performance.now();
    this.samples.push([at, sent]);
    while (at - this.samples[0][0] > WINDOW_MS && this.samples.length > 2) this.samples.shift();
    const [since, before] = this.samples[0];
    if (at - since < LEAST_MS || sent <= before) return null;
    return ((all - sent) * (at - since)) / (sent - before) / 1000;
  }
}

function percent(part, whole) {
  return `${Math.floor((100 * part) / (whole || 1))} %`;
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(count, 1)) / 3), units.length - 1);
  const value = count / 1000 ** power;
  return `${power && value < 99.5 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
