"""The engine that needs no GPU: a small detector, a tracker, and masks from boxes."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import onnxruntime as ort
from av.video.reformatter import VideoReformatter

from shoal.engines.cpu import FACE, WORDS, resolve
from shoal.errors import CheckpointUnusable, ModelLoadFailed, UnsupportedByEngine
from worker.engines.base import FrameResult, ObjectResult, Query
from worker.engines.cpu.appearance import looks
from worker.engines.cpu.detector import NanoDet
from worker.engines.cpu.faces import CenterFace
from worker.engines.cpu.masks import PersonMasks, cut_out, inscribed
from worker.engines.cpu.owed import BoxSighting, Masks, Waiting
from worker.engines.cpu.thresholds import Thresholds, thresholds
from worker.engines.cpu.track import BoxTrack, Detection, TrackState
from worker.engines.cpu.tracker import REJOIN_S, BoxTracker
from worker.video.frame import Frame, VideoInfo
from worker.video.scenes import CutDetector, light_of

WEIGHTS = Path(__file__).parent / "weights"
MAX_TRACKING_FPS = 15.0  # a compromise: the detector is what costs the time
TRACKING_BUFFER = 0.03  # of the frame's longer side: see ``BoxTracker``
DETECTOR_THREADS = 4  # at most: the rest of a larger machine is for other workers
STATE_VERSION = 3

PERSON = (WORDS.index("person"),)
FACES = (FACE,)


@dataclass(frozen=True, slots=True)
class CpuModels:
    """The networks, loaded once for all videos."""

    objects: NanoDet
    faces: CenterFace
    person_masks: PersonMasks


class CpuPredictor:
    """NanoDet-G and CenterFace find, a ByteTrack-style tracker follows, and each box is cut out to
    a mask.

    Raises:
        ModelLoadFailed: the weights are missing or onnxruntime refuses them.
    """

    name = "cpu"
    device = "cpu"
    steps_again = False
    warm_up_s = REJOIN_S  # a track that goes on at low scores was mostly seen well by then

    def __init__(self) -> None:
        threads = min(DETECTOR_THREADS, os.cpu_count() or 1)
        try:
            self._models = CpuModels(
                NanoDet(WEIGHTS / "nanodet_g_fp16.onnx", threads),
                CenterFace(WEIGHTS / "centerface.onnx", threads),
                # So small a network gains little from a second thread.
                PersonMasks(WEIGHTS / "selfie_256_fp16.onnx", threads=1),
            )
        except Exception as error:  # onnxruntime's own classes share no documented base
            raise ModelLoadFailed(f"cannot load the weights of the cpu engine: {error}") from error
        self.versions = {
            "detector": "NanoDet-G 416",
            "face_detector": "CenterFace 960",
            "person_masks": "MediaPipe selfie segmentation 256",
            "onnxruntime": ort.__version__,
            "opencv": cv2.__version__,
        }

    def tracking_fps(self, video: VideoInfo) -> float:
        """The video's own rate, up to 15 frames per second."""
        return min(video.fps, MAX_TRACKING_FPS)

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> CpuSession:
        """Start a video, or continue one; see ``Predictor.open``."""
        return CpuSession(self._models, video, query, state)

    def detect(
        self, frames: Sequence[Frame], query: Query, shown: Sequence[Frame] = ()
    ) -> list[FrameResult]:
        """What the detector finds on single pictures; see ``PictureDetector.detect``."""
        check_texts_only(query)
        finder = Finder(self._models, query.prompts)
        results = []
        for frame in frames:
            found = [
                each
                for each in finder.detect(frame.picture)
                if each.score >= thresholds(finder.classes[each.label], query.score_threshold).birth
            ]
            masks = finder.outline(frame.picture, found)
            objects = [
                ObjectResult(
                    number,
                    query.prompts[each.label],
                    each.score,
                    each.box,
                    masks[each.label, each.box],
                    each.score,
                )
                for number, each in enumerate(found, 1)
            ]
            results.append(FrameResult(frame.index, objects))
        return results

    def start_scores(self, prompts: Sequence[str]) -> dict[str, float]:
        """By the classes that answer a prompt; see ``PictureDetector.start_scores``."""
        return {prompt: thresholds(resolve(prompt)).birth for prompt in prompts}


