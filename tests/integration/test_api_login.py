"""Logging in with a token, and what other sites cannot do with the cookie."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.integration.test_api_videos import code_of
from tests.serving import served

HTML = {"Accept": "text/html"}


@pytest.fixture
def browser(settings: Settings, queue: JobQueue) -> Iterator[httpx.Client]:
    """A client that keeps cookies, at an API with a token."""
    tokens = (SecretStr("secönd; one"),)
    with (
        served(settings.model_copy(update={"api_tokens": tokens})) as url,
        httpx.Client(base_url=url, headers=HTML) as http,
    ):
        yield http


def log_in(browser: httpx.Client, to: str = "/ui", token: str = "secönd; one") -> httpx.Response:
    return browser.post("/ui/login", data={"token": token, "to": to})


def test_a_browser_is_led_to_the_login_and_back(browser: httpx.Client) -> None:
    refused = browser.get("/ui/videos?state=failed")
    assert refused.status_code == 303
    login = browser.get(refused.headers["Location"])
    assert 'value="/ui/videos?state=failed"' in login.text
    assert "Log out" not in login.text
    done = log_in(browser, "/ui/videos?state=failed")
    assert (done.status_code, done.headers["Location"]) == (303, "/ui/videos?state=failed")
    cookie = done.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Log out" in browser.get("/ui").text
    assert browser.get("/queue").status_code == 200
    assert browser.post("/ui/logout", headers={"Origin": str(browser.base_url)}).status_code == 303
    assert browser.get("/ui").status_code == 303


def test_a_wrong_token_is_refused(browser: httpx.Client) -> None:
    answer = log_in(browser, token="first")
    assert answer.status_code == 401
    assert "Invalid or revoked token." in answer.text
    assert "Set-Cookie" not in answer.headers
    browser.cookies["shoal_session"] = "first"
    assert code_of(browser.get("/queue", headers={"Accept": "*/*"})) == (401, "unauthorized")


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/ui",
        "//evil.example/ui",
        "/ui/../\\evil.example",
        "/uix",
        "javascript:1",
    ],
)
def test_the_login_leads_nowhere_else(browser: httpx.Client, to: str) -> None:
    assert log_in(browser, to).headers["Location"] == "/ui"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Origin": "https://evil.example"}, 401),
        ({"Sec-Fetch-Site": "cross-site"}, 401),
        ({"Sec-Fetch-Site": "same-site"}, 401),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "SELF"}, 200),
    ],
)
def test_only_our_own_pages_may_change_anything(
    browser: httpx.Client, headers: dict[str, str], status: int
) -> None:
    log_in(browser)
    own = str(browser.base_url).rstrip("/")
    sent = {name: own if value == "SELF" else value for name, value in headers.items()}
    assert browser.post("/queue/pause", headers=sent).status_code == status


def test_a_token_in_the_header_needs_no_origin(browser: httpx.Client) -> None:
    headers = httpx.Headers({"Authorization": "Bearer secönd; one"}, encoding="utf-8")
    assert browser.post("/queue/pause", headers=headers).status_code == 200


def test_without_tokens_there_is_no_login(http: httpx.Client) -> None:
    assert http.get("/ui/login").headers["Location"] == "/ui"
    assert "Log out" not in http.get("/ui").text
    assert code_of(http.get("/ui", headers=HTML | {"Host": "evil.example"}))[0] == 401
