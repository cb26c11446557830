"""docs/operations.md tells what to do for every cause and every alert."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.errors import ShoalError

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "operations.md").read_text()
HEADINGS = re.findall(r"^### (\w+)$", GUIDE, flags=re.MULTILINE)
ALERTS = (ROOT / "deploy" / "monitoring" / "alerts.yml").read_text()


def codes(error: type[ShoalError] = ShoalError) -> Iterator[str]:
    yield error.code
    for each in error.__subclasses__():
        yield from codes(each)


@pytest.mark.parametrize("code", sorted(set(codes())))
def test_every_cause_has_its_section(code: str) -> None:
    assert code in HEADINGS


@pytest.mark.parametrize("alert", re.findall(r"alert: (\w+)", ALERTS))
def test_every_alert_has_its_section_and_leads_to_it(alert: str) -> None:
    assert alert in HEADINGS
    assert f"runbook: docs/operations.md#{alert.lower()}\n" in ALERTS


def test_no_section_is_there_twice_or_empty() -> None:
    assert [name for name, count in Counter(HEADINGS).items() if count > 1] == []
    sections = re.split(r"^### \w+\n", GUIDE, flags=re.MULTILINE)[1:]
    assert all(len(section.split("\n#")[0].strip()) > 20 for section in sections)
