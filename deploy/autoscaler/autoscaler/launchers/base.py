"""What the controller asks of whoever makes machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class ConsumerState(StrEnum):
    PENDING = "pending"  # waits for a machine; the only state in which one is ever cancelled
    STARTING = "starting"
    RUNNING = "running"


@dataclass(frozen=True)
class Consumer:
    """A job that runs ``shoal worker``."""

    id: str
    state: ConsumerState
    worker: str = ""  # how the names of its workers begin


@dataclass(frozen=True)
class Fleet:
    """What there is. Machines that have failed do not count, though their names may linger."""

    machines: int
    ready: int  # those of a consumer that is being cancelled are not
    consumers: tuple[Consumer, ...]  # the oldest first
    target: int | None = None  # machines that a pool aims at
    failures: Mapping[str, str] = field(default_factory=dict)  # machines and consumers, and why
    pooled: bool = True


class Launcher(Protocol):
    """Every method but ``close`` raises ``LauncherUnavailable``."""

    name: str

    def observe(self) -> Fleet: ...

    def launch(self) -> None:
        """Start a consumer; it may have to wait for a machine."""
        ...

    def cancel(self, ids: Sequence[str]) -> int:
        """Cancel those that are still PENDING; returns how many were."""
        ...

    def close(self) -> None:
        """The controller ends: what would end with it ends in order."""
        ...
