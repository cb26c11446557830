// Objects in the picture of the player: the one under the pointer, the one that is selected, and what
// is pointed at. Their masks come from the mask table.

import { listen } from "./pointing.js";
import { isInside, paintMask } from "./rle.js";
import { drawBox, drawCross, drawMark } from "./stills.js";

const LIGHT = [255, 255, 255];
const MOST_PIXELS = 1280; // of a side of the canvas
const SNAP = 0.001; // seconds: behind the time of a frame, so that a player shows it

const stage = document.getElementById("stage");
const video = stage.querySelector("video");
const canvas = document.getElementById("marks");
const lanes = document.getElementById("objects");

export const shown = { index: 0, frame: -1, time_s: 0, width: 1, height: 1, rows: [] }; // in the player
export let selected = 0; // ID of an object; 0: none
let hovered = 0;
let source = null; // of the tables; null: there are none
let opened = null; // a promise of the tables
let isComing = false; // follow is called at the next frame
let latest = 0; // number of the newest look
let drawn = null; // isShown(row), of the objects that the page draws on the source; null: the overlay has all
let user = { isEditing: false, marks: [], onPick: select, onLook() {} };

// Let another module edit: onPick(id) takes what is clicked, point(frame, mark) what is pointed at if
// isPointing, undo() takes that back; marks are drawn, as those of Pointing.
export function setUp(given) {
  user = given;
}

