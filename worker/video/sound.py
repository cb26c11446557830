"""The sound of a source beside pictures that were encoded anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from shoal.errors import VideoError
from worker.video.encode import MP4_OPTIONS
from worker.video.probe import Limits, open_container

COPIED = frozenset(("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"))  # an mp4 may hold them
RATE = 48_000  # samples per second of what must be encoded
BLOCK = 1024  # samples of an AAC frame

Packets: TypeAlias = "Iterator[Packet[Any]]"


def add_sound(video: Path, source: Path, path: Path, how: Literal["keep", "mute"]) -> Path:
    """An mp4 with the pictures of ``video`` and the first sound track of ``source``.

    Nothing else of the source comes along: no tags, no chapters, no further tracks. The sound is
    cut to the time of the pictures.

    Args:
        video: an mp4 that ``Encoder`` wrote; its times count from the source's first picture.
        path: where to write it.
        how: 'mute' writes silence where there was sound.

    Returns:
        ``path``, or ``video`` if the source has no sound.

    Raises:
        OSError: the disk is full.
    """
    if not source.is_file():
        return video  # a folder of pictures
    try:
        container, shown = open_container(source, Limits())
    except VideoError:
        return video  # a tar of pictures
    with container:
        if not container.streams.audio:
            return video
        start_s = float((shown.start_time or 0) * (shown.time_base or 0))
        with (
            av.open(f"file:{video}") as pictures,
            av.open(f"file:{path}", "w", format="mp4", options=MP4_OPTIONS) as target,
        ):
            _join(container, start_s, pictures, target, how)
    return path


def _join(
    source: InputContainer,
    start_s: float,
    pictures: InputContainer,
    target: OutputContainer,
    how: str,
) -> None:
    """Both tracks side by side, in the order of time."""
    shown = pictures.streams.video[0]
    stream = target.add_stream_from_template(shown)
    first_s = float((shown.start_time or 0) * (shown.time_base or 0))
    last_s = first_s + float((shown.duration or 0) * (shown.time_base or 0))
    track = source.streams.audio[0]
    sound: Packets
    if how == "mute":
        sound = _silence(target, first_s, last_s)
    elif track.codec_context.name in COPIED:
        sound = _copied(source, track, target, start_s, first_s, last_s)
    else:
        sound = _encoded(source, track, target, start_s, first_s, last_s)
    waiting = next(sound, None)
    for packet in pictures.demux(shown):
        if packet.dts is None:
            continue  # the end
        while waiting and _time_s(waiting) <= _time_s(packet):
            target.mux(waiting)
            waiting = next(sound, None)
        packet.stream = stream
        target.mux(packet)
    while waiting:
        target.mux(waiting)
        waiting = next(sound, None)


def _copied(
    source: InputContainer,
    track: AudioStream,
    target: OutputContainer,
    start_s: float,
    first_s: float,
    last_s: float,
) -> Packets:
    stream = target.add_stream_from_template(track)
    for packet in source.demux(track):
        if packet.pts is None or packet.dts is None:
            continue
        time_s = float(packet.pts * packet.time_base) - start_s
        if time_s >= last_s:
            return
        if time_s >= first_s:
            packet.pts = packet.dts = round(time_s / packet.time_base)
            packet.stream = stream
            yield packet


def _encoded(
    source: InputContainer,
    track: AudioStream,
    target: OutputContainer,
    start_s: float,
    first_s: float,
    last_s: float,
) -> Packets:
    layout = "mono" if track.codec_context.channels == 1 else "stereo"
    stream = target.add_stream("aac", rate=RATE, layout=layout)
    resampler = AudioResampler("fltp", layout, RATE, BLOCK)
    samples: int | None = None  # so far, from the first picture on
    for decoded in source.decode(track):
        time_s = (decoded.time or 0.0) - start_s
        if time_s >= last_s:
            break
        if time_s < first_s:
            continue
        samples = round(time_s * RATE) if samples is None else samples
        for frame in resampler.resample(decoded):
            frame.pts, frame.sample_rate = samples, RATE
            samples += frame.samples
            yield from stream.encode(frame)
    yield from stream.encode()


def _silence(target: OutputContainer, first_s: float, last_s: float) -> Packets:
    stream = target.add_stream("aac", rate=RATE, layout="mono")
    for start in range(round(first_s * RATE), round(last_s * RATE), BLOCK):
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, BLOCK), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts = RATE, start
        yield from stream.encode(frame)
    yield from stream.encode()


def _time_s(packet: Packet[Any]) -> float:
    return float((packet.dts or 0) * packet.time_base)
