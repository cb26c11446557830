"""Sound as AAC, each sample at its time."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any, TypeAlias

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from numpy.typing import NDArray

RATE = 48_000  # samples per second
BLOCK = 1024  # samples of an AAC frame
TOLERATED = round(0.02 * RATE)  # samples by which sound may lie beside its stamps

Packets: TypeAlias = "Generator[Packet[Any], None, None]"
Samples: TypeAlias = NDArray[np.float32]  # (channels, n)


class _Blocks:
    """Encodes samples in blocks that follow each other without a hole."""

    def __init__(self, target: OutputContainer, layout: str, at: int) -> None:
        """``at`` is the time of the first sample, in samples."""
        self.at = at  # of the sample to be added next
        self._layout = layout
        self._stream: AudioStream = target.add_stream("aac", rate=RATE, layout=layout)
        self._kept: Samples = np.zeros((1 if layout == "mono" else 2, 0), np.float32)

    def add(self, samples: Samples) -> Packets:
        kept = np.concatenate([self._kept, samples], axis=1)
        self.at += samples.shape[1]
        start = self.at - kept.shape[1]
        whole = kept.shape[1] // BLOCK * BLOCK
        for begin in range(0, whole, BLOCK):
            yield from self._encode(kept[:, begin : begin + BLOCK], start + begin)
        self._kept = kept[:, whole:]

    def add_silence(self, count: int) -> Packets:
        while count > 0:
            part = min(count, RATE)
            yield from self.add(np.zeros((self._kept.shape[0], part), np.float32))
            count -= part

    def finish(self) -> Packets:
        if self._kept.shape[1]:
            yield from self._encode(self._kept, self.at - self._kept.shape[1])
        yield from self._stream.encode()

    def _encode(self, block: Samples, at: int) -> Packets:
        # Damaged packets may decode to anything, and the encoder refuses what is no number.
        sane = np.clip(np.nan_to_num(block, posinf=0, neginf=0), -1, 1)
        frame = av.AudioFrame.from_ndarray(sane, format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts = RATE, at
        yield from self._stream.encode(frame)


def encoded(
    decoded: Iterable[av.AudioFrame],
    layout: str,
    start_s: float,
    first_s: float,
    last_s: float,
    target: OutputContainer,
) -> Packets:
    """Add a stream to an mp4 and yield its packets; holes in the sound become silence.

    Args:
        start_s: what counts as 0.
        first_s, last_s: what to keep, in seconds from there.
    """
    blocks: _Blocks | None = None
    first = round(first_s * RATE)
    for at, samples in _resampled(decoded, layout, start_s):
        if at is not None and at >= last_s * RATE:
            break
        if blocks is None:
            skipped = max(0, first - (at if at is not None else first))
            if skipped >= samples.shape[1]:
                continue
            blocks = _Blocks(target, layout, first if at is None else max(at, first))
            samples = samples[:, skipped:]
        elif at is not None and at - blocks.at > TOLERATED:
            yield from blocks.add_silence(at - blocks.at)
        elif at is not None and blocks.at - at > TOLERATED:
            samples = samples[:, blocks.at - at :]
        yield from blocks.add(samples)
    if blocks:
        yield from blocks.finish()


def _resampled(
    decoded: Iterable[av.AudioFrame], layout: str, start_s: float
) -> Iterator[tuple[int | None, Samples]]:
    """Samples at ``RATE`` and in ``layout``, with their time in samples where it is known."""
    resampler, form = AudioResampler("fltp", layout, RATE), None
    for frame in decoded:
        if form not in (None, (frame.format.name, frame.layout.name, frame.sample_rate)):
            resampler = AudioResampler("fltp", layout, RATE)
        form = frame.format.name, frame.layout.name, frame.sample_rate
        at = round((frame.time - start_s) * RATE) if frame.time is not None else None
        for each in resampler.resample(frame):
            yield at, np.asarray(each.to_ndarray(), np.float32)
            at = None
    for each in resampler.resample(None) if form else ():
        yield None, np.asarray(each.to_ndarray(), np.float32)


def silence(first_s: float, last_s: float, target: OutputContainer) -> Packets:
    """Add a stream to an mp4 and yield the packets of its silence."""
    first = round(first_s * RATE)
    blocks = _Blocks(target, "mono", first)
    yield from blocks.add_silence(round(last_s * RATE) - first)
    yield from blocks.finish()
