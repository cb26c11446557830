"""Patterns match as a plain reference does, and in no more steps than parts times names."""

from __future__ import annotations

import re
from functools import cache

import pytest
from hypothesis import given, settings as effort, strategies as st

from shoal.ingest.rules import Rule
from shoal.model import globs


def reference(pattern: str, key: str) -> bool:
    """Tries everything, one character at a time; for short patterns only."""

    @cache
    def rest(at: int, to: int) -> bool:
        left, right = pattern[at:], key[to:]
        if not left:
            return not right
        begins = at == 0 or pattern[at - 1] == "/"
        if begins and left == "**":
            return bool(right)
        if begins and left.startswith("**/"):
            ends = [n for n, char in enumerate(right) if char == "/" and n]
            return rest(at + 3, to) or any(rest(at + 3, to + n + 1) for n in ends)
        if left[0] == "*":
            return rest(at + 1, to) or (right[:1] not in ("", "/") and rest(at, to + 1))
        if not right:
            return False
        if left[0] == "?":
            return right[0] != "/" and rest(at + 1, to + 1)
        if left.startswith("[ab]"):
            return right[0] in "ab" and rest(at + 4, to + 1)
        if left.startswith("[!a]"):
            return right[0] not in "a/" and rest(at + 4, to + 1)
        return left[0] == right[0] and rest(at + 1, to + 1)

    return rest(0, 0)


PIECES = st.sampled_from(["a", "b", "/", "*", "?", "**", "/**/", "**/", "[ab]", "[!a]", ".", "\n"])
KEYS = st.text("ab/.\n", max_size=12)


@pytest.mark.slow
@effort(max_examples=1500, deadline=None)
@given(st.lists(PIECES, max_size=9).map("".join), KEYS)
def test_a_pattern_matches_as_the_reference_does(pattern: str, key: str) -> None:
    assert globs.matches(pattern, key) is reference(pattern, key)


@effort(max_examples=300, deadline=None)
@given(st.text("ab*?[]!-/^&\\", max_size=14), KEYS)
def test_any_text_is_a_pattern_or_refused_as_one(pattern: str, key: str) -> None:
    try:
        globs.check(pattern)
    except ValueError:
        return
    globs.matches(pattern, key)


HARD = [
    (pattern, key)
    for pattern in (
        "**/a/**/a/**/a/**/b",
        "**/*/**/*/**/*/**/x",
        "/".join(["**/a"] * 30) + "/b",
        "/".join(["**/*a*a*a"] * 10) + "/b",
        "/".join(["**"] * 50) + "/b",
    )
    for key in ("a/" * 500 + "c", "aaaa/" * 200, "/" * 1000, "a" * 1000)
]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every name that a part of a pattern was compared with."""
    taken: list[str] = []

    class Counted:
        def __init__(self, part: re.Pattern[str]) -> None:
            self._part = part

        def fullmatch(self, name: str) -> re.Match[str] | None:
            taken.append(name)
            return self._part.fullmatch(name)

    compiled = globs._compiled
    monkeypatch.setattr(globs, "_compiled", lambda part: Counted(compiled(part)))
    return taken


@pytest.mark.parametrize(("pattern", "key"), HARD)
def test_no_pattern_takes_more_steps_than_parts_times_names(
    pattern: str, key: str, steps: list[str]
) -> None:
    assert not globs.matches(pattern, key)
    assert len(steps) <= len(pattern.split("/")) * len(key.split("/"))


@pytest.mark.parametrize(("pattern", "key"), HARD)
def test_rules_and_batches_share_the_matcher(pattern: str, key: str) -> None:
    rule = Rule(bucket="gs://b", key=pattern, prompts=("car",))
    assert rule.misses(f"gs://b/{key}")
    if pattern.count("**") <= globs.MAX_DEEP:
        assert not globs.UriPattern(f"gs://b/x/{pattern}").matches(f"gs://b/x/{key}")


@effort(max_examples=200, deadline=None)
@given(st.text("ab*?", min_size=1, max_size=8), st.text("ab", max_size=10))
def test_one_part_never_backtracks(part: str, name: str) -> None:
    """Every repetition is atomic or possessive: what it has taken it never gives back."""
    text = globs._compiled(part).pattern
    left = re.sub(r"\(\?>\.\*\?[^*+)]*\)|\.\{\d+,\}\+", "", text)
    assert not re.search(r"(?<!\\)[*+{]", left)
    assert globs.matches(part, name) is reference(part, name)
