// Keeps a page true: <body data-live> names a stream of events, each with the new content of the
// elements that have changed. The first event of a connection has them all, so after a break the
// page catches up by itself.

const address = document.body.dataset.live;
const status = document.getElementById("connection");
let source;

function show(regions) {
  for (const [id, content] of Object.entries(regions)) {
    const region = document.getElementById(id);
    if (region) replace(region, content);
    else document.dispatchEvent(new CustomEvent(`shoal:${id}`, { detail: JSON.parse(content) }));
  }
}

// The content comes from the server's own templates, which escape what they show.
function replace(region, content) {
  const next = document.createElement("template");
  next.innerHTML = content;
  if (next.innerHTML === region.innerHTML) return; // or pictures would flicker, and what is scrolled jump
  const open = [...region.querySelectorAll("details")].map((details) => details.open);
  const ids = new Map([...region.querySelectorAll("details[id]")].map((each) => [each.id, each.open]));
  const focused = region.contains(document.activeElement) ? focusPath(region) : null;
  region.innerHTML = content;
  region.querySelectorAll("details").forEach((details, index) => {
    const known = details.id ? ids.get(details.id) : open[index];
    if (known !== undefined) details.open = known;
  });
  if (focused) region.querySelector(focused)?.focus({ preventScroll: true });
}

// How to find the element with the focus again: a live update must not take it from the keyboard.
function focusPath(region) {
  const element = document.activeElement;
  if (element.id) return `#${CSS.escape(element.id)}`;
  const href = element.getAttribute("href");
  if (href) return `a[href="${CSS.escape(href)}"]`;
  const all = [...region.querySelectorAll(element.tagName)];
  return element.tagName === "SUMMARY" && element.parentElement.id
    ? `#${CSS.escape(element.parentElement.id)} > summary`
    : all.length === 1 ? element.tagName : null;
}

function state(text, kind) {
  status.textContent = text;
  status.className = `connection ${kind}`;
  status.hidden = false;
}

function connect() {
  source?.close();
  source = new EventSource(address);
  source.addEventListener("message", (event) => {
    state("live", "good");
    show(JSON.parse(event.data));
  });
  source.addEventListener("away", () => state("Redis does not answer", "bad"));
  source.addEventListener("gone", () => {
    source.close();
    state("this video is forgotten by now", "bad");
  });
  source.addEventListener("error", () => {
    state("no connection, trying again", "bad");
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  });
}

document.addEventListener("shoal:changed", connect);
// A page that nobody looks at asks for nothing.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) source?.close();
  else connect();
});
connect();
