// The mask table of a job, read in the browser: only the group of rows that a frame is in is fetched.

import { decompress } from "./fzstd/fzstd.js";
import { parquetMetadataAsync } from "./hyparquet/metadata.js";
import { parquetReadObjects } from "./hyparquet/read.js";
import { asyncBufferFromUrl } from "./hyparquet/utils.js";
import { request } from "./http.js";

const EARLY = 0.002; // seconds: players round the times of frames
const BOX = ["frame", "object_id", "box_x0", "box_y0", "box_x1", "box_y1"];
const compressors = { ZSTD: (input, length) => decompress(input, new Uint8Array(length)) };

export class Tables {
  // masks and frames are { url, byteLength }, metadata is a URL.
  static async open({ masks, frames, metadata }) {
    const tables = new Tables();
    const [file, list, { video }] = await Promise.all([
      asyncBufferFromUrl(masks), asyncBufferFromUrl(frames), request("GET", metadata),
    ]);
    tables.size = { width: video.width, height: video.height };
    tables.file = file;
    tables.metadata = await parquetMetadataAsync(file);
    tables.frames = await parquetReadObjects({ file: list, columns: ["frame", "time_s"], compressors });
    return tables;
  }

  // The written frame that a player shows at a time: which of them, its number in the source, its time.
  at(seconds) {
    let low = 0;
    let high = this.frames.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.frames[middle].time_s <= seconds + EARLY) low = middle;
      else high = middle - 1;
    }
    const { frame, time_s } = this.frames[low];
    return { index: low, frame: Number(frame), time_s };
  }

  // The rows of a frame: the columns of the mask table.
  async rows(frame) {
    let start = 0;
    for (const [index, group] of this.metadata.row_groups.entries()) {
      const end = start + Number(group.num_rows);
      const { min_value: first, max_value: last } = group.columns[0].meta_data.statistics;
      if (frame >= first && frame <= last) return (await this.#group(index, start, end)).get(frame) ?? [];
      start = end;
    }
    return [];
  }

  // Where an object is from one moment to another: [{ time_s, box }].
  async boxes(id, from_s, to_s) {
    const [first, last] = [this.at(from_s).frame, this.at(to_s).frame];
    const times = new Map(this.frames.map(({ frame, time_s }) => [Number(frame), time_s]));
    const found = [];
    let rowStart = 0;
    for (const group of this.metadata.row_groups) {
      const rowEnd = rowStart + Number(group.num_rows);
      const { min_value: least, max_value: most } = group.columns[0].meta_data.statistics;
      if (least <= last && most >= first) {
        const rows = await parquetReadObjects({ file: this.file, metadata: this.metadata, columns: BOX, rowStart, rowEnd, compressors });
        found.push(...rows.filter((row) => row.object_id === id && row.frame >= first && row.frame <= last));
      }
      rowStart = rowEnd;
    }
    return found.map((row) => ({ time_s: times.get(Number(row.frame)), box: [row.box_x0, row.box_y0, row.box_x1, row.box_y1] }));
  }

  #group(index, rowStart, rowEnd) {
    if (this.index !== index) {
      this.index = index;
      this.group = parquetReadObjects({ file: this.file, metadata: this.metadata, rowStart, rowEnd, compressors })
        .then(byFrame);
    }
    return this.group;
  }
}

function byFrame(rows) {
  const found = new Map();
  for (const row of rows) {
    const frame = Number(row.frame);
    if (!found.has(frame)) found.set(frame, []);
    found.get(frame).push(row);
  }
  return found;
}