class Finder:
    """Finds the objects of some prompts.

    Attributes:
        classes: of each prompt, see ``shoal.engines.cpu.resolve``; labels are its indices.
    """

    def __init__(self, models: CpuModels, prompts: Sequence[str]) -> None:
        """
        Raises:
            UnknownPrompt
        """
        self.classes = [resolve(prompt) for prompt in prompts]
        self._models = models
        labels = dict(enumerate(self.classes))
        self._objects = {each: known for each, known in labels.items() if known != FACES}
        self._face_labels = labels.keys() - self._objects.keys()
        self._converter = VideoReformatter()  # one for all frames: it keeps its tables

    def detect(self, picture: av.VideoFrame) -> list[Detection]:
        """All detections, with how they look."""
        found = self._models.objects.detect(picture, self._objects) if self._objects else []
        for label in sorted(self._face_labels):
            found += self._models.faces.detect(picture, label)
        seen = looks(picture, [each.box for each in found])
        return [replace(each, look=look) for each, look in zip(found, seen, strict=True)]

    def outline(self, picture: av.VideoFrame, found: Sequence[BoxTrack | Detection]) -> Masks:
        """The masks of what was found on a picture, by label and box."""
        bgr = None  # of the whole frame: costly, and of no use for faces
        if any(each.label in self._objects for each in found):
            bgr = np.asarray(
                self._converter.reformat(picture, format="bgr24").to_ndarray(), np.uint8
            )
        masks: Masks = {}
        for each in found:
            if bgr is None or each.label in self._face_labels:
                mask = inscribed(each.box, (picture.height, picture.width))
            elif self.classes[each.label] == PERSON:
                mask = self._models.person_masks.segment(bgr, each.box)
            else:
                mask = cut_out(bgr, each.box)
            masks[each.label, each.box] = mask
        return masks


def check_texts_only(query: Query) -> None:
    """
    Raises:
        UnsupportedByEngine: there are visual prompts or exemplars.
    """
    if query.objects or query.exemplars:
        raise UnsupportedByEngine("the cpu engine supports text prompts only")


