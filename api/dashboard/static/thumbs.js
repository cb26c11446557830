// Thumbnails in the list of videos: a frame of the results, fetched when its row comes into sight and
// kept for as long as the tab is open.

const AT_ONCE = 2;
const AT = 1 / 3; // of the video

const rows = document.getElementById("rows");
const known = new WeakSet();
const waiting = [];
let busy = 0;

const sight = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    sight.unobserve(target);
    waiting.push(target);
  }
  next();
}, { rootMargin: "100px" });

function next() {
  while (busy < AT_ONCE && waiting.length) {
    busy += 1;
    const canvas = waiting.shift();
    show(canvas).catch(() => { canvas.hidden = true; }).finally(() => {
      busy -= 1;
      next();
    });
  }
}

async function show(canvas) {
  const { thumb: url } = canvas.dataset;
  const kept = sessionStorage.getItem(url);
  if (kept) {
    const bytes = Uint8Array.from(atob(kept.split(",")[1]), (each) => each.charCodeAt(0));
    paint(canvas, await createImageBitmap(new Blob([bytes], { type: "image/jpeg" })));
    return;
  }
  const video = await frameOf(url);
  paint(canvas, video, video.videoWidth, video.videoHeight);
  video.removeAttribute("src"); // gives the decoder back
  video.load();
  try {
    sessionStorage.setItem(url, canvas.toDataURL("image/jpeg", 0.8));
  } catch {
    sessionStorage.clear(); // it is full
  }
}

function frameOf(url) {
  const video = document.createElement("video");
  video.muted = true;
  video.preload = "metadata";
  return new Promise((resolve, reject) => {
    video.addEventListener("loadedmetadata", () => { video.currentTime = video.duration * AT; });
    video.addEventListener("seeked", () => resolve(video));
    video.addEventListener("error", () => reject(video.error));
    video.src = url;
  });
}

// All of the picture, in the middle.
function paint(canvas, picture, width = picture.width, height = picture.height) {
  const scale = Math.min(canvas.width / width, canvas.height / height);
  const [w, h] = [width * scale, height * scale];
  canvas.getContext("2d").drawImage(picture, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
}

function find() {
  for (const canvas of rows.querySelectorAll("[data-thumb]")) {
    if (known.has(canvas)) continue;
    known.add(canvas);
    sight.observe(canvas);
  }
}

new MutationObserver(find).observe(rows, { childList: true, subtree: true });
find();
