// ?from=ID fills the form for new videos in with what that job was asked for; nothing is uploaded.

import { request } from "./http.js";
import { takeOver } from "./new.js";

const form = document.getElementById("new");
const note = document.getElementById("uri-note");

function fill({ spec, share }) {
  const { uri, prompts, options } = spec;
  document.getElementById("uri").value = uri;
  const words = document.getElementById("prompts");
  words.value = prompts.join(", ");
  for (const field of form.querySelectorAll("[data-option]")) {
    const value = options[field.name];
    const isUnset = value === null || (value === "auto" && field.type === "number");
    if (field.dataset.option === "checkbox") field.checked = value;
    else field.value = isUnset ? "" : value;
  }
  form.elements.engine.value = options.engine;
  form.elements.priority.value = share.priority;
  takeOver(spec);
  words.dispatchEvent(new Event("input", { bubbles: true }));
  note.textContent = `The video of an earlier job, which is not uploaded again.${leftOut(spec)}`;
}

// What the form cannot hold.
function leftOut({ objects, remove_objects: removed, edits }) {
  const found = [
    edits && "edits of objects",
    objects.some((each) => each.object_id) && "corrections of objects that text prompts found",
    objects.some((each) => each.mask) && "masks",
    removed.length && "removed objects",
  ].filter(Boolean);
  return found.length ? ` Not taken over: ${found.join(", ")}.` : "";
}

const from = new URLSearchParams(location.search).get("from");
if (from) {
  request("GET", `/videos/${encodeURIComponent(from)}`)
    .then(fill)
    .catch((problem) => { note.textContent = `${problem.message} ${problem.hint}`; });
}
