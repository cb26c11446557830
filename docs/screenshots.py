"""Takes the pictures of the dashboard in docs/img: ``python docs/screenshots.py``.

A Valkey, an API and a worker of their own process the sample clip; the rest of what is to be seen
(other workers, other videos, the last hours) is made up. Needs Chromium and ``make dev``.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from api.events.inbox import SkippedLog
from benchmarks.serving import valkey
from shoal.client import Client
from shoal.errors import AudioOnly, StorageUnavailable, TruncatedVideo
from shoal.ingest.decide import Reason, Skip
from shoal.local.stack import free_port
from shoal.model.batch import BatchRequest
from shoal.model.delivery import DeliveryState, Try
from shoal.model.failure import Failure
from shoal.model.job import JobSpec, Options
from shoal.model.record import Progress, now
from shoal.model.worker import WorkerInfo
from shoal.queue.batches import Batches
from shoal.queue.connection import connect
from shoal.queue.lease import Lease
from shoal.queue.queue import (
    JobQueue,
    open_queue,
)
from shoal.queue.stats import Sample
from shoal.queue.workers import announce, list_workers
from shoal.settings import Settings
from tests.browser.chromium import launched
from tests.running import eventually, started

RULES = """
[[rule]]
name = "soccer"
bucket = "gs://matches"
key = "soccer/**/*.mp4"
prompts = ["soccer player", "ball"]
options = { sample_fps = 5, engine = "sam3" }
results = "gs://matches-results"

