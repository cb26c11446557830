// What the user points at on the frames of a preview: points and boxes of objects, and boxes around
// examples of a prompt, in pixels of the video. Mouse, touch and keyboard.

const DRAG = 6; // pixels of the screen: a shorter way is a click
const STEP = 0.02; // of the picture, per press of an arrow key

export class Pointing {
  // onChange is called after every change; label() names the first object.
  constructor(onChange, label) {
    this.label = label;
    // { frame, kind, ... } in the order they were made: "point" and "box" with the object, "example"
    // with the prompt and whether it is positive.
    this.marks = [];
    this.objects = [];
    this.active = -1;
    this.tool = "on"; // what a click is
    this.boxTool = "object"; // what a box is around
    this.allowed = new Set(); // kinds of marks
    this.onChange = onChange;
  }

  get isAllowed() {
    return this.allowed.size > 0;
  }

  add(label) {
    let number = this.objects.length + 1;
    while (this.objects.some((each) => each.name === String(number))) number += 1;
    this.objects.push({ label, name: String(number) });
    this.active = this.objects.length - 1;
    this.onChange();
  }

  box(frame, box) {
    if (this.boxTool === "object") {
      this.mark(frame, { kind: "box", box });
    } else if (this.allowed.has("example")) {
      this.marks.push({ frame, kind: "example", box, prompt: this.label(), positive: this.boxTool === "like" });
      this.onChange();
    }
  }

  mark(frame, mark) {
    if (!this.allowed.has(mark.kind)) return;
    if (this.active < 0) this.add(this.label());
    const same = (each) => each.object === this.active && each.frame === frame;
    // An object has points or one box on a frame; a first point must be on the object.
    this.marks = this.marks.filter((each) => !same(each) || (mark.kind === "point" && each.kind === "point"));
    if (mark.kind === "point" && !mark.inside && !this.marks.some(same)) return;
    this.marks.push({ object: this.active, frame, ...mark });
    this.onChange();
  }

  undo() {
    this.marks.pop();
    this.onChange();
  }

  remove(index) {
    this.marks = this.marks.filter((each) => each.object !== index);
    this.objects[index].isRemoved = true;
    if (this.active === index) this.active = this.objects.findIndex((each) => !each.isRemoved);
    this.onChange();
  }

  forgetExample(mark) {
    this.marks = this.marks.filter((each) => each !== mark);
    this.onChange();
  }

  clear() {
    this.marks = [];
    this.objects = [];
    this.active = -1;
    this.onChange();
  }

  // Take over these fields of an earlier submission, but for what a mask or an ID says.
  restore(objects, exemplars) {
    for (const { label, object: name, frame, box, points } of objects.filter((each) => each.label && (each.box || each.points.length))) {
      let index = this.objects.findIndex((each) => each.label === label && each.name === name);
      if (index < 0) index = this.objects.push({ label, name }) - 1;
      if (box) this.marks.push({ object: index, frame, kind: "box", box });
      else this.marks.push(...points.map(([x, y, inside]) => ({ object: index, frame, kind: "point", x, y, inside: inside === 1 })));
    }
    this.marks.push(...exemplars.map((each) => ({ kind: "example", ...each })));
    this.active = this.objects.length - 1;
    this.onChange();
  }

  // As the field 'objects' of a submission.
  get prompts() {
    const found = new Map();
    for (const mark of this.marks.filter((each) => each.kind !== "example")) {
      const { label, name } = this.objects[mark.object];
      const key = `${mark.object}@${mark.frame}`;
      const prompt = found.get(key) ?? { label, object: name, frame: mark.frame };
      if (mark.kind === "box") prompt.box = mark.box;
      else prompt.points = [...(prompt.points ?? []), [mark.x, mark.y, mark.inside ? 1 : 0]];
      found.set(key, prompt);
    }
    return [...found.values()].filter((each) => each.box || each.points.some((point) => point[2]));
  }

  get examples() {
    return this.marks.filter((each) => each.kind === "example");
  }

  // As the field 'exemplars' of a submission.
  get exemplars() {
    return this.examples.map(({ prompt, frame, box, positive }) => ({ prompt, frame, box, positive }));
  }
}

// Let a canvas over a frame be pointed at. redraw(cursor, box) shows what is under way.
export function listen(canvas, frame, pointing, redraw) {
  let start = null;
  let cursor = null; // of the keyboard, in pixels of the video
  let corner = null; // where a box by keyboard begins

  const place = (event) => {
    const bounds = canvas.getBoundingClientRect();
    const x = ((event.clientX - bounds.left) / bounds.width) * frame.width;
    const y = ((event.clientY - bounds.top) / bounds.height) * frame.height;
    return { x: clamp(x, frame.width), y: clamp(y, frame.height) };
  };
  const point = ({ x, y }, isAlt) => {
    pointing.mark(frame.frame, { kind: "point", x, y, inside: pointing.tool !== "off" && !isAlt });
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (!pointing.isAllowed || event.button) return;
    canvas.setPointerCapture(event.pointerId);
    start = { ...place(event), clientX: event.clientX, clientY: event.clientY };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (start && isFar(start, event)) redraw(null, boxOf(start, place(event)));
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!start) return;
    const box = boxOf(start, place(event));
    if (isFar(start, event) && box[0] < box[2] && box[1] < box[3]) {
      pointing.box(frame.frame, box);
    } else {
      point(place(event), event.altKey);
    }
    start = null;
    redraw();
  });
  canvas.addEventListener("pointercancel", () => {
    start = null;
    redraw();
  });

  canvas.addEventListener("keydown", (event) => {
    if (!pointing.isAllowed) return;
    cursor ??= { x: Math.round(frame.width / 2), y: Math.round(frame.height / 2) };
    const step = event.shiftKey ? 1 : Math.max(1, Math.round(frame.width * STEP));
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way) {
      cursor = { x: clamp(cursor.x + way[0] * step, frame.width), y: clamp(cursor.y + way[1] * step, frame.height) };
    } else if (event.key === "Enter") {
      point(cursor, event.altKey);
    } else if (event.key === "b") {
      const box = corner && boxOf(corner, cursor);
      if (box && box[0] < box[2] && box[1] < box[3]) pointing.box(frame.frame, box);
      corner = corner ? null : cursor;
    } else if (event.key === "Escape") {
      corner = null;
    } else if (event.key === "Backspace") {
      pointing.undo();
    } else {
      return;
    }
    event.preventDefault();
    redraw(cursor, corner && boxOf(corner, cursor));
  });
  canvas.addEventListener("blur", () => {
    cursor = corner = null;
    redraw();
  });
}

function clamp(value, limit) {
  return Math.round(Math.min(Math.max(value, 0), limit) * 10) / 10;
}

function isFar(start, event) {
  return Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > DRAG;
}

function boxOf(a, b) {
  return [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x), Math.max(a.y, b.y)];
}
