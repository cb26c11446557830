"""API tokens: what each scope opens, how they are kept, and how much one may ask."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis

from api.app import create_app
from api.middleware import rate_limit, token_cache as known
from shoal.client import Client
from shoal.errors import ApiError, TokenExists, TokenNotFound
from shoal.model.token import Scope
from shoal.queue.queue import JobQueue
from shoal.queue.tokens import TokenStore
from shoal.settings import Settings
from tests.integration.test_api_videos import code_of
from tests.serving import served, wait_for

FIRST = "the-first-token"

# Nobody's token is asked for: probes tell nothing, and senders of events have their own proof.
WITHOUT_TOKEN = {"/healthz", "/readyz", "/events/gcs", "/events/s3", "/events/azure"}


@pytest.fixture
def guarded(settings: Settings) -> Settings:
    return settings.model_copy(update={"api_tokens": (SecretStr(FIRST),), "rate_limit": 0})


@pytest.fixture
def url(guarded: Settings, queue: JobQueue) -> Iterator[str]:
    with served(guarded) as url:
        yield url


@pytest.fixture
def store(queue: JobQueue) -> TokenStore:
    return TokenStore(queue.redis, queue.name)


@pytest.fixture
def secrets(store: TokenStore) -> dict[Scope, str]:
    """A token of each scope."""
    return {scope: store.create(scope.value, scope)[1] for scope in Scope}


def ask(url: str, secret: str, method: str = "GET", path: str = "/queue", **more: Any) -> Any:
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx.request(method, url + path, headers=headers, trust_env=False, **more)


# --- what each scope opens ----------------------------------------------------------------------


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    paths = create_app(Settings()).openapi()["paths"]
    return [
        (method.upper(), path, operation)
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]


def documented(operation: dict[str, Any]) -> Scope | None:
    """The widest scope that the OpenAPI document asks for."""
    scopes = [Scope(name) for each in operation.get("security", []) for name in each["token"]]
    return max(scopes, key=list(Scope).index, default=None)


def test_every_route_documents_a_scope_that_fits_what_it_does() -> None:
    for method, path, operation in operations():
        scope = documented(operation)
        where = f"{method} {path}"
        if path in WITHOUT_TOKEN:
            assert scope is None, where
            continue
        assert scope, where
        if method != "GET":
            assert scope.includes(Scope.SUBMIT), where
        if path.startswith("/tokens"):
            assert scope == Scope.ADMIN, where
        assert {"401", "403", "429"} <= operation["responses"].keys(), where
        if "requestBody" in operation and not path.startswith("/uploads/"):
            assert "413" in operation["responses"], where  # see BodyLimit


def test_every_route_asks_for_the_scope_that_it_documents(
    url: str, secrets: dict[Scope, str]
) -> None:
    for method, path, operation in operations():
        needed = documented(operation)
        if needed is None:
            continue
        address = path.replace("{", "").replace("}", "")
        where = f"{method} {path}"
        if method == "HEAD":  # an answer without a body
            assert ask(url, "unknown", method, address).status_code == 401, where
            continue
        assert code_of(ask(url, "unknown", method, address)) == (401, "unauthorized"), where
        for scope, secret in secrets.items():
            answer = ask(url, secret, method, address)
            if scope.includes(needed):
                assert answer.status_code not in (401, 403), where
            else:
                assert code_of(answer) == (403, "insufficient_scope"), where
                assert "insufficient_scope" in answer.headers["WWW-Authenticate"]


def test_what_is_not_in_the_document_asks_for_a_token_too(
    url: str, secrets: dict[Scope, str]
) -> None:
    for path in ("/docs", "/openapi.json", "/nowhere", "/healthz/", "/events/s3/", "//healthz"):
        assert code_of(ask(url, "unknown", path=path)) == (401, "unauthorized")
    assert ask(url, secrets[Scope.READ], path="/openapi.json").status_code == 200


# --- how they are kept ----------------------------------------------------------------------------


def test_only_a_hash_is_kept(store: TokenStore, redis: Redis) -> None:
    _, secret = store.create("ci", Scope.SUBMIT)
    assert len(secret) > 48
    everything = b"".join(
        b"".join(
            part for pair in redis.hgetall(key).items() for part in pair if isinstance(part, bytes)
        )
        for key in redis.scan_iter()
        if redis.type(key) == b"hash"
    )
    assert b'"name":"ci"' in everything
    assert secret.encode() not in everything
    assert secret.removeprefix("shoal_").encode() not in everything


def test_names_are_given_once(store: TokenStore) -> None:
    _, first = store.create("ci", Scope.READ)
    with pytest.raises(TokenExists):
        store.create("ci", Scope.ADMIN)
    store.revoke("ci")
    with pytest.raises(TokenNotFound):
        store.revoke("ci")
    assert store.create("ci", Scope.READ)[1] != first


def test_a_token_is_made_used_and_revoked(url: str) -> None:
    with Client(url, FIRST) as admin:
        made = admin.create_token("ci", "submit")
        assert (made.created_by, made.scope) == ("SHOAL_API_TOKENS[0]", Scope.SUBMIT)
        assert [token.name for token in admin.tokens()] == ["ci"]
        with Client(url, made.secret) as ci:
            assert ci.queue().queued == 0
            with pytest.raises(ApiError, match="'admin'"):
                ci.create_token("mine", "admin")
        admin.revoke_token("ci")
    assert code_of(ask(url, made.secret)) == (401, "unauthorized")


def test_other_processes_take_notice(
    guarded: Settings, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "FRESH_S", 0.5)
    with served(guarded) as url, served(guarded) as other, Client(other, FIRST) as admin:
        made = admin.create_token("ci", "read")
        assert ask(url, made.secret).status_code == 200
        admin.revoke_token("ci")
        wait_for(lambda: ask(url, made.secret).status_code == 401)


@pytest.mark.parametrize("name", ["", "A b", "../x", "x" * 64, "-x", "SHOAL_API_TOKENS[0]"])
def test_a_name_is_plain(url: str, name: str) -> None:
    body = {"name": name, "scope": "read"}
    answer = ask(url, FIRST, "POST", "/tokens", json=body)
    assert code_of(answer) == (422, "invalid_request")


def test_an_open_api_makes_no_tokens(client: Client) -> None:
    with pytest.raises(ApiError) as refused:
        client.create_token("ci", "read")
    assert refused.value.remote_code == "tokens_off"


def test_the_log_shows_names_and_no_secrets(
    url: str, secrets: dict[Scope, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    made = ask(url, FIRST, "POST", "/tokens", json={"name": "ci", "scope": "read"}).json()
    ask(url, secrets[Scope.READ], "DELETE", "/videos/a%0ab")
    ask(url, secrets[Scope.READ])
    ask(url, secrets[Scope.READ], path="/tokens")
    ask(url, "unknown", "POST", "/videos")
    httpx.post(url + "/events/gcs", trust_env=False)
    httpx.post(url + "/ui/login", data={"token": "wrong"}, trust_env=False)

    def lines() -> list[str]:
        told = (
            each.getMessage()
            for each in caplog.records
            if each.name == "api.middleware.request_log"
        )
        return [re.sub(r"\d+ ms$", "N ms", line) for line in told]

    wait_for(lambda: len(lines()) >= 5)  # a line follows its answer, and maybe the next one's
    assert sorted(lines()) == [
        "-: POST /ui/login: 401, N ms",
        "-: POST /videos: 401, N ms",
        "SHOAL_API_TOKENS[0]: POST /tokens: 201, N ms",
        "read: DELETE /videos/a%0Ab: 403, N ms",
        "read: GET /tokens: 403, N ms",
    ]
    for secret in (FIRST, made["secret"], *secrets.values()):
        assert secret not in caplog.text


# --- how much one may ask -------------------------------------------------------------------------


def test_each_token_has_a_rate(guarded: Settings, secrets: dict[Scope, str]) -> None:
    limited = guarded.model_copy(update={"rate_limit": 5})
    read = secrets[Scope.READ]
    # Two processes count together.
    with served(limited) as first, served(limited) as second:
        answers = [ask(url, read) for url in (first, second) * 3]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert code_of(answers[-1]) == (429, "rate_limited")
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
        assert ask(second, read).status_code == 429
        assert ask(first, secrets[Scope.SUBMIT]).status_code == 200
        assert httpx.get(first + "/healthz").status_code == 200


def test_permits_are_fetched_in_packs(
    guarded: Settings, secrets: dict[Scope, str], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "PACK_KEPT_S", 60.0)  # requests may take their time
    with served(guarded.model_copy(update={"rate_limit": 500})) as url:
        statuses = [ask(url, secrets[Scope.READ]).status_code for _ in range(12)]
    assert set(statuses) == {200}
    (key,) = redis.keys("*:rate:*")
    assert redis.get(key) == b"15"  # three packs of five


def test_the_client_waits_its_turn(
    guarded: Settings, secrets: dict[Scope, str], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    answers: list[float] = []
    send = httpx.Client.request

    def wait(seconds: float) -> None:
        """The minute passes."""
        waits.append(seconds)
        (key,) = redis.keys("*:rate:*")
        redis.pexpire(key, 0)

    def request(*args: Any, **kwargs: Any) -> httpx.Response:
        """An answer takes 5 s."""
        answers.append(5.0)
        return send(*args, **kwargs)

    clock = SimpleNamespace(monotonic=lambda: sum(waits + answers), sleep=wait)
    monkeypatch.setattr("shoal.client.transport.time", clock)
    monkeypatch.setattr(httpx.Client, "request", request)
    with (
        served(guarded.model_copy(update={"rate_limit": 1})) as url,
        Client(url, secrets[Scope.READ]) as client,
    ):
        client.queue()
        assert waits == []
        client.queue()
        assert len(waits) == 1
        assert 1 <= waits[0] <= 60
