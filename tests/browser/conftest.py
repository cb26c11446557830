"""A browser on the dashboard of an API in this process, and of workers that are processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request, sync_playwright

from shoal.client import Client
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.browser import chromium
from tests.serving import served

WAIT_MS = 120_000  # a machine may be slow


@pytest.fixture(scope="package")  # its event loop must not outlast the package
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")  # its event loop must not outlast the package
def browser(playwright: Playwright) -> Iterator[Browser]:
    if chromium.path() is None and not Path(playwright.chromium.executable_path).exists():
        pytest.skip("no Chromium: 'apt install chromium', or 'playwright install chromium'")
    with chromium.launched(playwright) as browser:
        yield browser


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """No lease lapses: videos and workers are what a test has made of them, also on a machine that
    stands still for some seconds."""
    return settings.model_copy(update={"lease_s": 600, "grace_s": 60})


@pytest.fixture
def api_settings(settings: Settings) -> Settings:
    return settings


@pytest.fixture
def client(api_settings: Settings, queue: JobQueue) -> Iterator[Client]:
    """An API over the empty queue. As a process of its own it would take a second to load."""
    with served(api_settings, api_settings.api_port) as url, Client(url) as client:
        yield client


class Watch:
    """What a page must not do: complain on its console, or ask another host for anything.

    Attributes:
        may_fail: what the address has in it of requests that may be refused.
    """

    def __init__(self, page: Page, host: str) -> None:
        self.faults: list[str] = []
        self.may_fail = ""
        self._host = host
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        address = message.location["url"]
        if message.type == "error" and not (self.may_fail and self.may_fail in address):
            self.faults.append(f"{message.text} {address}")

    def _on_request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.netloc != self._host:
            self.faults.append(f"asked for {request.url}")


@pytest.fixture
def watch(page: Page, settings: Settings) -> Watch:
    return Watch(page, f"127.0.0.1:{settings.api_port}")


@pytest.fixture
def page(browser: Browser, client: Client, settings: Settings) -> Iterator[Page]:
    """A page that knows its host: ``page.goto("/ui")``."""
    context = browser.new_context(base_url=f"http://127.0.0.1:{settings.api_port}")
    context.set_default_timeout(WAIT_MS)
    yield context.new_page()
    context.close()


@pytest.fixture(autouse=True)
def no_faults(watch: Watch) -> Iterator[None]:
    yield
    assert watch.faults == []
