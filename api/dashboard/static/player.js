// The overlay: the whole of it, or while the video is at work its finished parts one after the
// other. A part's times are those of the whole video.

const stage = document.getElementById("stage");
const video = stage.querySelector("video");
const none = document.getElementById("no-video");
const note = document.getElementById("playing");
let player = { whole: "", parts: [], state: "" };
let part = -1; // index of the one that is shown; -1: the whole, or none yet
let isWhole = false;

function update(next) {
  player = next;
  if (player.whole) {
    if (!isWhole) showWhole();
  } else if (player.parts.length && part < 0 && !isWhole) {
    showPart(0, false);
  } else if (video.ended && part + 1 < player.parts.length) {
    showPart(part + 1, true); // it has waited for this one
  }
  if (!player.whole && isWhole) location.reload(); // retried
  describe();
}

function showWhole() {
  const at = part >= 0 ? video.currentTime : 0;
  const plays = part >= 0 && !video.paused;
  isWhole = true;
  part = -1;
  show(player.whole);
  video.addEventListener("loadedmetadata", () => {
    if (at) video.currentTime = Math.min(at, video.duration);
    if (plays) video.play().catch(() => {});
  }, { once: true });
}

function showPart(index, plays) {
  part = index;
  show(player.parts[index]);
  if (plays) video.play().catch(() => {}); // a browser that wants a click first will get one
}

function show(url) {
  video.src = url;
  video.hidden = false;
}

function describe() {
  const plays = Boolean(player.whole) || part >= 0;
  none.hidden = plays;
  stage.hidden = !plays && player.state === "failed"; // its cause is what matters then
  none.textContent = {
    queued: "It waits for a worker. The first part plays here as soon as it is finished.",
    running: "The first part plays here as soon as it is finished.",
    failed: "Nothing of it was finished.",
    cancelled: "It was cancelled: there is nothing to play.",
  }[player.state] ?? "There is no overlay.";
  note.textContent = part >= 0 ? `Part ${part + 1} of ${player.parts.length} finished so far` : "";
  note.hidden = part < 0;
}

video.addEventListener("ended", () => {
  if (part >= 0 && part + 1 < player.parts.length) showPart(part + 1, true);
  describe();
});
video.addEventListener("timeupdate", () => {
  for (const lane of document.querySelectorAll("[data-timeline]")) {
    const x = 1000 * Math.min(1, video.currentTime / Number(lane.dataset.timeline));
    const playhead = lane.querySelector(".playhead");
    playhead.setAttribute("x1", x);
    playhead.setAttribute("x2", x);
  }
});

document.addEventListener("click", (event) => {
  const lane = event.target.closest("[data-timeline]");
  const button = event.target.closest("[data-seek]");
  if (lane) {
    const box = lane.getBoundingClientRect();
    seek(((event.clientX - box.left) / box.width) * Number(lane.dataset.timeline));
  } else if (button) {
    seek(Number(button.dataset.seek));
  }
});

function seek(seconds) {
  video.currentTime = seconds;
  video.scrollIntoView({ block: "nearest" });
}

document.addEventListener("shoal:player", (event) => update(event.detail));
update(JSON.parse(stage.dataset.player));
