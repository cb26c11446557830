// The form for new videos: uploads the files, then submits to /videos, or several to /batches.

import { Problem, request } from "./http.js";
import * as preview from "./preview.js";
import * as uploads from "./uploads.js";

const form = document.getElementById("new");
const file = document.getElementById("file");
const uri = document.getElementById("uri");
const prompts = document.getElementById("prompts");
const chips = document.getElementById("prompt-chips");
const problemBox = document.getElementById("problem");
const submit = document.getElementById("submit");
const batchName = document.getElementById("batch-name");
let latestRequest = 0;
let engines = [];
let earlier = new Map(); // outputs of an earlier job, with their options, by kind

// Take over the outputs of an earlier job, and what was pointed at in its video.
export function takeOver({ options: { outputs }, objects, exemplars }) {
  earlier = new Map(outputs.map((each) => [each.kind, each]));
  for (const each of form.querySelectorAll("[data-output]")) each.checked = earlier.has(each.dataset.output);
  preview.takeOver(objects, exemplars);
}

// --- video ------------------------------------------------------------------------------

function otherVideo() {
  const { files, url } = sources();
  const isBatch = files.length + Boolean(url) > 1 || isPattern(url);
  batchName.closest("label").hidden = !isBatch;
  batchName.placeholder = isBatch ? nameOfBatch(files, url) : "";
  preview.forget();
}

function sources() {
  return { files: uploads.chosen(), url: uri.value.trim() };
}

