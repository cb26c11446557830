"""Live updates change what is new, and nothing that the user is at."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from shoal.client import Client
from shoal.settings import Settings
from tests.browser.conftest import WAIT_MS, Watch
from tests.running import Processes
from tests.serving import write_video

expect.set_options(timeout=WAIT_MS)


@pytest.fixture
def jobs(client: Client, settings: Settings) -> Iterator[list[str]]:
    yield [submit(client, settings, f"first-{number}") for number in range(3)]
    for job in client.list(state="queued"):
        client.cancel(job.id)


def submit(client: Client, settings: Settings, name: str) -> str:
    return client.submit(write_video(settings, f"{name}.mp4").as_uri(), ["person"]).id


def queued(page: Page) -> str:
    return page.locator(".tile strong").first.inner_text()


def test_a_click_survives_an_update_between_press_and_release(
    page: Page, client: Client, settings: Settings, jobs: list[str]
) -> None:
    page.goto("/ui")
    expect(page.locator("#connection")).to_have_text("live")
    page.locator(".tile").first.hover()
    page.mouse.down()
    submit(client, settings, "while-pressed")
    page.wait_for_timeout(2500)  # updates come every second
    assert queued(page) == "3"
    page.mouse.up()
    page.wait_for_url("**/ui/videos?state=queued")
    # The same with the keyboard.
    page.goto("/ui")
    page.locator("#pause").focus()
    page.keyboard.down("Space")
    submit(client, settings, "while-the-key-is-down")
    page.wait_for_timeout(1500)
    page.keyboard.up("Space")
    expect(page.locator(".banner")).to_contain_text("The queue is paused")
    expect(page.locator(".tile strong").first).to_have_text("5")
    expect(page.get_by_role("button", name="Resume queue")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.locator(".banner")).to_contain_text("The queue is running")


def test_selected_text_stays_selected(
    page: Page, client: Client, settings: Settings, jobs: list[str]
) -> None:
    page.goto("/ui")
    expect(page.locator("#connection")).to_have_text("live")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.tile .note'))")
    submit(client, settings, "while-selected")
    page.wait_for_timeout(2500)
    assert "oldest waiting" in page.evaluate("getSelection().toString()")
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator(".tile strong").first).to_have_text("4")


def test_the_focus_stays_on_its_row(
    page: Page, client: Client, settings: Settings, jobs: list[str]
) -> None:
    page.goto("/ui/videos?state=queued")
    expect(page.locator("#connection")).to_have_text("live")
    page.locator(f"#row-{jobs[1]} a").focus()
    page.locator("#rows tbody tr").last.evaluate("row => { row.isKept = true }")
    submit(client, settings, "above")
    expect(page.locator("#rows tbody tr")).to_have_count(4)
    expect(page.locator(f"#row-{jobs[1]} a:focus")).to_have_count(1)
    assert page.locator("#rows tbody tr").last.evaluate("row => row.isKept")
    # A control that vanishes leaves the focus beside it, not at the top of the page.
    page.goto(f"/ui/videos/{jobs[1]}")
    expect(page.locator("#connection")).to_have_text("live")
    page.locator("#cancel").focus()
    client.cancel(jobs[1])
    expect(page.locator("#cancel")).to_have_count(0)
    expect(page.locator("#head")).to_be_focused()


def test_the_chart_and_the_status_are_written_when_they_change(
    page: Page, client: Client, settings: Settings, jobs: list[str]
) -> None:
    page.add_init_script("""
      window.charts = 0; window.statuses = 0;
      const Source = window.EventSource;
      window.EventSource = class extends Source {
        constructor(url) {
          super(url);
          this.addEventListener("message", (event) => {
            if ("chart" in JSON.parse(event.data)) charts++;
          });
        }
      };
      document.addEventListener("DOMContentLoaded", () => {
        new MutationObserver(() => { statuses++; })
          .observe(document.getElementById("connection"), { childList: true, characterData: true });
      });
    """)
    began = time.monotonic()
    page.goto("/ui")
    expect(page.locator("#connection")).to_have_text("live")
    for number in range(4):
        submit(client, settings, f"more-{number}")
        expect(page.locator(".tile strong").first).to_have_text(str(4 + number))
    minutes = (time.monotonic() - began) / 60
    assert page.evaluate("charts") <= 2 + minutes  # at first, and when a minute has passed
    assert page.evaluate("statuses") == 1


def test_a_frozen_server_is_noticed(
    page: Page, processes: Processes, jobs: list[str], watch: Watch
) -> None:
    page.goto("/ui")
    expect(page.locator("#connection")).to_have_text("live")
    api = processes.running[0].pid
    os.kill(api, signal.SIGSTOP)
    try:
        expect(page.locator("#connection")).to_contain_text("No answer from the server")
    finally:
        os.kill(api, signal.SIGCONT)
    expect(page.locator("#connection")).to_have_text("live")
    watch.faults.clear()  # Chromium's notes of the connections given up
