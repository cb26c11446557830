// The list of videos: submits only the filters that are set, and runs the bulk actions.

import { confirmed, notify } from "./actions.js";
import { request } from "./http.js";

const form = document.getElementById("filters");
form.addEventListener("submit", () => {
  for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
});
// When the browser restores this page from its cache, enable the fields again.
window.addEventListener("pageshow", () => {
  for (const field of form.elements) field.disabled = false;
});
form.elements.cause.addEventListener("change", () => form.requestSubmit());

const bulk = document.getElementById("bulk");
const status = document.getElementById("bulk-status");
let isRunning = false;
bulk.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-bulk]");
  if (!button || isRunning || !(await confirmed(button.dataset))) return;
  isRunning = true;
  const body = { action: button.dataset.bulk, filter: JSON.parse(bulk.dataset.filter), cursor: "" };
  const done = { retry: "requeued", cancel: "cancelled", delete: "being deleted" }[body.action];
  let changed = 0;
  try {
    do {
      const result = await request("POST", "/videos/bulk", body);
      changed += result.changed;
      body.cursor = result.next_cursor;
      status.textContent = `${changed} ${done}`;
    } while (body.cursor);
    document.dispatchEvent(new Event("shoal:changed"));
  } catch (problem) {
    notify(`${problem.message} ${problem.hint}`);
  }
  isRunning = false;
});
