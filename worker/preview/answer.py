"""The model process's side of previews: read a few frames, detect, describe.

It keeps a thread for them. Frames are read and decoded beside the video that is being tracked, by
a process of their own; only the detector has to wait for its turn, frame by frame.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice

from shoal.errors import GpuError, InvalidVisualPrompt, UnsupportedByEngine
from shoal.model.failure import Failure
from shoal.model.preview import (
    MAX_OBJECTS,
    MAX_STILLS,
    PreviewFrame,
    PreviewObject,
    PreviewSpec,
    PreviewVideo,
)
from shoal.model.prompts import check_exemplars_fit, check_fits
from shoal.settings import Settings
from shoal.storage import storage_for
from worker.engines.base import ObjectResult, PictureDetector, Predictor, Query
from worker.engines.gpu import as_gpu_error
from worker.pipe import ModelEnd
from worker.preview.pictures import described, jpeg
from worker.preview.turns import Turns
from worker.protocol import PreviewEnded, PreviewFound
from worker.video.frame import Frame, VideoInfo
from worker.video.probe import VideoLimits
from worker.video.still_reader import StillReader, TakenStill
from worker.video.stills import Wanted

log = logging.getLogger(__name__)

MAX_ALL_MASK_CHARS = 200_000  # of a frame: the rest of a message is its picture


class PreviewAnswerer:
    """Answers previews, one after the other."""

    def __init__(
        self, link: ModelEnd, predictor: Predictor, turns: Turns, settings: Settings
    ) -> None:
        self._link = link
        self._predictor = predictor
        self._turns = turns
        self._settings = settings

    def serve(self, take: Callable[[], PreviewSpec]) -> None:
        """Answer for ever; the work of a thread. ``take`` waits for the next preview."""
        while True:
            spec = take()
            end = PreviewEnded(preview=spec.id)
            try:
                self._answer(spec)
            except Exception as error:
                error = as_gpu_error(error)
                log.info("preview %s failed: %s", spec.id, error)
                lost = isinstance(error, GpuError)
                end = PreviewEnded(preview=spec.id, failure=Failure.of(error), lost=lost)
            self._link.send(end)

    def _answer(self, spec: PreviewSpec) -> None:
        predictor = self._predictor
        if not isinstance(predictor, PictureDetector):
            raise UnsupportedByEngine(f"the {predictor.name} engine has no previews")
        pointed, others = _split(spec, self._reader(spec).stills())
        shown = {each.frame for each in spec.exemplars}
        examples = {number: still.frame for number, still in pointed.items() if number in shown}
        for number, still in enumerate(islice(chain(pointed.values(), others), MAX_STILLS)):
            frame = still.frame
            info = _info(still)
            query = _query(spec, still, examples)
            check_fits(query.objects, info.width, info.height)
            check_exemplars_fit(query.exemplars, info.width, info.height)
            scores = predictor.start_scores(query.concepts)
            with self._turns.preview():
                started = time.perf_counter()
                (result,) = predictor.detect([frame], query, list(examples.values()))
                seconds = time.perf_counter() - started
            video = PreviewVideo(
                fps=still.fps,
                duration_s=still.duration_s,
                tracked_fps=predictor.tracking_fps(info),
                start_scores=scores,
            )
            found = sorted(result.objects, key=lambda each: -each.score)
            self._send(spec, number, still, video, found, query, seconds)

    def _reader(self, spec: PreviewSpec) -> StillReader:
        settings = self._settings
        return StillReader(
            storage_for(spec.uri, settings),
            spec.uri,
            spec.size,
            Wanted(spec.frames, spec.times_s, spec.pointed_frames),
            VideoLimits(settings.max_pixels, settings.max_duration_s, settings.max_fps),
        )

    def _send(
        self,
        spec: PreviewSpec,
        number: int,
        still: TakenStill,
        video: PreviewVideo,
        found: Sequence[ObjectResult],
        query: Query,
        seconds: float,
    ) -> None:
        frame, picture = still.frame, still.frame.picture
        objects = _described(found, query, frame)
        data = jpeg(picture, found if spec.draw else (), query.labels)
        self._link.send(
            PreviewFound(
                preview=spec.id,
                number=number,
                frame=PreviewFrame(
                    frame=frame.index,
                    exact=still.is_exact,
                    time_s=round(frame.time_s, 6),  # precise enough to ask for it again
                    width=picture.width,
                    height=picture.height,
                    detect_s=round(seconds, 4),
                    objects=objects,
                    left_out=len(found) - len(objects),
                ),
                video=video,
                picture=base64.b64encode(data).decode(),
            )
        )


def _info(still: TakenStill) -> VideoInfo:
    picture = still.frame.picture
    return VideoInfo(
        width=picture.width,
        height=picture.height,
        fps=still.fps,
        duration_s=still.duration_s,
        frames=0,
        codec="",
    )


def _split(
    spec: PreviewSpec, stills: Iterator[TakenStill]
) -> tuple[dict[int, TakenStill], Iterator[TakenStill]]:
    """The stills that were pointed at, by the number they were asked for by; and the others.

    Raises:
        InvalidVisualPrompt: one is not in the video.
    """
    pointed: dict[int, TakenStill] = {}
    for still in stills:
        if still.asked is None:
            stills = chain((still,), stills)
            break
        pointed[still.asked] = still
    for number in spec.pointed_frames:
        if number not in pointed:
            raise InvalidVisualPrompt(f"the video has no frame {number} that can be read")
    return pointed, stills


def _query(spec: PreviewSpec, still: TakenStill, examples: Mapping[int, Frame]) -> Query:
    """What to look for on a still; what was pointed at on it may be there under another number.

    Args:
        examples: the frames with exemplars, by the number they were asked for by.
    """
    objects = tuple(
        each.model_copy(update={"frame": still.frame.index})
        for each in spec.objects
        if each.frame == (still.frame.index if still.asked is None else still.asked)
    )
    exemplars = tuple(
        each.model_copy(update={"frame": examples[each.frame].index}) for each in spec.exemplars
    )
    return Query(spec.prompts, objects, score_threshold=spec.score_threshold, exemplars=exemplars)


def _described(found: Sequence[ObjectResult], query: Query, frame: Frame) -> list[PreviewObject]:
    """Objects, best first, as many as a message has room for."""
    names = {number: name for (_, name), number in query.object_ids.items()}
    shown: list[PreviewObject] = []
    room = MAX_ALL_MASK_CHARS
    for each in found:
        name = names.get(each.object_id, "")
        item = described(each, frame.picture.width, frame.picture.height, name)
        if item is None or len(item.mask.counts) > room or len(shown) == MAX_OBJECTS:
            continue
        room -= len(item.mask.counts)
        shown.append(item)
    return shown
