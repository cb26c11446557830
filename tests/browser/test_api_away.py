"""The dashboard while the API is away for a moment."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from shoal.client import Client
from tests.browser.conftest import WAIT_MS, Watch
from tests.conftest import SubmitClip
from tests.running import Processes

expect.set_options(timeout=WAIT_MS)


@pytest.fixture
def client(processes: Processes) -> Client:
    """A process, to be killed."""
    return processes.api()


def test_a_page_catches_up_after_the_api_was_away(
    page: Page, client: Client, processes: Processes, watch: Watch, submit_clip: SubmitClip
) -> None:
    page.goto("/ui")
    expect(page.locator("#connection")).to_have_text("live")
    processes.running[0].kill()
    processes.running[0].wait()
    expect(page.locator("#connection")).to_contain_text("Connection lost – reconnecting…")
    submit_clip()
    processes.api()
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator(".tile strong").first).to_have_text("1")
    watch.faults.clear()  # Chromium's notes of the refused connections
