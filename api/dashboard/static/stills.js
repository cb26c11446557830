// The frames of a preview: pictures side by side, with what was found and pointed at drawn on them.

import { listen } from "./pointing.js";
import { paintMask } from "./rle.js";

const HUES = ["#ffffff", "#111111"];

export class Stills {
  // threshold(prompt) gives the least score shown; colour(prompt) a colour as [r, g, b].
  constructor(list, pointing, threshold, colour) {
    this.list = list;
    this.pointing = pointing;
    this.threshold = threshold;
    this.colour = colour;
    this.clear();
  }

  clear() {
    this.shown = [];
    this.list.replaceChildren();
  }

  // Add the frames of a preview that are not shown yet, in the order of their times.
  show(frames) {
    for (const frame of frames.slice(this.shown.length)) this.shown.push(this.#make(frame));
    this.list.replaceChildren(...[...this.shown].sort((a, b) => a.frame.time_s - b.frame.time_s).map((each) => each.figure));
    this.redraw();
  }

  redraw() {
    for (const each of this.shown) each.draw();
  }

  // How many objects of each prompt are shown: the most on one frame.
  get counts() {
    const counts = new Map();
    for (const { frame } of this.shown) {
      const here = new Map();
      for (const each of frame.objects.filter((object) => this.#isShown(object))) {
        here.set(each.prompt, (here.get(each.prompt) ?? 0) + 1);
      }
      for (const [prompt, count] of here) counts.set(prompt, Math.max(count, counts.get(prompt) ?? 0));
    }
    return counts;
  }

  #isShown(object) {
    return object.pointed || object.score >= this.threshold(object.prompt);
  }

  #make(frame) {
    const figure = document.createElement("figure");
    figure.className = "still";
    const picture = document.createElement("img");
    picture.src = frame.picture;
    picture.alt = "";
    const canvas = document.createElement("canvas");
    const scale = Math.min(1, 1280 / frame.width, 1280 / frame.height);
    canvas.width = picture.width = Math.max(1, Math.round(frame.width * scale));
    canvas.height = picture.height = Math.max(1, Math.round(frame.height * scale));
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    const caption = document.createElement("figcaption");
    const stage = document.createElement("div");
    stage.className = "stage";
    stage.append(picture, canvas);
    figure.append(stage, caption);
    const masks = frame.objects.map((object) => paintMask(object.mask, this.colour(object.prompt)));
    const draw = (cursor = null, box = null) => {
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, canvas.width, canvas.height);
      const found = frame.objects.filter((object) => this.#isShown(object));
      frame.objects.forEach((object, index) => {
        if (masks[index] && found.includes(object)) context.drawImage(masks[index].canvas, masks[index].left, masks[index].top);
      });
      for (const object of found) this.#write(context, object, scale);
      for (const mark of this.pointing.marks) {
        if (mark.frame === frame.frame) drawMark(context, mark, scale, mark.object === this.pointing.active);
      }
      if (box) drawBox(context, box, scale, true);
      if (cursor) drawCross(context, cursor, scale);
      const words = summary(found);
      caption.textContent = `${clock(frame.time_s)} · ${words}`;
      canvas.setAttribute("aria-label", `Frame at ${clock(frame.time_s)}: ${words}`);
    };
    listen(canvas, frame, this.pointing, draw);
    return { frame, figure, draw };
  }

  #write(context, object, scale) {
    const [r, g, b] = this.colour(object.prompt);
    const size = Math.max(12, Math.round(context.canvas.height / 32));
    const text = object.score.toFixed(2);
    context.font = `600 ${size}px system-ui, sans-serif`;
    const x = Math.max(0, object.box[0] * scale);
    const y = Math.max(size + 2, object.box[1] * scale);
    context.fillStyle = `rgb(${r} ${g} ${b})`;
    context.fillRect(x, y - size - 2, context.measureText(text).width + 6, size + 4);
    context.fillStyle = 0.3 * r + 0.59 * g + 0.11 * b > 120 ? "#000" : "#fff";
    context.fillText(text, x + 3, y - 2);
  }
}

function summary(found) {
  const counts = new Map();
  for (const each of found) counts.set(each.prompt, (counts.get(each.prompt) ?? 0) + 1);
  return [...counts].map(([prompt, count]) => `${count} × ${prompt}`).join(", ") || "nothing";
}

export function drawMark(context, mark, scale, isActive) {
  if (mark.kind === "box") {
    drawBox(context, mark.box, scale, isActive);
    return;
  }
  if (mark.kind === "example") {
    drawBox(context, mark.box, scale, true, [10, 6]);
    drawSign(context, (mark.box[0] + mark.box[2]) / 2, (mark.box[1] + mark.box[3]) / 2, scale, mark.positive, true);
    return;
  }
  drawSign(context, mark.x, mark.y, scale, mark.inside, isActive);
}

function drawSign(context, x, y, scale, isPlus, isActive) {
  const radius = Math.max(6, context.canvas.width / 120);
  context.beginPath();
  context.arc(x * scale, y * scale, radius, 0, 2 * Math.PI);
  context.fillStyle = isPlus ? "#1a9c4b" : "#d3303a";
  context.fill();
  context.lineWidth = isActive ? 3 : 1.5;
  context.strokeStyle = HUES[0];
  context.stroke();
  context.beginPath(); // plus or minus, for those who see no colours
  context.moveTo((x * scale) - radius / 2, y * scale);
  context.lineTo((x * scale) + radius / 2, y * scale);
  if (isPlus) {
    context.moveTo(x * scale, (y * scale) - radius / 2);
    context.lineTo(x * scale, (y * scale) + radius / 2);
  }
  context.stroke();
}

export function drawBox(context, box, scale, isActive, dashes = []) {
  const [x0, y0, x1, y1] = box.map((each) => each * scale);
  for (const [width, colour] of [[5, HUES[1]], [isActive ? 3 : 2, HUES[0]]]) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.setLineDash(dashes);
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  context.setLineDash([]);
}

export function drawCross(context, { x, y }, scale) {
  for (const [width, colour] of [[4, HUES[1]], [2, HUES[0]]]) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.beginPath();
    context.moveTo((x * scale) - 14, y * scale);
    context.lineTo((x * scale) + 14, y * scale);
    context.moveTo(x * scale, (y * scale) - 14);
    context.lineTo(x * scale, (y * scale) + 14);
    context.stroke();
  }
}

export function clock(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 60) % 60, whole % 60].map((each) => String(each).padStart(2, "0"));
  const tenths = Math.floor((seconds - whole) * 10);
  return `${whole >= 3600 ? `${Math.floor(whole / 3600)}:` : ""}${parts.join(":")}.${tenths}`;
}
