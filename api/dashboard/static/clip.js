// A clip around an object, to be kept: a stretch of the video, recorded in the browser.

import * as picture from "./picture.js";
import { record, whyNot } from "./record.js";
import { clock } from "./stills.js";

const AROUND_S = 1; // before and after the object, at first
const MOST_S = 300; // of a clip, which is in memory until it is saved
const MARGIN = 0.25; // of the largest box, on each side
const STEADY_S = 0.5; // over which the place of the object is averaged, so that the picture does not shake
const LEAST_SIDE = 480; // pixels: what is smaller is enlarged,
const MOST_SIDE = 1280; // and what is larger reduced

const dialog = document.getElementById("clip");
const video = document.querySelector("#stage video");
const lanes = document.getElementById("objects");
const open = document.querySelector("#object-bar [data-clip]");
const [from, to, choice, masks, hint, progress, problem, close, save] = [
  "from", "to", "picture", "masks", "hint", "progress", "problem", "close", "save",
].map((name) => document.getElementById(`clip-${name}`));
let running = null; // an AbortController

function openDialog() {
  const id = picture.selected;
  const button = lanes.querySelector(`[data-object="${id}"] [data-spans]`);
  const spans = JSON.parse(button.dataset.spans);
  const now = video.currentTime;
  const [start, end] = spans.find(([, last]) => last >= now) ?? spans.at(-1);
  from.value = Math.max(0, start - AROUND_S).toFixed(1);
  to.value = Math.min(video.duration, Number(from.value) + MOST_S, end + AROUND_S).toFixed(1);
  document.getElementById("clip-title").textContent = `Clip of #${id}`;
  masks.disabled = !picture.given().source;
  if (masks.disabled) masks.checked = true;
  problem.hidden = true;
  describe();
  dialog.showModal();
}

function length() {
  return Number(to.value) - Number(from.value);
}

function describe() {
  const why = whyNot();
  const isLong = length() > MOST_S;
  hint.textContent = why || (isLong
    ? `A clip has at most ${MOST_S} s. For more, cut the file of the results.`
    : `Recording takes as long as the clip: ${Math.max(0, length()).toFixed(1)} s. It has no sound.`);
  save.disabled = Boolean(why) || isLong || !(length() > 0) || Boolean(running);
}

async function start() {
  running = new AbortController();
  setBusy(true);
  try {
    const id = picture.selected;
    const [start_s, end_s] = [Number(from.value), Number(to.value)];
    const tables = await picture.tables();
    const boxes = await tables.boxes(id, start_s, end_s);
    const view = choice.value === "crop" && boxes.length ? around(boxes, tables.size) : whole(tables.size);
    const { stem, source, overlay } = picture.given();
    const { blob, ending } = await record({
      url: masks.checked ? overlay : source,
      from: start_s,
      to: end_s,
      width: view.width,
      height: view.height,
      paint: (context, frame, time_s) => view.paint(context, frame, time_s, tables.size),
      onProgress: (part) => { progress.value = part; },
      signal: running.signal,
    });
    download(blob, `${stem}_object${id}_${clock(start_s).replaceAll(":", "-")}.${ending}`);
    dialog.close();
  } catch (fault) {
    if (fault.name !== "AbortError") {
      problem.textContent = fault.message;
      problem.hidden = false;
    }
  } finally {
    running = null;
    setBusy(false);
  }
}

function setBusy(isBusy) {
  progress.hidden = !isBusy;
  progress.value = 0;
  close.textContent = isBusy ? "Cancel" : "Close";
  for (const each of [from, to, choice, masks]) each.disabled = isBusy;
  masks.disabled ||= !picture.given()?.source;
  describe();
}

function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // it is being saved
}

// --- what of the picture is recorded -----------------------------------------------------------------

// A size in pixels that encoders take: even.
function sized(width, height, least = 0) {
  const long = Math.max(width, height);
  const scale = Math.min(Math.max(1, least / long), MOST_SIDE / long);
  return { width: 2 * Math.max(1, Math.round((width * scale) / 2)), height: 2 * Math.max(1, Math.round((height * scale) / 2)) };
}

function whole({ width, height }) {
  return { ...sized(width, height), paint(context, frame) { context.drawImage(frame, 0, 0, context.canvas.width, context.canvas.height); } };
}

// A window of one size that follows the object.
function around(boxes, size) {
  const side = (low, high, most) => Math.min(most, (1 + 2 * MARGIN) * Math.max(...boxes.map(({ box }) => box[high] - box[low])));
  const [width, height] = [side(0, 2, size.width), side(1, 3, size.height)];
  return {
    ...sized(width, height, LEAST_SIDE),
    paint(context, frame, time_s) {
      const [x, y] = centre(boxes, time_s);
      const left = Math.min(Math.max(x - width / 2, 0), size.width - width);
      const top = Math.min(Math.max(y - height / 2, 0), size.height - height);
      const scale = frame.videoWidth / size.width; // they are the same but of an overlay of odd size
      context.drawImage(frame, left * scale, top * scale, width * scale, height * scale, 0, 0, context.canvas.width, context.canvas.height);
    },
  };
}

// Where the object is at a time, or nearest to it.
function centre(boxes, time_s) {
  const near = boxes.filter((each) => Math.abs(each.time_s - time_s) <= STEADY_S / 2);
  const nearest = () => boxes.reduce((best, each) => (Math.abs(each.time_s - time_s) < Math.abs(best.time_s - time_s) ? each : best));
  const used = near.length ? near : [nearest()];
  const mean = (of) => used.reduce((sum, { box }) => sum + of(box), 0) / used.length;
  return [mean((box) => (box[0] + box[2]) / 2), mean((box) => (box[1] + box[3]) / 2)];
}

open.addEventListener("click", openDialog);
for (const each of [from, to]) each.addEventListener("input", describe);
dialog.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  problem.hidden = true;
  start();
});
close.addEventListener("click", () => (running ? running.abort() : dialog.close()));
dialog.addEventListener("close", () => running?.abort());
