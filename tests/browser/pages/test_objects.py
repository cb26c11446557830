"""Single objects of a video: hidden and shown in the player, and saved as a clip."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
import pytest
from playwright.sync_api import Locator, Page, expect

from shoal.client import Client
from tests.browser.conftest import WAIT_MS, Watch
from tests.browser.fit import fits
from tests.browser.pages.test_accessibility import violations_here
from tests.running import Processes, eventually

expect.set_options(timeout=WAIT_MS)

# Whether the masks of a frame's objects are drawn, translucent: they are squares, see
# tests.fakes.Fake, and the label of the second lies over the first.
ARE_DRAWN = """canvas => [1, 2].map((number) => {
  const frame = Number(/Frame (\\d+)/.exec(canvas.ariaLabel)?.[1] ?? -1);
  const at = [frame % 50 + 5, 20 * number + 5];
  return canvas.getContext("2d").getImageData(...at, 1, 1).data[3] % 255 > 0;
})"""
# Cancels a recording when a part is done: from here it might be over meanwhile.
CANCELS_SOON = """() => {
  const progress = document.getElementById("clip-progress");
  const close = document.getElementById("clip-close");
  new MutationObserver((_, observer) => {
    if (progress.value <= 0.1) return;
    observer.disconnect();
    close.dataset.was = close.textContent;
    close.click();
  }).observe(progress, { attributes: true });
}"""
ANY_STEP = """() => {
  for (const end of ["from", "to"]) document.getElementById(`clip-${end}`).step = "any";
}"""
SOURCE = "video => new URL(video.src).pathname.split('/').pop()"


@pytest.fixture(scope="module")
def job(client: Client, processes: Processes, sample_clip: Path) -> str:
    processes.worker("tests.fakes:Fake")
    uri = client.upload(sample_clip).uri
    found = client.wait(client.submit(uri, ["person", "ball"], sample_fps=0, max_frames=60).id)
    assert found.summary["objects_detected"] == 2
    return found.id


def opened(page: Page, job: str) -> Locator:
    """The player of a job's page."""
    page.goto(f"/ui/videos/{job}")
    expect(page.locator("#connection")).to_have_text("live")
    video = page.locator("#stage video")
    eventually(lambda: video.evaluate("video => video.readyState >= 2"), "the video")
    return video


def update(page: Page) -> None:
    """A live update, which tells the whole page again."""
    page.evaluate("document.querySelector('h1').remove()")
    page.evaluate("document.dispatchEvent(new Event('shoal:changed'))")
    expect(page.locator("h1")).to_be_visible()


def drawn(page: Page, *expected: bool) -> None:
    canvas = page.locator("#marks")
    eventually(lambda: canvas.evaluate(ARE_DRAWN) == list(expected), f"the masks {expected}")


def test_objects_are_hidden_and_shown_and_this_is_remembered(page: Page, job: str) -> None:
    video = opened(page, job)
    overlay = video.evaluate(SOURCE)
    first, second = (page.get_by_label(f"Show #{n} in the player") for n in (1, 2))
    video.evaluate("video => { video.currentTime = 0.81 }")
    first.press("Space")
    eventually(lambda: video.evaluate(SOURCE) == "source", "the source")
    drawn(page, False, True)
    expect(page.locator("#marks")).to_have_attribute("aria-label", "Frame 20: #2 ball")
    update(page)  # it leaves the choice as it is
    expect(first).not_to_be_checked()
    page.reload()
    expect(first).not_to_be_checked()
    eventually(lambda: video.evaluate(SOURCE) == "source", "the source")
    drawn(page, False, True)
    page.get_by_role("button", name="Hide all of ball").click()
    expect(second).not_to_be_checked()
    drawn(page, False, False)
    page.locator("[data-object='1'] [data-seek]").press("h")
    expect(first).to_be_checked()
    drawn(page, True, False)
    video.evaluate("video => video.play()")
    eventually(lambda: video.evaluate("video => video.currentTime") > 0.3, "the video to play")
    drawn(page, True, False)
    page.get_by_role("button", name="Show all", exact=True).click()
    eventually(lambda: video.evaluate(SOURCE) == overlay, "the overlay")
    assert page.evaluate("localStorage.length") == 0
    page.get_by_role("button", name="Hide all", exact=True).click()
    drawn(page, False, False)
    expect(second).not_to_be_checked()


def test_a_live_update_leaves_what_is_selected_and_where_the_player_is(
    page: Page, job: str
) -> None:
    opened(page, job)
    lane = page.locator("[data-object='2']")
    lane.locator("[data-seek]").click()
    page.locator("#stage video").evaluate("video => { video.currentTime = 1 }")
    playhead = lane.locator(".playhead")
    eventually(lambda: float(playhead.get_attribute("x1") or 0) > 0, "the playhead to move")
    at = playhead.get_attribute("x1") or ""
    update(page)
    expect(lane.locator("[data-seek]")).to_have_attribute("aria-current", "true")
    expect(playhead).to_have_attribute("x1", at)


