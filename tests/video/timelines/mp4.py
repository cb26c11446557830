"""Boxes of mp4 that FFmpeg's muxer does not write as planned: late fragments, edit lists."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.video.timelines.plan import Plan


def delay_fragments(data: bytes, late_s: float) -> bytes:
    """A fragmented mp4 whose fragments begin later (tfdt, ISO/IEC 14496-12, 8.8.12)."""
    changed = bytearray(data)
    scales, at = [], 0
    while (at := data.find(b"mdhd", at + 4)) > 0:
        scales.append(struct.unpack(">I", data[at + 16 : at + 20])[0])
    at = 0
    while (at := data.find(b"tfhd", at + 4)) > 0:
        track = struct.unpack(">I", data[at + 8 : at + 12])[0]
        by, box = round(late_s * scales[track - 1]), data.index(b"tfdt", at)
        form = ">Q" if data[box + 4] else ">I"
        span = slice(box + 8, box + 8 + struct.calcsize(form))
        changed[span] = struct.pack(form, struct.unpack(form, data[span])[0] + by)
    return bytes(changed)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start + 8 <= end:
        length = struct.unpack(">I", data[start : start + 4])[0]
        yield data[start + 4 : start + 8], start, length
        start += length


def with_edit_list(data: bytes, plan: Plan) -> bytes:
    """With the edit list in all tracks, which no chunk offset minds: the index is last."""
    changed = bytearray(data)
    moov = next(start for kind, start, _ in _boxes(data, 0, len(data)) if kind == b"moov")
    clock = struct.unpack(">I", data[data.index(b"mvhd") + 16 : data.index(b"mvhd") + 20])[0]
    at = moov + 8
    while at < len(changed):
        length = struct.unpack(">I", changed[at : at + 4])[0]
        if changed[at + 4 : at + 8] == b"trak":
            track = bytes(changed[at : at + length])
            edited = _edited_track(track, plan, clock)
            changed[at : at + length] = edited
            grown = len(edited) - length
            size = struct.unpack(">I", changed[moov : moov + 4])[0] + grown
            changed[moov : moov + 4] = struct.pack(">I", size)
            length += grown
        at += length
    return bytes(changed)


def _edited_track(track: bytes, plan: Plan, clock: int) -> bytes:
    at = track.index(b"mdhd")
    scale = struct.unpack(">I", track[at + 16 : at + 20])[0]
    place = track.find(b"edts") - 4
    old, lead = b"", 0
    if place > 0:  # the encoder's delay
        old = track[place : place + struct.unpack(">I", track[place : place + 4])[0]]
        lead = max(0, struct.unpack(">i", old[28:32])[0])
    else:
        place = track.index(b"mdia") - 4
    body = b"".join(
        struct.pack(
            ">iiI",
            round(length_s * clock),
            -1 if first < 0 else round(first / plan.fps * scale) + lead,
            1 << 16,
        )
        for length_s, first in plan.edits
    )
    elst = struct.pack(">I4sII", 16 + len(body), b"elst", 0, len(plan.edits)) + body
    edts = struct.pack(">I4s", 8 + len(elst), b"edts") + elst
    edited = bytearray(track[:place] + edts + track[place + len(old) :])
    edited[:4] = struct.pack(">I", len(edited))
    return bytes(edited)
