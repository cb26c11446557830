"""``Range`` headers."""

from __future__ import annotations

import pytest

from api.ranges import Part, Unsatisfiable, parse_range


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", Part(0, 1)),
        ("bytes=0-99", Part(0, 100)),
        ("bytes=10-19", Part(10, 10)),
        ("bytes=90-", Part(90, 10)),
        ("bytes=90-500", Part(90, 10)),
        ("bytes=-10", Part(90, 10)),
        ("bytes=-500", Part(0, 100)),
        (" BYTES=5-6 ", Part(5, 2)),
    ],
)
def test_one_range(header: str, part: Part) -> None:
    assert parse_range(header, 100) == part


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes=-",
        "bytes=9-5",
        "bytes=0-1,5-6",
        "frames=0-1",
        "bytes=a-b",
        "bytes=" + "9" * 9999,
    ],
)
def test_what_is_not_one_range_means_the_whole_file(header: str | None) -> None:
    assert parse_range(header, 100) is None


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0)]
)
def test_a_range_beyond_the_end_cannot_be_had(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        parse_range(header, size)


def test_content_range() -> None:
    assert Part(10, 5).content_range(100) == "bytes 10-14/100"
