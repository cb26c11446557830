"""From detections on single frames to tracks.

After ByteTrack (Zhang et al., ECCV 2022): strong detections are matched to tracks first, weak
ones then continue the tracks that were seen just before, and only strong ones begin a track.
Motion is a constant velocity, kept by an alpha-beta filter; place is compared by buffered IoU
(Yang et al., WACV 2023): a thrown ball leaves its own outline from one frame to the next.

What is in a box is compared as well, as in DeepSORT (Wojke et al., ICIP 2017), though by mere
histograms: see ``appearance``. So a weak detection of something else does not lead a track away,
and an object that comes back after a while gets its id back, within a scene.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from worker.engines.cpu.association import find_earlier, match
from worker.engines.cpu.thresholds import Thresholds
from worker.engines.cpu.track import BoxTrack, Detection, TrackState

MIN_LIKENESS = 0.6  # of looks, below which a strong detection does not continue a track
MIN_LIKENESS_WEAK = 0.8  # the same, of a weak one
MAX_MISSES_WEAK = 1  # frames for which a track was not seen before a weak one may continue it
HITS_TO_CONFIRM = 3  # sightings ...
CONFIRMATION_FRAMES = 5  # ... within this many frames from the first make a track
KEEP_S = 1.0  # a track is lost when it was unseen for longer, and for CONFIRMATION_FRAMES
REJOIN_S = 5.0  # a lost track is given up when it was unseen for longer
MIN_STEP_S = 1e-3  # of time between frames, where the clock stands still
USUAL = Thresholds()


class BoxTracker:
    """All tracks of a video.

    Args:
        buffer: pixels by which boxes are grown on every side before they are compared: about
            how far an object may stray from its predicted place. It is the same for all sizes,
            so it helps small objects and hardly changes large ones.
        thresholds: of the labels that have others than ``USUAL``.
        max_objects: at most so many confirmed tracks at a time; 0 is no limit. A track that finds
            no room is dropped, and begins anew while it is seen.
    """

    def __init__(
        self,
        buffer: float,
        thresholds: Mapping[int, Thresholds] = MappingProxyType({}),
        max_objects: int = 0,
    ) -> None:
        self.tracks: list[BoxTrack] = []
        self._buffer = buffer
        self._thresholds = thresholds
        self._max_objects = max_objects
        self._time_s = 0.0
        self._births = 0
        self._confirmations = 0

    def update(
        self, time_s: float, detections: Sequence[Detection], *, assumes: bool = False
    ) -> list[BoxTrack]:
        """Take in the next frame.

        Args:
            time_s: of the frame, seconds; it may rise from frame to frame, or fall.
            assumes: whether weak detections begin tracks as well: see ``Query.assume_until_s``.

        Returns:
            The tracks seen on it, tentative ones included.
        """
        step_s = time_s - self._time_s
        if abs(step_s) < MIN_STEP_S:
            step_s = math.copysign(MIN_STEP_S, step_s)
        self._time_s = time_s

        live = [track for track in self.tracks if track.state is not TrackState.LOST]
        for track in live:
            track.predict(step_s)
        strong = [d for d in detections if d.score >= self._of(d.label).strong]
        weak = [d for d in detections if d.score < self._of(d.label).strong]
        pairs, unseen, unmatched = match(live, strong, self._buffer, MIN_LIKENESS)
        recent = [track for track in unseen if track.misses <= MAX_MISSES_WEAK]
        more, _, left = match(recent, weak, self._buffer, MIN_LIKENESS_WEAK)
        for track in self.tracks:
            track.misses += 1
        for track, detection in pairs + more:
            track.correct(detection, time_s, step_s)
            if track.first_score is None and self._is_birth(detection):
                track.first_score = detection.score
        for track in live:
            if track.misses:
                track.slow_down()
        for detection in unmatched + left:
            if assumes or self._is_birth(detection):
                self._begin(detection)
        self._judge()
        return [track for track in self.tracks if not track.misses]

    def cut(self) -> None:
        """Begin a new scene with the next frame: nothing continues what was seen before."""
        self.finish()
        self.tracks.clear()

    def finish(self) -> None:
        """Decide on the tracks that are still tentative when the video or a scene ends.

        One that was seen on every frame of its short life is kept: a video of one frame has
        objects, too.
        """
        for track in self.tracks:
            if track.state is TrackState.TENTATIVE:
                self._decide(track, track.hits == track.age and self._is_sure(track))

    def dump(self) -> dict[str, Any]:
        """Everything that ``load`` needs to go on, in JSON's types."""
        return {
            "time_s": self._time_s,
            "births": self._births,
            "confirmations": self._confirmations,
            "tracks": [track.dump() for track in self.tracks],
        }

    @classmethod
    def load(
        cls,
        state: dict[str, Any],
        buffer: float,
        thresholds: Mapping[int, Thresholds] = MappingProxyType({}),
        max_objects: int = 0,
    ) -> BoxTracker:
        """The tracker that ``dump`` described."""
        tracker = cls(buffer, thresholds, max_objects)
        tracker._time_s = state["time_s"]
        tracker._births = state["births"]
        tracker._confirmations = state["confirmations"]
        tracker.tracks = [BoxTrack.load(known) for known in state["tracks"]]
        return tracker

    def _of(self, label: int) -> Thresholds:
        return self._thresholds.get(label, USUAL)

    def _begin(self, detection: Detection) -> None:
        self._births += 1
        self.tracks.append(
            BoxTrack(
                number=self._births,
                label=detection.label,
                score=detection.score,
                box=detection.box,
                seen_s=self._time_s,
                first_score=detection.score if self._is_birth(detection) else None,
                mean_score=detection.score,
                look=detection.look,
            )
        )

    def _judge(self) -> None:
        """Confirm, drop, lose and give up tracks."""
        for track in self.tracks:
            unseen_s = abs(self._time_s - track.seen_s)
            sure = self._is_sure(track)
            if track.state is TrackState.TENTATIVE:
                if self._of(track.label).eager or (track.hits >= HITS_TO_CONFIRM and sure):
                    self._decide(track, True)
                elif track.age >= CONFIRMATION_FRAMES:
                    self._decide(track, False)
            elif unseen_s > KEEP_S and track.misses >= CONFIRMATION_FRAMES:
                may_return = track.look is not None and unseen_s <= REJOIN_S
                track.state = TrackState.LOST if may_return else TrackState.DELETED
        self.tracks = [track for track in self.tracks if track.state is not TrackState.DELETED]

    def _is_sure(self, track: BoxTrack) -> bool:
        """Whether it was seen as well as it must be to be born: a cone is a person for a moment."""
        return track.first_score is None or track.mean_score >= self._of(track.label).birth

    def _is_birth(self, detection: Detection) -> bool:
        return detection.score >= self._of(detection.label).birth

    def _decide(self, track: BoxTrack, confirm: bool) -> None:
        earlier = find_earlier(track, self.tracks) if confirm else None
        others = [each for each in self.tracks if each is not earlier]
        known = sum(each.state is TrackState.CONFIRMED for each in others)
        if not confirm or 0 < self._max_objects <= known:
            track.state = TrackState.DELETED
            return
        track.state = TrackState.CONFIRMED
        if earlier:
            track.continue_from(earlier)
        else:
            self._confirmations += 1
            track.object_id = self._confirmations
