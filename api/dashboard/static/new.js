// The form of a new video: files go to /uploads, everything to /videos.

import { Problem, answer, request } from "./http.js";

const form = document.getElementById("new");
const drop = document.getElementById("drop");
const file = document.getElementById("file");
const fileText = document.getElementById("file-text");
const uri = document.getElementById("uri");
const prompts = document.getElementById("prompts");
const chips = document.getElementById("prompt-chips");
const problemBox = document.getElementById("problem");
const submit = document.getElementById("submit");
const uploading = document.getElementById("uploading");
const uploadText = document.getElementById("upload-text");
let asked = 0;

// --- the video ------------------------------------------------------------------------------

for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) {
  drop.addEventListener(name, () => drop.classList.remove("over"));
}
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  file.files = event.dataTransfer.files;
  file.dispatchEvent(new Event("change"));
});
file.addEventListener("change", () => {
  const names = [...file.files].map((each) => each.name);
  fileText.textContent = names.length ? names.join(", ") : "Drop videos here or choose them";
  drop.classList.toggle("full", names.length > 0);
});

// --- what to find ---------------------------------------------------------------------------

function words() {
  return prompts.value.split(",").map((each) => each.trim().replace(/\s+/g, " ")).filter(Boolean);
}

function showChips() {
  chips.replaceChildren(...words().map((word) => {
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.textContent = word;
    return chip;
  }));
}

// What an engine cannot do is greyed, with the reason.
async function askEngines() {
  const query = new URLSearchParams(words().map((word) => ["prompt", word]));
  const number = ++asked;
  const { items } = await request("GET", `/engines?${query}`);
  if (number !== asked) return; // typed on
  for (const engine of items) {
    const label = form.querySelector(`[data-engine="${CSS.escape(engine.name)}"]`);
    const radio = label.querySelector("input");
    const workers = `${engine.workers} worker${engine.workers === 1 ? "" : "s"}`;
    const idle = !engine.workers && engine.name !== "auto" && items[0].workers > 0;
    label.querySelector(".why").textContent =
      engine.reason || (engine.workers ? workers : "no worker runs it now");
    radio.disabled = Boolean(engine.reason) || idle;
    label.classList.toggle("off", radio.disabled);
    label.title = engine.reason ? engine.hint : "";
    if (radio.disabled && radio.checked && engine.name !== "auto") {
      form.querySelector("[data-engine=auto] input").checked = true;
    }
  }
}

// A redaction is for who must not show the rest.
form.querySelector("[data-output=redact]").addEventListener("change", (event) => {
  if (!event.target.checked) return;
  for (const each of form.querySelectorAll("[data-output=overlay], [data-output=webm-alpha], [data-output=crops]")) {
    each.checked = false;
  }
});

let waiting;
prompts.addEventListener("input", () => {
  showChips();
  clearTimeout(waiting);
  waiting = setTimeout(() => askEngines().catch(showProblem), 250);
});

// --- send -----------------------------------------------------------------------------------

function options() {
  const values = {};
  for (const field of form.querySelectorAll("[data-option]")) {
    const kind = field.dataset.option;
    if (kind === "checkbox") values[field.name] = field.checked;
    else if (field.value !== "") values[field.name] = kind === "number" ? Number(field.value) : field.value;
  }
  values.engine = form.elements.engine.value;
  values.outputs = [...form.querySelectorAll("[data-output]:checked")].map((each) => each.dataset.output);
  if (!values.outputs.length) values.outputs = ["masks"];
  if (values.outputs.includes("redact")) delete values.sample_fps; // it hides on every frame
  return values;
}

// XMLHttpRequest, since fetch does not tell how far an upload is.
function upload(video, onProgress) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("PUT", `/uploads/${encodeURIComponent(video.name)}`);
    sending.upload.addEventListener("progress", (event) => onProgress(event.loaded / event.total));
    sending.addEventListener("load", () => {
      try {
        resolve(answer(sending.status, sending.responseText).uri);
      } catch (problem) {
        reject(problem);
      }
    });
    sending.addEventListener("error", () => {
      reject(new Problem({ detail: "The upload was cut off.", code: "api_unreachable", hint: "Try again." }));
    });
    sending.send(video);
  });
}

async function send() {
  const wanted = { prompts: words(), options: options() };
  if (!wanted.prompts.length) throw refusal("What is to be found?", "Give a prompt, such as person.");
  const files = [...file.files];
  const address = uri.value.trim();
  if (!files.length && !address) throw refusal("Which video?", "Drop a file, or give an address.");
  const jobs = [];
  for (const [index, each] of files.entries()) {
    uploading.hidden = false;
    const stored = await upload(each, (part) => {
      uploading.querySelector("progress").value = part;
      uploadText.textContent = `${each.name}${files.length > 1 ? ` (${index + 1} of ${files.length})` : ""}`;
    });
    jobs.push(await request("POST", "/videos", { uri: stored, ...wanted }));
  }
  if (/[*?[]/.test(address)) {
    const batch = await request("POST", "/batches", { globs: [address], ...wanted });
    location.href = `/ui/batches/${batch.id}`;
    return;
  }
  if (address) jobs.push(await request("POST", "/videos", { uri: address, ...wanted }));
  location.href = jobs.length === 1 ? `/ui/videos/${jobs[0].id}` : "/ui/videos";
}

function refusal(detail, hint) {
  return new Problem({ detail, hint, code: "invalid_request" });
}

function showProblem(problem) {
  const cause = document.createElement("strong");
  cause.textContent = problem.message;
  const hint = document.createElement("p");
  hint.textContent = problem.hint ?? "";
  problemBox.replaceChildren(cause, hint);
  problemBox.hidden = false;
  problemBox.scrollIntoView({ block: "nearest" });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  submit.disabled = true;
  problemBox.hidden = true;
  try {
    await send();
  } catch (problem) {
    showProblem(problem);
    submit.disabled = false;
    uploading.hidden = true;
  }
});

askEngines().catch(showProblem);
