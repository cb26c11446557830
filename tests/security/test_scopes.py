"""Routes times callers, taken from the application itself: a route that is new and that nobody
has said anything about fails here."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from api.app import create_app
from shoal.model.token import Scope
from shoal.queue.tokens import TokenStore
from shoal.settings import Settings
from tests.security.conftest import FIRST, TRIES, bearer

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
OPEN, SENDER, LOGIN = "open", "sender", "login"  # no token: nothing told, own proof, asks for one
READ, SUBMIT, ADMIN = Scope.READ, Scope.SUBMIT, Scope.ADMIN

# What each route asks of its caller. Mounts have no methods of their own.
EXPECTED: dict[tuple[str, str], str | Scope] = {
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("MOUNT", "/static"): OPEN,
    ("POST", "/events/gcs"): SENDER,
    ("POST", "/events/s3"): SENDER,
    ("POST", "/events/azure"): SENDER,
    ("OPTIONS", "/events/azure"): OPEN,
    ("GET", "/ui/login"): LOGIN,
    ("POST", "/ui/login"): LOGIN,
    ("POST", "/ui/logout"): READ,
    ("GET", "/"): READ,
    ("GET", "/health"): READ,
    ("GET", "/metrics"): READ,
    ("GET", "/docs"): READ,
    ("MOUNT", "/docs/static"): READ,
    ("GET", "/openapi.json"): READ,
    ("HEAD", "/openapi.json"): READ,
    ("GET", "/videos"): READ,
    ("POST", "/videos"): SUBMIT,
    ("POST", "/videos/bulk"): SUBMIT,
    ("POST", "/videos/check"): SUBMIT,
    ("POST", "/previews"): SUBMIT,
    ("GET", "/previews/{preview_id}"): READ,
    ("GET", "/previews/{preview_id}/pictures/{number}"): READ,
    ("GET", "/videos/{job_id}"): READ,
    ("DELETE", "/videos/{job_id}"): SUBMIT,
    ("GET", "/videos/{job_id}/timeline"): READ,
    ("GET", "/videos/{job_id}/attempts"): READ,
    ("POST", "/videos/{job_id}/retry"): SUBMIT,
    ("POST", "/videos/{job_id}/priority"): SUBMIT,
    ("GET", "/storage"): ADMIN,
    ("POST", "/videos/{job_id}/refine"): SUBMIT,
    ("POST", "/videos/{job_id}/refine/plan"): SUBMIT,
    ("GET", "/videos/{job_id}/versions"): READ,
    ("GET", "/videos/{job_id}/results"): READ,
    ("GET", "/videos/{job_id}/results/{name}"): READ,
    ("HEAD", "/videos/{job_id}/results/{name}"): READ,
    ("GET", "/videos/{job_id}/source"): READ,
    ("HEAD", "/videos/{job_id}/source"): READ,
    ("GET", "/videos/{job_id}/parts"): READ,
    ("GET", "/videos/{job_id}/parts/{number}"): READ,
    ("GET", "/batches"): READ,
    ("POST", "/batches"): SUBMIT,
    ("GET", "/batches/{batch_id}"): READ,
    ("DELETE", "/batches/{batch_id}"): SUBMIT,
    ("GET", "/batches/{batch_id}/videos"): READ,
    ("GET", "/batches/{batch_id}/skipped"): READ,
    ("POST", "/batches/{batch_id}/retry"): SUBMIT,
    ("PUT", "/uploads/{name:path}"): SUBMIT,
    ("OPTIONS", "/uploads/resumable"): SUBMIT,
    ("POST", "/uploads/resumable"): SUBMIT,
    ("HEAD", "/uploads/resumable/{upload_id}"): SUBMIT,
    ("PATCH", "/uploads/resumable/{upload_id}"): SUBMIT,
    ("GET", "/uploads/resumable/{upload_id}"): SUBMIT,
    ("DELETE", "/uploads/resumable/{upload_id}"): SUBMIT,
    ("GET", "/queue"): READ,
    ("POST", "/queue/pause"): ADMIN,
    ("POST", "/queue/resume"): ADMIN,
    ("POST", "/workers/{name}/drain"): ADMIN,
    ("GET", "/events/skipped"): READ,
    ("POST", "/reconcile"): ADMIN,
    ("GET", "/callbacks"): READ,
    ("GET", "/callbacks/{delivery_id}"): READ,
    ("POST", "/callbacks/{delivery_id}/replay"): SUBMIT,
    ("GET", "/engines"): READ,
    ("GET", "/scaling"): READ,
    ("GET", "/tokens"): ADMIN,
    ("POST", "/tokens"): ADMIN,
    ("DELETE", "/tokens/{name}"): ADMIN,
    ("GET", "/live/overview"): READ,
    ("GET", "/live/videos"): READ,
    ("GET", "/live/videos/{job_id}"): READ,
    ("GET", "/live/batches"): READ,
    ("GET", "/live/batches/{batch_id}"): READ,
    ("GET", "/live/callbacks"): READ,
    ("GET", "/live/skipped"): READ,
    ("GET", "/live/rq"): READ,
    ("GET", "/ui"): READ,
    ("GET", "/ui/videos"): READ,
    ("GET", "/ui/videos/{job_id}"): READ,
    ("GET", "/ui/batches"): READ,
    ("GET", "/ui/batches/{batch_id}"): READ,
    ("GET", "/ui/callbacks"): READ,
    ("GET", "/ui/skipped"): READ,
    ("GET", "/ui/rules"): READ,
    ("GET", "/ui/new"): READ,
    ("GET", "/ui/{path:path}"): READ,
    ("GET", "/rq"): READ,
    ("GET", "/rq/jobs/{job_id}"): READ,
    ("GET", "/rq/{table}"): READ,
}


def routes() -> Iterator[tuple[str, str]]:
    for route in iter_route_contexts(create_app(Settings()).routes):
        assert route.path is not None
        for method in sorted(route.methods or ("MOUNT",)):
            yield method, route.path


ROUTES = [(method, path) for method, path in routes() if (method, path) in EXPECTED]


def asked(client: httpx.Client, method: str, path: str, headers: dict[str, str]) -> int:
    """The status of an answer, which may be a stream without an end."""
    address = path.replace("{", "").replace("}", "").replace(":path", "")
    if method == "MOUNT":
        method, address = "GET", address + "/x"
    for _ in range(TRIES):
        with client.stream(method, address, headers=headers) as answer:
            status = answer.status_code
        if status != httpx.codes.SERVICE_UNAVAILABLE:
            break
    return status


def test_something_is_said_of_every_route() -> None:
    assert set(routes()) == set(EXPECTED)


@pytest.fixture(scope="module")
def callers(store: TokenStore, secrets: dict[Scope, str]) -> dict[str, tuple[Scope | None, str]]:
    """What each caller may do, and its token."""
    revoked = store.create("revoked", Scope.ADMIN)[1]
    store.revoke("revoked")
    known = {scope.value: (scope, secret) for scope, secret in secrets.items()}
    return {
        **known,
        "first": (ADMIN, FIRST),
        "anonymous": (None, ""),
        "wrong": (None, "shoal_" + "x" * 43),
        "revoked": (None, revoked),
    }


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_route_takes_those_callers_and_no_others(
    http: httpx.Client, callers: dict[str, tuple[Scope | None, str]], method: str, path: str
) -> None:
    needed = EXPECTED[method, path]
    for caller, (scope, secret) in callers.items():
        status = asked(http, method, path, bearer(secret) if secret else {})
        if needed == OPEN:
            assert status not in (401, 403), caller
        elif needed == SENDER:  # an API token is no proof of a sender
            assert 400 <= status <= 503, caller
        elif needed == LOGIN:
            assert status == (200 if method == "GET" else 401), caller
        elif scope is None:
            assert status == 401, caller
        elif scope.includes(Scope(needed)):
            assert status not in (401, 403), caller
            assert status < 500, caller
        else:
            assert status == 403, caller


@pytest.mark.parametrize("path", sorted({path for _, path in EXPECTED}))
def test_no_method_gets_round_the_token(http: httpx.Client, path: str) -> None:
    for method in METHODS:
        needed = EXPECTED.get((method, path))
        if {EXPECTED.get((m, path)) for m in (*METHODS, "MOUNT")} & {OPEN, SENDER, LOGIN}:
            assert needed or asked(http, method, path, {}) in (401, 405, 404, 200), method
        else:
            assert asked(http, method, path, {}) == 401, method


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/healthz/", "//healthz", "/static", "/STATIC/shoal.css", "/rq/", "/%2e/ui"],
)
def test_an_address_that_nobody_declared_asks_for_a_token(http: httpx.Client, path: str) -> None:
    assert asked(http, "GET", path, {}) == 401


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_tokens_this_machine_is_served_and_no_foreign_page(
    local: httpx.Client, method: str, path: str
) -> None:
    own = str(local.base_url).rstrip("/")
    needed = EXPECTED[method, path]
    foreign = [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "[x"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[x"},
    ]
    if method not in ("GET", "HEAD", "OPTIONS", "MOUNT"):  # another service of this machine
        foreign += [{"Origin": "http://127.0.0.1:1"}, {"Sec-Fetch-Site": "cross-site"}]
    for headers in foreign:
        status = asked(local, method, path, headers)
        assert status == 401 or needed == OPEN, headers
    for headers in ({}, {"Origin": own}, {"Sec-Fetch-Site": "same-origin", "Origin": own}):
        status = asked(local, method, path, headers)
        assert status != 403, headers
        assert status != 401 or needed == SENDER, headers
