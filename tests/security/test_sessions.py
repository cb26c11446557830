"""Browsers: the session behind the cookie, what other sites cannot do, and what ends when."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from redis import Redis
from starlette.requests import cookie_parser

from api.dashboard import live
from api.middleware import auth
from api.middleware.auth import COOKIE
from shoal.model.job import JobSpec
from shoal.model.token import Scope
from shoal.queue.queue import JobQueue
from shoal.queue.sessions import SESSION_S
from shoal.queue.tokens import TokenStore
from shoal.settings import Settings
from tests.running import eventually
from tests.security.conftest import FIRST, NO_LIMIT, Patient, bearer, commands
from tests.serving import publish, served, take

SAME = {"Sec-Fetch-Site": "same-origin"}


def log_in(http: httpx.Client, token: str = FIRST, **headers: str) -> httpx.Response:
    return http.post("/ui/login", data={"token": token, "to": "/ui"}, headers=headers)


@contextmanager
def temporary(store: TokenStore, name: str = "temporary") -> Iterator[str]:
    """A token that a test revokes itself."""
    yield store.create(name, Scope.ADMIN)[1]
    assert name not in [token.name for token in store.list()], "the test did not revoke it"


# --- the session ------------------------------------------------------------------------------


def test_the_cookie_carries_no_token(http: httpx.Client, redis: Redis, queue: JobQueue) -> None:
    answer = log_in(http)
    session = http.cookies[COOKIE]
    cookie = answer.headers["Set-Cookie"]
    assert FIRST not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    keys = list(redis.scan_iter(f"{queue.name}:session:*"))
    assert keys
    for key in keys:  # only its hash is kept, and not for ever
        assert session.encode() not in key + redis.get(key)
        assert 0 < redis.ttl(key) <= SESSION_S
    assert http.get("/queue").status_code == 200


def test_a_logout_ends_the_session_everywhere(guarded: Settings, http: httpx.Client) -> None:
    log_in(http)
    stolen = {"Cookie": f"{COOKIE}={http.cookies[COOKIE]}"}
    with served(guarded) as other:
        assert httpx.get(other + "/queue", headers=stolen, timeout=NO_LIMIT).status_code == 200
    assert http.post("/ui/logout", headers=SAME).status_code == 303
    http.cookies.clear()
    assert http.get("/queue", headers=stolen).status_code == 401
    with served(guarded) as other:
        assert httpx.get(other + "/queue", headers=stolen, timeout=NO_LIMIT).status_code == 401


def test_a_session_ends_with_its_token(url: str, http: httpx.Client, store: TokenStore) -> None:
    with temporary(store) as secret:
        log_in(http, secret)
        assert http.get("/queue").status_code == 200
        httpx.delete(f"{url}/tokens/temporary", headers=bearer(FIRST), timeout=NO_LIMIT)
        assert http.get("/queue").status_code == 401
    store.create("temporary", Scope.ADMIN)  # a namesake opens nothing for the old session
    assert http.get("/queue").status_code == 401
    store.revoke("temporary")


def test_two_logins_are_two_sessions(http: httpx.Client) -> None:
    log_in(http)
    first = http.cookies[COOKIE]
    log_in(http)
    assert http.cookies[COOKIE] != first
    http.post("/ui/logout", headers=SAME)
    http.cookies.clear()
    assert http.get("/queue", headers={"Cookie": f"{COOKIE}={first}"}).status_code == 200


@pytest.mark.parametrize("value", ["", "x", FIRST, "%00", "ü", "a" * 5000, '"', "; ="])
def test_a_cookie_of_somebody_else_opens_nothing(http: httpx.Client, value: str) -> None:
    headers = [(b"Cookie", f"{COOKIE}={value}".encode())]
    assert http.get("/queue", headers=headers).status_code == 401


@pytest.mark.parametrize("name", ["shoal_token", COOKIE])
def test_a_token_is_no_cookie(http: httpx.Client, name: str) -> None:
    assert http.get("/queue", headers={"Cookie": f"{name}={FIRST}"}).status_code == 401


# --- other sites ------------------------------------------------------------------------------

FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://[x"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "OWN"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/ui/login", "/ui/logout", "/queue/pause", "/videos", "/tokens"])
def test_no_other_site_logs_in_or_out_or_changes_anything(
    http: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    log_in(http)
    own = str(http.base_url).rstrip("/")
    sent = {name: value.replace("OWN", own) for name, value in headers.items()}
    form = {"token": FIRST, "to": "/ui"} if path == "/ui/login" else {}
    answer = http.post(path, data=form, headers=sent)
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
    assert http.get("/queue").status_code == 200


@pytest.mark.parametrize("headers", [{}, SAME, {"Origin": "OWN"}])
def test_our_own_form_logs_in(http: httpx.Client, headers: dict[str, str]) -> None:
    own = str(http.base_url).rstrip("/")
    sent = {name: value.replace("OWN", own) for name, value in headers.items()}
    assert log_in(http, **sent).status_code == 303
    assert COOKIE in http.cookies


def test_what_does_not_tell_where_it_comes_from_changes_nothing_by_cookie(
    http: httpx.Client,
) -> None:
    log_in(http)
    assert http.post("/queue/pause").status_code == 401


def test_a_form_that_is_none_of_ours_is_refused(http: httpx.Client) -> None:
    assert http.post("/ui/login", content=b"a&" * 100_000).status_code == 413


# --- TLS ends at a proxy ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "proto", "secure"),
    [
        (("127.0.0.0/8",), "https", True),
        (("127.0.0.1",), "https", True),
        (("127.0.0.1",), "http", False),
        (("127.0.0.1",), "javascript", False),
        (("10.0.0.0/8",), "https", False),
        ((), "https", False),
    ],
)
def test_the_cookie_is_secure_where_a_trusted_proxy_says_https(
    guarded: Settings, queue: JobQueue, trusted: tuple[str, ...], proto: str, secure: bool
) -> None:
    settings = guarded.model_copy(update={"trusted_proxies": trusted})
    with served(settings) as url, Patient(url) as http:
        answer = log_in(http, **{"X-Forwarded-Proto": proto})
        assert ("Secure" in answer.headers["Set-Cookie"]) == secure
        sent = {
            "X-Forwarded-Proto": proto,
            "Origin": url,  # of a page that came without TLS
            "Cookie": f"{COOKIE}={cookie_parser(answer.headers['Set-Cookie'])[COOKIE]}",
        }
        assert http.post("/queue/resume", headers=sent).status_code == (401 if secure else 200)


def test_trusted_proxies_are_addresses() -> None:
    assert Settings(trusted_proxies=" 10.0.0.0/8, ::1").trusted_proxies == ("10.0.0.0/8", "::1")
    for wrong in ("*", "proxy.example", "10.0.0.1/8", "10.0.0.0/33"):
        with pytest.raises(ValueError, match="trusted_proxies"):
            Settings(trusted_proxies=wrong)


# --- what lasts -------------------------------------------------------------------------------

LIVE = ["overview", "videos", "batches", "callbacks", "skipped", "rq"]


def events(answer: httpx.Response) -> Iterator[str]:
    return (line for line in answer.iter_lines() if line)


def test_a_live_page_ends_within_five_seconds() -> None:
    assert auth.RECHECK_S + max(live.EVERY_S, live.LIST_EVERY_S) <= 5


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.1)
    monkeypatch.setattr(live, "LIST_EVERY_S", 0.1)
    monkeypatch.setattr(auth, "RECHECK_S", 0.1)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("page", LIVE)
def test_a_live_page_ends_with_a_logout(http: httpx.Client, page: str) -> None:
    log_in(http)
    with http.stream("GET", f"/live/{page}") as answer:
        lines = events(answer)
        assert next(lines).startswith("retry")
        assert next(lines).startswith("data")
        http.post("/ui/logout", headers=SAME)
        assert "event: left" in list(lines)


@pytest.mark.usefixtures("quick")
def test_a_live_page_ends_with_its_token_revoked_by_another_process(
    http: httpx.Client, store: TokenStore
) -> None:
    with (
        temporary(store) as secret,
        http.stream("GET", "/live/overview", headers=bearer(secret)) as answer,
    ):
        lines = events(answer)
        assert next(lines).startswith("retry")
        store.revoke("temporary")
        assert "event: left" in list(lines)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "RECHECK_S", 0.0)


@pytest.mark.usefixtures("soon")
def test_a_download_is_cut_off(
    http: httpx.Client, store: TokenStore, settings: Settings, queue: JobQueue
) -> None:
    video = JobSpec(
        uri="s3://b/a.mp4", version="1", size=1, prompts=("x",), results=settings.results_root
    )
    job_id = queue.submit(video)[0].id
    content = bytes(64_000_000)  # more than the sockets between the two hold
    take(queue).succeed(publish(video, settings, {"a.bin": content}), {})
    with temporary(store) as secret:
        address = f"/videos/{job_id}/results/a.bin"
        with http.stream("GET", address, headers=bearer(secret)) as answer:
            blocks = answer.iter_raw()
            got = len(next(blocks))
            store.revoke("temporary")
            with pytest.raises(httpx.RemoteProtocolError):
                got += sum(len(block) for block in blocks)
    assert got < len(content)


@pytest.mark.usefixtures("soon")
def test_an_upload_is_cut_off(http: httpx.Client, store: TokenStore, settings: Settings) -> None:
    def body() -> Iterator[bytes]:
        yield b"a" * 1_000_000
        store.revoke("temporary")
        yield from [b"b" * 1_000_000] * 20

    with temporary(store) as secret:
        http.get("/queue", headers=bearer(secret))  # known, so that the upload can begin
        try:
            answer = http.put("/uploads/cut.mp4", content=body(), headers=bearer(secret))
            assert answer.status_code == 401
        except (httpx.NetworkError, httpx.RemoteProtocolError):  # it hung up in the middle
            pass
    found = settings.uploads_dir.rglob
    eventually(lambda: not list(found("cut.mp4")), "what had come to be removed")


@pytest.mark.usefixtures("soon")
def test_what_lasts_goes_on_while_the_token_is_good(
    http: httpx.Client, secrets: dict[Scope, str]
) -> None:
    body = (b"c" * 1_000_000 for _ in range(5))
    headers = bearer(secrets[Scope.SUBMIT])
    assert http.put("/uploads/whole.mp4", content=body, headers=headers).status_code == 201


# --- tokens ------------------------------------------------------------------------------------


def test_strangers_cost_no_look_at_all_tokens(
    http: httpx.Client, redis: Redis, queue: JobQueue, store: TokenStore
) -> None:
    """However many tokens there are, an unknown one costs two small reads, and again none."""
    with commands(redis, f"{queue.name}:token") as found:
        for number in range(20):
            assert http.get("/queue", headers=bearer(f"unknown-token-{number}")).status_code == 401
        for _ in range(20):
            assert http.get("/queue", headers=bearer("unknown-token-again")).status_code == 401
    assert set(found) == {"HGET"}
    assert len(found) < 40


@pytest.mark.parametrize("setting", ["SHOAL_API_TOKENS", "SHOAL_EVENT_TOKENS"])
@pytest.mark.parametrize("value", ["short", "x" * 15, f"{'x' * 32},short"])
def test_a_short_token_is_refused_at_the_start(
    setting: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setting, value)
    with pytest.raises(ValueError, match="at least 16 characters"):
        Settings()
    monkeypatch.setenv(setting, "x" * 16)
    assert Settings()


def test_the_log_does_not_show_a_session(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    log_in(http)
    session = http.cookies[COOKIE]
    http.post("/ui/logout", headers=SAME)
    ours = [each.getMessage() for each in caplog.records if not each.name.startswith("http")]
    assert any("/ui/login" in line for line in ours)
    assert session not in "".join(ours)
