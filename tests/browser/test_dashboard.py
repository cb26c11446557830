"""The dashboard as its users meet it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from shoal.client import Client
from shoal.model.job import Options, State
from shoal.model.record import now
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.browser.conftest import WAIT_MS, Watch
from tests.chaos.crawling import let_go
from tests.conftest import SubmitClip
from tests.running import Processes, eventually, held
from tests.serving import take, write_video

expect.set_options(timeout=WAIT_MS)

SLOWER = "tests.browser.engines:Slower"
PICTURE = """() => {
  const video = document.querySelector("video");
  const canvas = document.createElement("canvas");
  canvas.width = 32; canvas.height = 18;
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0, 32, 18);
  return context.getImageData(0, 0, 32, 18).data.join();
}"""


def holds(page: Page, condition: str) -> None:
    """Wait for a condition in JavaScript. Playwright's own way would need eval, which is barred."""
    eventually(lambda: evaluate(page, condition), condition)


def evaluate(page: Page, script: str) -> Any:
    return page.evaluate(
        f"() => {{ const VIDEO = document.querySelector('video'); return {script} }}"
    )


def stop_first_worker(processes: Processes) -> None:
    process = processes.running[0]
    process.terminate()
    process.wait(120)


# --- a video from the drop to the overlay --------------------------------------------------------


def test_a_video_is_dropped_watched_and_played(
    page: Page,
    watch: Watch,
    client: Client,
    processes: Processes,
    settings: Settings,
    sample_clip: Path,
) -> None:
    watch.may_fail = "/parts/"  # the browser may still be reading one when they are removed
    worker = processes.worker("tests.chaos.crawling:cpu", SHOAL_PART_S="1")
    page.goto("/ui")
    page.get_by_role("link", name="New", exact=True).click()
    page.wait_for_url("**/ui/new")  # with its scripts: see what they do with the form
    page.set_input_files("#file", sample_clip)
    page.fill("#prompts", "person, car")
    page.fill("[name=sample_fps]", "0")
    page.fill("[name=max_frames]", "120")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/ui/videos/[0-9a-f]{24}"))
    # While it is at work, what is finished plays already.
    eventually(lambda: client.parts(page.url.rpartition("/")[2]), "the first segment")
    with held(worker):
        expect(page.locator("#playing")).to_contain_text("still processing")
        expect(page.locator("video")).to_have_attribute("src", re.compile("/parts/"))
        holds(page, "VIDEO.readyState >= 2")
        expect(page.locator("#progress progress")).to_have_count(1)
    let_go(settings)
    # The end comes without a reload.
    expect(page.locator("#head .badge")).to_have_text("succeeded")
    expect(page.locator("video")).to_have_attribute("src", re.compile("_segmented.mp4"))
    holds(page, "VIDEO.readyState >= 2")
    evaluate(page, "VIDEO.currentTime = 0")
    holds(page, "!VIDEO.seeking")
    first = page.evaluate(PICTURE)
    evaluate(page, "VIDEO.play()")
    holds(page, "VIDEO.currentTime > 1")
    eventually(lambda: page.evaluate(PICTURE) != first, "another picture")
    # The timeline of the objects leads back into the video.
    evaluate(page, "VIDEO.pause()")
    lane = page.locator("[data-timeline]").first
    box = lane.bounding_box()
    assert box is not None
    lane.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    length = float(lane.get_attribute("data-timeline") or 0)
    middle = evaluate(page, "VIDEO.currentTime")
    assert middle == pytest.approx(length / 2, abs=0.1)
    page.locator("[data-seek]").first.press("Enter")
    assert evaluate(page, "VIDEO.currentTime") < middle
    ends = "segmented.mp4", "masks.parquet", "frames.parquet", "summary.json", "metadata.json"
    expect(page.locator("#files a")).to_have_text([re.compile(f"_{end}$") for end in ends])
    with page.expect_download() as download:
        page.locator("#files a").last.click()
    assert download.value.suggested_filename == f"{sample_clip.stem}_metadata.json"


def test_what_an_engine_cannot_do_is_greyed_with_the_reason(
    page: Page, processes: Processes
) -> None:
    processes.worker()
    eventually(processes.idle_workers, "the worker")
    page.goto("/ui/new")
    page.fill("#prompts", "goalkeeper")
    cpu = page.locator("[data-engine=cpu]")
    expect(cpu).to_contain_text("does not recognize 'goalkeeper'")
    expect(cpu.locator("input")).to_be_disabled()
    sam3 = page.locator("[data-engine=sam3]")
    expect(sam3).to_contain_text("no worker available")
    expect(sam3.locator("input")).to_be_disabled()
    page.fill("#prompts", "person")
    expect(cpu).not_to_contain_text("does not recognize")


