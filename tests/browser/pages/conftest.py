"""One API and one worker for all tests of a module, which look at what is there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shoal.client import Client
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests import module_queue
from tests.ports import free_port
from tests.running import Processes, started

redis, queue = module_queue.redis, module_queue.queue  # fixtures


@pytest.fixture(scope="module")
def settings(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("pages")
    return Settings(
        redis_url=valkey_url,
        data_dir=folder / "data",
        work_dir=folder / "work",
        beat_s=0.5,
        lease_s=600,  # none lapses, however long the machine stands still
        grace_s=60,
        retry_pauses_s=(),
        api_port=free_port(),
    )


@pytest.fixture(scope="module")
def processes(
    settings: Settings, queue: JobQueue, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Processes]:
    with started(settings, queue, tmp_path_factory.mktemp("logs")) as running:
        yield running


@pytest.fixture(scope="module")
def client(processes: Processes) -> Client:
    return processes.api()
