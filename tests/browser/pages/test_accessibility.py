"""axe-core finds nothing on any page, in light and dark, on a phone and a desktop."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Literal

import axe_playwright_python
import pytest
from playwright.sync_api import Page

from api.events.inbox import SkippedLog
from shoal.client import Client
from shoal.errors import AudioOnly
from shoal.ingest.decide import Reason, Skip
from shoal.model.failure import Failure
from shoal.model.record import Progress
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.running import Processes, eventually
from tests.serving import take, write_video

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
OPTIONS = {"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"]}
WIDTHS = (390, 1280)
LOOK = "[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.fixture(scope="module")
def pages(
    client: Client, processes: Processes, settings: Settings, queue: JobQueue, sample_clip: Path
) -> list[str]:
    """A page of each kind, with something of each state on it."""
    processes.env["SHOAL_CALLBACK_ALLOW"] = "127.0.0.1/32"
    worker = processes.worker("cpu")
    uri = client.upload(sample_clip).uri
    outputs = ["overlay", "crops"]
    done = client.submit(uri, ["person", "car"], sample_fps=0, max_frames=75, outputs=outputs).id
    client.wait(done)
    worker.terminate()
    worker.wait(120)
    failed, running, waiting = (
        client.submit(write_video(settings, f"{name}.mp4").as_uri(), ["person"]).id
        for name in ("failed", "running", "waiting")
    )
    take(queue, "gpu-1").fail(Failure.of(AudioOnly("no picture")))
    take(queue, "gpu-1").heartbeat(Progress(stage="process", frames=40, frames_expected=100))
    batch = client.batches.submit("person", uris=[uri], name="A batch")
    eventually(lambda: client.batches.get(batch.id).videos == 1, "the batch")
    SkippedLog(queue.redis, queue.name).note("gcs", [Skip("gs://b/notes.txt", Reason.NO_RULE)])
    videos = [f"/ui/videos/{job}" for job in (done, failed, running, waiting)]
    lists = ["/ui", "/ui/videos", "/ui/videos?state=failed", "/ui/batches", "/ui/callbacks"]
    others = ["/ui/new", "/ui/rules?uri=gs://b/a.mp4", "/ui/skipped", "/ui/nowhere"]
    raw = ["/rq", "/rq/queued", f"/rq/jobs/{waiting}", "/docs"]
    return [*videos, *lists, f"/ui/batches/{batch.id}", *others, *raw]


@pytest.fixture(autouse=True)
def no_faults() -> None:
    """Chromium notes the page that does not exist."""


@pytest.mark.timeout(900)  # axe runs dozens of times
def test_no_violations(page: Page, pages: list[str]) -> None:
    done = pages[0]
    found = [
        fault for address in pages for fault in violations(page, address, is_edited=address == done)
    ]
    assert not found, "\n".join(found)


def violations(page: Page, address: str, is_edited: bool) -> Iterator[str]:
    page.goto(address)
    if address == "/docs":
        page.locator(".opblock").first.wait_for()
    if is_edited:
        page.get_by_text("Edit objects").click()
        page.locator("#edit-object").select_option(index=2)
    yield from violations_here(page, address)


def show_as(page: Page, width: int, scheme: Literal["light", "dark"]) -> None:
    """Have it look like that, and wait until it does."""
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    eventually(lambda: page.evaluate(LOOK) == [width, scheme == "dark"], "the page's new look")


def violations_here(page: Page, address: str) -> Iterator[str]:
    """Of the page as it is."""
    page.evaluate(AXE)
    for width, scheme in product(WIDTHS, SCHEMES):
        show_as(page, width, scheme)
        for rule in page.evaluate("options => axe.run(document, options)", OPTIONS)["violations"]:
            for node in rule["nodes"]:
                what = f"{rule['id']} {node['target']} {node['failureSummary']}"
                yield f"{address} at {width} in {scheme}: {what}"
