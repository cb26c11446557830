// Live updates: <body data-live> has the URL of a server-sent event stream. Each event carries the new
// content of the elements that changed. The first event of a connection carries all of them, so the
// page catches up after a reconnect.

import { Idiomorph } from "./idiomorph/idiomorph.esm.js";

const SILENT_MS = 12_000; // the server says something every 5 s
const RETRY_MS = 2000;

const url = document.body.dataset.live;
const status = document.getElementById("connection");
const waiting = new Map(); // id of a region -> content that is not shown yet
let isPressed = false;
let source;
let silence;

// --- what is shown ------------------------------------------------------------------------------------

function show(regions) {
  for (const [id, content] of Object.entries(regions)) {
    if (document.getElementById(id)) waiting.set(id, content);
    else document.dispatchEvent(new CustomEvent(`shoal:${id}`, { detail: JSON.parse(content) }));
  }
  showWaiting();
}

// Nothing changes under a pressed pointer or key, or a selection: the click or the text would be lost.
function showWaiting() {
  if (isPressed) return;
  for (const [id, content] of waiting) {
    const region = document.getElementById(id);
    if (isSelected(region)) continue;
    waiting.delete(id);
    patch(region, content);
  }
}

function isSelected(region) {
  const selection = document.getSelection();
  return !selection.isCollapsed && selection.containsNode(region, true);
}

// The content comes from the server's own templates, which escape every value.
function patch(region, content) {
  const next = document.createElement("template");
  next.innerHTML = content;
  const focused = document.activeElement;
  const wasInside = region.contains(focused);
  Idiomorph.morph(region, next.content, { morphStyle: "innerHTML", callbacks });
  if (!wasInside || document.activeElement === focused) return;
  if (focused.isConnected) return focused.focus({ preventScroll: true }); // it was moved
  region.tabIndex = -1; // it is gone: the keyboard goes on from here
  region.focus({ preventScroll: true });
}

const callbacks = {
  // What is typed or chosen stays.
  beforeNodeMorphed: (old) => !(old === document.activeElement && old.matches("input, select, textarea")),
  // What the user has opened, closed, checked or selected stays, and what scripts draw: see toggles.js,
  // picture.js, player.js and thumbs.js.
  beforeAttributeUpdated: (name, element) =>
    !(name === "open" && element.matches("details")) && !(name === "checked" && element.matches("[data-show]"))
    && !(name === "aria-current" && element.matches("[data-seek]")) && !element.matches("[data-thumb], .playhead"),
};

function press() {
  isPressed = true;
}

// The click comes after the pointer or key is up.
function release() {
  setTimeout(() => {
    isPressed = false;
    showWaiting();
  });
}

for (const name of ["pointerdown", "keydown"]) document.addEventListener(name, press, true);
for (const name of ["pointerup", "pointercancel", "dragend", "keyup"]) document.addEventListener(name, release, true);
window.addEventListener("blur", release);
document.addEventListener("selectionchange", showWaiting);

// --- the connection -----------------------------------------------------------------------------------

function state(text, kind) {
  if (status.textContent === text) return; // screen readers announce what is written
  status.textContent = text;
  status.className = `connection ${kind}`;
  status.hidden = false;
}

function connect() {
  source?.close();
  source = new EventSource(url);
  hear();
  source.addEventListener("message", (event) => {
    hear();
    state("live", "good");
    show(JSON.parse(event.data));
  });
  source.addEventListener("here", hear);
  source.addEventListener("away", () => {
    hear();
    state("Server cannot reach its database – retrying…", "bad");
  });
  source.addEventListener("gone", () => {
    disconnect();
    state(url.includes("/batches/") ? "This batch has expired (retention period)." : "This video has expired (retention period).", "bad");
  });
  source.addEventListener("left", () => location.reload()); // to the login
  source.addEventListener("error", () => {
    state("Connection lost – reconnecting…", "bad");
    if (source.readyState === EventSource.CLOSED) refused();
  });
}

function disconnect() {
  clearTimeout(silence);
  source?.close();
}

// A frozen server keeps the connection open and says nothing.
function hear() {
  clearTimeout(silence);
  silence = setTimeout(() => {
    state("No answer from the server – reconnecting…", "bad");
    connect();
  }, SILENT_MS);
}

// An EventSource does not tell the status it was refused with.
async function refused() {
  disconnect();
  const giveUp = new AbortController();
  const answer = await fetch(url, { signal: giveUp.signal }).catch(() => null);
  giveUp.abort();
  if (answer?.status === 401) location.reload(); // to the login
  else silence = setTimeout(connect, RETRY_MS);
}

document.addEventListener("shoal:changed", connect);
// A hidden page closes its connection.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) disconnect();
  else connect();
});
connect();
