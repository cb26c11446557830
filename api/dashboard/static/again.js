// ?from=ID fills the form for new videos in with what that job was asked for; nothing is uploaded.

import { request } from "./http.js";

const form = document.getElementById("new");
const note = document.getElementById("uri-note");

function fill({ spec: { uri, prompts, options }, share }) {
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
  const kinds = options.outputs.map((each) => each.kind);
  for (const each of form.querySelectorAll("[data-output]")) each.checked = kinds.includes(each.dataset.output);
  words.dispatchEvent(new Event("input", { bubbles: true }));
  note.textContent = "The video of an earlier job, which is not uploaded again. Visual prompts, exemplars and options of outputs are not taken over.";
}

const from = new URLSearchParams(location.search).get("from");
if (from) {
  request("GET", `/videos/${encodeURIComponent(from)}`)
    .then(fill)
    .catch((problem) => { note.textContent = `${problem.message} ${problem.hint}`; });
}
