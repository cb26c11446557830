"""Small videos, made up, and what an engine says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from worker.engines.base import FrameResult, Session
from worker.video.frame import Frame, VideoInfo

WIDTH, HEIGHT = 80, 60
INFO = VideoInfo(WIDTH, HEIGHT, fps=25, duration_s=0, frames=0, codec="made up")


def make(count: int, seed: int = 0) -> list[Frame]:
    """Four blurred discs that wander over a noisy ground."""
    return list(stream(count, seed))


def stream(count: int, seed: int = 0) -> Iterator[Frame]:
    """The frames of ``make``, one by one."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for t in range(count):
        picture = random.random((HEIGHT, WIDTH, 3)) * 40
        for disc in range(4):
            x = (10 + 20 * disc + 2 * t * (1 if disc % 2 else -1)) % WIDTH
            y = 30 + 20 * np.sin(t / 5 + disc)
            picture[..., disc % 3] += 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 128)
        rgb = picture.clip(0, 255).astype(np.uint8)
        yuv = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
        yield Frame(t, t / INFO.fps, yuv, wanted=True)


def track(session: Session, frames: Sequence[Frame]) -> list[FrameResult]:
    """All results of a video stepped frame by frame; the session is closed."""
    try:
        results = [result for frame in frames for result in session.step([frame])]
        return results + session.finish()
    finally:
        session.close()


def track_interrupted(
    session: Session, resume: Callable[[bytes], Session], frames: Sequence[Frame], cut: int
) -> list[FrameResult]:
    """All results, where after ``cut`` frames another session goes on with its state."""
    results = session.step(frames[:cut])
    state = session.state()
    session.close()
    session = resume(state)
    results += session.step(frames[cut:]) + session.finish()
    session.close()
    return results


def shown(results: Sequence[FrameResult]) -> list[dict[int, tuple[str, bytes]]]:
    """Of each frame its objects' prompts and whole masks, to compare."""
    return [
        {
            each.object_id: (each.prompt, each.mask.to_full(HEIGHT, WIDTH).tobytes())
            for each in result.objects
        }
        for result in results
    ]


def write(path: Path, count: int) -> None:
    """The frames of ``make`` as an mp4."""
    with av.open(str(path), "w") as container:
        stream_out = container.add_stream("libx264", rate=round(INFO.fps))
        stream_out.width, stream_out.height, stream_out.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in stream(count):
            frame.picture.pts, frame.picture.time_base = frame.index, Fraction(1, round(INFO.fps))
            container.mux(stream_out.encode(frame.picture))
        container.mux(stream_out.encode())
