"""Videos that no event led to: found by a sweep, whatever Redis has forgotten."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from shoal.client import Client
from shoal.queue import JobQueue
from shoal.results import metadata_name
from shoal.settings import Settings
from tests import media
from tests.processes import Processes
from tests.serving import publish, served


@pytest.fixture
def watched(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a rule for a folder."""
    inbox = settings.data_dir / "inbox"
    (inbox / "deep").mkdir(parents=True)
    rules = tmp_path / "rules.toml"
    rules.write_text(f'[[rule]]\nbucket = "{inbox.as_uri()}"\nprompts = ["person"]\n')
    return settings.model_copy(update={"rules": rules, "sweep_s": 0})


def drop(settings: Settings, name: str, age_s: float = 60) -> Path:
    path = settings.data_dir / "inbox" / name
    path.write_bytes(b"not really a video")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def sweep(client: Client, *, dry_run: bool = False) -> list[str]:
    return [found.uri for page in client.reconcile(dry_run=dry_run) for found in page.queued]


def test_what_has_no_job_and_no_results_is_queued_once(watched: Settings, queue: JobQueue) -> None:
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
        assert client.submit(uris[0], ["person"]).id in {r.id for r in client.list()}
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
    path = watched.data_dir / "inbox" / "match.mp4"
    media.write_video(path, frames=10, fps=25)
    deadline = time.monotonic() + 60
    while not (records := list(client.list())):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert client.wait(records[0].id).results
