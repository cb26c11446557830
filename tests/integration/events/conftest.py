"""An API with rules and with every way in locked, and ways to post to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.events import ACCOUNT, AUDIENCE, TOPIC, Internet, Signer
from tests.serving import served

BEARER = {"authorization": "Bearer event-token"}
RULES = """
[[rule]]
name = "soccer"
bucket = "gs://matches"
key = "soccer/**"
prompts = ["person", "ball"]
options = { sample_fps = 5 }
prompts_from_metadata = true

[[rule]]
name = "soccer on s3"
bucket = "s3://matches"
key = "soccer/**"
prompts = ["person"]
results = "s3://matches/results"
callback = "https://example.com/soccer"
"""


@pytest.fixture
def strict(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with every way in locked, and rules."""
    (tmp_path / "rules.toml").write_text(RULES)
    return settings.model_copy(
        update={
            "rules": tmp_path / "rules.toml",
            "sweep_s": 0,
            "api_tokens": (SecretStr("api-token"),),
            "event_tokens": (SecretStr("old-token"), SecretStr("event-token")),
            "gcs_audience": AUDIENCE,
            "gcs_senders": (ACCOUNT,),
            "sns_topics": (TOPIC,),
            "callback_secret": (SecretStr("whsec_" + "QUJDRA" * 6),),
        }
    )


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def internet(signer: Signer) -> Internet:
    return Internet(signer)


@contextmanager
def posting(settings: Settings, internet: Internet) -> Iterator[httpx.Client]:
    with (
        served(settings, transport=internet.transport()) as url,
        httpx.Client(base_url=url, trust_env=False) as http,
    ):
        yield http


@pytest.fixture
def http(strict: Settings, internet: Internet, queue: JobQueue) -> Iterator[httpx.Client]:
    with posting(strict, internet) as client:
        yield client


def gcs(http: httpx.Client, token: str, document: Any) -> httpx.Response:
    return http.post("/events/gcs", json=document, headers={"authorization": f"Bearer {token}"})


def s3(http: httpx.Client, document: Any, **headers: str) -> httpx.Response:
    return http.post("/events/s3", json=document, headers=headers)
