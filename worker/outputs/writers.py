"""The sinks of one part at work, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from worker.engines.base import FrameResult
from worker.outputs.base import Sink
from worker.pipeline.channel import Aborted, Channel
from worker.pipeline.summary import Summary
from worker.video.frame import Frame


class Writers:
    """Hands results to sinks over bounded channels, so that they work side by side."""

    def __init__(
        self,
        sinks: Sequence[Sink],
        summary: Summary,
        on_error: Callable[[BaseException], None],
    ) -> None:
        """Start the threads.

        Args:
            summary: where the time of each sink is counted.
            on_error: called from a sink's thread with what it raised.
        """
        self._sinks = sinks
        self._summary = summary
        self._on_error = on_error
        self._failed = False
        self._channels: list[Channel[tuple[Frame, FrameResult]]] = [Channel() for _ in sinks]
        self._threads = []
        for sink, channel in zip(sinks, self._channels, strict=True):
            summary.busy_s.setdefault(sink.name, 0.0)
            thread = threading.Thread(target=self._feed, args=(sink, channel), name=sink.name)
            self._threads.append(thread)
            thread.start()

    def put(self, frame: Frame, result: FrameResult, size: int) -> None:
        """Hand on a frame and its result, ``size`` bytes together. Raises Aborted."""
        for channel in self._channels:
            channel.put((frame, result), size)

    def close(self) -> None:
        """Wait until every sink's file is whole. Raises Aborted if one will not be."""
        for channel in self._channels:
            channel.close()
        self._join()
        if self._failed:
            raise Aborted

    def abort(self) -> None:
        """Wake everyone who waits here. From any thread."""
        self._failed = True
        for channel in self._channels:
            channel.abort()

    def discard(self) -> None:
        """End the threads and remove the files."""
        self.abort()
        self._join()
        for sink in self._sinks:
            sink.abort()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _feed(self, sink: Sink, channel: Channel[tuple[Frame, FrameResult]]) -> None:
        try:
            for frame, result in channel:
                with self._summary.busy(sink.name):
                    sink.write(frame, result)
            with self._summary.busy(sink.name):
                sink.close()
        except Aborted:
            return
        except BaseException as error:
            self._on_error(error)  # first: who is woken below may look for it
            self.abort()
