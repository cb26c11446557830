"""The sound of a source beside pictures that were encoded anew.

Sound never costs the pictures: what cannot be copied is encoded, what cannot be decoded is left
out, and it is told what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from shoal.errors import VideoError
from shoal.results.layout import AudioMetadata
from shoal.storage.files import FULL
from worker.video.codecs import can_decode
from worker.video.demux import Demuxer
from worker.video.encode import MP4_OPTIONS, add_copy
from worker.video.probe import VideoLimits
from worker.video.reencode import encoded, silence

COPIED = frozenset(("aac", "mp3", "opus", "flac"))  # what browsers play in an mp4

AnyPacket: TypeAlias = "Packet[Any]"
Packets: TypeAlias = "Generator[AnyPacket, None, None]"
How: TypeAlias = Literal["keep", "mute", "drop"]


@dataclass(frozen=True, slots=True)
class Span:
    """Which time of the source a file shows, in seconds since its first picture.

    Attributes:
        start_s: that picture's time by the source's own stamps.
        first_s: when the file begins.
        last_s: when its pictures end.
        sound_s: when its sound ends at the latest.
    """

    start_s: float
    first_s: float
    last_s: float
    sound_s: float


class NotThisWay(Exception):
    """The sound cannot be had in this way; the message says why."""


class Losses:
    """Packets of sound that were left out."""

    def __init__(self) -> None:
        self.damaged = 0

    @property
    def reason(self) -> str:
        return f"{self.damaged} of its packets cannot be decoded" if self.damaged else ""


def add_sound(
    video: Path, source: Path, path: Path, how: How, start_s: float, end_s: float | None
) -> tuple[Path, AudioMetadata]:
    """An mp4 with the pictures of ``video`` and the first usable sound of ``source``.

    Nothing else of the source comes along: no tags, no chapters, no further tracks. The sound keeps
    its place beside the pictures, holes and all.

    Args:
        video: an mp4 that ``Encoder`` wrote; its times count from the source's first picture.
        path: where to write it.
        how: 'mute' writes silence where there was sound.
        start_s: time of the first picture by the source's own stamps.
        end_s: when the source ends, since its first picture: the last picture stands until then,
            and the sound goes on to its end. None: both end with the last picture of ``video``.

    Returns:
        ``path``, or ``video`` if there is nothing to add, and what became of the sound.

    Raises:
        OSError: the disk is full.
    """
    with av.open(f"file:{video}") as pictures:
        shown = pictures.streams.video[0]
        first_s = float((shown.start_time or 0) * (shown.time_base or 0))
        own_s = first_s + float((shown.duration or 0) * (shown.time_base or 0))
    last_s = own_s if end_s is None else max(end_s, first_s)
    span = Span(start_s, first_s, last_s, last_s if end_s is None else float("inf"))
    reasons: list[str] = []
    none = "the source has none"
    for state, sound, losses in _ways(source, how, span):
        try:
            has_sound = _write(video, path, span, sound)
        except NotThisWay as error:
            reasons.append(str(error))
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            reasons.append(f"it cannot be {state}: {error}")
        else:
            if has_sound:
                return path, AudioMetadata(state=state, reason=losses.reason)
            if losses.reason:
                reasons.append(losses.reason)
            else:
                none = "the source has none while the pictures are shown"
    if reasons or abs(last_s - own_s) > 1e-3:
        _write(video, path, span, _no_sound)
        video = path
    if how == "drop":
        return video, AudioMetadata(state="off", reason="the job asks for none")
    if not reasons:
        return video, AudioMetadata(state="none", reason=none)
    return video, AudioMetadata(state="lost", reason="; ".join(dict.fromkeys(reasons)))


OpenSound: TypeAlias = Callable[[OutputContainer], Packets]
State: TypeAlias = Literal["copied", "encoded", "muted"]


def _ways(source: Path, how: How, span: Span) -> Iterator[tuple[State, OpenSound, Losses]]:
    """What to try for the sound, the best first."""
    if how == "drop" or not source.is_file():  # or a folder of pictures
        return
    try:
        demuxer = Demuxer(source, VideoLimits())
    except VideoError:
        return  # a tar of pictures
    with closing(demuxer):
        tracks = [(each.index, each.codec_context) for each in demuxer.container.streams.audio]
        names = {
            index: context.codec.canonical_name if context else "" for index, context in tracks
        }
    if names and how == "mute":
        yield "muted", partial(silence, span.first_s, span.last_s), Losses()
        return
    for index, name in names.items():
        for state, way in _WAYS.items():
            if name in COPIED or state == "encoded":
                losses = Losses()
                yield state, partial(way, source, index, span, losses), losses


def _write(video: Path, path: Path, span: Span, open_sound: OpenSound) -> bool:
    """Both tracks side by side, in the order of time; whether there was any sound."""
    with (
        av.open(f"file:{video}") as pictures,
        av.open(f"file:{path}", "w", format="mp4", options=MP4_OPTIONS) as target,
    ):
        shown = pictures.streams.video[0]
        stream = add_copy(target, shown)
        with closing(open_sound(target)) as sound:
            waiting = next(sound, None)
            has_sound = waiting is not None
            for packet in _until(pictures, span.last_s):
                while waiting and _time_s(waiting) <= _time_s(packet):
                    target.mux(waiting)
                    waiting = next(sound, None)
                packet.stream = stream
                target.mux(packet)
            while waiting:
                target.mux(waiting)
                waiting = next(sound, None)
    return has_sound


def _until(pictures: InputContainer, last_s: float) -> Packets:
    """The packets of the pictures, the last of which stands until ``last_s``."""
    held: AnyPacket | None = None
    for packet in pictures.demux(video=0):
        if packet.dts is None:
            continue  # the end
        if held is not None:
            # An mp4 counts from one packet to the next, and takes its length from the one that
            # says to last longest: of B-frames beside a hole that is none of the last.
            held.duration = 1
            yield held
        held = packet
    if held is not None:
        held.dts = held.pts  # else all durations together might be less than is shown
        held.duration = max(1, round(last_s / held.time_base) - (held.pts or 0))
        yield held


def _no_sound(target: OutputContainer) -> Packets:
    yield from ()


def _track(source: Path, index: int) -> tuple[Demuxer, AudioStream]:
    demuxer = Demuxer(source, VideoLimits())
    track = demuxer.container.streams[index]
    if not isinstance(track, AudioStream) or track.codec_context is None:
        demuxer.close()
        raise NotThisWay("there is no decoder for it")
    if not can_decode(track):
        demuxer.close()
        raise NotThisWay(f"its codec {track.codec_context.codec.name!r} is not opened")
    return demuxer, track


def _sound_of(demuxer: Demuxer, track: AudioStream) -> Packets:
    return (each for each in demuxer.packets(track) if each.stream_index == track.index)


def _copy(source: Path, index: int, span: Span, losses: Losses, target: OutputContainer) -> Packets:
    demuxer, track = _track(source, index)
    with closing(demuxer):
        stream, form, end = None, None, None
        is_aac = track.codec_context.name == "aac"
        for packet in _sound_of(demuxer, track):
            if packet.pts is None:
                continue
            form = form or _form(packet)
            is_new = is_aac and packet.has_sidedata("new_extradata")
            if is_aac and (is_new or _form(packet) != form):
                raise NotThisWay("its format changes, and an mp4 notes it once for all")
            time_s = float(packet.pts * packet.time_base) - span.start_s
            if time_s >= span.sound_s:
                return
            pts = round(time_s / packet.time_base)
            if time_s < span.first_s or (
                end is not None and pts < end - (packet.duration or 0) // 2
            ):
                continue
            if not _is_whole(track, packet):
                losses.damaged += 1
                continue
            stream = stream or target.add_stream_from_template(track)
            end = pts + max(1, packet.duration or 0)
            packet.pts = packet.dts = pts
            packet.stream = stream
            yield packet


def _is_whole(track: AudioStream, packet: AnyPacket) -> bool:
    """Whether a packet can be decoded: a browser ends playback at one that cannot."""
    try:
        track.codec_context.decode(packet)
    except av.FFmpegError:
        return False
    return True


def _form(packet: AnyPacket) -> tuple[int, int]:
    """Profile, rate and channels of an ADTS frame (ISO/IEC 13818-7, 6.2); of others nothing."""
    head = bytes(memoryview(packet)[:4])
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return 0, 0
    return head[2] & 0xFD, head[3] & 0xC0


def _encode(
    source: Path, index: int, span: Span, losses: Losses, target: OutputContainer
) -> Packets:
    demuxer, track = _track(source, index)

    def decoded() -> Iterator[av.AudioFrame]:
        for packet in _sound_of(demuxer, track):
            try:
                yield from track.codec_context.decode(packet)
            except av.FFmpegError:
                losses.damaged += 1
        try:
            yield from track.codec_context.decode(None)
        except av.FFmpegError:
            return

    with closing(demuxer):
        layout = "mono" if track.codec_context.channels == 1 else "stereo"
        kept = span.start_s, span.first_s, span.sound_s
        yield from encoded(decoded(), layout, *kept, target)


_WAYS: dict[Literal["copied", "encoded"], Callable[..., Packets]] = {
    "copied": _copy,
    "encoded": _encode,
}


def _time_s(packet: AnyPacket) -> float:
    return float((packet.dts or 0) * packet.time_base)
