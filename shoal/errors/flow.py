"""Flow control: no faults, never shown as such."""

from __future__ import annotations


class Stopped(Exception):
    """The parent told the model process to stop in the middle of a video."""


class CheckpointUnusable(Exception):
    """What an earlier attempt left cannot be continued here: the video starts over."""


class LeaseLost(Exception):
    """Another attempt owns the job now: touch nothing."""