def test_a_form_that_is_not_filled_in_says_what_is_missing(
    page: Page, watch: Watch, settings: Settings, client: Client
) -> None:
    page.goto("/ui/new")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#problem")).to_contain_text("Enter at least one prompt")
    page.fill("#prompts", "person")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#problem")).to_contain_text("Add a video file or a URL.")
    page.fill("#uri", (settings.data_dir / "missing.mp4").as_uri())
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#problem")).to_contain_text("Check the URI")
    assert any("404" in fault for fault in watch.faults)  # Chromium notes each refusal
    watch.faults.clear()
    # What is left empty is the page's default.
    page.fill("#uri", write_video(settings).as_uri())
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/ui/videos/[0-9a-f]{24}"))
    assert client.get(page.url.rpartition("/")[2]).spec.options.sample_fps == "auto"


def test_nothing_is_submitted_before_the_script_of_the_form_runs(page: Page) -> None:
    """The browser itself would send the form to where it is, and forget the chosen file."""
    held: list[Route] = []
    page.route("**/static/new.js", lambda route: held.append(route))
    page.goto("/ui/new", wait_until="commit")
    expect(page.locator("#submit")).to_be_disabled()
    while not held:
        page.wait_for_timeout(20)  # the browser's events come meanwhile
    held[0].continue_()
    expect(page.locator("#submit")).to_be_enabled()


# --- failures ------------------------------------------------------------------------------------


def test_a_failure_tells_its_cause_and_is_retried(
    page: Page, client: Client, processes: Processes, settings: Settings, sample_clip: Path
) -> None:
    processes.worker("cpu")
    broken = write_video(settings, "broken.mp4")
    broken.write_bytes(sample_clip.read_bytes()[:20_000])
    job = client.submit(broken.as_uri(), ["person"])
    page.goto("/ui")
    page.locator("#failures").get_by_role("link", name="broken.mp4").click()
    page.wait_for_url(re.compile(f"/ui/videos/{job.id}"))  # with its scripts
    expect(page.locator("#head .cause")).to_contain_text("ends before its index")
    expect(page.locator("#head .cause")).to_contain_text("upload it again")
    expect(page.locator("#head .cause code")).to_have_text("truncated_video")
    page.get_by_text("Worker log").click()
    expect(page.locator("#attempts pre").first).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#attempts .badge")).to_have_count(2)
    assert client.get(job.id).attempt == 2
    page.get_by_role("link", name="View all with this error").click()
    expect(page).to_have_url(re.compile("cause=truncated_video"))
    expect(page.locator("#rows tbody tr")).to_have_count(1)


def test_an_unknown_video_and_an_unknown_page(page: Page, watch: Watch) -> None:
    assert page.goto(f"/ui/videos/{'0' * 24}").status == 404  # type: ignore[union-attr]
    expect(page.locator("main")).to_contain_text("no job has the id")
    assert page.goto("/ui/nowhere").status == 404  # type: ignore[union-attr]
    assert page.goto("/ui/videos?state=lost").status == 422  # type: ignore[union-attr]
    expect(page.locator("main")).to_contain_text("state")
    watch.faults.clear()  # Chromium's notes of the three


# --- the list ------------------------------------------------------------------------------------


def test_filters_are_in_the_address(
    page: Page, client: Client, settings: Settings, queue: JobQueue
) -> None:
    for name in ("match-1.mp4", "match-2.mp4", "training.mp4"):
        client.submit(write_video(settings, name).as_uri(), ["person", "ball"])
    client.submit(write_video(settings, "harbour.mp4").as_uri(), ["boat"])
    page.goto("/ui/videos")
    rows = page.locator("#rows tbody tr")
    expect(rows).to_have_count(4)
    page.fill("[name=prompt]", "ball")
    page.fill("[name=text]", "match")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile(r"/ui/videos\?text=match&prompt=ball$"))
    expect(rows).to_have_count(2)
    page.reload()
    expect(rows).to_have_count(2)
    assert page.input_value("[name=prompt]") == "ball"
    page.get_by_role("link", name="Cancelled").click()
    expect(page.locator("#rows")).to_contain_text("No videos match these filters.")
    client.cancel(next(client.list(text="match-1")).id)
    expect(rows).to_have_count(1)  # live


def test_all_that_is_filtered_is_cancelled_and_retried(
    page: Page, client: Client, settings: Settings
) -> None:
    for number in range(5):
        client.submit(write_video(settings, f"match-{number}.mp4").as_uri(), ["person"])
    other = client.submit(write_video(settings, "harbour.mp4").as_uri(), ["boat"])
    page.goto("/ui/videos?prompt=person")
    page.get_by_role("button", name="Cancel 5 queued or running…").click()
    expect(page.locator("#confirm-text")).to_contain_text("5 videos matching the current filters")
    page.get_by_role("button", name="Keep processing").click()
    assert client.queue().jobs[State.CANCELLED] == 0
    page.get_by_role("button", name="Cancel 5 queued or running…").click()
    page.get_by_role("button", name="Cancel videos").click()
    expect(page.locator("#bulk-status")).to_have_text("5 cancelled")
    expect(page.locator("#rows .badge.cancelled")).to_have_count(5)
    assert client.get(other.id).state == State.QUEUED
    page.get_by_role("button", name="Retry 5 failed or cancelled…").click()
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.locator("#bulk-status")).to_have_text("5 requeued")
    assert client.queue().jobs[State.QUEUED] == 6
    page.goto("/ui/videos")
    expect(page.locator("#tabs")).to_contain_text("Queued 6")
    page.get_by_role("button", name="Cancel 6 queued or running…").click()
    expect(page.locator("#confirm-text")).to_contain_text("all that there are, as no filter is set")
    page.get_by_role("button", name="Keep processing").click()
    page.goto("/ui/videos?prompt=boat")
    expect(page.locator("#tabs")).to_contain_text("Queued 1")
    client.cancel(other.id)
    expect(page.locator("#tabs")).to_contain_text("Queued 0")


