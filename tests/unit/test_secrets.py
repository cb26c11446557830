"""No secret is written down: not in a log, not in an error, whoever wrote the line."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal import secrets as redaction
from shoal.logging import FORMAT, Formatter
from shoal.model.failure import Failure
from shoal.secrets import hide, redact

ROOT = Path(__file__).parents[2]
OURS = "shoal_" + "aB3-_" * 8 + "xyz"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"token {OURS} is unknown", "token shoal_*** is unknown"),
        ("Authorization: Bearer abcdef123", "Authorization: Bearer ***"),
        ("{'authorization': 'Basic dXNlcjpwdw=='}", "{'authorization': 'Basic ***'}"),
        ("redis://:p4ss@redis:6379/0", "redis://:***@redis:6379/0"),
        ("rediss://user:p4ss@redis/0 x@y", "rediss://user:***@redis/0 x@y"),
        ("POST https://h/x?a=1&token=abc&b=2", "POST https://h/x?a=1&token=***&b=2"),
        ("?X-Amz-Signature=af03&X-Amz-Date=1", "?X-Amz-Signature=***&X-Amz-Date=1"),
        ("?X-Goog-Credential=a%2Fb&x=1", "?X-Goog-Credential=***&x=1"),
        ("whsec_" + "QUJDRA" * 6, "whsec_***"),
        ("bad: eyJhbGciOi.eyJpc3Mi.c2ln", "bad: eyJ***"),
    ],
)
def test_what_looks_like_a_secret_is_left_out(text: str, left: str) -> None:
    assert redact(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000/videos?state=queued",
        "gs://bucket/a@b:c/d.mp4",
        "the bearer of news; basic authentication",
        "shoal_results_of_2026/match.mp4",
        "user@example.com: 5 tokens at most",
        "s3://b/k?version=1",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert redact(text) == text


def test_known_values_are_left_out_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", [])
    hide(["correct horse", "correct horse battery", "t"])
    assert redact("said 'correct horse battery' to it") == "said '***' to it"
    try:
        raise RuntimeError("refused: correct horse")
    except RuntimeError as error:
        failure = Failure.of(error)
    assert "correct" not in failure.model_dump_json().replace("correct horse battery", "")
    assert "refused: ***" in failure.message
    assert "refused: ***" in failure.traceback


def test_a_log_line_is_one_line_without_secrets() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter(FORMAT))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.info("no such key: %s", "a\n12:00:00 INFO api: all is well\x1b[2J")
    try:
        raise RuntimeError(f"refused {OURS}")
    except RuntimeError:
        logger.exception("it failed")
    first, second, *trace = stream.getvalue().splitlines()
    assert r"a\n12:00:00 INFO api: all is well\x1b[2J" in first
    assert second.endswith("it failed")
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == "RuntimeError: refused shoal_***"


def test_secrets_of_the_settings_are_known_from_the_start() -> None:
    code = (
        "import logging; from shoal import logging as logs;"
        "from shoal.settings import get_settings;"
        "logs.setup(); get_settings();"
        "logging.getLogger('api').info('the-first-token-of-two the-other-token-of-two %s',"
        "'p4ssword one-token-of-events')"
    )
    env = {
        "PYTHONPATH": str(ROOT),
        "SHOAL_API_TOKENS": "the-first-token-of-two,the-other-token-of-two",
        "SHOAL_EVENT_TOKENS": "one-token-of-events",
        "SHOAL_REDIS_URL": "redis://:p4ssword@localhost/0",
    }
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | env, capture_output=True, text=True
    )
    assert run.stderr.rstrip().endswith("api: *** *** *** ***")
