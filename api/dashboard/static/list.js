// The list of videos: filters without the empty ones, and what is done to all that are found.

import { confirmed, tell } from "./actions.js";
import { request } from "./http.js";

const form = document.getElementById("filters");
form.addEventListener("submit", () => {
  for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
});
// Back from the next page, the fields are wanted again.
window.addEventListener("pageshow", () => {
  for (const field of form.elements) field.disabled = false;
});
form.elements.cause.addEventListener("change", () => form.requestSubmit());

const bulk = document.getElementById("bulk");
const status = document.getElementById("bulk-status");
bulk.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-bulk]");
  if (!button || !(await confirmed(button.dataset.confirm))) return;
  const buttons = bulk.querySelectorAll("button");
  buttons.forEach((each) => { each.disabled = true; });
  const body = { action: button.dataset.bulk, filter: JSON.parse(bulk.dataset.filter), cursor: "" };
  const done = body.action === "retry" ? "queued again" : "cancelled";
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
    tell(`${problem.message} ${problem.hint}`);
  }
  buttons.forEach((each) => { each.disabled = false; });
});
