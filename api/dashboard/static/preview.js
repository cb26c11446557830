// The step "Preview" of the form for new videos: ask for frames, show them, point at objects,
// filter by score, and tell what the whole video will take.

import { Problem, request } from "./http.js";
import { Pointing } from "./pointing.js";
import { clock, Stills } from "./stills.js";
import { duration } from "./uploads.js";

const FEATURES = { point: "points", box: "box", example: "exemplars" }; // of engines, by kind of mark
const LEAST_SCORE = 0.2; // of what is asked for: the slider filters from there on

const box = document.getElementById("preview");
const run = document.getElementById("preview-run");
const count = document.getElementById("preview-frames");
const status = document.getElementById("preview-status");
const shown = document.getElementById("preview-shown");
const slider = document.getElementById("threshold");
const sliderValue = document.getElementById("threshold-value");
const label = document.getElementById("pointing-label");
const pointed = document.getElementById("pointed");
const pointingBar = document.getElementById("pointing");
const reason = document.getElementById("pointing-reason");
const estimate = document.getElementById("estimate");
const threshold = document.querySelector('[name="score_threshold"]');
const palette = box.dataset.palette.split(" ").map((code) => [1, 3, 5].map((at) => parseInt(code.slice(at, at + 2), 16)));

let form; // of new.js: see setUp
let latest = null; // the preview that is shown
let engine = null; // what /engines says of the one that is chosen
let number = 0; // of requests
let pace_s = 0; // of the model for a frame

const pointing = new Pointing(() => {
  stills.redraw();
  listObjects();
}, labelText);
const stills = new Stills(document.getElementById("stills"), pointing, leastScore, colour);

// prompts(), engine(), source() (uploads a file, once, and gives its URI) and values() (the
// options) are the form's; onProblem(problem) shows what went wrong.
export function setUp(given) {
  form = given;
  run.addEventListener("click", () => preview().catch(failed));
  slider.addEventListener("input", () => {
    threshold.value = slider.value;
    filter();
  });
  threshold.addEventListener("input", filter);
  document.getElementById("threshold-reset").addEventListener("click", () => {
    threshold.value = "";
    filter();
  });
  for (const [name, property] of [["tool", "tool"], ["box-tool", "boxTool"]]) {
    for (const each of box.querySelectorAll(`[name=${name}]`)) {
      each.addEventListener("change", () => { pointing[property] = each.value; });
    }
  }
  document.getElementById("pointing-new").addEventListener("click", () => pointing.add(labelText()));
  document.getElementById("pointing-undo").addEventListener("click", () => pointing.undo());
  document.getElementById("new").addEventListener("input", tell);
}

// The fields 'objects' and 'exemplars' of the job, where there are some.
export function visual() {
  const fields = {};
  const objects = pointing.prompts.filter((each) => pointing.allowed.has(each.box ? "box" : "point"));
  if (objects.length) fields.objects = objects;
  if (pointing.allowed.has("example") && pointing.exemplars.length) fields.exemplars = pointing.exemplars;
  return fields;
}

// What was pointed at when the same video was submitted before.
export function takeOver(objects, exemplars) {
  pointing.restore(objects, exemplars);
}

// Another video was chosen: what was pointed at is not in it.
export function forget() {
  number += 1;
  latest = null;
  pace_s = 0;
  shown.hidden = true;
  status.textContent = "";
  run.textContent = "Preview";
  run.disabled = Boolean(engine?.cannot?.preview);
  stills.clear();
  pointing.clear();
}

