// Another file in the player, from the same moment.

export function playInstead(video, url, at = video.currentTime) {
  const plays = !video.paused;
  video.src = url;
  video.addEventListener("loadedmetadata", () => {
    if (at) video.currentTime = Math.min(at, video.duration);
    if (plays) video.play().catch(() => {});
  }, { once: true });
}
