"""The engine that needs no GPU: a small detector, a tracker, and masks from boxes."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import onnxruntime as ort
from av.video.reformatter import VideoReformatter

from shoal.engines.cpu import FACE, WORDS, resolve
from shoal.errors import CheckpointUnusable, ModelLoadFailed, UnsupportedByEngine
from worker.predictors.base import FrameResult, Mask, ObjectResult, Query
from worker.predictors.cpu.detector import NanoDet
from worker.predictors.cpu.faces import CenterFace
from worker.predictors.cpu.masks import PersonMasks, cut_out, inscribed
from worker.predictors.cpu.tracker import BIRTH, Box, Detection, Track, Tracker, TrackState
from worker.video.frame import Frame, VideoInfo

WEIGHTS = Path(__file__).parent / "weights"
MAX_TRACKING_FPS = 15.0  # a compromise: the detector is what costs the time
TRACKING_BUFFER = 0.03  # of the frame's longer side: see ``Tracker``
DETECTOR_THREADS = 4  # at most: the rest of a larger machine is for other workers
STATE_VERSION = 2

PERSON = (WORDS.index("person"),)
FACES = (FACE,)
# Faces are mostly looked for to be hidden, so one that shows for a moment counts as well. On real
# clips theirs are scores above 0.6, and those of false alarms below 0.3.
FACE_BIRTH = 0.35


class CpuPredictor:
    """NanoDet-G and CenterFace find, a ByteTrack-style tracker follows, and each box is cut out to
    a mask.

    Raises:
        ModelLoadFailed: the weights are missing or onnxruntime refuses them.
    """

    name = "cpu"
    device = "cpu"
    steps_again = False

    def __init__(self) -> None:
        threads = min(DETECTOR_THREADS, os.cpu_count() or 1)
        try:
            self._detector = NanoDet(WEIGHTS / "nanodet_g_fp16.onnx", threads)
            self._faces = CenterFace(WEIGHTS / "centerface.onnx", threads)
            # So small a network gains little from a second thread.
            self._person_masks = PersonMasks(WEIGHTS / "selfie_256_fp16.onnx", threads=1)
        except Exception as error:  # onnxruntime's own classes share no documented base
            raise ModelLoadFailed(f"the cpu engine's weights cannot be loaded: {error}") from error
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
        return CpuSession(self._detector, self._faces, self._person_masks, video, query, state)


@dataclass(slots=True)
class _Sighting:
    """An object on one frame, while it is not yet certain that it is one."""

    track: Track
    score: float
    box: Box
    mask: Mask


class CpuSession:
    """One video.

    A result is held back while an object on its frame may still be a false alarm, for
    ``tracker.CONFIRMATION_FRAMES`` - 1 frames at most, so that an object is reported from the
    first frame on which it was seen. Objects are reported on the frames on which they were
    detected, never where they are only expected to be. A frame that is not wanted is tracked
    through: its result has no objects.
    """

    def __init__(
        self,
        detector: NanoDet,
        faces: CenterFace,
        person_masks: PersonMasks,
        video: VideoInfo,
        query: Query,
        state: bytes | None,
    ) -> None:
        self._detector = detector
        self._faces = faces
        self._person_masks = person_masks
        self._query = query
        self._prompts = query.prompts
        self._classes = [resolve(prompt) for prompt in query.prompts]
        if query.objects:
            raise UnsupportedByEngine("the cpu engine finds objects by words alone")
        labels = dict(enumerate(self._classes))
        self._objects = {each: known for each, known in labels.items() if known != FACES}
        self._face_labels = labels.keys() - self._objects.keys()
        given = query.score_threshold
        limits = (
            TRACKING_BUFFER * max(video.width, video.height),
            BIRTH if given is None else given,
            query.max_objects,
            dict.fromkeys(self._face_labels, FACE_BIRTH if given is None else given),
        )
        self._converter = VideoReformatter()  # one for all frames: it keeps its tables
        self._pending: deque[tuple[int, list[_Sighting]]] = deque()
        if state is None:
            self._tracker = Tracker(*limits)
        else:
            self._tracker = self._restore(state, limits)

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        """Track through the next frames; see ``Session.step``."""
        settled = []
        for frame in frames:
            seen = self._tracker.update(frame.time_s, self._detect(frame.picture))
            sightings = self._outline(frame, seen) if frame.wanted and seen else []
            self._pending.append((frame.index, sightings))
            settled += self._settled()
        return settled

    def finish(self) -> list[FrameResult]:
        """The results still owed after the last frame."""
        self._tracker.finish()
        return self._settled()

    def close(self) -> None:
        """Drop what is pending; the models stay with the predictor."""
        self._pending.clear()

    def _detect(self, picture: av.VideoFrame) -> list[Detection]:
        found = self._detector.detect(picture, self._objects) if self._objects else []
        for label in sorted(self._face_labels):
            found += self._faces.detect(picture, label)
        return found

    def _outline(self, frame: Frame, tracks: Sequence[Track]) -> list[_Sighting]:
        bgr = None  # of the whole frame: costly, and of no use for faces
        if any(track.label in self._objects for track in tracks):
            bgr = np.asarray(
                self._converter.reformat(frame.picture, format="bgr24").to_ndarray(), np.uint8
            )
        sightings = []
        for track in tracks:
            if bgr is None or track.label in self._face_labels:
                mask = inscribed(track.box, (frame.picture.height, frame.picture.width))
            elif self._classes[track.label] == PERSON:
                mask = self._person_masks.segment(bgr, track.box)
            else:
                mask = cut_out(bgr, track.box)
            sightings.append(_Sighting(track, track.score, track.box, mask))
        return sightings

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
        """The tracks and the results held back, as JSON; some kilobytes, whatever the length."""
        pending = [
            [index, [_dump(s) for s in sightings if s.track in self._tracker.tracks]]
            for index, sightings in self._pending
        ]
        state = {"version": STATE_VERSION, "tracker": self._tracker.dump(), "pending": pending}
        return json.dumps(state, separators=(",", ":")).encode()

    def _restore(self, state: bytes, limits: tuple[float, float, int, dict[int, float]]) -> Tracker:
        known = json.loads(state)
        if known["version"] != STATE_VERSION:
            raise CheckpointUnusable(
                f"the cpu engine's state has version {known['version']}, not {STATE_VERSION}"
            )
        tracker = Tracker.load(known["tracker"], *limits)
        tracks = {track.number: track for track in tracker.tracks}
        for index, sightings in known["pending"]:
            self._pending.append((index, [_load(s, tracks) for s in sightings]))
        return tracker


def _dump(sighting: _Sighting) -> dict[str, Any]:
    bits = sighting.mask.bits
    packed = zlib.compress(np.packbits(bits).tobytes())
    return {
        "track": sighting.track.number,
        "score": sighting.score,
        "box": sighting.box,
        "mask": [sighting.mask.x, sighting.mask.y, *bits.shape, base64.b64encode(packed).decode()],
    }


def _load(fields: dict[str, Any], tracks: dict[int, Track]) -> _Sighting:
    x, y, height, width, text = fields["mask"]
    packed = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    bits = np.unpackbits(packed, count=height * width).reshape(height, width)
    return _Sighting(
        tracks[fields["track"]], fields["score"], tuple(fields["box"]), Mask(x, y, bits)
    )