function isPattern(url) {
  return /[*?[]/.test(url) && !/^https?:/i.test(url);
}

function nameOfBatch(files, url) {
  const first = files[0]?.name ?? url;
  const others = files.length + Boolean(url) - 1;
  return others ? `${first} and ${others} more` : first;
}

uploads.setUp(otherVideo);
uri.addEventListener("change", otherVideo);

// --- prompts ---------------------------------------------------------------------------

function words() {
  return prompts.value.split(",").map((each) => each.trim().replace(/\s+/g, " ")).filter(Boolean);
}

function showChips() {
  chips.replaceChildren(...words().map((word) => {
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.textContent = word;
    return chip;
  }));
}

// Disable the engines that cannot answer the prompts, and show the reason.
async function updateEngines() {
  const query = new URLSearchParams(words().map((word) => ["prompt", word]));
  const number = ++latestRequest;
  const { items } = await request("GET", `/engines?${query}`);
  if (number !== latestRequest) return; // a newer request is under way
  engines = items;
  for (const engine of items) {
    const label = form.querySelector(`[data-engine="${CSS.escape(engine.name)}"]`);
    const radio = label.querySelector("input");
    const workers = `${engine.workers} worker${engine.workers === 1 ? "" : "s"}`;
    const idle = !engine.workers && engine.name !== "auto" && items[0].workers > 0;
    label.querySelector(".why").textContent =
      engine.reason || (engine.workers ? workers : "no worker available");
    radio.disabled = Boolean(engine.reason) || idle;
    label.classList.toggle("off", radio.disabled);
    label.title = engine.reason ? engine.hint : "";
    if (radio.disabled && radio.checked && engine.name !== "auto") {
      form.querySelector("[data-engine=auto] input").checked = true;
    }
  }
  useEngine();
}

function useEngine() {
  preview.useEngine(engines.find((each) => each.name === form.elements.engine.value));
}

for (const radio of form.elements.engine) radio.addEventListener("change", useEngine);

// Strict redaction cannot be combined with outputs that show the original picture.
form.querySelector("[data-output=redact]").addEventListener("change", (event) => {
  if (!event.target.checked) return;
  for (const each of form.querySelectorAll("[data-output=overlay], [data-output=webm-alpha], [data-output=crops]")) {
    each.checked = false;
  }
});

let waiting;
prompts.addEventListener("input", () => {
  showChips();
  clearTimeout(waiting);
  waiting = setTimeout(() => updateEngines().catch(showProblem), 250);
});

// --- submit -----------------------------------------------------------------------------------

function options() {
  const values = {};
  for (const field of form.querySelectorAll("[data-option]")) {
    const kind = field.dataset.option;
    if (kind === "checkbox") values[field.name] = field.checked;
    else if (field.value !== "") values[field.name] = kind === "number" ? Number(field.value) : field.value;
  }
  values.engine = form.elements.engine.value;
  const kinds = [...form.querySelectorAll("[data-output]:checked")].map((each) => each.dataset.output);
  if (kinds.includes("redact")) delete values.sample_fps; // redaction processes every frame
  if (!kinds.length) kinds.push("masks");
  values.outputs = kinds.map((kind) => earlier.get(kind) ?? kind);
  return values;
}

// The video that a preview shows: the first one.
async function source() {
  const { files, url } = sources();
  if (!files.length && !url) throw refusal("Add a video file or a URL.");
  const problem = uploads.refusalOf(files.slice(0, 1));
  if (problem) throw refusal(problem);
  if (files.length) return uploads.store(files[0]);
  if (isPattern(url)) throw refusal("A preview is of one video, not of a pattern.");
  return url;
}

// What is asked for, of whichever videos. Refuses what the API would, before anything is uploaded.
async function work() {
  const { files, url } = sources();
  const asked = { prompts: words(), options: options(), ...preview.visual() };
  if (form.elements.priority.value) asked.priority = form.elements.priority.value;
  const isVisual = "objects" in asked || "exemplars" in asked;
  if (!asked.prompts.length && !isVisual) throw refusal('Enter at least one prompt, for example "person".');
  if (!files.length && !url) throw refusal("Add a video file or a URL.");
  if (isVisual && files.length + Boolean(url) > 1) throw refusal("What you pointed at is in one video. Submit the others separately.");
  const problem = uploads.refusalOf(files);
  if (problem) throw refusal(problem);
  if (files.length) await request("POST", "/videos/check", { uri: "upload", ...asked });
  return asked;
}

// Gives the page of what was submitted.
async function send() {
  const asked = await work();
  const { files, url } = sources();
  const uris = [];
  for (const each of files) uris.push(await uploads.store(each));
  const globs = isPattern(url) ? [url] : [];
  if (url && !globs.length) uris.push(url);
  let page;
  if (uris.length === 1 && !globs.length) {
    const single = { ...asked, options: { sample_fps: "auto", ...asked.options } };
    page = `/ui/videos/${(await request("POST", "/videos", { uri: uris[0], ...single })).id}`;
  } else {
    const name = (batchName.value.trim() || nameOfBatch(files, url)).slice(0, batchName.maxLength);
    page = `/ui/batches/${(await request("POST", "/batches", { uris, globs, name, ...asked })).id}`;
  }
  await uploads.finish(files);
  return page;
}

function refusal(detail) {
  return new Problem({ detail, hint: "", code: "invalid_request" });
}

function showProblem(problem) {
  const cause = document.createElement("strong");
  cause.textContent = problem.message;
  const hint = document.createElement("p");
  hint.textContent = problem.hint ?? "";
  problemBox.replaceChildren(cause, hint);
  problemBox.hidden = false;
  problemBox.scrollIntoView({ block: "nearest" });
}

function failed(problem) {
  if (problem.code !== "cancelled") showProblem(problem); // the user has done that
}

function setBusy(isBusy) {
  submit.disabled = file.disabled = uri.disabled = isBusy;
}

window.addEventListener("pageshow", (event) => {
  if (event.persisted) setBusy(false); // one came back to the page, which was kept
});
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problemBox.hidden = true;
  setBusy(true);
  try {
    location.href = await send();
  } catch (problem) {
    failed(problem);
    setBusy(false);
  }
});

preview.setUp({
  prompts: words,
  engine: () => form.elements.engine.value,
  source,
  values: options,
  onProblem: failed,
  clearProblem: () => { problemBox.hidden = true; },
});
updateEngines().catch(showProblem);
setBusy(false); // before this ran, the browser itself would send the form, without its file
