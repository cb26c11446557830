// Action buttons: data-post or data-delete has the URL, data-body the JSON body, data-confirm the
// question to ask first, data-confirm-yes and data-confirm-no the labels of its answers.

import { request } from "./http.js";

const dialog = document.getElementById("confirm");
const toast = document.getElementById("toast");
let hiding;

export function confirmed({ confirm, confirmYes = "Confirm", confirmNo = "Go back" }) {
  document.getElementById("confirm-text").textContent = confirm;
  document.getElementById("confirm-yes").textContent = confirmYes;
  document.getElementById("confirm-no").textContent = confirmNo;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

export function notify(text) {
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { toast.hidden = true; }, 8000);
}

// On a phone the bars of links scroll: show where one is.
for (const here of document.querySelectorAll("nav [aria-current]")) {
  here.parentElement.scrollLeft = here.offsetLeft - (here.parentElement.clientWidth - here.offsetWidth) / 2;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-post], [data-delete]");
  if (!button || button.ariaBusy) return;
  const { post, delete: url, body } = button.dataset;
  if (button.dataset.confirm && !(await confirmed(button.dataset))) return;
  button.ariaBusy = "true"; // unlike a disabled one it keeps the focus
  try {
    await request(post ? "POST" : "DELETE", post ?? url, body && JSON.parse(body));
    document.dispatchEvent(new Event("shoal:changed"));
  } catch (problem) {
    notify(`${problem.message} ${problem.hint}`);
  }
  button.ariaBusy = null;
});
