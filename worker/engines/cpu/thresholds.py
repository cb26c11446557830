"""From which scores on detections are believed, class by class.

NanoDet is not equally sure of all classes. Measured on three minutes of real clips, five of them
those of ``benchmarks/cpu_quality.py``: in clips where a class does not appear, no more than one
false track of it passes, save for a tumbler that is a phone and a rag that is a ball.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shoal.engines.cpu import FACE, WORDS

BIRTH = 0.45  # where no other is given
BIRTHS = {
    # Taken for other things: cones, a motorcycle and signs are seen as persons with 0.4 to 0.5.
    **dict.fromkeys(("person", "cell phone", "airplane", "fire hydrant", "cow", "sheep"), 0.5),
    # Never taken for something else, and often seen with less: partly hidden, or from the side.
    **dict.fromkeys(("bicycle", "car", "bus", "truck", "cup", "bowl"), 0.4),
}
STRONG_BELOW_BIRTH = 0.05
# Faces are mostly looked for to be hidden, so one that shows for a moment counts as well. On real
# clips theirs are scores above 0.6, and those of false alarms below 0.3.
FACE_BIRTH = 0.35


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores that decide about the detections of one label.

    Attributes:
        birth: from which a detection begins a track, and which the mean of a track's first
            detections must reach before it is confirmed.
        strong: from which a detection is matched in the first round.
        eager: whether a track is confirmed at first sight.
    """

    birth: float = BIRTH
    strong: float = BIRTH - STRONG_BELOW_BIRTH
    eager: bool = False


def thresholds(classes: Sequence[int], birth: float | None = None) -> Thresholds:
    """Those of a prompt that any of these classes answers; ``birth`` may be given instead."""
    eager = FACE in classes
    usual = max(FACE_BIRTH if each == FACE else BIRTHS.get(WORDS[each], BIRTH) for each in classes)
    strong = usual if eager else usual - STRONG_BELOW_BIRTH
    return (
        Thresholds(usual, strong, eager)
        if birth is None
        else Thresholds(birth, min(strong, birth), eager)
    )
