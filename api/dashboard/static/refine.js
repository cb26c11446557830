// New versions of results: an object is clicked in the picture or in the timeline, or chosen in a list;
// changes of objects, or corrections on paused frames, gather in a list and become a job.

import { request } from "./http.js";
import * as picture from "./picture.js";
import { Pointing } from "./pointing.js";
import { clock } from "./stills.js";

const NEW = "new"; // the choice of an object that was not found
const PLAN_MS = 300; // after the latest point

const edit = document.getElementById("edit");
const video = document.querySelector("#stage video");
const [list, none, hint, plan, problem, choice, label, tools, points, submit] = [
  "changes", "none", "hint", "plan", "problem", "object", "label", "tools", "points", "submit",
].map((name) => document.getElementById(`edit-${name}`));
const button = (name) => edit.querySelector(`[data-edit="${name}"]`);

let data = null; // what the server says of the job
let tracks = null;
let mode = ""; // "merge": the next object that is picked; "points": a click is a point
let changes = []; // { text, remove | merge | split | relabel }, in the order of their making
let isNew = false; // an object that was not found is pointed at
let newLabel = "";
let planning;
const pointing = new Pointing(show, () => NEW);
pointing.allowed = new Set(["point", "box"]);

function node(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// --- what is selected --------------------------------------------------------------------------------

const selectedTrack = () => tracks?.find((each) => each.object_id === picture.selected);

function pick(id) {
  if (mode === "merge" && id && picture.selected && id !== picture.selected) {
    add({ text: `Merge #${picture.selected} with #${id}`, merge: [picture.selected, id] });
    mode = "";
    choice.value = picture.selected;
    return show();
  }
  isNew = false;
  mode = "";
  picture.select(id);
  choice.value = id || "";
  label.value = selectedTrack()?.prompt ?? "";
  return show();
}

function choose() {
  if (choice.value === NEW) {
    pick(0);
    choice.value = NEW;
    label.value = newLabel;
    isNew = true;
    return mark();
  }
  const merges = mode === "merge";
  pick(Number(choice.value));
  const track = selectedTrack();
  const isHere = track && track.first_frame <= picture.shown.frame && picture.shown.frame <= track.last_frame;
  if (track && !isHere && !merges) video.currentTime = track.spans[0][0];
  return undefined;
}

// --- changes -----------------------------------------------------------------------------------------

function add(change) {
  changes.push(change);
  show();
}

const actions = {
  remove: () => add({ text: `Remove #${picture.selected}`, remove: picture.selected }),
  merge() {
    mode = mode === "merge" ? "" : "merge";
    show();
  },
  split() {
    const [id, { frame }] = [picture.selected, picture.shown];
    add({ text: `Split #${id} at frame ${frame}`, split: { object_id: id, frame } });
  },
  rename() {
    const [id, text] = [picture.selected, label.value.trim()];
    changes = changes.filter((each) => each.relabel?.[0] !== id);
    if (text && text !== selectedTrack().prompt) changes.push({ text: `Rename #${id} to ${text}`, relabel: [id, text] });
    show();
  },
  points() {
    if (mode !== "points") return mark();
    mode = "";
    return show();
  },
  undo: () => pointing.undo(),
  play: () => (video.paused ? video.play().catch(() => {}) : video.pause()),
  back: () => picture.step(-1),
  next: () => picture.step(1),
};

// From now on a click is a point of the selected object.
function mark() {
  const name = isNew ? NEW : String(picture.selected);
  const index = pointing.objects.findIndex((each) => each.label === name && !each.isRemoved);
  mode = "points";
  if (index < 0) pointing.add(name);
  else pointing.active = index;
  video.pause();
  picture.look();
  show();
}

// A correction names an object of a text prompt by its ID, one that was marked by its label.
function correction({ label: name, frame, points: at, box }) {
  const mark = at ? { frame, points: at } : { frame, box };
  if (data.marked[name]) return { ...data.marked[name], ...mark };
  if (name !== NEW) return { object_id: Number(name), ...mark };
  const text = newLabel.trim() || label.placeholder;
  const known = Object.values(data.marked).filter((each) => each.label === text).map((each) => each.object);
  let number = 1;
  while (known.includes(String(number))) number += 1;
  return { label: text, object: String(number), ...mark };
}

// Pairs that have an object in common are one group, which is named after the first of the first.
function groups(pairs) {
  const found = [];
  for (const pair of pairs) {
    const near = found.filter((group) => pair.some((id) => group.includes(id)));
    for (const group of near) found.splice(found.indexOf(group), 1);
    found.push([...new Set([...near.flat(), ...pair])]);
  }
  return found;
}

function body() {
  if (pointing.prompts.length) return { objects: pointing.prompts.map(correction) };
  const of = (kind) => changes.filter((each) => each[kind] !== undefined).map((each) => each[kind]);
  return {
    split: of("split"),
    remove: [...new Set(of("remove"))],
    merge: groups(of("merge")),
    relabel: Object.fromEntries(of("relabel")),
  };
}

// --- what is shown -----------------------------------------------------------------------------------

function show() {
  const corrections = pointing.prompts;
  list.replaceChildren(
    ...changes.map((change) => item(change.text, () => { changes.splice(changes.indexOf(change), 1); })),
    ...corrections.map((each) => item(describe(each), () => {
      const index = pointing.objects.findIndex((object) => object.label === each.label);
      pointing.marks = pointing.marks.filter((mark) => mark.object !== index || mark.frame !== each.frame);
    })),
  );
  none.hidden = list.children.length > 0;
  submit.disabled = !list.children.length;
  showTools(corrections);
  picture.draw();
  clearTimeout(planning);
  if (corrections.length) planning = setTimeout(foresee, PLAN_MS);
  else plan.textContent = changes.length ? "Needs no model: any worker makes it." : "";
}

function item(text, undo) {
  const made = node("button", { type: "button", textContent: "Undo" });
  made.setAttribute("aria-label", `Undo: ${text}`);
  made.addEventListener("click", () => {
    undo();
    show();
  });
  return node("li", {}, `${text} `, made);
}

function describe({ label: name, frame, points: at, box }) {
  const what = box ? "a box" : `${at.length} point${at.length === 1 ? "" : "s"}`;
  return `${name === NEW ? "New object" : `Correct #${name}`} on frame ${frame}: ${what}`;
}

// What cannot be done is greyed, with the reason.
function showTools(corrections) {
  const [track, { frame }] = [selectedTrack(), picture.shown];
  const refusals = corrections.length ? "Corrections and edits are versions of their own: make this one first." : "";
  const pointless = changes.length ? "Edits and corrections are versions of their own: make this one first." : whyNoPoints();
  const canSplit = track && track.first_frame < frame && frame <= track.last_frame;
  for (const name of ["remove", "merge", "rename"]) button(name).disabled = !track || Boolean(refusals);
  button("split").disabled = !canSplit || Boolean(refusals);
  button("points").disabled = !(track || isNew) || Boolean(pointless);
  choice.querySelector(`[value="${NEW}"]`).disabled = Boolean(changes.length || data.cannot.points);
  if (button("points").disabled && mode === "points") mode = "";
  button("merge").setAttribute("aria-pressed", String(mode === "merge"));
  button("points").setAttribute("aria-pressed", String(mode === "points"));
  label.disabled = !track && !isNew;
  points.disabled = mode !== "points";
  document.getElementById("edit-why").textContent = [refusals, pointless && `Points: ${pointless}`].filter(Boolean).join(" ");
  write(hint, guide(track, canSplit));
  button("play").textContent = video.paused ? "Play" : "Pause";
  document.getElementById("edit-at").textContent = frame < 0 ? "" : `Frame ${frame} at ${clock(picture.shown.time_s)}`;
}

function whyNoPoints() {
  if (data.cannot.points || isNew) return data.cannot.points ?? "";
  if (data.marked[picture.selected]) return "";
  const [track, { frame }] = [selectedTrack(), picture.shown];
  if (data.cannot.object_id || !track) return data.cannot.object_id ?? "";
  const isHere = track.first_frame <= frame && frame <= track.last_frame;
  return isHere ? "" : `#${track.object_id} is not on frame ${frame}: go to one that it is on, or choose New object.`;
}

function guide(track, canSplit) {
  if (mode === "merge") return `Click the object that is the same as #${picture.selected}, or choose it in the list.`;
  if (mode === "points") return "Click the object; Alt-click what is not part of it; drag a box around it. Keyboard: arrow keys, Enter, Alt+Enter, Backspace.";
  if (!track) return "Click an object.";
  const where = `#${track.object_id} is on frames ${track.first_frame} to ${track.last_frame}.`;
  return canSplit ? where : `${where} It can be split after the first of them.`;
}

// Screen readers announce a status that is written anew, even if it says the same.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// From where tracking would continue.
async function foresee() {
  const asked = body();
  try {
    const found = await request("POST", `/videos/${data.job}/refine/plan`, asked);
    if (JSON.stringify(asked) !== JSON.stringify(body())) return;
    problem.hidden = true;
    const first = Math.min(...asked.objects.map((each) => each.frame));
    const { continues_from_frame: last } = found;
    plan.textContent = last === null
      ? `Tracking starts over from the first frame: ${data.anew || `no checkpoint before frame ${first} is kept`}.`
      : `Tracking continues after frame ${last}, from a checkpoint. Results up to there stay as they are.`;
  } catch (fault) {
    plan.textContent = "";
    tell(fault);
  }
}

function tell(fault) {
  problem.textContent = `${fault.message}. ${fault.hint}`;
  problem.hidden = false;
}

async function send() {
  problem.hidden = true;
  submit.disabled = true;
  try {
    const record = await request("POST", `/videos/${data.job}/refine`, body());
    location.assign(`/ui/videos/${record.id}`);
  } catch (fault) {
    tell(fault);
    submit.disabled = false;
  }
}

// --- opening and closing -----------------------------------------------------------------------------

async function toggle() {
  document.getElementById("marks").tabIndex = edit.open ? 0 : -1;
  document.getElementById("stage").classList.toggle("editing", edit.open);
  video.controls = !edit.open; // they would lie over the picture
  mode = "";
  if (edit.open) video.pause();
  try {
    tracks ??= (await request("GET", data.summary)).tracks;
  } catch (fault) {
    none.textContent = `The objects cannot be read: ${fault.message}`;
    return;
  }
  if (choice.options.length === 2) {
    choice.append(...tracks.map((each) => node("option", { value: each.object_id, textContent: `#${each.object_id} ${each.prompt}` })));
  }
  pick(picture.selected);
}

function learn(said) {
  data = said;
  edit.hidden = !data.isDone;
  document.getElementById("edit-checkpoints").textContent = data.checkpoints;
}

if (edit) {
  learn(JSON.parse(edit.dataset.edit));
  picture.setUp({
    get isEditing() { return edit.open; },
    get isPointing() { return mode === "points"; },
    get tool() { return pointing.tool; },
    get marks() { return pointing.marks.map((each) => ({ ...each, isActive: each.object === pointing.active })); },
    onPick: (id) => (edit.open ? pick(id) : picture.select(id)),
    onLook: () => showTools(pointing.prompts),
    point: (frame, each) => pointing.mark(frame, each),
    undo: () => pointing.undo(),
  });
  edit.addEventListener("toggle", toggle);
  tools.addEventListener("click", (event) => actions[event.target.closest("[data-edit]")?.dataset.edit]?.());
  choice.addEventListener("change", choose);
  label.addEventListener("input", () => {
    if (!isNew) return;
    newLabel = label.value;
    show();
  });
  for (const each of points.querySelectorAll("[name=tool]")) {
    each.addEventListener("change", () => { pointing.tool = each.value; });
  }
  for (const name of ["play", "pause"]) video.addEventListener(name, () => { if (tracks) showTools(pointing.prompts); });
  submit.addEventListener("click", send);
  document.addEventListener("shoal:editing", (event) => learn(event.detail));
  document.addEventListener("shoal:unreadable", (event) => { hint.textContent = `The masks cannot be read: ${event.detail}`; });
}
