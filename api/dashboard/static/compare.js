// Another version of the results is played in place of this one, from the same moment.

import { playInstead } from "./switch.js";

const video = document.querySelector("#stage video");
let own = ""; // the video of this version, while another one is shown

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-compare]");
  if (!button) return;
  const isShown = button.getAttribute("aria-pressed") === "true";
  for (const each of document.querySelectorAll("[data-compare]")) each.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", String(!isShown));
  own ||= video.src;
  playInstead(video, isShown ? own : button.dataset.compare);
  if (isShown) own = "";
});
