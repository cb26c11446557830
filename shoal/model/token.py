"""API tokens and their scopes."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field

from shoal.model.share import Level, Share, Weight

NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"


class Scope(StrEnum):
    """Permissions of a token; each scope includes the previous ones."""

    READ = "read"  # read jobs, results and the queue
    SUBMIT = "submit"  # upload, submit, cancel, retry
    ADMIN = "admin"  # tokens, and operations on all jobs

    def includes(self, other: Scope) -> bool:
        return _ORDER[self] >= _ORDER[other]


_ORDER = {scope: number for number, scope in enumerate(Scope)}


class Limits(BaseModel, frozen=True):
    """Limits of a token; 0 = unlimited. Days are UTC."""

    queued: int = Field(0, ge=0, description="Videos that wait at once.")
    submissions_per_day: int = Field(0, ge=0, description="Videos queued in a day.")
    upload_bytes_per_day: int = Field(0, ge=0, description="Bytes uploaded in a day.")


class Token(BaseModel, frozen=True):
    """An API token without its secret."""

    name: str
    scope: Scope
    created_at: float = Field(0, description="Seconds since the epoch.")
    created_by: str = Field("", description="Name of the token that created it.")
    priority: Level = Field(Level.NORMAL, description="Priority of submissions that set none.")
    weight: Weight = Field(1, description="Turns of its single submissions, relative to others.")
    limits: Limits = Limits()

    def share(self, priority: Level | None, *, is_anonymous: bool = False) -> Share:
        """The place in the line of a single submission.

        Args:
            priority: what the submission sets.
            is_anonymous: the API needs no tokens, so this is none.
        """
        name = "" if is_anonymous else self.name
        return Share(
            source=name and f"token:{name}",
            priority=priority or self.priority,
            weight=self.weight,
            owner=name,
        )
