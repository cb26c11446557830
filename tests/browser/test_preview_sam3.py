"""The step "Preview" on SAM3, a tiny one: threshold, point, box and exemplar."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from shoal.client import Client
from tests.browser.conftest import WAIT_MS
from tests.browser.test_preview import painted, previewed
from tests.running import Processes, eventually, sam3_environment

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    pytest.importorskip("torch")
    return sam3_environment(tmp_path_factory.mktemp("sam3"))


def drag(page: Page, canvas: Locator, x0: int, y0: int, x1: int, y1: int) -> None:
    """In pixels of the screen, from the corner of a frame."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + x0, box["y"] + y0)
    page.mouse.down()
    page.mouse.move(box["x"] + x1, box["y"] + y1, steps=4)
    page.mouse.up()


@pytest.mark.timeout(900)  # a model at work on a machine that may be slow
def test_threshold_point_box_and_exemplars(
    page: Page,
    client: Client,
    processes: Processes,
    sample_clip: Path,
    environment: dict[str, str],
) -> None:
    processes.worker("sam3", **environment)
    eventually(processes.idle_workers, "the worker", 240)
    stills = previewed(page, sample_clip, "a car")
    canvas = stills.nth(0).locator("canvas")
    expect(stills.nth(0)).to_contain_text("× a car")
    usual = painted(canvas)
    assert usual > 0
    page.locator("#threshold").fill("1")
    assert painted(canvas) == 0
    page.click("#threshold-reset")
    assert painted(canvas) == usual

    # A point and a box of objects, an example of a label of its own, and one of what is not meant.
    canvas.click(position={"x": 50, "y": 40})
    page.fill("#pointing-label", "van")
    page.click("#pointing-new")
    drag(page, canvas, 100, 20, 140, 70)
    page.fill("#pointing-label", "wheel")
    page.check("[name=box-tool][value=like]")
    drag(page, canvas, 20, 20, 60, 60)
    box = canvas.bounding_box()
    assert box
    scale = 640 / box["width"]
    page.fill("#pointing-label", "a car")
    page.check("[name=box-tool][value=unlike]")
    drag(page, stills.nth(1).locator("canvas"), 150, 20, 200, 60)
    items = page.locator("#pointed li")
    expect(items).to_have_count(4)
    expect(items.nth(2)).to_contain_text("wheel: everything like the box at 00:0")
    expect(items.nth(3)).to_contain_text("a car: nothing like the box at 00:0")

    page.click("#preview-run")
    expect(page.locator("#preview-run")).to_be_enabled()
    expect(stills).to_have_count(6)  # those that were pointed at are not shown twice
    expect(stills.nth(0)).to_contain_text("× van")
    for number in range(6):  # what the example shows is found on all frames, also before its own
        expect(stills.nth(number)).to_contain_text("× wheel")

    page.click("#submit")
    page.wait_for_url("**/ui/videos/*")
    spec = client.get(page.url.rsplit("/", 1)[1]).spec
    assert [(each.label, bool(each.points), bool(each.box)) for each in spec.objects] == [
        ("a car", True, False),
        ("van", False, True),
    ]
    first, second = spec.exemplars
    assert (first.prompt, first.frame, first.positive) == ("wheel", 20, True)
    assert (second.prompt, second.positive) == ("a car", False)
    assert second.frame > 20
    assert first.box[2] - first.box[0] == pytest.approx(40 * scale, abs=4)


def test_what_the_cpu_engine_cannot_do_is_greyed(
    page: Page, client: Client, processes: Processes, sample_clip: Path
) -> None:
    processes.worker("cpu")
    eventually(processes.idle_workers, "the worker")
    previewed(page, sample_clip)
    expect(page.locator("[name=box-tool][value=like]")).to_be_disabled()
    reason = page.locator("#pointing-reason")
    expect(reason).to_contain_text("you cannot point at objects or show examples")
    expect(reason).to_contain_text("text prompts only")
