"""What fits on a page, and what of it can be reached."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Page, expect

from shoal.client import Client
from shoal.queue.queue import JobQueue
from shoal.results.layout import result_uri, summary_name
from shoal.settings import Settings
from tests.browser.conftest import WAIT_MS
from tests.browser.fit import fits
from tests.running import Processes, eventually
from tests.serving import take, write_video

expect.set_options(timeout=WAIT_MS)

PAINTED = """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
  .data.some((value) => value > 0)"""
ARABIC = "لاعب كرة قدم 7"


@pytest.fixture(scope="module")
def done(client: Client, processes: Processes, sample_clip: Path) -> str:
    """A job with an overlay, whose summary then says that 150 objects were found."""
    worker = processes.worker("cpu")
    uri = client.upload(sample_clip).uri
    job = client.submit(uri, ["person", "car"], sample_fps=0, max_frames=75).id
    record = client.wait(job)
    worker.terminate()
    worker.wait(120)
    name = summary_name(record.spec)
    path = Path(unquote(urlsplit(result_uri(record.spec, name)).path))
    summary = json.loads(path.read_text())
    one = next(track for track in summary["tracks"] if track["prompt"] == "person")
    spans = [[0.2, 0.8], [1.5, 2.0]]
    summary["tracks"] = [one | {"object_id": number, "spans": spans} for number in range(150)]
    path.write_text(json.dumps(summary))
    return job


def test_every_object_is_reached(page: Page, done: str) -> None:
    page.goto(f"/ui/videos/{done}")
    lanes = page.locator("[data-seek]")
    expect(lanes).to_have_count(60)
    for first, count in ((60, 60), (120, 30)):
        page.locator("#objects").get_by_role("link", name="Next").click()
        expect(lanes.first).to_contain_text(f"#{first}")
        expect(lanes).to_have_count(count)
        expect(page.locator("#connection")).to_have_text("live")  # which leaves them there
        expect(lanes).to_have_count(count)
    expect(lanes.last).to_contain_text("#149")
    page.get_by_label("Object", exact=True).fill("77")
    page.get_by_role("button", name="Find").click()
    expect(lanes).to_have_count(1)
    expect(lanes).to_contain_text("#77")
    page.get_by_role("link", name="Show all").click()
    expect(lanes).to_have_count(60)


def test_a_prompt_is_hidden_with_its_objects_on_all_pages(page: Page, done: str) -> None:
    page.goto(f"/ui/videos/{done}")
    page.get_by_role("button", name="Hide all of person").click()
    for number, shown in ((0, False), (149, False), (149, True), (0, False)):
        page.goto(f"/ui/videos/{done}?object={number}")
        box = page.get_by_label(f"Show #{number} in the player")
        if shown:
            box.check()
        expect(box).to_be_checked(checked=shown)
    page.goto(f"/ui/videos/{done}?object=149")
    expect(page.get_by_label("Show #149 in the player")).to_be_checked()


def test_the_list_shows_a_frame_of_each_finished_video(
    page: Page, client: Client, settings: Settings, done: str
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    waiting = client.submit(write_video(settings, "waiting.mp4").as_uri(), ["person"]).id
    page.goto("/ui/videos")
    picture = page.locator(f"#row-{done} .thumb")
    eventually(lambda: picture.evaluate(PAINTED), "the picture")
    expect(page.locator(f"#row-{waiting} .thumb")).to_have_count(0)
    client.cancel(waiting)
    expect(page.locator(f"#row-{waiting}")).to_contain_text("cancelled")  # a live update
    assert picture.evaluate(PAINTED)
    asked.clear()
    page.reload()
    eventually(lambda: picture.evaluate(PAINTED), "the picture that was kept")
    assert not [url for url in asked if "/results/" in url]


def test_what_the_engine_cannot_do_is_greyed_in_the_editor(page: Page, done: str) -> None:
    page.goto(f"/ui/videos/{done}")
    page.get_by_text("Edit objects").click()
    page.locator("#edit-object").select_option("1")
    expect(page.locator("#edit-why")).to_contain_text("the engine cpu cannot be corrected")
    expect(page.get_by_role("button", name="Add points")).to_be_disabled()
    expect(page.get_by_role("button", name="Remove")).to_be_enabled()
    page.get_by_role("button", name="Remove").press("Enter")
    expect(page.locator("#edit-changes li")).to_contain_text("Remove #1")


def test_the_timeline_has_an_axis_a_zoom_and_keys(page: Page, done: str) -> None:
    page.goto(f"/ui/videos/{done}")
    video = page.locator("video")
    eventually(lambda: video.evaluate("video => video.readyState >= 1"), "the video")
    expect(page.locator("#objects .axis text")).to_have_count(5)
    lane = page.locator("[data-timeline]").first
    narrow = lane.bounding_box()
    page.get_by_label("Zoom").select_option("4")
    wide = lane.bounding_box()
    assert narrow
    assert wide
    assert wide["width"] == pytest.approx(4 * narrow["width"], rel=0.02)
    button = page.locator("[data-seek]").first
    button.focus()
    for key, at in (("ArrowRight", 0.2), ("ArrowRight", 1.5), ("ArrowLeft", 0.2)):
        page.keyboard.press(key)
        assert video.evaluate("video => video.currentTime") == pytest.approx(at, abs=0.01)
    page.keyboard.press("ArrowDown")
    assert "#1" in page.evaluate("document.activeElement.textContent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_bars_of_the_timeline_stand_out(
    page: Page, done: str, scheme: Literal["light", "dark"]
) -> None:
    """Half of the palette alone would be under 3:1 on a light page."""
    page.emulate_media(color_scheme=scheme)
    page.goto(f"/ui/videos/{done}")
    outline, ground = page.locator(".lane .seen").first.evaluate(
        "bar => [getComputedStyle(bar).stroke,"
        " getComputedStyle(bar.closest('.card')).backgroundColor]"
    )
    bright, dark = sorted(map(luminance, (outline, ground)), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) >= 3


def luminance(colour: str) -> float:
    """Relative luminance of 'rgb(r, g, b)', as WCAG defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_frame_steps_and_links_to_a_moment(page: Page, done: str) -> None:
    page.goto(f"/ui/videos/{done}#t=1.2")
    video = page.locator("video")

    def at() -> float:
        return float(video.evaluate("video => video.currentTime"))

    eventually(lambda: at() == pytest.approx(1.2), "the moment")
    page.keyboard.press(".")
    assert at() == pytest.approx(1.24, abs=0.005)  # 25 frames a second
    page.keyboard.press(",")
    page.keyboard.press(",")
    assert at() == pytest.approx(1.16, abs=0.005)
    page.get_by_label("Object", exact=True).press(".")  # there it is a character
    assert at() == pytest.approx(1.16, abs=0.005)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_header_hides_no_picture_after_seeking(page: Page, done: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 600})
    page.goto(f"/ui/videos/{done}")
    eventually(lambda: page.locator("video").evaluate("video => video.readyState >= 1"), "video")
    page.locator("[data-seek]").nth(50).click()

    def is_free() -> bool:
        header, picture = (page.locator(each).bounding_box() for each in (".top", "video"))
        assert header
        assert picture
        return picture["y"] >= header["height"]

    eventually(is_free, "a picture that is not under the header")


