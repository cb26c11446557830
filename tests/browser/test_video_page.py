"""What the page of a video shows of its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, expect

from shoal.client import Client
from tests.browser.conftest import WAIT_MS
from tests.browser.fit import fits
from tests.running import Processes, eventually

expect.set_options(timeout=WAIT_MS)

NATURAL = "image => [image.naturalWidth, image.naturalHeight]"


def test_crops_are_a_contact_sheet(
    page: Page, client: Client, processes: Processes, sample_clip: Path
) -> None:
    outputs: list[str | dict[str, Any]] = ["overlay", {"kind": "crops", "per_object": 8}]
    uri = client.upload(sample_clip).uri
    job = client.submit(uri, ["person"], sample_fps=0, max_frames=75, outputs=outputs)
    page.set_viewport_size({"width": 375, "height": 800})
    page.goto(f"/ui/videos/{job.id}")
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#crops img")).to_have_count(0)
    processes.worker("cpu")  # what it makes comes without a reload
    picture = page.get_by_role("img", name="Best crops of each object: person")
    picture.scroll_into_view_if_needed()
    eventually(lambda: picture.evaluate(NATURAL)[0] > 0, "the picture")
    width, height = picture.evaluate(NATURAL)
    assert height > width / 8  # a row has a caption over its pictures
    fits(page, 375)
    expect(page.locator("#outcome")).to_contain_text("crops (per object 8)")
    # The first update of a connection tells all again: what is the same stays as it is.
    picture.evaluate("image => { image.isKept = true; document.querySelector('h1').remove() }")
    page.evaluate("document.dispatchEvent(new Event('shoal:changed'))")
    expect(page.locator("h1")).to_have_text(sample_clip.name)
    assert picture.evaluate("image => image.isKept")
    with page.context.expect_page() as opened:
        picture.click()
    whole = httpx.get(opened.value.url, timeout=60)
    assert whole.headers["Content-Type"] == "image/jpeg"


def test_without_crops_there_is_no_such_section(
    page: Page, client: Client, processes: Processes, sample_clip: Path
) -> None:
    processes.worker("cpu")
    uri = client.upload(sample_clip).uri
    plain, empty = (
        client.submit(uri, ["person"], sample_fps=0, max_frames=n, outputs=kinds)
        for n, kinds in ((75, ["overlay"]), (5, ["overlay", "crops"]))
    )
    assert client.wait(plain.id).summary["objects_detected"] > 0
    assert client.wait(empty.id).summary["objects_detected"] == 0
    for job in (plain, empty):
        page.goto(f"/ui/videos/{job.id}")
        expect(page.locator("#connection")).to_have_text("live")
        expect(page.locator("#files")).to_contain_text("masks.parquet")
        expect(page.locator("#crops")).to_be_empty()
        expect(page.locator("#crops")).to_be_hidden()