[[rule]]
name = "harbour"
bucket = "s3://harbour-cams"
key = "pier-*/**"
prompts = ["boat", "person"]
results = "s3://harbour-results"
"""
LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
FAILURES = (
    AudioOnly("the file has sound but no picture"),
    TruncatedVideo("the file ends at 12.4 s of 95.0 s"),
    StorageUnavailable("s3://matches did not answer within 60 s"),
)


@contextmanager
def stack(folder: Path) -> Iterator[tuple[Settings, JobQueue, Client, object]]:
    with valkey(folder) as redis_url:
        settings = Settings(
            redis_url=redis_url,
            data_dir=folder / "data",
            work_dir=folder / "work",
            api_port=free_port(),
            lease_s=3600,  # the made-up workers beat once
        )
        (folder / "rules.toml").write_text(RULES)
        os.chdir(folder)
        os.environ |= {
            "SHOAL_RULES": "rules.toml",
            "SHOAL_SWEEP_S": "0",
            "SHOAL_HOURLY_PRICE": "0.4",
        }
        queue = open_queue(settings, connect(settings))
        with started(settings, queue, folder / "logs") as processes:
            yield settings, queue, processes.api(), processes


def submit_clip(client: Client, clip: Path) -> str:
    uploaded = client.upload(clip)
    return client.submit(uploaded.uri, ["person", "car", "bicycle"], sample_fps=0).id


def make_up(queue: JobQueue) -> None:
    """Other videos, workers and hours, so that the pages look as in use."""
    chance = random.Random(7)
    _queue_videos(queue, chance)
    _end_videos(queue, chance)
    _deliver_webhooks(queue)
    _skip_uploads(queue)
    for index in range(3):
        _run_video(queue, index)
    _history(queue, chance)


def _queue_videos(queue: JobQueue, chance: random.Random) -> None:
    cameras = ("north-gate", "pier-2", "lobby", "yard", "match", "training")
    batch = Batches(queue).create(
        BatchRequest(
            name="Autumn matches, once more with boats",
            globs=["s3://matches/2026/**/*.mp4"],
            prompts=["person", "ball"],
        )
    )
    Batches(queue).change(batch.id, lambda b: b.model_copy(update={"expanded_at": now()}))
    for number in range(64):
        camera = cameras[number % len(cameras)]
        spec = JobSpec(
            uri=f"s3://matches/2026/{camera}/{camera}-{1000 + 37 * number}.mp4",
            version="1",
            size=chance.randrange(40_000_000, 900_000_000),
            prompts=(("person", "ball"), ("boat",), ("person", "car"))[number % 3],
            options=Options(sample_fps=5),
            results="s3://results",
        )
        callback = "https://hooks.example.org/shoal" if number < 12 else ""
        queue.submit(spec, batch=batch.id if number % 2 else "", callback=callback)


def _end_videos(queue: JobQueue, chance: random.Random) -> None:
    for number in range(54):
        lease = take(queue, f"gpu-{number % 3}")
        if number % 9 == 4:
            failure = Failure.of(chance.choice(FAILURES))
            lease.fail(failure.model_copy(update={"transient": False}))
            continue
        frames, objects = chance.randrange(400, 9000), chance.randrange(1, 40)
        summary = {
            "frames_processed": frames,
            "duration_s": frames / 5,
            "objects_detected": objects,
            "objects_per_prompt": dict.fromkeys(lease.record.spec.prompts, objects // 2),
            "engine": "sam3",
        }
        lease.succeed({}, summary)


def _deliver_webhooks(queue: JobQueue) -> None:
    for number, state in enumerate((*["delivered"] * 7, "failed", "pending")):
        items, _ = queue.callbacks.page(state=None, job="", limit=20, cursor="")
        tried = Try(at=now() - 60, seconds=0.2, status=200 if state == "delivered" else 503)
        delivery = items[number].model_copy(
            update={"state": DeliveryState(state), "tries": [tried], "attempts": 1}
        )
        queue.redis.set(queue.callbacks.key(delivery.id), delivery.model_dump_json())


def _skip_uploads(queue: JobQueue) -> None:
    log = SkippedLog(queue.redis, queue.name)
    for number in range(9):
        uri = f"s3://harbour-cams/yard/cam-{number}.mp4"
        log.note("sns", [Skip(uri, Reason.NO_RULE, "none of 2 rules matches")])
    log.note("gcs", [Skip("gs://matches/soccer/.final.mp4.part", Reason.TEMPORARY)])
    reason = "rule 'soccer' takes videos only"
    log.note("gcs", [Skip("gs://matches/soccer/teams.csv", Reason.WRONG_SUFFIX, reason)])


def _run_video(queue: JobQueue, index: int) -> None:
    lease = take(queue, f"gpu-{index}")
    frames = 900 * (index + 1)
    lease.heartbeat(Progress(stage="process", frames=frames, frames_expected=4200, fps=8.5 + index))
    worker = WorkerInfo(
        name=f"gpu-{index}",
        host=f"node-{index}",
        pid=1,
        started_at=now() - 7200,
        beat_at=now(),
        state="busy",
        job=lease.record.id,
        engine="sam3",
        device="cuda:0 (NVIDIA H100)",
        hourly_price=3.2,
        model_loads=1,
        jobs_done=15 + index,
    )
    announce(queue.redis, queue.name, worker, ttl_s=3600)


def beat(queue: JobQueue) -> None:
    """The made-up workers are alive."""
    for worker in list_workers(queue.redis, queue.name):
        announce(queue.redis, queue.name, worker.model_copy(update={"beat_at": now()}), ttl_s=3600)


def _history(queue: JobQueue, chance: random.Random) -> None:
    start = (now() // 60 - 6 * 60 - 2) * 60
    queue.redis.delete(queue.records.totals.history_key)
    queued, succeeded, failed = 10, 0, 0
    for minute in range(6 * 60 + 2):
        queued = max(3, queued + chance.choice((-3, -2, -1, -1, 0, 1, 1, 2)))
        queued += 22 if minute in (70, 210) else 0
        succeeded += chance.random() < 0.35
        failed += chance.random() < 0.04
        queue.records.totals.record(
            Sample(
                at=start + 60 * minute,
                queued=min(queued, 60),
                running=4 if minute % 90 else 3,
                oldest_queued_s=40,
                workers=4,
                succeeded=succeeded,
                failed=failed,
                frames=succeeded * 2500,
            )
        )
    sums: dict[str, float] = {
        "jobs:succeeded": succeeded,
        "jobs:failed": failed,
        "frames": succeeded * 2500,
    }
    sums |= {"seconds:succeeded": 93_600, "cost:succeeded": 83.2, "wasted:seconds": 840}
    sums |= {"wasted:cost": 0.75}
    queue.redis.delete(queue.records.totals.key)
    queue.redis.hset(queue.records.totals.key, mapping=sums)


def take(queue: JobQueue, worker: str) -> Lease:
    job_id = queue.line.take()
    assert job_id is not None
    lease = Lease.take(queue, job_id.decode(), worker, "", 3.2)
    assert lease is not None
    key, began = (
        queue.records.key(lease.record.id),
        now() - 60 * random.Random(job_id).randint(2, 40),
    )
    queue.redis.hset(key, "started_at", began)
    return lease


def preview(page: Page, uri: str) -> Locator:
    """The step "Preview" of the page New, with its frames."""
    page.fill("#uri", uri)
    page.fill("#prompts", "person, bicycle, car")
    page.click("#preview-run")
    page.get_by_role("button", name="Preview again").wait_for(timeout=60_000)
    page.wait_for_function("() => [...document.images].every((each) => each.complete)")
    step = page.locator("#preview")
    step.scroll_into_view_if_needed()
    return step


def shoot(
    browser: Browser,
    url: str,
    folder: Path,
    pages: dict[str, str],
    queue: JobQueue,
    video: str = "",
) -> None:
    """Each page in light and dark, on a laptop and a phone.

    Args:
        video: URI of the one that the page "preview" shows.
    """
    for scheme in ("light", "dark"):
        for device, size in (("laptop", LAPTOP), ("phone", PHONE)):
            context = browser.new_context(
                viewport=size, color_scheme=scheme, device_scale_factor=1, reduced_motion="reduce"
            )
            page = context.new_page()
            for name, path in pages.items():
                beat(queue)
                page.goto(url + path)
                page.wait_for_timeout(1500)  # the first live update
                if name == "new":
                    page.fill("#prompts", "person, goalkeeper")
                    page.wait_for_timeout(800)
                if name == "preview":
                    picture = folder / f"{name}-{device}-{scheme}.png"
                    preview(page, video).screenshot(path=picture)
                    continue
                if name in ("video", "running") and page.locator("video").is_visible():
                    page.evaluate(
                        "() => { const v = document.querySelector('video');"
                        " v.currentTime = v.buffered.length ? v.buffered.start(0) + 2 : 2; }"
                    )
                    page.wait_for_timeout(1200)
                page.screenshot(
                    path=folder / f"{name}-{device}-{scheme}.png", full_page=device == "phone"
                )
            context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "img")
    parser.add_argument(
        "--clip", type=Path, default=os.environ.get("SHOAL_SAMPLE_CLIP", "demo/bikes.mp4")
    )
    args = parser.parse_args()
    args.out, args.clip = args.out.resolve(), Path(args.clip).resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        stack(Path(folder)) as (_, queue, client, processes),
        sync_playwright() as playwright,
        launched(playwright) as browser,
    ):
        worker = processes.worker(engine="cpu", SHOAL_PART_S="2")
        eventually(processes.idle_workers, "the worker", 180)
        job_id = submit_clip(client, args.clip)
        eventually(lambda: len(client.parts(job_id)) >= 2, "two parts", 120)
        url = client.url
        shoot(browser, url, args.out, {"running": f"/ui/videos/{job_id}"}, queue)
        client.wait(job_id)
        uri = client.get(job_id).spec.uri
        shoot(browser, url, args.out, {"preview": "/ui/new"}, queue, uri)
        broken = Path(folder) / "cut-off.mp4"
        broken.write_bytes(args.clip.read_bytes()[: args.clip.stat().st_size // 3])
        bad = client.submit(client.upload(broken).uri, ["person"], sample_fps=0).id
        client.wait(bad)
        worker.terminate()
        worker.wait()
        make_up(queue)
        batch_id = Batches(queue).page(limit=1)[0][0].id
        time.sleep(1)
        pages = {
            "overview": "/ui",
            "videos": "/ui/videos",
            "video": f"/ui/videos/{job_id}",
            "failed": f"/ui/videos/{bad}",
            "new": "/ui/new",
            "batches": "/ui/batches",
            "batch": f"/ui/batches/{batch_id}",
            "callbacks": "/ui/callbacks",
            "skipped": "/ui/skipped",
            "rq": "/rq",
            "rules": "/ui/rules?uri=gs%3A%2F%2Fmatches%2Fsoccer%2Fmay%2Ffinal.mp4",
        }
        shoot(browser, url, args.out, pages, queue)


if __name__ == "__main__":
    main()
