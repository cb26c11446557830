"""``python -m tests.skypilot.table FILES``: times of several passes, as in docs/scaling.md."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path


def table(passes: Sequence[dict[str, float]]) -> Iterator[str]:
    """Lines of Markdown; each pass has its seconds by what they are of, the first one of all."""
    yield f"| {len(passes)} passes | median | shortest | longest |"
    yield "|---|--:|--:|--:|"
    for name in passes[0]:
        seconds = [each[name] for each in passes if name in each]
        middle = statistics.median(seconds)
        yield f"| {name} | {middle:.0f} s | {min(seconds):.0f} s | {max(seconds):.0f} s |"


if __name__ == "__main__":
    print("\n".join(table([json.loads(Path(path).read_text()) for path in sys.argv[1:]])))