export function select(id) {
  selected = id;
  for (const button of lanes.querySelectorAll("[data-object] button")) {
    const isHere = Number(button.closest("[data-object]").dataset.object) === id;
    if (isHere) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  document.dispatchEvent(new Event("shoal:selected"));
  follow();
}

// The player shows the source: draw these objects on it. null: it shows the overlay.
export function drawOnly(isShown) {
  drawn = isShown;
  follow();
}

// The tables of the results.
export function tables() {
  opened ??= import("./tables.js").then(({ Tables }) => Tables.open(source));
  return opened;
}

// Their files, and how objects are drawn; null if there are none.
export function given() {
  return source;
}

// See which frame the player shows, and what is on it.
export async function look() {
  const number = ++latest;
  if (!source || video.hidden || !video.videoWidth || isOther()) return draw();
  let now;
  let rows;
  try {
    const found = await tables();
    Object.assign(shown, found.size);
    if (!found.frames.length) return undefined;
    now = found.at(video.currentTime);
    rows = await found.rows(now.frame);
  } catch (problem) {
    source = opened = null; // the results are gone, or the server is away
    document.dispatchEvent(new CustomEvent("shoal:unreadable", { detail: problem.message }));
    return undefined;
  }
  if (number !== latest) return undefined;
  Object.assign(shown, now, { rows });
  // A player may show frames between those of the table: what is pointed at is on one of these.
  if (user.isPointing && video.paused && !video.seeking && video.currentTime - shown.time_s > 2 * SNAP) {
    video.currentTime = shown.time_s + SNAP;
  }
  draw();
  user.onLook();
  return undefined;
}

// Go to the next frame of the table, or to the one before.
export async function step(way) {
  video.pause();
  await look();
  const { frames } = (await opened) ?? { frames: [] };
  const wanted = frames[Math.min(Math.max(shown.index + way, 0), frames.length - 1)];
  if (wanted) video.currentTime = wanted.time_s + SNAP;
}

// Another version is played, whose tables these are not.
function isOther() {
  return Boolean(document.querySelector('[data-compare][aria-pressed="true"]'));
}

function isFollowed() {
  return selected || user.isEditing || drawn;
}

// The objects that are to be seen in the picture.
function rowsHere() {
  return drawn ? shown.rows.filter(drawn) : shown.rows;
}

function follow() {
  if (!isFollowed()) return draw();
  look();
  if (!video.paused && !isComing && video.requestVideoFrameCallback) {
    isComing = true;
    video.requestVideoFrameCallback(() => {
      isComing = false;
      follow();
    });
  }
  return undefined;
}

// --- drawing -----------------------------------------------------------------------------------------

export function draw(cursor = null, box = null) {
  fit();
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const isSeen = source && !isOther() && (video.paused || isFollowed());
  if (!isSeen) return;
  const scale = canvas.width / shown.width;
  const rows = rowsHere();
  for (const row of rows) {
    if (row.object_id === selected) drawMask(context, row, scale, LIGHT);
    else if (drawn) drawMask(context, row, scale, colourOf(row));
  }
  for (const row of rows) {
    const isMeant = row.object_id === selected || row.object_id === hovered;
    if (isMeant) drawBox(context, boxOf(row), scale, row.object_id === selected);
    if (isMeant || drawn) write(context, row, scale);
  }
  for (const mark of user.marks) {
    if (mark.frame === shown.frame) drawMark(context, mark, scale, mark.isActive);
  }
  if (box) drawBox(context, box, scale, true);
  if (cursor) drawCross(context, cursor, scale);
  const names = rows.map((row) => `#${row.object_id} ${row.prompt}`).join(", ");
  canvas.setAttribute("aria-label", `Frame ${shown.frame}: ${names || "no objects"}`);
}

function colourOf({ prompt, object_id: id }) {
  return source.colours[prompt] ?? source.palette[id % source.palette.length] ?? LIGHT;
}

function drawMask(context, row, scale, colour) {
  const mask = paintMask(maskOf(row), colour);
  if (!mask) return;
  const { canvas: painted, left, top } = mask;
  context.drawImage(painted, left * scale, top * scale, painted.width * scale, painted.height * scale);
}

function write(context, row, scale) {
  const size = Math.max(12, Math.round(canvas.height / 28));
  const text = `#${row.object_id} ${row.prompt}`;
  context.font = `600 ${size}px system-ui, sans-serif`;
  const width = context.measureText(text).width + 8;
  const x = Math.max(0, Math.min(row.box_x0 * scale, canvas.width - width));
  const y = Math.max(size + 4, row.box_y0 * scale);
  context.fillStyle = "#111";
  context.fillRect(x, y - size - 4, width, size + 6);
  context.fillStyle = "#fff";
  context.fillText(text, x + 4, y - 3);
}

// Over the picture, which is smaller than the player where their shapes differ.
function fit() {
  const { videoWidth, videoHeight, clientWidth, clientHeight } = video;
  const ratio = Math.min(clientWidth / videoWidth, clientHeight / videoHeight) || 0;
  const place = { width: videoWidth * ratio, height: videoHeight * ratio };
  place.left = video.offsetLeft + (clientWidth - place.width) / 2;
  place.top = video.offsetTop + (clientHeight - place.height) / 2;
  for (const [name, value] of Object.entries(place)) canvas.style[name] = `${value}px`;
  const shrink = Math.min(1, MOST_PIXELS / shown.width, MOST_PIXELS / shown.height);
  const [width, height] = [shown.width, shown.height].map((side) => Math.max(1, Math.round(side * shrink)));
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

// --- the pointer -------------------------------------------------------------------------------------

function maskOf(row) {
  return { size: [row.height, row.width], counts: row.rle };
}

function boxOf(row) {
  return [row.box_x0, row.box_y0, row.box_x1, row.box_y1];
}

// The object at a place: the smallest whose mask, or else whose box, is there; 0: none.
function objectAt(x, y) {
  const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
  const inBox = rowsHere().filter(({ box_x0: x0, box_y0: y0, box_x1: x1, box_y1: y1 }) => x >= x0 && x <= x1 && y >= y0 && y <= y1);
  const inMask = inBox.filter((row) => isInside(maskOf(row), x, y));
  const [first] = (inMask.length ? inMask : inBox).sort((a, b) => area(boxOf(a)) - area(boxOf(b)));
  return first?.object_id ?? 0;
}

canvas.addEventListener("pointerdown", () => video.pause());
listen(canvas, shown, {
  get isAllowed() {
    return user.isEditing;
  },
  get tool() {
    return user.tool;
  },
  mark(frame, mark) {
    if (user.isPointing) user.point(frame, mark);
    else user.onPick(objectAt(mark.x, mark.y));
  },
  box(frame, box) {
    const [x0, y0, x1, y1] = box;
    if (user.isPointing) user.point(frame, { kind: "box", box });
    else user.onPick(objectAt((x0 + x1) / 2, (y0 + y1) / 2));
  },
  undo: () => user.undo(),
}, draw);

stage.addEventListener("pointermove", async (event) => {
  if (!source || !video.paused || event.buttons) return;
  if (shown.frame < 0) await look();
  const bounds = canvas.getBoundingClientRect();
  const x = ((event.clientX - bounds.left) / bounds.width) * shown.width;
  const y = ((event.clientY - bounds.top) / bounds.height) * shown.height;
  const id = objectAt(x, y);
  if (id === hovered) return;
  hovered = id;
  draw();
});
stage.addEventListener("pointerleave", () => {
  hovered = 0;
  draw();
});

document.addEventListener("click", (event) => {
  const lane = event.target.closest("[data-object]");
  if (!lane) return;
  const id = Number(lane.dataset.object);
  const isAgain = id === selected && !user.isEditing && event.target.closest("button");
  user.onPick(isAgain ? 0 : id);
});

for (const name of ["seeked", "pause", "loadeddata"]) {
  video.addEventListener(name, () => {
    hovered = 0;
    if (isFollowed() || shown.frame >= 0) look();
  });
}
video.addEventListener("play", follow);
new ResizeObserver(() => draw()).observe(video);

document.addEventListener("shoal:player", (event) => { source = event.detail.tables; });
source = JSON.parse(stage.dataset.player).tables;
