"""Batches, callbacks, rules, priority and the raw view, as an operator meets them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pydantic import SecretStr

from api.events.inbox import SkippedLog
from shoal.client import Client
from shoal.errors import AudioOnly
from shoal.ingest.decide import Reason, Skip
from shoal.model.failure import Failure
from shoal.model.job import State
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.browser.conftest import WAIT_MS
from tests.browser.fit import fits
from tests.conftest import SubmitClip
from tests.receiver import Receiver
from tests.running import eventually
from tests.serving import take, waiting, write_video

expect.set_options(timeout=WAIT_MS)

RULES = """
[[rule]]
name = "soccer"
bucket = "gs://matches"
key = "soccer/**/*.mp4"
prompts = ["person", "<b>ball</b>"]
results = "gs://elsewhere"
"""


@pytest.fixture
def api_settings(settings: Settings, tmp_path: Path) -> Settings:
    """Callbacks are signed, and there are rules."""
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    secret = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    return settings.model_copy(
        update={
            "callback_secret": (SecretStr(secret),),
            "callback_allow": ("127.0.0.1/32",),
            "rules": rules,
            "sweep_s": 0,
        }
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_a_callback_is_sent_again(
    page: Page, client: Client, settings: Settings, queue: JobQueue, receiver: Receiver
) -> None:
    receiver.answers = [(410, {})]  # the receiver wants no more
    uri = write_video(settings, "match.mp4").as_uri()
    client.submit(uri, ["person"], callback=receiver.url)
    take(queue).cancel()
    page.goto("/ui/callbacks")
    expect(page.locator("#rows .badge")).to_have_text("disabled")
    expect(page.locator("#rows")).to_contain_text("HTTP 410")
    page.get_by_role("button", name="Resend").click()
    expect(page.locator("#rows .badge")).to_have_text("delivered")
    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert len(ids) >= 2  # where an answer comes late it is sent once more
    assert len(set(ids)) == 1
    page.get_by_text("Payload").click()
    expect(page.locator("#rows pre").first).to_contain_text('"type": "video.cancelled"')
    page.get_by_role("link", name="Failed").click()
    expect(page.locator("#rows")).to_contain_text("No webhooks match.")


def test_a_pattern_becomes_a_batch_and_its_failures_are_retried(
    page: Page, client: Client, settings: Settings, queue: JobQueue
) -> None:
    folder = write_video(settings, "day/a.mp4").parent
    for name in ("day/b.mp4", "day/deep/c.mp4", "other/d.mp4"):
        write_video(settings, name)
    page.goto("/ui/new")
    page.fill("#uri", folder.as_uri() + "/**/*.mp4")
    page.fill("#prompts", "person")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/ui/batches/[0-9a-f]{24}"))
    expect(page.locator("#tiles .tile strong").first).to_have_text("3")
    expect(page.locator("#head .badge")).to_have_text("running")
    eventually(lambda: len(waiting(queue)) == 3, "the videos to be queued")
    fail_next(queue)
    expect(page.locator("#failures")).to_contain_text("Audio only")
    page.get_by_role("link", name="Audio only").click()
    expect(page.locator("#rows tbody tr")).to_have_count(1)
    page.go_back()
    page.get_by_role("button", name="Retry failed").click()
    expect(page.locator("#failures")).to_contain_text("No failures.")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel batch").click()
    expect(page.locator("#head .badge")).to_have_text("cancelled")
    page.get_by_role("link", name="Batches").click()
    expect(page.locator("#rows tbody tr")).to_contain_text("cancelled")
    eventually(lambda: client.queue().jobs[State.CANCELLED] == 3, "all to be cancelled")


def fail_next(queue: JobQueue) -> None:
    take(queue).fail(Failure.of(AudioOnly("no picture")))


def test_a_waiting_video_goes_to_the_front(
    page: Page, queue: JobQueue, submit_clip: SubmitClip
) -> None:
    first, second = submit_clip(), submit_clip(prompts=("car",))
    page.goto(f"/ui/videos/{second}")
    page.get_by_role("button", name="Move to front of queue").click()
    expect(page.get_by_role("button", name="Reset priority")).to_be_visible()
    assert queue.rq.get_job_ids() == [second, first]
    page.get_by_role("button", name="Reset priority").click()
    expect(page.get_by_role("button", name="Move to front of queue")).to_be_visible()
    assert queue.rq.get_job_ids() == [first, second]


def test_a_rule_is_tried(page: Page) -> None:
    page.goto("/ui/rules")
    page.get_by_label("Path of an upload").fill("gs://matches/soccer/may/final.mp4")
    page.get_by_role("button", name="Test").click()
    expect(page.locator("#verdict")).to_contain_text(
        'Matches rule "soccer": will be processed with prompts'
    )
    expect(page.locator("#verdict")).to_contain_text("<b>ball</b>")
    assert "uri=gs" in page.url
    page.get_by_label("Path of an upload").fill("gs://matches/tennis/final.mp4")
    page.get_by_role("button", name="Test").click()
    expect(page.locator("#verdict")).to_contain_text("No matching rule")


def test_the_raw_view_works_and_offers_no_way_to_change(
    page: Page, queue: JobQueue, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    page.goto("/ui")
    page.get_by_role("link", name="RQ").click()
    expect(page.locator("#tiles .tile strong").first).to_have_text("1")
    submit_clip(prompts=("car",))  # it is live
    expect(page.locator("#tiles .tile strong").first).to_have_text("2")
    page.get_by_role("link", name="Queued", exact=True).click()
    page.get_by_role("link", name=job_id).click()
    expect(page.locator("main")).to_contain_text("worker.parent.process_video")
    assert page.locator("main button, main form").count() == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out(
    page: Page, client: Client, settings: Settings, queue: JobQueue, width: int
) -> None:
    long = "a-long-name-" * 12
    evil = "<img src=x onerror=alert(1)>"
    uri = write_video(settings, f"{long}.mp4").as_uri()
    batch = client.batches.submit("person", uris=[uri], name=evil + long)
    eventually(lambda: len(waiting(queue)) == 1, "the video to be queued")
    SkippedLog(queue.redis, queue.name).note("gcs", [Skip(f"gs://b/{evil}{long}", Reason.GONE)])
    (job_id,) = waiting(queue)
    queue.redis.lpush(queue.rq.key, evil + long)
    queue.redis.hset(f"rq:job:{job_id}", "description", evil + long)
    page.set_viewport_size({"width": width, "height": 800})
    for address in (
        "/ui/batches",
        f"/ui/batches/{batch.id}",
        f"/ui/videos?batch={batch.id}",
        "/ui/callbacks",
        "/ui/skipped",
        f"/ui/rules?uri=gs://b/{long}",
        "/rq",
        "/rq/queued",
        f"/rq/jobs/{job_id}",
    ):
        page.goto(address)
        fits(page, width, address)
        assert page.locator("main img").count() == 0, address
