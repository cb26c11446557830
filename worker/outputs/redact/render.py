"""Writes the redacted video, when it is decided for all frames what is to be hidden.

No picture of the source is written before. A frame of which nothing is known is not written at all.
"""

from __future__ import annotations

from pathlib import Path

import av

from shoal.errors import InternalError
from shoal.model.outputs import Redact
from worker.engines.base import FrameResult
from worker.outputs.redact import timeline
from worker.outputs.redact.cover import Cloak
from worker.video.encode import Encoder
from worker.video.frame import Frame, VideoInfo
from worker.video.planes import even_copy


class RedactSink:
    """A video: frames with what was found on them hidden."""

    name = "redact"

    def __init__(self, path: Path, video: VideoInfo, options: Redact, notes: Path) -> None:
        """Create the file.

        Args:
            path: where to write the mp4.
            video: the source.
            notes: what is to be hidden on frames, these among them: see ``timeline``.
        """
        self._cloak = Cloak(options, video.height, video.width)
        self._moments = timeline.read(notes)
        self._encoder = Encoder(path, video, video.fps)
        self._canvas: av.VideoFrame | None = None

    def write(self, frame: Frame, result: FrameResult) -> None:
        """
        Raises:
            InternalError: nothing is known of the frame.
            OSError: the disk is full.
        """
        moment = next((each for each in self._moments if each.index >= frame.index), None)
        if moment is None or moment.index > frame.index:
            raise InternalError(f"it is not decided what to hide on frame {frame.index}")
        self._canvas = even_copy(frame.picture, self._canvas)
        for cover in moment.covers:
            self._cloak.hide(self._canvas, cover)
        self._encoder.write(self._canvas, frame.time_s)

    def close(self) -> None:
        self._encoder.close()

    def abort(self) -> None:
        self._encoder.abort()
