"""One API with tokens and one without, each served once per module."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from shoal.model.token import Scope
from shoal.queue.queue import JobQueue
from shoal.queue.tokens import TokenStore
from shoal.settings import Settings
from tests import module_queue
from tests.serving import served

FIRST = "the-first-token-of-all"
NO_LIMIT = httpx.Timeout(60)  # a lost answer fails the test, a slow machine does not

redis, queue = module_queue.redis, module_queue.queue  # fixtures


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
    with httpx.Client(base_url=url, timeout=NO_LIMIT, trust_env=False) as client:
        yield client


@pytest.fixture
def local(local_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=local_url, timeout=NO_LIMIT, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def secrets(store: TokenStore) -> dict[Scope, str]:
    """A token of each scope."""
    return {scope: store.create(scope.value, scope)[1] for scope in Scope}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}
