"""However long the names and large the numbers, a page is as wide as its window."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from shoal.client import Client
from shoal.errors import AudioOnly
from shoal.model.failure import Failure
from shoal.model.record import Progress, now
from shoal.model.worker import WorkerInfo
from shoal.queue.queue import JobQueue
from shoal.queue.stats import Sample
from shoal.queue.workers import announce
from shoal.settings import Settings
from tests.browser.conftest import WAIT_MS
from tests.browser.fit import fits
from tests.conftest import SubmitClip
from tests.serving import take, write_video

expect.set_options(timeout=WAIT_MS)

NAMES = ("a-long-name-" * 12, "without_a_place_to_break" * 6, "shoal-pool-spot-us-central1-a-17")
WIDTHS = (375, 390, 768, 1024, 1280, 1920)
LEASE_S = 600  # the workers here beat once


@pytest.mark.timeout(600)  # of six sizes
def test_nothing_sticks_out(
    page: Page, client: Client, settings: Settings, queue: JobQueue, submit_clip: SubmitClip
) -> None:
    prompts = tuple(f"prompt {'x' * 80} {number}" for number in range(16))
    jobs = [
        submit_clip(prompts=prompts, path=write_video(settings, f"{place}-{name}.mp4"))
        for place in ("failed", "running", "queued")
        for name in NAMES
    ]
    for name in NAMES:
        take(queue).fail(Failure.of(AudioOnly(f"{name} has no picture")))
    for number, name in enumerate(NAMES):
        start_work(queue, name, frames_expected=123_456_789 if number else 0)
    fill_chart(queue)
    videos = [f"/ui/videos/{job_id}" for job_id in jobs[::3]]
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        look_at_all(page, width, "/ui", "/ui/videos", *videos, "/ui/new")


def look_at_all(page: Page, width: int, *addresses: str) -> None:
    for address in addresses:
        assert page.goto(address).ok, address  # type: ignore[union-attr]
        fits(page, width, address)
    page.goto("/ui")
    expect(page.locator("#workers tbody tr")).to_have_count(len(NAMES))
    expect(page.locator("#failures .items li")).to_have_count(len(NAMES))
    expect(page.locator("#chart svg.chart")).to_be_visible()
    connection = page.locator("#connection")
    connection.evaluate("it => { it.textContent = 'no connection, trying again' }")
    fits(page, width)


def start_work(queue: JobQueue, worker: str, frames_expected: int) -> None:
    lease = take(queue, worker)
    lease.heartbeat(
        Progress(stage="process", frames=98_765_432, frames_expected=frames_expected, fps=12345.6)
    )
    info = WorkerInfo(
        name=worker,
        host=worker,
        pid=1,
        started_at=now() - 7200,
        beat_at=now(),
        state="busy",
        job=lease.record.id,
        engine="sam3-native",
        device="cuda:0 (NVIDIA H100 80GB HBM3 MIG 7g.80gb)",
        jobs_done=1_234_567,
    )
    announce(queue.redis, queue.name, info, LEASE_S)


def fill_chart(queue: JobQueue) -> None:
    start = (now() // 60 - 60) * 60
    for minute in range(58):
        sample = Sample(
            at=start + 60 * minute,
            queued=9_876_543,
            running=54_321,
            oldest_queued_s=1e6,
            workers=3,
            succeeded=1_234_567 * minute,
            failed=7_654 * minute,
            frames=98_765_432 * minute,
        )
        queue.records.totals.record(sample)
