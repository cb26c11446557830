// Plays the overlay or redacted video, or while the video is being processed the finished segments of
// the overlay in order.
// Timestamps within a segment are those of the whole video.

const stage = document.getElementById("stage");
const video = stage.querySelector("video");
const none = document.getElementById("no-video");
const note = document.getElementById("playing");
const bell = document.getElementById("notify");
let player = { whole: "", parts: [], state: "" };
let segment = -1; // index of the segment that is shown; -1: the whole video, or none yet
let isWhole = false;
const title = document.title;
const ENDS = { succeeded: "✓", failed: "✗", cancelled: "✗" };

function update(next) {
  if (ENDS[next.state] && player.state && player.state !== next.state) tell(next.state);
  player = next;
  if (player.whole) {
    if (!isWhole) showWhole();
  } else if (player.parts.length && segment < 0 && !isWhole) {
    showSegment(0, false);
  } else if (video.ended && segment + 1 < player.parts.length) {
    showSegment(segment + 1, true); // continue with the new segment
  }
  if (!player.whole && isWhole) location.reload(); // the video was retried
  describe();
}

// The title, and a notification if that was asked for, say in the background when the video is done.
function tell(state) {
  document.title = `${ENDS[state]} ${title}`;
  if (window.Notification?.permission === "granted") new Notification(title, { body: state });
}

bell.addEventListener("click", async () => {
  await Notification.requestPermission();
  describe();
});

function showWhole() {
  const at = segment >= 0 ? video.currentTime : 0;
  const plays = segment >= 0 && !video.paused;
  isWhole = true;
  segment = -1;
  show(player.whole);
  video.addEventListener("loadedmetadata", () => {
    if (at) video.currentTime = Math.min(at, video.duration);
    if (plays) video.play().catch(() => {});
  }, { once: true });
}

function showSegment(index, plays) {
  segment = index;
  show(player.parts[index]);
  if (plays) video.play().catch(() => {}); // the browser may require a click first
}

function show(url) {
  video.src = url;
  video.hidden = false;
}

function describe() {
  const plays = Boolean(player.whole) || segment >= 0;
  none.hidden = plays;
  stage.hidden = !plays && player.state === "failed"; // the error is shown instead
  write(none, explain());
  write(note, segment >= 0 ? `Segment ${segment + 1} of ${player.parts.length} (still processing)` : "");
  note.hidden = segment < 0;
  bell.hidden = window.Notification?.permission !== "default" || player.state in ENDS;
}

// Screen readers announce a status that is written anew, even if it says the same.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Why nothing plays, and when something will.
function explain() {
  const { state, follows } = player;
  if (state === "cancelled") return "Cancelled.";
  if (state === "failed") return "Failed before any output was produced.";
  if (!follows) return "No overlay or redacted video was requested.";
  if (state === "succeeded") return "The video is not among the results.";
  const what = follows === "segments" ? "A preview appears here once the first segment is ready." : "The video appears here when it is finished.";
  return state === "queued" ? `Waiting for a worker. ${what}` : what;
}

video.addEventListener("ended", () => {
  if (segment >= 0 && segment + 1 < player.parts.length) showSegment(segment + 1, true);
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

// A link to a moment: #t=12.5, in seconds.
function seekToLink() {
  const at = Number(new URLSearchParams(location.hash.slice(1)).get("t"));
  if (!location.hash.startsWith("#t=") || !Number.isFinite(at)) return;
  if (video.readyState) seek(at);
  else video.addEventListener("loadedmetadata", () => seek(at), { once: true });
}
window.addEventListener("hashchange", seekToLink);

// "," and "." go one frame back and on.
document.addEventListener("keydown", (event) => {
  const step = { ",": -1, ".": 1 }[event.key];
  if (!step || video.hidden || event.target.closest("input, select, textarea")) return;
  video.pause();
  video.currentTime = Math.max(0, video.currentTime + step / (player.fps || 25));
});

function seek(seconds) {
  if (video.hidden) return;
  video.currentTime = seconds;
  video.scrollIntoView({ block: "nearest" });
}

// --- the timeline ---------------------------------------------------------------------------------

const objects = document.getElementById("objects");

objects.addEventListener("change", (event) => {
  if (event.target.id === "zoom") objects.style.setProperty("--zoom", event.target.value);
});

// The arrow keys go through the appearances of an object, and up and down through the objects.
objects.addEventListener("keydown", (event) => {
  const button = event.target.closest("[data-spans]");
  if (!button) return;
  const starts = JSON.parse(button.dataset.spans).map(([start]) => start);
  const at = video.currentTime;
  if (event.key === "ArrowRight") seek(starts.find((start) => start > at + 0.05) ?? starts.at(-1));
  else if (event.key === "ArrowLeft") seek(starts.findLast((start) => start < at - 0.05) ?? starts[0]);
  else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
    const all = [...objects.querySelectorAll("[data-spans]")];
    all[all.indexOf(button) + (event.key === "ArrowDown" ? 1 : -1)]?.focus();
  } else return;
  event.preventDefault();
});

document.addEventListener("shoal:player", (event) => update(event.detail));
update(JSON.parse(stage.dataset.player));
seekToLink();
