// Masks as compressed COCO run lengths, column by column (maskApi.c of cocoapi).

// Lengths of the runs of 0, 1, 0, ...
export function runLengths(counts) {
  const runs = [];
  for (let at = 0; at < counts.length;) {
    let value = 0;
    let shift = 0;
    let more = true;
    while (more) {
      const bits = counts.charCodeAt(at++) - 48;
      value |= (bits & 0x1f) << shift;
      shift += 5;
      more = Boolean(bits & 0x20);
      if (!more && bits & 0x10) value |= -1 << shift;
    }
    runs.push(value + (runs.length > 2 ? runs[runs.length - 2] : 0));
  }
  return runs;
}

// Whether a pixel is in the mask.
export function isInside({ size: [height], counts }, x, y) {
  let left = Math.floor(x) * height + Math.floor(y);
  let isOn = false;
  for (const length of runLengths(counts)) {
    if (left < length) return isOn;
    left -= length;
    isOn = !isOn;
  }
  return false;
}

// The mask as a canvas of its own, as large as its window: its place and what to draw there.
export function paintMask({ size: [height, width], counts }, [red, green, blue]) {
  const spans = [];
  let at = 0;
  runLengths(counts).forEach((length, index) => {
    if (index % 2) spans.push([at, length]);
    at += length;
  });
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (const [start, length] of spans) {
    const last = start + length - 1;
    left = Math.min(left, Math.floor(start / height));
    right = Math.max(right, Math.floor(last / height) + 1);
    const isOneColumn = Math.floor(start / height) === Math.floor(last / height);
    top = isOneColumn ? Math.min(top, start % height) : 0;
    bottom = isOneColumn ? Math.max(bottom, (last % height) + 1) : height;
  }
  if (right <= left || bottom <= top) return null;
  const canvas = document.createElement("canvas");
  canvas.width = right - left;
  canvas.height = bottom - top;
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const inside = new Uint8Array(canvas.width * canvas.height);
  for (const [start, length] of spans) {
    for (let pixel = start; pixel < start + length; pixel += 1) {
      const x = Math.floor(pixel / height) - left;
      inside[((pixel % height) - top) * canvas.width + x] = 1;
    }
  }
  for (let pixel = 0; pixel < inside.length; pixel += 1) {
    if (!inside[pixel]) continue;
    const x = pixel % canvas.width;
    const isEdge = x === 0 || x === canvas.width - 1 || !inside[pixel - 1] || !inside[pixel + 1]
      || !inside[pixel - canvas.width] || !inside[pixel + canvas.width];
    image.data.set([red, green, blue, isEdge ? 255 : 115], 4 * pixel);
  }
  context.putImageData(image, 0, 0);
  return { canvas, left, top };
}
