"""A served API, the two ways to talk to it, and batches without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.background.batch_runner import BatchRunner
from shoal.client import Client
from shoal.ingest.rules_file import RulesFile
from shoal.queue.batches import Batches
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.serving import served, write_video


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