def test_the_selected_object_has_a_bar(page: Page, job: str) -> None:
    opened(page, job)
    bar = page.get_by_role("group", name="Selected object")
    expect(bar).to_be_hidden()
    page.locator("[data-object='2'] [data-seek]").click()
    expect(bar).to_contain_text("#2 ball")
    bar.get_by_role("button", name="Hide").click()
    expect(page.get_by_label("Show #2 in the player")).not_to_be_checked()
    drawn(page, True, False)
    bar.get_by_role("button", name="Save clip").click()
    found = list(violations_here(page, "the dialog of clips"))
    assert not found, "\n".join(found)
    page.set_viewport_size({"width": 390, "height": 800})
    fits(page, 390)
    page.keyboard.press("Escape")
    bar.get_by_role("button", name="Show").click()
    expect(page.get_by_label("Show #2 in the player")).to_be_checked()


@pytest.mark.parametrize("picture", ["crop", "whole"])
def test_a_clip_around_an_object_is_saved(
    page: Page, job: str, sample_clip: Path, tmp_path: Path, picture: str
) -> None:
    opened(page, job)
    page.locator("[data-object='2'] [data-seek]").click()
    page.get_by_role("button", name="Save clip").click()
    page.get_by_label("Picture").select_option(picture)
    page.locator("#clip-from").fill("0.4")
    page.locator("#clip-to").fill("1.4")
    expect(page.locator("#clip-hint")).to_contain_text("as long as the clip: 1.0 s")
    with page.expect_download() as download:
        page.get_by_role("button", name="Record and save").click()
    expect(page.locator("#clip")).to_be_hidden()
    name = download.value.suggested_filename
    assert name.startswith(f"{sample_clip.stem}_object2_00-00.4.")
    path = tmp_path / name
    download.value.save_as(path)
    with av.open(path) as clip:
        frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    height, width, _ = frames[0].shape
    if picture == "whole":
        assert (width, height) == (640, 272)
        return
    assert (width, height) == (480, 480)  # the square, with its margin
    # It stays in the middle, in the colour of its prompt. On a busy machine a browser paints some
    # frames late; but the object would have left a picture that does not follow it soon.
    colours = [frame[180:300, 180:300].mean((0, 1)) for frame in frames[1:] or frames]
    followed = [min(green, blue) > red + 25 for red, green, blue in colours]
    assert sum(followed) > 0.6 * len(followed)


def test_a_recording_is_cancelled_and_what_is_too_long_not_begun(page: Page, job: str) -> None:
    opened(page, job)
    page.locator("[data-object='1'] [data-seek]").click()
    page.get_by_role("button", name="Save clip").click()
    save = page.get_by_role("button", name="Record and save")
    for value in ("0", "999"):
        page.locator("#clip-to").fill(value)
        expect(save).to_be_disabled()
    expect(page.locator("#clip-hint")).to_contain_text("at most 300 s")
    page.locator("#clip-to").fill("2.4")
    saved: list[str] = []
    page.on("download", lambda download: saved.append(download.suggested_filename))
    page.evaluate(CANCELS_SOON)
    save.click()
    expect(page.locator("#clip-close")).to_have_attribute("data-was", "Cancel")
    expect(save).to_be_enabled()
    expect(page.locator("#clip-problem")).to_be_hidden()
    assert saved == []


def test_a_clip_of_one_frame_is_saved_and_one_past_the_end_refused(page: Page, job: str) -> None:
    opened(page, job)
    page.locator("[data-object='1'] [data-seek]").click()
    page.get_by_role("button", name="Save clip").click()
    save = page.get_by_role("button", name="Record and save")
    page.locator("#clip-from").fill("998")
    page.locator("#clip-to").fill("999")
    save.click()
    expect(page.locator("#clip-problem")).to_contain_text("ends before the clip begins")
    page.evaluate(ANY_STEP)  # of a video of few frames per second
    for start, end in (("0.43", "0.44"), ("2.38", "2.39")):  # the second one: of the last frame
        page.locator("#clip-from").fill(start)
        page.locator("#clip-to").fill(end)
        with page.expect_download() as download:
            save.click()
        expect(page.locator("#clip")).to_be_hidden()
        with av.open(download.value.path()) as clip:
            assert list(clip.decode(video=0))
        page.get_by_role("button", name="Save clip").click()


def test_where_the_source_cannot_be_played_the_overlay_stays(
    page: Page, client: Client, watch: Watch, job: str
) -> None:
    """The last test of the module: it removes the source."""
    Path(unquote(urlsplit(client.get(job).spec.uri).path)).unlink()
    video = opened(page, job)
    overlay = video.evaluate(SOURCE)
    page.get_by_label("Show #1 in the player").uncheck()
    expect(page.locator("#toggles-note")).to_contain_text("cannot be played here")
    expect(page.get_by_label("Show #1 in the player")).to_be_disabled()
    eventually(lambda: video.evaluate(SOURCE) == overlay, "the overlay")
    watch.faults.clear()  # Chromium's note of the file that is gone