@pytest.mark.parametrize("width", [390, 801])
def test_long_words_and_other_scripts_fit(
    page: Page, client: Client, settings: Settings, queue: JobQueue, done: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    long = ["x" * 90, ARABIC]
    uri = write_video(settings, f"{'long' * 40}-{width}.mp4").as_uri()
    job = client.submit(uri, long, score_threshold=width / 10_000).id
    take(queue, "worker-" + "w" * 120).succeed(
        {}, {"objects_per_prompt": {ARABIC: 12}, "objects_detected": 12, "frames_processed": 3}
    )
    for address in (f"/ui/videos/{job}", f"/ui/videos/{done}", "/ui/videos", "/ui", "/rq"):
        page.goto(address)
        fits(page, width, address)
    page.goto(f"/ui/videos/{job}")
    line = page.locator(".prompts li", has_text=ARABIC)
    word, count = line.locator("bdi").bounding_box(), line.locator("strong").bounding_box()
    assert word
    assert count
    assert word["x"] + word["width"] <= count["x"]
    page.goto("/ui/videos")
    row = page.locator(f"#row-{job}")
    if width < 720:
        label = row.locator(".result").evaluate(
            "cell => getComputedStyle(cell, '::before').content"
        )
        assert label == '"Result"'


def test_the_tab_one_is_on_is_in_sight_on_a_phone(page: Page, done: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    for address, bar in (("/rq", ".top nav"), ("/ui/videos?state=cancelled", ".tabs")):
        page.goto(address)
        here = page.locator(f"{bar} [aria-current]").bounding_box()
        assert here
        assert here["x"] >= 0
        assert here["x"] + here["width"] <= 390
