"""Plans of videos at random: which pictures follow each other when, and where beeps lie."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

FORMATS = {  # suffix -> (FFmpeg's name, options, codec of the pictures, that of the sound)
    "mp4": ("mp4", {"movie_timescale": "90000"}, "libx264", "aac"),
    "mov": ("mov", {"movie_timescale": "90000"}, "libx264", "aac"),
    "fmp4": (
        "mp4",
        {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
        "libx264",
        "aac",
    ),
    "mkv": ("matroska", {}, "libx264", "aac"),
    "live.mkv": ("matroska", {"live": "1"}, "libx264", "mp2"),
    "webm": ("webm", {}, "libvpx", "libopus"),
    "live.webm": ("webm", {"live": "1"}, "libvpx", "libopus"),
    "avi": ("avi", {}, "mpeg4", "mp2"),
    "h264.avi": ("avi", {}, "libx264", "pcm_s16le"),
    "ts": ("mpegts", {"muxdelay": "0"}, "libx264", "aac"),
    "mp2.ts": ("mpegts", {"muxdelay": "0"}, "mpeg2video", "mp2"),
    "flv": ("flv", {"flvflags": "no_duration_filesize+no_metadata"}, "libx264", "aac"),
}
AVI = ("avi", "h264.avi")
JOINED = ("fmp4", "live.mkv", "live.webm", "ts", "mp2.ts", "flv")  # can be put end to end
EDITED = ("mp4", "mov")
REPEATING = ("mkv", "live.mkv", "webm", "live.webm", "flv")


@dataclass(frozen=True)
class Part:
    """One recording of a file.

    Attributes:
        frames: how many pictures it has.
        start_s: its first stamp.
        hole: (picture, seconds): how long the stamps pause before a picture.
        repeats: every so many stamps one is that of the picture before; 0 for none.
        jitter: of each picture's time, as a share of a step.
        sound_late_s: when its sound begins; negative: before the pictures.
    """

    frames: int
    start_s: float = 0.0
    hole: tuple[int, float] = (0, 0.0)
    repeats: int = 0
    jitter: float = 0.0
    sound_late_s: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A file.

    Attributes:
        kind: of ``FORMATS``.
        fps: pictures a second.
        gop, b_frames: how they are coded.
        parts: put end to end.
        sound: whether there is any.
        edits: (seconds, first picture or -1 for nothing) of an mp4's edit list.
        stands_s: how much longer than the others the last picture stands.
        seed: of what else is drawn.
    """

    kind: str
    fps: int = 25
    gop: int = 12
    b_frames: int = 0
    parts: tuple[Part, ...] = (Part(40),)
    sound: bool = True
    edits: tuple[tuple[float, int], ...] = ()
    stands_s: float = 0.0
    seed: int = 0


@dataclass
class Truth:
    """What a viewer sees and hears.

    Attributes:
        numbers, times: of the pictures, in seconds since the first.
        beeps: in seconds since the first picture.
        end_s: when the last picture has been shown.
    """

    numbers: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    beeps: list[float] = field(default_factory=list)
    end_s: float = 0.0


def draw(seed: int) -> Plan:
    """A plan at random."""
    r = random.Random(seed)
    kind = r.choice(list(FORMATS))
    fps = r.choice((10, 15, 25, 30, 50)) if kind != "mp2.ts" else 25  # its header says so
    b_frames = r.choice((0, 0, 1, 2)) if "web" not in kind else 0
    is_joined = kind in JOINED and r.random() < 0.5
    is_edited = kind in EDITED and r.random() < 0.5
    count = r.choice((2, 2, 3)) if is_joined else 1
    sound = r.random() < 0.7
    parts: list[Any] = []
    end_s = 0.0
    for number in range(count):
        frames = r.choice((20, 33, 48))
        start_s = 0.0
        if kind not in AVI + EDITED:
            start_s = r.choice((0.0, 1.4, 90.0, 30_000.0))
        if number:
            start_s = _jump(r, parts[-1].start_s, end_s, kind)
        hole = (0, 0.0)
        if not is_edited and kind not in AVI and r.random() < 0.3:
            hole = (r.randrange(6, frames - 6), r.choice((0.5, 2.0, 20.0)))
        repeats = 0
        if kind in REPEATING and not b_frames and not hole[1] and r.random() < 0.3:
            repeats = r.choice((3, 5, 7))  # every second one leaves the rate open
        is_plain = not repeats and not is_edited and kind not in AVI
        jitter = 0.2 if is_plain and r.random() < 0.3 else 0.0
        late_s = r.choice((0.0, 0.0, 0.1, 0.3)) if kind not in AVI and not is_edited else 0.0
        if late_s and count == 1 and not is_edited and start_s and r.random() < 0.5:
            late_s = -late_s
        if kind == "fmp4":  # FFmpeg's muxer writes no start of a track there
            late_s = 0.0
        parts.append(Part(frames, start_s, hole, repeats, jitter, late_s))
        end_s = start_s + frames / fps + hole[1]
    edits: tuple[tuple[float, int], ...] = ()
    if is_edited:
        edits = _edits(r, parts[0].frames, fps)
    stands_s = r.choice((0.0, 3.0)) if kind in EDITED and not edits and not b_frames else 0.0
    gop = r.choice((6, 12, 48))
    return Plan(kind, fps, gop, b_frames, tuple(parts), sound, edits, stands_s, seed)


def _jump(r: random.Random, start_s: float, end_s: float, kind: str) -> float:
    """Where the stamps go on after a seam."""
    length_s = end_s - start_s
    limit_s = 60 if kind.endswith("ts") else 3600
    back = [start_s, max(0.0, start_s - 1), start_s + length_s / 2]
    return r.choice([*back, end_s + 2 * limit_s, end_s + 25_200.0])


def _edits(r: random.Random, frames: int, fps: int) -> tuple[tuple[float, int], ...]:
    first, last = r.randrange(0, frames // 2), r.randrange(frames // 2 + 2, frames)
    one = ((last - first) / fps, first)
    match r.randrange(3):
        case 0:
            return (one,)
        case 1:
            return ((0.5, -1), one)
    return (one, one)


def picture_times(plan: Plan, part: Part, number: int) -> list[float]:
    """When each picture of a part is shown, from its first; holes counted."""
    r, step = random.Random(f"{plan.seed}.{number}"), 1 / plan.fps
    times = []
    for index in range(part.frames):
        is_inner = 0 < index < part.frames - 6
        moved = r.uniform(-1, 1) * part.jitter * step if is_inner else 0.0
        late_s = part.hole[1] if part.hole[1] and index >= part.hole[0] else 0.0
        times.append(index * step + moved + late_s)
    return times


def beep_times(plan: Plan, part: Part) -> list[float]:
    """In seconds of material: without the hole."""
    length_s, hole_s = part.frames / plan.fps, part.hole[0] / plan.fps
    found = [length_s * 0.45, length_s * 0.75]
    if part.hole[1]:
        found = [each for each in found if not -0.12 < each - hole_s < 0.12]
    return [each for each in found if each > part.sound_late_s + 0.1]
