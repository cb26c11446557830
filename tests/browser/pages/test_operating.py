"""What an operator sees of the queue and its workers."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from shoal.client import Client
from shoal.model.job import State
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.browser.conftest import WAIT_MS
from tests.running import Processes, eventually
from tests.serving import take, write_video

expect.set_options(timeout=WAIT_MS)


NOTIFICATIONS = """
  window.told = [];
  window.Notification = class {
    static permission = "default";
    static async requestPermission() { this.permission = "granted"; }
    constructor(title, { body }) { told.push(`${title}: ${body}`); }
  };
"""


def test_a_waiting_video_has_a_place_in_line_and_tells_when_it_is_done(
    page: Page, client: Client, settings: Settings, queue: JobQueue
) -> None:
    page.add_init_script(NOTIFICATIONS)
    first, second = (
        client.submit(write_video(settings, f"{name}.mp4").as_uri(), ["person"]).id
        for name in ("first", "second")
    )
    page.goto(f"/ui/videos/{second}")
    expect(page.locator("#place")).to_contain_text("2 in line")
    assert take(queue).record.id == first
    expect(page.locator("#place")).to_contain_text("Next in line")
    lease = take(queue)
    expect(page.locator("#place")).to_have_count(0)
    expect(page).to_have_title("second.mp4 · Shoal")
    page.get_by_role("button", name="Notify me when it is done").click()
    expect(page.locator("#notify")).to_be_hidden()
    lease.succeed({}, {})
    expect(page).to_have_title("✓ second.mp4 · Shoal")
    assert page.evaluate("told") == ["second.mp4 · Shoal: succeeded"]


def test_a_worker_is_drained(page: Page, client: Client, processes: Processes) -> None:
    worker = processes.worker()
    eventually(processes.idle_workers, "the worker")
    page.goto("/ui")
    page.get_by_role("button", name="Drain").click()
    expect(page.locator("#confirm-text")).to_have_text(re.compile("^Drain .*exits.$"))
    page.get_by_role("button", name="Drain worker").click()
    expect(page.locator("#workers")).to_contain_text("No workers connected.")
    assert worker.wait(120) == 0


def test_counts_are_those_of_the_lists_they_lead_to(
    page: Page, client: Client, settings: Settings, queue: JobQueue
) -> None:
    uris = [write_video(settings, f"batch-{number}.mp4").as_uri() for number in range(3)]
    batch = client.batches.submit("person", uris=uris)
    eventually(lambda: client.batches.get(batch.id).videos == 3, "the videos")
    take(queue).succeed({}, {})
    take(queue)
    page.goto(f"/ui/batches/{batch.id}")
    expect(page.locator("#tiles")).to_contain_text("1 of 3 finished, 1 running")
    page.locator("#tiles").get_by_role("link", name="Succeeded").click()
    expect(page.locator("#rows tbody tr")).to_have_count(1)
    page.goto("/ui")
    tile = page.locator("#tiles").get_by_role("link", name="Succeeded")
    count = client.queue().jobs[State.SUCCEEDED]
    expect(tile.locator("strong")).to_have_text(str(count))
    tile.click()
    expect(page.locator("#rows tbody tr")).to_have_count(count)
