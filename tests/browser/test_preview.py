"""The step "Preview" of the form for new videos, on a real worker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from shoal.client import Client
from tests.browser.conftest import WAIT_MS, Watch
from tests.browser.fit import fits
from tests.browser.pages.test_accessibility import violations_here
from tests.running import Processes, eventually

expect.set_options(timeout=WAIT_MS)


def uploads(page: Page) -> list[str]:
    """The uploads of a page, from now on."""
    seen: list[str] = []
    page.on(
        "request", lambda request: seen.append(request.url) if request.method == "PATCH" else None
    )
    return seen


def painted(canvas: Locator) -> int:
    """How many pixels of a canvas are not empty."""
    count: int = canvas.evaluate(
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; }"
    )
    return count


def previewed(page: Page, clip: Path, prompts: str = "person, bicycle") -> Locator:
    """The frames of a preview that is complete."""
    page.goto("/ui/new")
    page.set_input_files("#file", clip)
    with page.expect_response(lambda answer: "/engines?prompt=" in answer.url):
        page.fill("#prompts", prompts)  # what the engine can do is known before it is asked
    page.click("#preview-run")
    expect(page.locator("#preview-run")).to_have_text("Preview again")
    stills = page.locator(".still")
    expect(stills).to_have_count(6)
    return stills


def test_a_preview_shows_what_will_be_found_and_the_form_submits_it(
    page: Page, watch: Watch, client: Client, processes: Processes, sample_clip: Path
) -> None:
    processes.worker("cpu", SHOAL_HOURLY_PRICE="1.5")
    eventually(processes.idle_workers, "the worker")
    sent = uploads(page)

    # What only another engine finds is refused before the upload.
    page.goto("/ui/new")
    page.set_input_files("#file", sample_clip)
    page.fill("#prompts", "unicorn")
    page.click("#submit")
    expect(page.locator("#problem")).to_contain_text("unicorn")
    assert sent == []
    watch.faults.clear()  # Chromium's note of the refusal

    stills = previewed(page, sample_clip)
    at = next(n for n, text in enumerate(stills.all_inner_texts()) if "× person" in text)
    canvas = stills.nth(at).locator("canvas")
    usual = painted(canvas)
    assert usual > 500
    expect(page.locator("#preview-status")).to_contain_text("person")
    expect(page.locator("#estimate")).to_contain_text("250 frames to process")
    expect(page.locator("#estimate")).to_contain_text(re.compile(r"costs (less than )?\$0\.\d\d"))
    expect(page.locator("#estimate")).to_contain_text(
        re.compile(r"Objects to expect: .*\d × person.* on one worker at [\d.]+ frames/s")
    )
    page.fill("[name=max_frames]", "10")
    expect(page.locator("#estimate")).to_contain_text("10 frames to process")
    page.fill("[name=max_frames]", "0")
    page.fill("[name=sample_fps]", "5")
    expect(page.locator("#estimate")).to_contain_text("50 frames to process")

    # The slider filters at once, and sets the option.
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("#threshold").fill("1")
    expect(stills.nth(at)).to_contain_text("nothing")
    assert painted(canvas) == 0
    page.locator("#threshold").fill("0.2")
    assert painted(canvas) >= usual
    assert page.input_value("[name=score_threshold]") == "0.2"
    page.click("#threshold-reset")
    assert painted(canvas) == usual
    assert asked == []

    # What this engine cannot do is greyed, with the reason.
    expect(page.locator("#pointing-new")).to_be_disabled()
    expect(page.locator("#pointing-reason")).to_contain_text("text prompts only")

    # Other prompts on the same frames, and then the job, without another upload.
    page.fill("#prompts", "bicycle")
    page.click("#preview-run")
    expect(stills.filter(has_text="person")).to_have_count(0)
    expect(stills.filter(has_text="bicycle")).not_to_have_count(0)
    assert len(sent) == 1
    page.locator("#threshold").fill("0.4")
    page.click("#submit")
    page.wait_for_url("**/ui/videos/*")
    assert len(sent) == 1
    spec = client.get(page.url.rsplit("/", 1)[1]).spec
    assert spec.prompts == ("bicycle",)
    assert (spec.options.score_threshold, spec.options.sample_fps) == (0.4, 5)


def test_without_a_worker_the_page_says_so_and_uploads_once(
    page: Page, watch: Watch, client: Client, sample_clip: Path
) -> None:
    sent = uploads(page)
    page.goto("/ui/new")
    page.set_input_files("#file", sample_clip)
    page.fill("#prompts", "person")
    for _ in range(2):
        with page.expect_response("**/previews"):
            page.click("#preview-run")
        expect(page.locator("#problem")).to_contain_text("no worker is connected")
    assert len(sent) == 1
    watch.faults.clear()  # Chromium's notes of the refusals


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("[name=direction]", "both", "start_frame"),
        ("[name=score_threshold]", "7", "score_threshold"),
        ("#prompts", "x" * 200, "200 characters"),
    ],
)
def test_what_is_refused_is_refused_before_the_upload(
    page: Page,
    watch: Watch,
    client: Client,
    sample_clip: Path,
    field: str,
    value: str,
    said: str,
) -> None:
    sent = uploads(page)
    page.goto("/ui/new")
    page.set_input_files("#file", sample_clip)
    page.fill("#prompts", "person")
    if field == "[name=direction]":
        page.select_option(field, value)
    else:
        page.fill(field, value)
    page.click("#submit")
    expect(page.locator("#problem")).to_contain_text(said)
    assert sent == []
    watch.faults.clear()  # Chromium's note of the refusal
    page.fill("#prompts", "person")
    page.select_option("[name=direction]", "forward")
    page.fill("[name=score_threshold]", "")
    page.click("#submit")
    page.wait_for_url("**/ui/videos/*")
    assert len(sent) == 1


def pointed(page: Page) -> list[dict[str, Any]]:
    """What the form would submit as 'objects'."""
    found: list[dict[str, Any]] = page.evaluate(
        "async () => (await import('/static/preview.js')).visual().objects ?? []"
    )
    return found


def test_objects_are_pointed_at_by_mouse_keyboard_and_touch(
    page: Page, client: Client, processes: Processes, sample_clip: Path
) -> None:
    """An engine of the operator's own is asked; Shoal does not know what it cannot do."""
    processes.worker("tests.browser.pointer:Pointer")
    eventually(processes.idle_workers, "the worker")
    stills = previewed(page, sample_clip)
    canvas = stills.nth(0).locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    scale = 640 / box["width"]
    frame = 20  # of the first still

    canvas.click(position={"x": 50, "y": 40})
    canvas.click(position={"x": 80, "y": 60}, modifiers=["Alt"])
    (first,) = pointed(page)
    assert (first["label"], first["frame"]) == ("person", frame)
    assert [point[2] for point in first["points"]] == [1, 0]
    assert first["points"][0][:2] == pytest.approx([50 * scale, 40 * scale], abs=3)
    expect(page.locator("#pointed li")).to_contain_text("2 points")

    page.click("#pointing-undo")
    assert len(pointed(page)[0]["points"]) == 1

    page.fill("#pointing-label", "referee")
    page.click("#pointing-new")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + 100, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 70, steps=4)
    page.mouse.up()
    second = pointed(page)[1]
    assert second["label"] == "referee"
    assert second["box"] == pytest.approx([100 * scale, 20 * scale, 140 * scale, 70 * scale], abs=4)

    # By keyboard, on another frame: the middle of the picture, one step to the right.
    other = stills.nth(1).locator("canvas")
    other.focus()
    for key in ("ArrowRight", "Enter", "Alt+Enter"):
        other.press(key)
    third = pointed(page)[2]
    assert third["points"] == [[333, 136, 1], [333, 136, 0]]
    other.press("Backspace")
    assert len(pointed(page)[2]["points"]) == 1

    # A finger has no Alt key: the choice beside it says what a tap is.
    page.locator("[name=tool][value=off]").check()
    other.click(position={"x": 20, "y": 20})
    assert pointed(page)[2]["points"][1][2] == 0

    # Seen again with what was pointed at, and submitted.
    page.click("#preview-run")
    expect(stills.nth(0)).to_contain_text("referee")
    page.click("#submit")
    page.wait_for_url("**/ui/videos/*")
    spec = client.get(page.url.rsplit("/", 1)[1]).spec
    assert [each.label for each in spec.objects] == ["person", "referee", "referee"]
    assert [each.object for each in spec.objects] == ["1", "2", "2"]


