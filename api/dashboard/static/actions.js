// Buttons that do one thing: data-post or data-delete names the address, data-body
// what to send, data-confirm what to ask.

import { request } from "./http.js";

const dialog = document.getElementById("confirm");
const toast = document.getElementById("toast");
let hiding;

export function confirmed(question) {
  document.getElementById("confirm-text").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

export function tell(text) {
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { toast.hidden = true; }, 8000);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-post], [data-delete]");
  if (!button) return;
  const { post, delete: address, body, confirm } = button.dataset;
  if (confirm && !(await confirmed(confirm))) return;
  button.disabled = true;
  try {
    await request(post ? "POST" : "DELETE", post ?? address, body && JSON.parse(body));
    document.dispatchEvent(new Event("shoal:changed"));
  } catch (problem) {
    tell(`${problem.message} ${problem.hint}`);
    button.disabled = false;
  }
});
