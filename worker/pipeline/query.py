"""What a job asks of the predictor: its query, and the frames that have exemplars."""

from __future__ import annotations

from collections.abc import Callable, Generator

from shoal.errors import FrameNotFound
from shoal.model.job import JobSpec
from shoal.model.sam3_options import changed
from worker.engines.base import Query
from worker.video.frame import Frame
from worker.video.source import Source

BEAT_FPS = 1.0  # of the video: how often a frame is converted on the way to those of exemplars


def query_of(spec: JobSpec) -> Query:
    """That of a whole video. Of edited results, the labels say all."""
    if spec.is_edited:
        return Query(prompts=spec.labels)
    options = spec.options
    return Query(
        prompts=spec.prompts,
        objects=spec.objects,
        remove_objects=spec.remove_objects,
        max_objects=options.max_objects,
        score_threshold=options.score_threshold,
        exemplars=spec.exemplars,
        track_fps=options.track_fps,
        sam3=changed(options),
    )


def exemplar_frames(
    source: Source, query: Query, beat: Callable[[], None]
) -> Generator[Frame, None, None]:
    """The frames of exemplars, wherever in the video they are; read up to the last of them.

    Args:
        source: writes these frames, and no others.
        beat: called about once for each second of the video.

    Raises:
        FrameNotFound: the video has no such frame.
    """
    left = set(query.exemplar_frames)
    for frame in source.frames(BEAT_FPS):
        beat()
        if frame.wanted:
            left.remove(frame.index)
            yield frame
    if left:
        raise FrameNotFound(
            f"there is an exemplar on frame {min(left)}; the last one of the video is "
            f"{source.frames_read - 1}"
        )
