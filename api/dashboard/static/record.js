// A stretch of a video, played once and recorded as what a canvas shows of it.

// Those that play everywhere first; Firefox records WebM alone.
const TYPES = ["video/mp4;codecs=avc1.640028", "video/mp4;codecs=avc1.42E01E", "video/webm;codecs=vp9", "video/webm"];
const BITS_PER_PIXEL = 0.2; // and frame, of 30 in a second
const LEAST_BITS = 2_000_000; // per second
const CAPTURE_MS = 100; // after which the recorder has what was painted last

const type = () => TYPES.find((each) => window.MediaRecorder?.isTypeSupported(each));

// Why this browser cannot record; empty if it can.
export function whyNot() {
  const canCapture = HTMLCanvasElement.prototype.captureStream && HTMLVideoElement.prototype.requestVideoFrameCallback;
  return type() && canCapture ? "" : "This browser cannot record video.";
}

// Give the clip and how its file ends. paint(context, video, time_s) draws a frame on a canvas of that
// size; onProgress(part) is called with each frame. signal ends the recording with an AbortError.
// It stands still while the page is hidden, as the browser then shows it no frames.
export async function record({ url, from, to, width, height, paint, onProgress, signal }) {
  const video = document.createElement("video");
  const stop = new AbortController();
  const options = { signal: AbortSignal.any([signal, stop.signal]) };
  const until = (name) => new Promise((resolve, reject) => {
    video.addEventListener(name, resolve, { once: true, ...options });
    video.addEventListener("error", () => reject(new Error("The video cannot be played here.")), options);
    signal.addEventListener("abort", () => reject(signal.reason), options);
  });
  try {
    signal.throwIfAborted();
    Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: url });
    await until("loadedmetadata");
    if (from >= video.duration) throw new Error("The video ends before the clip begins.");
    video.currentTime = from;
    await until("seeked");
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d", { alpha: false });
    paint(context, video, video.currentTime);
    const recorder = new MediaRecorder(canvas.captureStream(), {
      mimeType: type(), videoBitsPerSecond: Math.max(LEAST_BITS, width * height * 30 * BITS_PER_PIXEL),
    });
    const chunks = [];
    recorder.addEventListener("dataavailable", (event) => chunks.push(event.data), options);
    const recorded = new Promise((resolve, reject) => {
      recorder.addEventListener("stop", resolve, options);
      recorder.addEventListener("error", (event) => reject(event.error), options);
      signal.addEventListener("abort", () => reject(signal.reason), options);
    });
    const end = () => {
      video.pause();
      if (recorder.state !== "inactive") recorder.stop();
    };
    const step = (_, { mediaTime }) => {
      if (signal.aborted) return;
      if (recorder.state === "inactive") recorder.start();
      paint(context, video, mediaTime);
      onProgress(Math.min(1, (mediaTime - from) / (to - from)));
      if (mediaTime >= to) setTimeout(end, CAPTURE_MS);
      else video.requestVideoFrameCallback(step);
    };
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) {
        video.pause();
        if (recorder.state === "recording") recorder.pause();
      } else {
        if (recorder.state === "paused") recorder.resume();
        video.play().catch(() => {});
      }
    }, options);
    // The frame that is shown may be the last one: then there is no other to step to.
    video.addEventListener("ended", () => step(0, { mediaTime: Math.max(to, video.currentTime) }), options);
    video.requestVideoFrameCallback(step);
    await Promise.race([recorded, video.play().then(() => recorded)]);
    return { blob: new Blob(chunks, { type: recorder.mimeType }), ending: recorder.mimeType.startsWith("video/mp4") ? "mp4" : "webm" };
  } finally {
    stop.abort();
    video.removeAttribute("src"); // gives the decoder back
    video.load();
  }
}
