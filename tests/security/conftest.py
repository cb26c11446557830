"""One API with tokens and one without, each served once per module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis

from shoal.model.token import Scope
from shoal.queue.queue import JobQueue
from shoal.queue.tokens import TokenStore
from shoal.settings import Settings
from tests import module_queue
from tests.serving import served

FIRST = "the-first-token-of-all"
NO_LIMIT = httpx.Timeout(60)  # a lost answer fails the test, a slow machine does not

TRIES = 5  # of a request that is answered with 503

redis, queue = module_queue.redis, module_queue.queue  # fixtures


class Patient(httpx.Client):
    """Asks again where the answer is to try again later: on a busy machine the API's own time
    limits pass."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url=base_url, timeout=NO_LIMIT, trust_env=False)

    def request(self, *args: Any, **kwargs: Any) -> httpx.Response:
        for _ in range(TRIES - 1):
            answer = super().request(*args, **kwargs)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return answer
        return super().request(*args, **kwargs)


@contextmanager
def commands(redis: Redis, key: str) -> Iterator[list[str]]:
    """Names of the commands on keys that begin so, in capitals; there after the block.

    Others, above all those of threads in the background, are left out.
    """
    found: list[str] = []
    with redis.monitor() as monitor:  # type: ignore[no-untyped-call]
        yield found
        redis.echo("that was all")
        for each in monitor.listen():
            name, *rest = each["command"].split()
            if name == "ECHO":
                return
            if rest and rest[0].startswith(key):
                found.append(name.upper())


@pytest.fixture(scope="module")
def settings(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Without tokens; leases so long that the API's reaper does not run meanwhile."""
    return Settings(
        redis_url=valkey_url,
        queue="secure",
        data_dir=tmp_path_factory.mktemp("data"),
        work_dir=tmp_path_factory.mktemp("work"),
        callback_secret=(SecretStr("whsec_" + "QUJDRA" * 6),),
        rate_limit=0,
        sweep_s=0,
        beat_s=1000,
        lease_s=4000,
    )


@pytest.fixture(scope="module")
def guarded(settings: Settings) -> Settings:
    return settings.model_copy(update={"api_tokens": (SecretStr(FIRST),)})


@pytest.fixture(scope="module")
def store(queue: JobQueue) -> TokenStore:
    return TokenStore(queue.redis, queue.name)


@pytest.fixture(scope="module")
def url(guarded: Settings, queue: JobQueue) -> Iterator[str]:
    """The API with tokens."""
    with served(guarded) as url:
        yield url


@pytest.fixture(scope="module")
def local_url(settings: Settings, queue: JobQueue) -> Iterator[str]:
    """The API without."""
    with served(settings) as url:
        yield url


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    """A client with an empty jar of cookies, at the API with tokens."""
    with Patient(url) as client:
        yield client


@pytest.fixture
def local(local_url: str) -> Iterator[httpx.Client]:
    with Patient(local_url) as client:
        yield client


@pytest.fixture(scope="module")
def secrets(store: TokenStore) -> dict[Scope, str]:
    """A token of each scope."""
    return {scope: store.create(scope.value, scope)[1] for scope in Scope}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}
