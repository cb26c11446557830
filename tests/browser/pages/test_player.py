"""What the player shows of jobs with and without an overlay."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from shoal.client import Client
from shoal.settings import Settings
from tests.browser.conftest import WAIT_MS
from tests.chaos.crawling import hold_back, let_go
from tests.running import Processes, eventually, held

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module", autouse=True)
def worker(client: Client, processes: Processes) -> subprocess.Popen[bytes]:
    return processes.worker("tests.chaos.crawling:cpu", SHOAL_PART_S="1")


@pytest.fixture(scope="module")
def uri(client: Client, sample_clip: Path) -> str:
    return client.upload(sample_clip).uri


def submit(client: Client, uri: str, outputs: Sequence[Any], frames: int = 25) -> str:
    return client.submit(uri, ["person"], sample_fps=0, max_frames=frames, outputs=outputs).id


@pytest.mark.parametrize(
    ("outputs", "before"),
    [
        (["csv"], "No overlay or redacted video was requested."),
        ([{"kind": "overlay", "trails": True}], "The video appears here when it is finished."),
    ],
)
def test_segments_without_an_overlay_are_not_asked_for(
    page: Page,
    client: Client,
    settings: Settings,
    worker: subprocess.Popen[bytes],
    uri: str,
    outputs: list[Any],
    before: str,
) -> None:
    hold_back(settings)
    job = submit(client, uri, outputs, frames=100)
    page.goto(f"/ui/videos/{job}")
    expect(page.locator("#events")).to_contain_text("Segment 1 saved")
    with held(worker):
        assert client.parts(job) == []
        expect(page.locator("#playing")).to_be_hidden()
        # Unless the end was recorded just then.
        none = page.locator("#no-video")
        eventually(
            lambda: before in none.inner_text() or client.get(job).state != "running",
            "the page to say why nothing plays",
        )
    let_go(settings)
    client.wait(job)
    if outputs == ["csv"]:
        expect(page.locator("#files")).to_contain_text("_tracks.csv")
        expect(page.locator("#no-video")).to_have_text(before)
        page.locator("[data-seek]").first.click()  # there is nothing to seek in
        expect(page.locator("#object-bar")).to_be_hidden()
    else:
        expect(page.locator("video")).to_have_attribute("src", re.compile("_segmented.mp4$"))


def test_a_redacted_video_plays(page: Page, client: Client, uri: str, sample_clip: Path) -> None:
    kept = {"kind": "redact", "keep_upload": True}
    job = submit(client, uri, [kept])
    page.goto(f"/ui/videos/{job}")
    name = f"{sample_clip.stem}_redacted.mp4"
    video = page.locator("video")
    expect(video).to_have_attribute("src", f"/videos/{job}/results/{name}")
    eventually(lambda: video.evaluate("video => video.readyState >= 2"), "the video")
    expect(page.locator("#no-video")).to_be_hidden()