// Grey out what the chosen engine cannot do.
export function useEngine(found) {
  engine = found;
  const cannot = found?.cannot ?? {};
  run.disabled = Boolean(cannot.preview);
  if (cannot.preview) status.textContent = `No preview with ${found.name}: ${cannot.preview}.`;
  pointing.allowed = new Set(Object.keys(FEATURES).filter((kind) => !cannot[FEATURES[kind]]));
  pointingBar.disabled = !pointing.isAllowed;
  for (const each of box.querySelectorAll("[data-kind]")) {
    each.disabled = !pointing.allowed.has(each.dataset.kind);
    each.closest("label").title = each.disabled ? cannot[FEATURES[each.dataset.kind]] : "";
  }
  reason.textContent = reasonOf(found?.name, cannot);
  stills.redraw();
  listObjects();
  tell();
}

// What the engine cannot do, each with the reason.
function reasonOf(name, cannot) {
  const [points, exemplars] = [cannot.points ?? cannot.box, cannot.exemplars];
  if (points) return `With engine ${name}, you cannot point at objects${points === exemplars ? " or show examples" : ""}: ${points}.`;
  return exemplars ? `With engine ${name}, you cannot show examples: ${exemplars}.` : "";
}

async function preview() {
  form.clearProblem();
  const current = ++number;
  const prompts = form.prompts();
  const shownTo = visual();
  const isVisual = Object.keys(shownTo).length > 0;
  if (!prompts.length && !isVisual) throw new Problem({ detail: 'Enter at least one prompt, for example "person".', hint: "", code: "invalid_request" });
  run.disabled = true;
  status.textContent = "Uploading…";
  try {
    const uri = await form.source();
    status.textContent = "Waiting for a worker…";
    const isSame = latest?.uri === uri && latest.frames.length > 0;
    const body = {
      uri,
      prompts,
      ...shownTo,
      engine: form.engine(),
      score_threshold: LEAST_SCORE,
      ...(isSame ? { times_s: latest.frames.map((each) => each.time_s).slice(0, 12) } : { frames: Number(count.value) || 6 }),
    };
    if (isSame && Number(count.value) !== latest.frames.length && !isVisual) {
      delete body.times_s;
      body.frames = Number(count.value) || 6;
    }
    let found = await request("POST", "/previews", body);
    let begun = false;
    while (current === number) {
      if (found.frames.length || found.state === "done") {
        if (!begun) stills.clear();
        begun = true;
        latest = found;
        shown.hidden = reason.hidden = false;
        if (!shownTo.exemplars || !pace_s) pace_s = Math.max(median(found.frames.map((each) => each.detect_s)), 1e-3); // their frames are read with each
        stills.show(found.frames);
        filter();
      }
      if (found.state === "done" || found.state === "failed") break;
      if (found.state === "running") status.textContent = `${found.frames.length} frames…`;
      found = await request("GET", `/previews/${found.id}?frames=${found.frames.length}`);
    }
    if (current !== number) return;
    if (found.state === "failed") throw new Problem({ detail: found.error.message, hint: found.error.hint, code: found.error.code });
    run.textContent = "Preview again";
    showStatus();
  } catch (problem) {
    if (current === number) throw problem;
  } finally {
    if (current === number) run.disabled = Boolean(engine?.cannot?.preview);
  }
}

function failed(problem) {
  status.textContent = "";
  form.onProblem(problem);
}

function leastScore(prompt) {
  if (threshold.value !== "") return Number(threshold.value);
  return latest?.video?.start_scores[prompt] ?? 0;
}

function colour(prompt) {
  const position = Math.max(0, [...form.prompts(), ...pointing.examples.map((each) => each.prompt), ...pointing.objects.map((each) => each.label)].indexOf(prompt));
  return palette[position % palette.length];
}

function filter() {
  const isSet = threshold.value !== "";
  const usual = Object.values(latest?.video?.start_scores ?? {});
  slider.value = isSet ? threshold.value : Math.min(...usual, 1);
  sliderValue.textContent = isSet ? Number(threshold.value).toFixed(2) : "engine default";
  stills.redraw();
  showStatus();
  tell();
}

function showStatus() {
  if (!latest) return;
  const found = [...stills.counts].map(([prompt, most]) => `up to ${most} × ${prompt}`);
  status.textContent = found.length ? `Found on one frame: ${found.join(", ")}.` : "Nothing found at this threshold.";
}