def test_pages_lead_on_and_back(page: Page, queue: JobQueue, submit_clip: SubmitClip) -> None:
    for frames in range(1, 56):
        submit_clip(options=Options(max_frames=frames))
    page.goto("/ui/videos")
    expect(page.locator("#rows tbody tr")).to_have_count(50)
    page.get_by_role("link", name="Older").click()
    expect(page.locator("#rows tbody tr")).to_have_count(5)
    page.get_by_role("link", name="Newest").click()
    expect(page.locator("#rows tbody tr")).to_have_count(50)


# --- the queue -----------------------------------------------------------------------------------


def test_the_queue_is_paused_and_resumed(
    page: Page, client: Client, processes: Processes, submit_clip: SubmitClip
) -> None:
    processes.worker()
    eventually(processes.idle_workers, "the worker")
    page.goto("/ui")
    page.locator("#pause").press("Enter")
    expect(page.locator(".banner")).to_contain_text("The queue is paused")
    job_id = submit_clip()
    expect(page.locator(".tile").first).to_contain_text("1")
    since = now() + 1.5
    eventually(
        lambda: any(worker.beat_at > since for worker in client.queue().workers),
        "the worker to look twice",
    )
    assert client.get(job_id).state == State.QUEUED
    page.get_by_role("button", name="Resume queue").click()
    assert client.wait(job_id).state == State.SUCCEEDED
    expect(page.locator(".banner")).to_contain_text("The queue is running.")


def test_a_running_video_is_cancelled(
    page: Page, processes: Processes, submit_clip: SubmitClip
) -> None:
    processes.worker(SLOWER)
    job_id = submit_clip()
    processes.wait_frames(job_id)
    page.goto(f"/ui/videos/{job_id}")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel video").click()
    expect(page.locator("#head .badge")).to_have_text("cancelled")
    expect(page.locator("#attempts .badge")).to_have_text("cancelled")


def test_workers_are_shown_with_their_video(
    page: Page, processes: Processes, submit_clip: SubmitClip
) -> None:
    processes.worker(SLOWER)
    page.goto("/ui")
    row = page.locator("#workers tbody tr")
    expect(row).to_contain_text("idle")
    submit_clip()
    expect(row).to_contain_text("clip.mp4")
    expect(row.locator("progress")).to_be_visible()
    stop_first_worker(processes)
    expect(page.locator("#workers")).to_contain_text("No workers connected.")


def test_a_live_update_leaves_the_focus_where_it_is(
    page: Page, client: Client, submit_clip: SubmitClip
) -> None:
    page.goto("/ui")
    expect(page.locator("#connection")).to_have_text("live")
    page.locator("#pause").focus()
    submit_clip()
    expect(page.locator(".tile strong").first).to_have_text("1")
    expect(page.locator("#pause")).to_be_focused()


# --- safety ---------------------------------------------------------------------------------------


def test_html_in_names_and_prompts_is_text(
    page: Page, client: Client, settings: Settings, queue: JobQueue, submit_clip: SubmitClip
) -> None:
    evil = "<img src=x onerror=alert(1)>"
    video = write_video(settings, f"{evil} & 'more' \".mp4")
    job_id = submit_clip(prompts=(evil, "</script><b>bold</b>"), path=video)
    for address in ("/ui", "/ui/videos", f"/ui/videos/{job_id}", "/ui/videos?text=%3Cb%3Eb"):
        page.goto(address)
        assert page.locator("main img, main b").count() == 0
    page.goto(f"/ui/videos/{job_id}")
    expect(page.locator("h1")).to_contain_text(evil)
    expect(page.locator(".prompts")).to_contain_text("</script><b>bold</b>")
    take(queue).cancel()
    expect(page.locator("#head .badge")).to_have_text("cancelled")
    assert page.locator("main img, main b").count() == 0


def test_the_reference_needs_no_other_host(page: Page) -> None:
    page.goto("/docs")
    expect(page.locator(".swagger-ui .info")).to_contain_text("Shoal")
    expect(page.locator(".opblock").first).to_be_visible()


def test_every_page_forbids_what_it_does_not_need(client: Client) -> None:
    with httpx.Client(base_url=client.url, timeout=60) as http:
        assert http.get("/", headers={"Accept": "text/html"}).headers["Location"] == "/ui"
        for address in ("/ui", "/ui/videos", "/ui/new", "/ui/nowhere"):
            policy = http.get(address).headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "http" not in policy
