"""What a page needs to draw the objects of a job itself, as the overlay does."""

from __future__ import annotations

from typing import Any

from api.routes.source import is_shown
from shoal.colours import PALETTE, colour_of
from shoal.model.outputs import Overlay
from shoal.model.record import Record


def drawing(record: Record) -> dict[str, Any]:
    """``stem`` of file names; URL of the ``source``, empty if it is not served; ``colours`` by
    label and, where each object has its own, the ``palette``, as [red, green, blue]."""
    spec = record.spec
    overlay = next(each for each in spec.options.outputs if isinstance(each, Overlay))
    given = {label: _rgb(code) for label, code in overlay.colours.items()}
    usual = {label: list(colour_of(n)) for n, label in enumerate(spec.labels)}
    return {
        "stem": spec.stem,
        "source": f"/videos/{record.id}/source" if is_shown(record) else "",
        "colours": given if overlay.colour_by == "object" else usual | given,
        "palette": PALETTE if overlay.colour_by == "object" else [],
    }


def _rgb(code: str) -> list[int]:
    return [int(code[at : at + 2], 16) for at in (1, 3, 5)]
