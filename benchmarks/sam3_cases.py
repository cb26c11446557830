"""What the contestants of ``benchmarks.sam3_gpu`` are given, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

PROFILED = 24  # frames: a profile keeps some thousand events of each


@dataclass(frozen=True)
class Case:
    """
    Attributes:
        prompts, objects: how many.
        frames: in all.
        discarded: the first ones, on which memories fill and libraries tune themselves.
        marks: frames after which the device's peak memory is noted.
    """

    prompts: int
    objects: int
    frames: int
    discarded: int
    marks: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return f"p{self.prompts}_o{self.objects}"


@dataclass(frozen=True)
class Measured:
    """What a contestant did with a case.

    Attributes:
        fps: frames per second after the discarded ones; 0 where memory ran out.
        busy: share of that time in which the device ran a kernel; None where that is not known.
        peak_mb: of the device's memory since the first frame, by frame; empty without a device.
    """

    fps: float = 0.0
    busy: float | None = None
    peak_mb: dict[int, float] = field(default_factory=dict)