@pytest.mark.parametrize("engine", ["cpu", "tests.browser.pointer:Pointer"])
def test_every_state_of_the_step_is_accessible_and_fits(
    page: Page, client: Client, processes: Processes, sample_clip: Path, engine: str
) -> None:
    """With what is greyed, or with a point, a box and an example; while a file is sent."""
    processes.worker(engine)
    eventually(processes.idle_workers, "the worker")
    canvas = previewed(page, sample_clip).nth(0).locator("canvas")
    if engine != "cpu":
        canvas.click(position={"x": 50, "y": 40})
        page.check("[name=box-tool][value=like]")
        canvas.press("b")
        canvas.press("Shift+ArrowRight")
        for key in ("ArrowRight", "ArrowDown", "b"):
            canvas.press(key)
        expect(page.locator("#pointed li")).to_have_count(2)
    page.evaluate(
        """name => {
          const ids = ["uploading", "unfinished", "problem"];
          for (const id of ids) document.getElementById(id).hidden = false;
          document.getElementById("batch-name").closest("label").hidden = false;
          document.getElementById("upload-text").textContent = `${name} (1 of 2): 43 % of 1.2 GB`;
          document.getElementById("problem").textContent = name;
          document.getElementById("unfinished").innerHTML =
            `<li><span>${name}: 43 % of 1.2 GB uploaded.</span><button>Discard</button></li>`;
        }""",
        "without_a_place_to_break" * 6,
    )
    found = list(violations_here(page, "/ui/new"))
    assert not found, "\n".join(found)
    for width in (375, 390, 768, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        fits(page, width)
