// Another version of the results is played in place of this one, from the same moment.

const video = document.querySelector("#stage video");
let own = ""; // the overlay of this version, while another one is shown

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-compare]");
  if (!button) return;
  const isShown = button.getAttribute("aria-pressed") === "true";
  for (const each of document.querySelectorAll("[data-compare]")) each.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", String(!isShown));
  own ||= video.src;
  const at = video.currentTime;
  const plays = !video.paused;
  video.src = isShown ? own : button.dataset.compare;
  if (isShown) own = "";
  video.addEventListener("loadedmetadata", () => {
    video.currentTime = Math.min(at, video.duration);
    if (plays) video.play().catch(() => {});
  }, { once: true });
});