class CpuSession:
    """One video.

    A result is held back while an object on its frame may still be a false alarm, for
    ``tracker.CONFIRMATION_FRAMES`` - 1 frames at most, so that an object is reported from the
    first frame on which it was seen; and before that, where a scene seems to begin, until the
    frames after it tell, ``scenes.AROUND`` at most. Objects are reported on the frames on which
    they were detected, never where they are only expected to be. A frame that is not wanted is
    tracked through: its result has no objects.
    """

    def __init__(
        self,
        models: CpuModels,
        video: VideoInfo,
        query: Query,
        state: bytes | None,
    ) -> None:
        self._query = query
        self._prompts = query.prompts
        self._finder = Finder(models, query.prompts)
        check_texts_only(query)
        self._waiting: deque[Waiting] = deque()
        self._pending: deque[tuple[int, list[BoxSighting]]] = deque()
        limits = (
            TRACKING_BUFFER * max(video.width, video.height),
            {
                label: thresholds(known, query.score_threshold)
                for label, known in enumerate(self._finder.classes)
            },
            query.max_objects,
        )
        if state is None:
            self._tracker, self._cuts = BoxTracker(*limits), CutDetector()
        else:
            self._restore(json.loads(state), limits)

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        """Track through the next frames; see ``Session.step``."""
        settled = []
        for frame in frames:
            detections = self._finder.detect(frame.picture)
            cuts = self._cuts.add(light_of(frame.picture))
            is_known = len(cuts) > len(self._waiting)
            for cut in cuts[: len(self._waiting)]:
                self._track_waiting(cut)
            if is_known:
                seen = self._track(frame.time_s, detections, cuts[-1])
                self._hold_back(frame.index, seen, self._outline(frame, seen))
            else:
                masks = self._outline(frame, detections)
                self._waiting.append(Waiting(frame.index, frame.time_s, detections, masks))
            settled += self._settled()
        return settled

    def finish(self) -> list[FrameResult]:
        """The results still owed after the last frame."""
        for cut in self._cuts.finish():
            self._track_waiting(cut)
        self._tracker.finish()
        return self._settled()

    def close(self) -> None:
        """Drop what is owed; the models stay with the predictor."""
        self._waiting.clear()
        self._pending.clear()

    def _track(self, time_s: float, detections: Sequence[Detection], cut: bool) -> list[BoxTrack]:
        if cut:
            self._tracker.cut()
        assumes = time_s <= self._query.assume_until_s
        return self._tracker.update(time_s, detections, assumes=assumes)

    def _track_waiting(self, cut: bool) -> None:
        """Track through the frame that has waited longest."""
        waiting = self._waiting.popleft()
        seen = self._track(waiting.time_s, waiting.detections, cut)
        self._hold_back(waiting.index, seen, waiting.masks)

    def _hold_back(self, index: int, seen: Sequence[BoxTrack], masks: Masks) -> None:
        sightings = [
            BoxSighting(track, track.score, track.box, masks[track.label, track.box])
            for track in (seen if masks else ())
        ]
        self._pending.append((index, sightings))

    def _outline(self, frame: Frame, found: Sequence[BoxTrack | Detection]) -> Masks:
        """The masks of what was found on a frame; none if it is not wanted."""
        return self._finder.outline(frame.picture, found) if frame.wanted else {}

    def _settled(self) -> list[FrameResult]:
        """Take the leading frames on which no track is tentative any more."""
        results = []
        while self._pending:
            index, sightings = self._pending[0]
            if any(s.track.state is TrackState.TENTATIVE for s in sightings):
                break
            self._pending.popleft()
            objects = [
                ObjectResult(
                    s.track.object_id,
                    self._prompts[s.track.label],
                    s.score,
                    s.box,
                    s.mask,
                    s.track.first_score,
                )
                for s in sightings
                if s.track.object_id and not self._query.leaves_out(s.track.object_id, index)
            ]
            results.append(FrameResult(index, objects))
        return results

    def state(self) -> bytes:
        """Tracks, recent changes of light and what is owed, as JSON.

        Some kilobytes, whatever the length of the video.
        """
        # Not those of false alarms that are known to be some.
        pending = [
            (index, [s for s in sightings if s.track.object_id or s.track in self._tracker.tracks])
            for index, sightings in self._pending
        ]
        owed = {s.track.number: s.track for _, sightings in pending for s in sightings}
        state = {
            "version": STATE_VERSION,
            "tracker": self._tracker.dump(),
            "cuts": self._cuts.dump(),
            "ended": [each.dump() for each in owed.values() if each not in self._tracker.tracks],
            "pending": [[index, [s.dump() for s in sightings]] for index, sightings in pending],
            "waiting": [each.dump() for each in self._waiting],
        }
        return json.dumps(state, separators=(",", ":")).encode()

    def _restore(
        self, state: dict[str, Any], limits: tuple[float, dict[int, Thresholds], int]
    ) -> None:
        if state["version"] != STATE_VERSION:
            raise CheckpointUnusable(
                f"the state of the cpu engine has version {state['version']}, not {STATE_VERSION}"
            )
        self._tracker = BoxTracker.load(state["tracker"], *limits)
        self._cuts = CutDetector.load(state["cuts"])
        ended = [BoxTrack.load(known) for known in state["ended"]]
        tracks = {track.number: track for track in (*self._tracker.tracks, *ended)}
        for index, sightings in state["pending"]:
            self._pending.append((index, [BoxSighting.load(s, tracks) for s in sightings]))
        self._waiting.extend(Waiting.load(known) for known in state["waiting"])
