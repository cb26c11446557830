"""Videos that no event led to: found by a sweep, whatever Redis has forgotten."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from shoal.client import Client
from shoal.queue.queue import JobQueue
from shoal.results.layout import metadata_name
from shoal.settings import Settings
from shoal.storage import ObjectInfo
from tests import media
from tests.running import Processes, eventually
from tests.serving import publish, served, take


@pytest.fixture
def watched(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a rule for a folder."""
    inbox = settings.data_dir / "inbox"
    (inbox / "deep").mkdir(parents=True)
    rules = tmp_path / "rules.toml"
    rules.write_text(f'[[rule]]\nbucket = "{inbox.as_uri()}"\nprompts = ["person"]\n')
    return settings.model_copy(update={"rules": rules, "sweep_s": 0, "lease_s": 600.0})


def edit(rules: Path, old: str, new: str) -> None:
    """The API reads the file at any moment: it is never half written."""
    written = rules.with_suffix(".new")
    written.write_text(rules.read_text().replace(old, new))
    written.replace(rules)


def drop(settings: Settings, name: str, age_s: float = 3600) -> Path:
    path = settings.data_dir / "inbox" / name
    path.write_bytes(b"not really a video")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def sweep(client: Client, *, dry_run: bool = False) -> list[str]:
    return [found.uri for page in client.reconcile(dry_run=dry_run) for found in page.queued]


def test_what_has_no_job_and_no_results_is_queued_once(
    watched: Settings, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.background.reconcile.SETTLED_S", 600.0)  # however long this takes
    uris = [drop(watched, name).as_uri() for name in ("a b.mp4", "deep/c+d%20.mp4")]
    drop(watched, "notes.txt")
    drop(watched, "new.mp4", age_s=0)  # still being written
    with served(watched) as url, Client(url) as client:
        assert sorted(sweep(client, dry_run=True)) == uris
        assert queue.depth().queued == 0
        assert sorted(sweep(client)) == uris
        assert sweep(client) == []
        *_, page = client.reconcile()
        assert page.complete
        assert page.skipped == {"changing": 1, "wrong_suffix": 1}
        # The very job of a submission by hand.
        assert client.submit(uris[0], ["person"], sample_fps=1).id in {r.id for r in client.list()}
    assert queue.depth().queued == 2


def test_the_rule_says_who_is_told(watched: Settings, queue: JobQueue) -> None:
    assert watched.rules
    hook = "https://example.com/hook"
    watched.rules.write_text(watched.rules.read_text() + f'callback = "{hook}"\n')
    secret = SecretStr("whsec_" + "QUJDRA" * 6)
    drop(watched, "a.mp4")
    with (
        served(watched.model_copy(update={"callback_secret": (secret,)})) as url,
        Client(url) as client,
    ):
        sweep(client)
        assert [record.callbacks for record in client.list()] == [[hook]]


def test_an_empty_redis_loses_no_video_and_repeats_none(watched: Settings, queue: JobQueue) -> None:
    done, lost = drop(watched, "done.mp4").as_uri(), drop(watched, "lost.mp4").as_uri()
    with served(watched) as url, Client(url) as client:
        sweep(client)
        (spec,) = [record.spec for record in client.list() if record.spec.uri == done]
        publish(spec, watched, {metadata_name(spec): b"{}"})
        queue.redis.flushall()
        assert sweep(client) == [lost]
        assert sweep(client) == []


def test_a_folder_is_watched(watched: Settings, queue: JobQueue, processes: Processes) -> None:
    processes.env |= {"SHOAL_RULES": str(watched.rules), "SHOAL_SWEEP_S": "1"}
    client = processes.api()
    processes.worker()
    written = watched.data_dir / "match.mp4"
    media.write_video(written, frames=10, fps=25)
    os.utime(written, (time.time() - 60,) * 2)
    written.rename(watched.data_dir / "inbox" / "match.mp4")
    eventually(lambda: list(client.list()), "the sweep to find it")
    (record,) = client.list()
    assert client.wait(record.id).results


def test_an_edited_rule_is_for_new_uploads(watched: Settings, queue: JobQueue) -> None:
    """Whether a job succeeded, waits or failed; '--again' takes all, once."""
    assert watched.rules
    earlier = [drop(watched, f"{number}.mp4").as_uri() for number in range(3)]
    with served(watched) as url, Client(url) as client:
        assert sorted(sweep(client)) == earlier
        take(queue).succeed({}, {})
        for words in ('"person", "dog"', '"dog"'):
            edit(watched.rules, '"person"', words)
            assert sweep(client) == []
        new = drop(watched, "new.mp4").as_uri()
        assert sweep(client) == [new]
        *_, page = client.reconcile(dry_run=True)
        assert (page.changed, page.missing) == (3, 0)
        shown = httpx.get(f"{url}/ui/rules", trust_env=False).text
        assert "3 videos were" in shown
        assert "shoal reconcile --again" in shown
        again = [each.uri for found in client.reconcile(again=True) for each in found.queued]
        assert sorted(again) == earlier
        *_, page = client.reconcile(again=True)
        assert (page.changed, page.missing) == (0, 0)
        assert "shoal reconcile --again" not in httpx.get(f"{url}/ui/rules", trust_env=False).text
    assert queue.depth().queued == 2 + 1 + 3


def test_the_rules_page_counts_before_anything_is_swept(
    watched: Settings, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(250):
        drop(watched, f"{number:03}.mp4")

    def page() -> str:
        shown = httpx.get(f"{url}/ui/rules?count=true", trust_env=False)
        return re.sub(r"<[^>]+>|\s+", " ", shown.text).replace("  ", " ")

    monkeypatch.setattr("api.background.reconcile.COUNTING_S", 60.0)  # however slow this machine is
    monkeypatch.setattr("api.storage_calls.DEADLINE_S", 60.0)
    with served(watched) as url, Client(url) as client:
        assert "Count" in httpx.get(f"{url}/ui/rules", trust_env=False).text
        assert "would queue 250 videos , of 250 files" in page()
        assert queue.depth().queued == 0
        with monkeypatch.context() as patch:
            patch.setattr("api.background.reconcile.COUNTED", 100)
            assert "would queue more than 100 videos , of 100 files" in page()
        assert len(sweep(client)) == 250
        assert watched.rules
        edit(watched.rules, "person", "dog")
        drop(watched, "new.mp4")
        shown = page()
        assert "would queue 1 video , of 251 files" in shown
        assert "250 videos were queued before the prompts" in shown


def test_a_count_does_not_wait_for_a_storage_that_hangs(
    watched: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang(*args: object) -> Iterator[ObjectInfo]:
        released.wait(90)
        yield from ()

    monkeypatch.setattr("shoal.storage.files.FileStorage.list", hang)
    monkeypatch.setattr("api.storage_calls.DEADLINE_S", 0.2)
    with served(watched) as url:
        shown = httpx.get(f"{url}/ui/rules?count=true", trust_env=False)
        released.set()
    assert shown.status_code == 200
    assert "does not answer in time" in shown.text
