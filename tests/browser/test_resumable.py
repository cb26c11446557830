"""Uploads on the page New: a line that breaks, and a page that was closed, cost no start over."""

from __future__ import annotations

import os
import re
from pathlib import Path

from playwright.sync_api import Dialog, Page, Request, Route, expect

from shoal.client import Client
from shoal.model.batch import BatchStatus
from shoal.queue.queue import JobQueue
from tests.browser.conftest import WAIT_MS, Watch
from tests.running import eventually

expect.set_options(timeout=WAIT_MS)

CONTENT = os.urandom(9 << 20)
ABORTED = "net::ERR_FAILED"


def choose(page: Page, path: Path) -> None:
    page.goto("/ui/new")
    page.set_input_files("#file", path)
    page.fill("#prompts", "person")
    page.get_by_role("button", name="Submit").click()


def test_an_upload_continues_after_a_fault_and_in_a_new_page(
    page: Page, watch: Watch, queue: JobQueue, tmp_path: Path
) -> None:
    path = tmp_path / "match.mp4"
    path.write_bytes(CONTENT)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    starts: list[str] = []
    pattern = re.compile("/uploads/resumable/")

    def refuse(route: Route, request: Request) -> None:
        if request.method == "PATCH":
            starts.append(request.headers["upload-offset"])
            route.abort()
        else:
            route.continue_()

    page.route(pattern, refuse)
    choose(page, path)
    while len(starts) < 2:  # it tries again by itself
        page.wait_for_timeout(50)
    location = page.evaluate("() => JSON.parse(Object.values(localStorage)[0]).uploadUrl")
    page.reload()  # as if it had been closed; it would go on if it were not refused until then
    page.unroute(pattern, refuse)
    with page.expect_request(lambda request: request.method == "PATCH") as sent:
        choose(page, path)
    assert sent.value.url.endswith(location)
    page.wait_for_url(re.compile(r"/ui/videos/[0-9a-f]{24}"))
    assert page.evaluate("() => localStorage.length") == 0
    (record,), _ = queue.records.page()
    assert record.spec.size == len(CONTENT)
    assert [fault for fault in watch.faults if ABORTED not in fault] == []
    watch.faults.clear()


class Slow:
    """Holds up the bytes of uploads."""

    def __init__(self, page: Page) -> None:
        self.begun = 0
        self._page = page
        page.route(re.compile("/uploads/resumable/"), self._hold)

    def _hold(self, route: Route, request: Request) -> None:
        if request.method != "PATCH":
            route.continue_()
            return
        self.begun += 1

    def wait(self, count: int) -> None:
        while self.begun < count:
            self._page.wait_for_timeout(50)

    def let_go(self) -> None:
        """Those that come from now on; what is held was cancelled."""
        self._page.unroute(re.compile("/uploads/resumable/"))