function labelText() {
  return label.value.trim() || form.prompts()[0] || "object";
}

function listObjects() {
  reason.hidden = shown.hidden && !pointing.marks.length; // it says what of this the engine cannot do
  pointed.replaceChildren(...pointing.objects.map(objectItem).filter(Boolean), ...pointing.examples.map(exampleItem));
}

function objectItem(object, index) {
  if (object.isRemoved) return null;
  const marks = pointing.marks.filter((mark) => mark.object === index);
  const choose = document.createElement("label");
  const radio = document.createElement("input");
  radio.type = "radio";
  radio.name = "pointed";
  radio.checked = index === pointing.active;
  radio.addEventListener("change", () => {
    pointing.active = index;
    stills.redraw();
  });
  const points = marks.filter((mark) => mark.kind === "point").length;
  const boxes = marks.length - points;
  const parts = [points && `${points} point${points === 1 ? "" : "s"}`, boxes && `${boxes} box${boxes === 1 ? "" : "es"}`].filter(Boolean);
  choose.append(radio, ` ${object.label} ${object.name}: ${parts.join(", ") || "click it on a frame"}`);
  return itemOf(choose, `${object.label} ${object.name}`, () => pointing.remove(index));
}

function exampleItem(mark) {
  const text = document.createElement("span");
  const { time_s: at } = latest?.frames.find((each) => each.frame === mark.frame) ?? {};
  text.textContent = `${mark.prompt}: ${mark.positive ? "everything" : "nothing"} like the box${at === undefined ? "" : ` at ${clock(at)}`}`;
  return itemOf(text, `the example of ${mark.prompt}`, () => pointing.forgetExample(mark));
}

function itemOf(content, name, remove) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Remove";
  button.setAttribute("aria-label", `Remove ${name}`);
  button.addEventListener("click", remove);
  item.append(content, button);
  return item;
}

// What the whole video will take: objects, frames, time and price, from what was measured here.
function tell() {
  estimate.hidden = !latest?.video || !pace_s;
  if (estimate.hidden) return;
  const { duration_s: length, fps, tracked_fps: tracked } = latest.video;
  const speed = `${(1 / pace_s).toFixed(1)} frames/s as measured here`;
  const objects = [...stills.counts].map(([prompt, most]) => `${most} × ${prompt}`).join(", ");
  const found = `Objects to expect: ${objects ? `${objects} on a frame, and those of other scenes` : "none on these frames"}. `;
  if (!length || !fps) {
    estimate.textContent = `${found}How long the video is, it does not tell; the model makes ${speed}.`;
    return;
  }
  const values = form.values();
  const rate = rateOf(values, length, fps);
  const frames = Math.max(1, Math.ceil(Math.min(length * rate, values.max_frames || Infinity)));
  const stepped = Math.max(1, Math.min(values.track_fps ?? tracked, fps) / rate); // for each of these
  const seconds = frames * stepped * pace_s;
  const price = engine?.hourly_price ? `, which costs ${money((seconds / 3600) * engine.hourly_price)}` : "; what it costs is not known without SHOAL_HOURLY_PRICE";
  estimate.textContent = `${found}The whole video: ${frames.toLocaleString("en")} frames to process, about ${duration(seconds)} on one worker at ${speed}${price}. Many objects take longer.`;
}

// Frames that a job would write, per second of video.
function rateOf({ sample_fps: chosen, outputs }, length, fps) {
  const usual = length <= Number(box.dataset.allFramesS) ? 0 : 1;
  const isRedacted = outputs.some((each) => (each.kind ?? each) === "redact");
  return Math.min((isRedacted ? 0 : chosen ?? usual) || fps, fps);
}

function money(dollars) {
  return dollars < 0.01 ? "less than $0.01" : `$${dollars.toFixed(2)}`;
}

function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
