"""URIs with wildcards: what they match, and where their listing starts."""

from __future__ import annotations

import pytest

from shoal.cli.batches import is_pattern
from shoal.model.batch import BatchRequest
from shoal.model.globs import UriPattern


@pytest.mark.parametrize(
    ("pattern", "prefix", "uri", "expected"),
    [
        ("gs://b/m/**/*.mp4", "gs://b/m/", "gs://b/m/x.mp4", True),
        ("gs://b/m/**/*.mp4", "gs://b/m/", "gs://b/m/a/b/x.mp4", True),
        ("gs://b/m/**/*.mp4", "gs://b/m/", "gs://b/m/x.mkv", False),
        ("gs://b/2025-*/x.mp4", "gs://b/2025-", "gs://b/2025-01/x.mp4", True),
        ("gs://b/2025-*/x.mp4", "gs://b/2025-", "gs://b/2025-01/a/x.mp4", False),
        ("s3://b/**", "s3://b/", "s3://b/a/x", True),
        ("s3://b/", "s3://b/", "s3://b/a/x", True),
        ("s3://b/m/", "s3://b/m/", "s3://b/m/a/x", True),
        ("s3://b/a%20[12].mp4", "s3://b/a%20", "s3://b/a%201.mp4", True),
        ("file:///srv/my%20videos/*.mp4", "file:///srv/my%20videos/", None, None),
        ("file:///srv/*/a b.mp4", "file:///srv/", "file:///srv/x/a%20b.mp4", True),
        ("file:///*.mp4", "file:///", "file:///x.mp4", True),
    ],
)
def test_patterns(pattern: str, prefix: str, uri: str | None, expected: bool | None) -> None:
    assert UriPattern(pattern).prefix == prefix
    if uri is not None:
        assert UriPattern(pattern).matches(uri) is expected


def test_no_pattern_takes_long() -> None:
    """With plain regular expressions this one would take longer than the universe has had."""
    assert not UriPattern("gs://b/" + "*a" * 60 + "b").matches("gs://b/" + "a" * 1000)
    assert UriPattern("gs://b/" + "*a" * 60 + "b").matches("gs://b/" + "a" * 1000 + "b")


def test_a_folder_may_be_listed_under_another_name() -> None:
    """As one is that a symbolic link leads to."""
    pattern = UriPattern("file:///link/**/*.mp4")
    assert pattern.matches("file:///real/a/x.mp4", "file:///real/")
    assert not pattern.matches("file:///real/a/x.txt", "file:///real/")


@pytest.mark.parametrize(
    "pattern",
    [
        "*.mp4",
        "/srv/*.mp4",
        "gs://*/x",
        "gs://b*/x",
        "gs://b",
        "gs:///x",
        "s3://b/[b-a]",
        "s3://b/**/a/**/a/**/a/**/a/**/a",
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        UriPattern(pattern)


@pytest.mark.parametrize(
    "request_",
    [{}, {"uris": []}, {"uris": [""]}, {"uris": ["x" * 5000]}, {"globs": ["*.mp4"]}, {"uri": "x"}],
)
def test_a_batch_names_its_videos(request_: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        BatchRequest.model_validate({"prompts": ["person"], **request_})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("gs://b/**/*.mp4", True),
        ("file:///srv/*.mp4", True),
        ("gs://b/x.mp4", False),
        ("clips/*.mp4", False),  # a path is the shell's to expand
        ("what?.mp4", False),
    ],
)
def test_wildcards_in_a_uri_make_a_batch(source: str, expected: bool) -> None:
    assert is_pattern(source) is expected