def files(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.write_bytes(os.urandom(1 << 20))
    return paths


def names(queue: JobQueue) -> list[str]:
    records, _ = queue.records.page()
    return sorted(record.spec.uri.rpartition("/")[2] for record in records)


def the_batch(client: Client) -> BatchStatus:
    (batch,) = client.batches.list(limit=5)
    return batch


def test_several_files_become_one_batch_as_the_command_line_would_make(
    page: Page, watch: Watch, client: Client, queue: JobQueue, tmp_path: Path
) -> None:
    paths = files(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    page.goto("/ui/new")
    expect(page.locator("#batch-name")).to_be_hidden()
    page.set_input_files("#file", paths)
    expect(page.locator("#batch-name")).to_have_attribute("placeholder", "a.mp4 and 2 more")
    page.fill("#prompts", "person, ball")
    page.select_option("[name=priority]", "high")
    page.fill("[name=max_objects]", "5")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile("/ui/batches/"))
    expect(page.locator("h1")).to_contain_text("a.mp4")
    batch = the_batch(client)
    assert (batch.name, batch.uris, batch.prompts) == ("a.mp4 and 2 more", 3, ["person", "ball"])
    assert (batch.priority, batch.options.max_objects) == ("high", 5)
    while len(names(queue)) < 3:  # the batch runner queues them
        page.wait_for_timeout(100)
    assert names(queue) == ["a.mp4", "b.mp4", "c.mp4"]


def test_a_refusal_of_one_of_several_comes_before_any_upload(
    page: Page, watch: Watch, client: Client, tmp_path: Path
) -> None:
    paths = files(tmp_path, "a.mp4", "b.mp4")
    paths[1].write_bytes(b"")
    sent = Slow(page)
    choose_all(page, paths)
    expect(page.locator("#problem")).to_contain_text("b.mp4 is empty")
    page.evaluate("() => { document.getElementById('drop').dataset.maxBytes = 1000; }")
    page.set_input_files("#file", paths[:1])
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#problem")).to_contain_text("the limit is 1.0 kB")
    assert sent.begun == 0


def choose_all(page: Page, paths: list[Path]) -> None:
    page.goto("/ui/new")
    page.set_input_files("#file", paths)
    page.fill("#prompts", "person")
    page.get_by_role("button", name="Submit").click()


def test_an_upload_tells_how_far_it_is_and_ends_where_one_wants(
    page: Page, watch: Watch, queue: JobQueue, tmp_path: Path
) -> None:
    slow = Slow(page)
    paths = files(tmp_path, "a.mp4", "b.mp4")
    choose_all(page, paths)
    slow.wait(1)
    expect(page.locator("#upload-text")).to_have_text("a.mp4 (1 of 2): 0 % of 1.0 MB")
    expect(page.locator("#submit")).to_be_disabled()

    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.get_by_role("link", name="Overview").click(no_wait_after=True)
    while not asked:
        page.wait_for_timeout(50)
    assert asked == ["beforeunload"]
    assert page.url.endswith("/ui/new")

    with page.expect_request(lambda request: request.method == "DELETE"):
        page.click("#upload-cancel")
    expect(page.locator("#uploading")).to_be_hidden()
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#submit")).to_be_enabled()
    eventually(lambda: page.evaluate("() => localStorage.length") == 0, "it to be forgotten")
    slow.let_go()
    page.get_by_role("button", name="Submit").click()  # nothing is lost of the form
    page.wait_for_url(re.compile("/ui/batches/"))
    assert asked == ["beforeunload"]
    watch.faults.clear()  # Chromium's note of the request that was cancelled


def test_an_unfinished_upload_is_told_of_after_a_reload(
    page: Page, watch: Watch, tmp_path: Path
) -> None:
    page.on("dialog", lambda dialog: dialog.accept())
    slow = Slow(page)
    choose_all(page, files(tmp_path, "a.mp4"))
    slow.wait(1)
    page.goto("/ui/new")
    item = page.locator("#unfinished li")
    expect(item).to_contain_text("a.mp4: 0 % of 1.0 MB uploaded. Choose it again to continue.")
    item.get_by_role("button").click()
    expect(item).to_have_count(0)
    assert page.evaluate("() => localStorage.length") == 0
    watch.faults.clear()


DROP = """target => {
  const data = new DataTransfer();
  data.items.add(new File(["x"], "dropped.mp4", { type: "video/mp4" }));
  const seen = ["dragenter", "dragover", "drop"].map((name) => {
    const event = new DragEvent(name, { dataTransfer: data, bubbles: true, cancelable: true });
    document.querySelector(target).dispatchEvent(event);
    return event.defaultPrevented;
  });
  return seen.every(Boolean);
}"""


def test_a_file_dropped_beside_the_zone_is_taken(page: Page) -> None:
    page.goto("/ui/new")
    for target in ("h1", "#prompts", "#drop"):
        page.set_input_files("#file", [])
        assert page.evaluate(DROP, target), "the browser would leave the page for the file"
        expect(page.locator("#file-text")).to_have_text("dropped.mp4")
