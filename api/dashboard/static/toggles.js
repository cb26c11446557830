// Objects are hidden and shown one by one, or by prompt. The overlay has them all: where some are hidden,
// the source is played in its place, and the page draws the others.

import * as picture from "./picture.js";
import { playInstead } from "./switch.js";
import { Visible } from "./visible.js";

const stage = document.getElementById("stage");
const video = stage.querySelector("video");
const lanes = document.getElementById("objects");
const bar = document.getElementById("object-bar");
const visible = new Visible(stage.dataset.job);
let player = JSON.parse(stage.dataset.player);
let isOnSource = false;
let isBroken = false; // the source cannot be played

const laneOf = (id) => lanes.querySelector(`[data-object="${id}"]`);
const promptOf = (element) => element.closest("[data-prompt]").dataset.prompt;

// What the boxes and the player say is what is chosen.
function apply() {
  for (const box of lanes.querySelectorAll("[data-show]")) {
    const isShown = visible.has(promptOf(box), Number(box.dataset.show));
    if (box.checked !== isShown) box.checked = isShown;
  }
  for (const each of lanes.querySelectorAll("[data-show], [data-show-all]")) each.disabled = isBroken;
  write(document.getElementById("toggles-note"), isBroken ? "The source cannot be played here, so the picture shows all objects." : "");
  describe();
  const source = player.tables?.source;
  const needsSource = Boolean(source) && !visible.isAll && !isBroken;
  if (needsSource !== isOnSource && player.whole) {
    const at = video.currentTime;
    document.querySelector('[data-compare][aria-pressed="true"]')?.click();
    isOnSource = needsSource;
    playInstead(video, isOnSource ? source : player.whole, at);
  }
  picture.drawOnly(isOnSource ? (row) => visible.has(row.prompt, row.object_id) : null);
}

function describe() {
  const lane = laneOf(picture.selected);
  bar.hidden = !lane || !player.tables;
  if (bar.hidden) return;
  bar.querySelector("strong").textContent = `#${picture.selected} ${promptOf(lane)}`;
  const isShown = visible.has(promptOf(lane), picture.selected);
  const button = bar.querySelector("[data-hide]");
  button.hidden = isBroken || !lane.querySelector("[data-show]");
  button.textContent = isShown ? "Hide" : "Show";
}

// Screen readers announce a status that is written anew, even if it says the same.
function write(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

function flip(id) {
  const lane = laneOf(id);
  if (isBroken || !lane?.querySelector("[data-show]")) return;
  visible.set(promptOf(lane), id, !visible.has(promptOf(lane), id));
  apply();
}

lanes.addEventListener("change", (event) => {
  const box = event.target.closest("[data-show]");
  if (box) flip(Number(box.dataset.show));
});
lanes.addEventListener("click", (event) => {
  const button = event.target.closest("[data-show-all]");
  if (!button) return;
  const groups = button.closest("[data-prompt]") ? [button.closest("[data-prompt]")] : lanes.querySelectorAll("[data-prompt]");
  for (const each of groups) visible.setAll(each.dataset.prompt, button.dataset.showAll === "true");
  apply();
});
lanes.addEventListener("keydown", (event) => {
  const lane = event.target.closest("[data-object]");
  if (event.key === "h" && lane) flip(Number(lane.dataset.object));
});
bar.querySelector("[data-hide]").addEventListener("click", () => flip(picture.selected));

// The source may be gone, replaced, or of a codec that this browser does not have.
video.addEventListener("error", () => {
  if (!isOnSource) return;
  isOnSource = false;
  isBroken = true;
  playInstead(video, player.whole);
  apply();
});

document.addEventListener("shoal:selected", describe);
document.addEventListener("shoal:player", (event) => {
  player = event.detail;
  apply();
});
new MutationObserver(apply).observe(lanes, { childList: true, subtree: true });
apply();
