"""New versions of results on the page of a video."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Position, expect

from shoal.client import Client
from shoal.model.job import State
from tests import media
from tests.browser.conftest import WAIT_MS, Watch
from tests.browser.fit import fits
from tests.running import ROOT, Processes, eventually

expect.set_options(timeout=WAIT_MS)

SOURCE = "video => new URL(video.src).pathname"
PAINTED = """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
  .data.some((value) => value > 0)"""
WIDTH = 640  # of the clip, in pixels
IS_FITTED = """canvas => {
  const video = document.querySelector("#stage video");
  const { videoWidth: width, videoHeight: height } = video;
  const ratio = Math.min(video.clientWidth / width, video.clientHeight / height);
  return Math.abs(canvas.clientWidth - width * ratio) < 2;
}"""


def edited(page: Page, job_id: str) -> Locator:
    """The canvas over the picture of a job that is being edited."""
    page.goto(f"/ui/videos/{job_id}")
    loaded(page)
    page.get_by_text("Edit objects").click()
    expect(page.locator("#edit-object option").nth(2)).to_be_attached()
    return page.locator("#marks")


def loaded(page: Page) -> None:
    """The first update, which tells all again, has come as well, and the canvas has its place."""
    expect(page.locator("#connection")).to_have_text("live")
    video = page.locator("#stage video")
    eventually(lambda: video.evaluate("video => video.readyState >= 2"), "the video")
    eventually(lambda: page.locator("#marks").evaluate(IS_FITTED), "the canvas over the picture")


def show(page: Page, seconds: float, frame: int) -> None:
    page.locator("#stage video").evaluate("(video, at) => { video.currentTime = at }", seconds)
    expect(page.locator("#edit-at")).to_contain_text(f"Frame {frame} ")


def place(canvas: Locator, number: int, frame: int) -> Position:
    """The middle of a square of ``tests.fakes.Fake``."""
    box = canvas.bounding_box()
    assert box
    scale = box["width"] / WIDTH
    return {"x": (frame % 50 + 5) * scale, "y": (20 * number + 5) * scale}


def test_a_merge_from_the_picture_makes_a_version_that_can_be_compared(
    page: Page, client: Client, processes: Processes, sample_clip: Path
) -> None:
    processes.worker("tests.fakes:Fake")
    uri = client.upload(sample_clip).uri
    base = client.wait(client.submit(uri, ["person", "ball"], sample_fps=0, max_frames=30).id)
    page.set_viewport_size({"width": 390, "height": 800})
    canvas = edited(page, base.id)
    expect(page.get_by_role("heading", name="Versions")).to_have_count(0)
    show(page, 0.81, 20)
    canvas.click(position=place(canvas, 1, 20))
    expect(page.locator("#edit-object")).to_have_value("1")
    page.get_by_role("button", name="Merge with…").click()
    expect(page.locator("#edit-hint")).to_contain_text("Click the object that is the same as #1")
    canvas.click(position=place(canvas, 2, 20))
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Undo: Remove #1").click()
    page.get_by_label("Label").fill("player")
    page.get_by_role("button", name="Rename").click()
    expect(page.locator("#edit-changes li")).to_have_count(2)
    expect(page.locator("#edit-plan")).to_contain_text("Needs no model")
    fits(page, 390)
    page.get_by_role("button", name="Make new version").click()
    page.wait_for_url(lambda url: base.id not in url)
    job_id = page.url.rpartition("/")[2]
    record = client.wait(job_id)
    assert record.spec.base == base.id
    assert record.summary["objects_per_prompt"] == {"person": 0, "ball": 0, "player": 1}

    edited(page, job_id)
    page.locator("#edit-object").select_option("1")
    expect(page.locator("#edit-why")).to_contain_text("this version was edited")
    expect(page.get_by_role("button", name="Add points")).to_be_disabled()
    video = page.locator("#stage video")
    own = video.evaluate(SOURCE)
    assert job_id in own
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("button", name="Compare")).to_have_attribute("aria-pressed", "true")
    eventually(lambda: base.id in video.evaluate(SOURCE), "the other version")
    page.get_by_role("button", name="Compare").click()
    eventually(lambda: video.evaluate(SOURCE) == own, "this version again")
    page.get_by_role("link", name="first version").click()
    page.wait_for_url(f"**/ui/videos/{base.id}")
    expect(page.get_by_role("link", name="2. 2 objects merged, 1 object renamed")).to_be_visible()


def test_an_object_is_picked_in_the_timeline_and_named_in_the_picture(
    page: Page, client: Client, processes: Processes, sample_clip: Path, watch: Watch
) -> None:
    uri = client.upload(sample_clip).uri
    base = client.submit(uri, ["person", "ball"], sample_fps=0, max_frames=5)
    page.goto(f"/ui/videos/{base.id}")
    expect(page.locator("#edit")).to_be_hidden()
    processes.worker("tests.fakes:Fake")
    page.get_by_text("Edit objects").click()  # when it is done, without a reload
    page.locator("#edit-object").select_option("1")
    expect(page.get_by_role("button", name="Add points")).to_be_enabled()
    page.reload()
    loaded(page)
    canvas = page.locator("#marks")
    at = place(canvas, 1, 0)
    page.locator("#stage .screen").hover(position=at)
    eventually(lambda: canvas.evaluate(PAINTED), "the name of the object")
    page.mouse.move(0, 0)
    eventually(lambda: not canvas.evaluate(PAINTED), "an empty canvas")
    lane = page.locator("[data-object='2'] button")
    lane.press("Enter")
    expect(lane).to_have_attribute("aria-current", "true")
    eventually(lambda: canvas.evaluate(PAINTED), "the box of the object")

    edited(page, base.id)
    show(page, 0.09, 2)
    canvas.focus()
    for key in ["Shift+ArrowLeft"] * 3 + ["Enter"]:
        canvas.press(key)
    expect(page.locator("#edit-object")).to_have_value("")  # there is none in the middle
    lane.click()  # and goes to its first frame
    expect(page.locator("#edit-at")).to_contain_text("Frame 0 ")
    expect(page.locator("#edit-object")).to_have_value("2")
    expect(page.get_by_role("button", name="Split here")).to_be_disabled()
    page.get_by_role("button", name="Next frame").click()
    expect(page.locator("#edit-at")).to_contain_text("Frame 1 ")
    page.get_by_role("button", name="Split here").click()
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Merge with…").click()
    page.locator("[data-object='1'] button").click()
    expect(page.locator("#edit-changes li")).to_have_text(
        [
            re.compile("Split #2 at frame 1 "),
            re.compile("Remove #2 "),
            re.compile("Merge #2 with #1 "),
        ]
    )
    with page.expect_response("**/refine") as response:
        page.get_by_role("button", name="Make new version").click()
    assert response.value.status == 422
    expect(page.get_by_role("alert")).to_contain_text("more than once")
    watch.faults.clear()  # the browser logs the refusal


def test_an_object_is_corrected_with_points(
    page: Page, client: Client, processes: Processes, tmp_path: Path
) -> None:
    processes.env["PYTHONPATH"] += f":{ROOT / 'tests/sam3/site'}"
    processes.worker("tests.sam3.tiny:load", SHOAL_PART_S="0.5", OMP_NUM_THREADS="1")
    media.write_video(tmp_path / "clip.mp4", 60, 25)
    uri = client.upload(tmp_path / "clip.mp4").uri
    job = client.submit(uri, ["a"], sample_fps=0, engine="sam3")
    base = client.wait(job.id)
    assert base.state == State.SUCCEEDED, base.error
    canvas = edited(page, base.id)
    summary = client.download(base.id, "clip_summary.json", tmp_path)
    track = json.loads(summary.read_text())["tracks"][0]
    chosen, before, at = track["object_id"], track["first_frame"] - 1, track["first_frame"] + 2
    page.locator("#edit-object").select_option(str(chosen))
    show(page, (before + 0.5) / 25, before)
    expect(page.locator("#edit-why")).to_contain_text(f"#{chosen} is not on frame {before}")
    expect(page.get_by_role("button", name="Add points")).to_be_disabled()
    show(page, (at + 0.5) / 25, at)
    page.get_by_role("button", name="Add points").click()
    box = canvas.bounding_box()
    assert box
    canvas.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    canvas.click(position={"x": 10, "y": 10}, modifiers=["Alt"])
    changes = page.locator("#edit-changes li")
    expect(changes).to_contain_text([f"Correct #{chosen} on frame {at}: 2 points"])
    expect(page.get_by_role("button", name="Remove", exact=True)).to_be_disabled()
    expect(page.locator("#edit-why")).to_contain_text("Corrections and edits are versions of their")
    page.get_by_role("button", name="Undo", exact=True).click()
    expect(changes).to_contain_text(["1 point"])
    page.get_by_label("not on it").check()  # as a finger says it
    for key in ("ArrowLeft", "ArrowUp", "Enter", "Enter", "Backspace"):
        canvas.press(key)
    expect(changes).to_contain_text(["2 points"])
    plan = page.locator("#edit-plan")
    expect(plan).to_contain_text(
        re.compile(r"Tracking continues after frame \d+, from a checkpoint")
    )
    expect(page.locator("#edit-points")).to_contain_text("Checkpoints are kept until")

    # An object that was not found, on the first frame: before it there is no checkpoint.
    page.get_by_label("on the object", exact=True).check()
    page.locator("#edit-object").select_option("new")
    page.get_by_label("Label").fill("ball")
    show(page, 0, 0)
    canvas.click(position={"x": 20, "y": 20})
    expect(changes.nth(1)).to_contain_text("New object on frame 0: 1 point")
    expect(plan).to_contain_text("starts over from the first frame: no checkpoint before frame 0")
    page.get_by_role("button", name="Undo: New object").click()
    expect(plan).to_contain_text("Tracking continues after frame")

    page.get_by_role("button", name="Make new version").click()
    page.wait_for_url(lambda url: base.id not in url)
    record = client.wait(page.url.rpartition("/")[2])
    assert record.state == State.SUCCEEDED, record.error
    (made,) = record.spec.objects
    assert (made.object_id, made.frame) == (chosen, at)
    assert [inside for *_, inside in made.points] == [1, 0]
    assert made.points[0][:2] == pytest.approx((80, 60), abs=1)
    page.reload()
    expect(page.locator("#versions")).to_contain_text("2. corrected")


def test_new_is_filled_in_with_an_earlier_job(
    page: Page, client: Client, processes: Processes, sample_clip: Path
) -> None:
    uri = client.upload(sample_clip).uri
    options = {"sample_fps": 5.0, "max_objects": 3, "allow_truncated": True, "engine": "sam3"}
    on = {"label": "van", "object": "3", "frame": 20}
    base = client.submit(
        uri,
        ["person", "ball"],
        objects=[
            on | {"points": [[50, 40, 1], [80.5, 60, 0]]},
            on | {"frame": 30, "box": [10, 20, 110, 90]},
            {"label": "person", "frame": 0, "points": [[5, 5, 1]]},
        ],
        exemplars=[{"prompt": "ball", "frame": 4, "box": [1, 2, 33, 44], "positive": False}],
        outputs=[{"kind": "overlay", "boxes": True}, "csv"],
        **options,  # type: ignore[arg-type]
    )
    page.goto(f"/ui/videos/{base.id}")
    page.get_by_role("link", name="Run again with changes").click()
    expect(page.locator("#prompts")).to_have_value("person, ball")
    expect(page.locator("#pointed li")).to_have_text(
        [re.compile("van 3: 2 points, 1 box"), re.compile("person"), re.compile("nothing like the")]
    )
    page.locator("#prompts").fill("person, ball, dog")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/ui/videos/*")
    again = client.get(page.url.rpartition("/")[2])
    assert again.id != base.id
    assert again.spec.model_copy(update={"prompts": base.spec.prompts}) == base.spec

    # What was pointed at is not in another video.
    page.get_by_role("link", name="Run again with changes").click()
    expect(page.locator("#pointed li")).to_have_count(3)
    page.locator("#uri").fill("gs://elsewhere/other.mp4")
    page.locator("#uri").press("Tab")
    expect(page.locator("#pointed li")).to_have_count(0)
