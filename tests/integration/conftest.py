"""A served API, the two ways to talk to it, and batches without one.

On a busy machine any thread may stand still for some seconds: nothing here gives up so soon, but
where that is what a test is about.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from google.cloud.storage.retry import DEFAULT_RETRY
from httpx._config import DEFAULT_TIMEOUT_CONFIG

from api import storage_calls, submissions, submitter
from api.background.batch_runner import BatchRunner
from api.events import fetching
from shoal.client import Client
from shoal.ingest.rules_file import RulesFile
from shoal.queue.batches import Batches
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from shoal.storage import azure, gcs, s3
from tests.serving import served, write_video

PATIENCE_S = 60.0


@pytest.fixture(scope="session", autouse=True)
def requests_are_patient() -> Iterator[None]:
    """Also those that name no limit, which httpx would end after 5 s."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "read", "write", "pool"):
            patch.setattr(DEFAULT_TIMEOUT_CONFIG, name, PATIENCE_S)
        yield


@pytest.fixture(autouse=True)
def api_is_patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API in this process answers 503 for what is away, and not for what is late.

    A test that needs it otherwise sets its own limits after this.
    """
    if "black_hole" in request.fixturenames:  # calls that hang for long are what it is about
        return
    for module in (storage_calls, submissions):
        monkeypatch.setattr(module, "DEADLINE_S", PATIENCE_S)
    monkeypatch.setattr(submitter, "PING_S", PATIENCE_S)
    monkeypatch.setattr(fetching, "TIMEOUT_S", PATIENCE_S)
    for storage in (azure, gcs, s3):
        monkeypatch.setattr(storage, "HASTY_S", PATIENCE_S)
    monkeypatch.setattr(gcs, "HASTY_RETRY", DEFAULT_RETRY.with_timeout(PATIENCE_S))


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """With leases that outlast every pause: no reaper takes a job from a test that holds it.

    Those of workers that are processes stay short, as some of them are to be lost.
    """
    if "processes" in request.fixturenames:
        return settings
    return settings.model_copy(update={"lease_s": PATIENCE_S})


@pytest.fixture
def api_url(settings: Settings, queue: JobQueue) -> Iterator[str]:
    """An API without tokens over an empty queue."""
    with served(settings) as url:
        yield url


@pytest.fixture
def http(api_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api_url) as client:
        yield client


@pytest.fixture
def client(api_url: str) -> Iterator[Client]:
    with Client(api_url) as client:
        yield client


@pytest.fixture
def video(settings: Settings) -> Path:
    return write_video(settings)


@pytest.fixture
def batches(queue: JobQueue) -> Batches:
    return Batches(queue)


@pytest.fixture
def runner(queue: JobQueue, settings: Settings) -> BatchRunner:
    """Works when it is told to."""
    return BatchRunner(queue, RulesFile(settings), settings)
