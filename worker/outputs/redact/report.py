"""``<stem>_redaction.json``: what a person should look at before the video is published."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, Field

from shoal.model.outputs import Redact
from worker.outputs.redact.bridge import CoverReason, Moment


class Stretch(BaseModel):
    """Frames in a row on which something was hidden for the same reason.

    Attributes:
        first_time_s, last_time_s: seconds since the source's first frame.
    """

    why: CoverReason
    prompt: str
    object_id: int
    first_frame: int
    last_frame: int
    first_time_s: float
    last_time_s: float


class RedactionReport(BaseModel):
    """The file's content."""

    schema_version: int = 1
    job_id: str
    options: Redact
    prompts: list[str] = Field(description="The redacted prompts.")
    frames: int = Field(description="Number of frames of the redacted video.")
    frames_redacted: int = Field(description="Number of frames with redactions.")
    frames_to_check: int = Field(description="Number of frames in 'check'.")
    scenes: int
    check: list[Stretch] = Field(
        description="Frames to review: 'bridged' between two detections, 'held' before the first "
        "or after the last one, or 'uncertain', detected with a score below 0.5."
    )


class Reporter:
    """Collects what a report needs, moment by moment."""

    def __init__(self) -> None:
        self._frames = self._redacted = self._to_check = 0
        self._scenes: int = 0
        self._open: dict[
            tuple[CoverReason, str, int], Stretch
        ] = {}  # that reach to the last moment
        self._check: list[Stretch] = []

    def add(self, moment: Moment) -> None:
        """Add the next frame."""
        self._frames += 1
        self._scenes = moment.scene + 1
        self._redacted += bool(moment.covers)
        doubtful = {
            (cover.why, cover.prompt, cover.object_id)
            for cover in moment.covers
            if cover.why is not CoverReason.FOUND
        }
        self._to_check += bool(doubtful)
        self._close(lambda key: key not in doubtful)
        for key in sorted(doubtful):
            if stretch := self._open.get(key):
                stretch.last_frame, stretch.last_time_s = moment.index, moment.time_s
                continue
            why, prompt, object_id = key
            self._open[key] = Stretch(
                why=why,
                prompt=prompt,
                object_id=object_id,
                first_frame=moment.index,
                last_frame=moment.index,
                first_time_s=moment.time_s,
                last_time_s=moment.time_s,
            )

    def report(self, job_id: str, output: Redact, prompts: list[str]) -> RedactionReport:
        """The report, once all frames are there."""
        self._close(lambda key: True)
        return RedactionReport(
            job_id=job_id,
            options=output,
            prompts=prompts,
            frames=self._frames,
            frames_redacted=self._redacted,
            frames_to_check=self._to_check,
            scenes=self._scenes,
            check=sorted(self._check, key=lambda each: (each.first_frame, each.object_id)),
        )

    def _close(self, is_over: Callable[[tuple[CoverReason, str, int]], bool]) -> None:
        for key in [key for key in self._open if is_over(key)]:
            self._check.append(self._open.pop(key))
