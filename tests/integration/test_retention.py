"""Deletion of jobs with their results, by hand and by time, and what is stored where."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.background.batch_runner import BatchRunner
from api.background.reconcile import reconcile
from shoal.client import Client
from shoal.errors import ApiError, JobNotFound, StateConflict, StorageUnavailable
from shoal.ingest.rules_file import RulesFile
from shoal.model.batch import BatchRequest
from shoal.model.job import JobSpec, State
from shoal.model.record import Record, now, text
from shoal.queue.indexes import ENDED
from shoal.queue.maintenance import Maintenance
from shoal.queue.queue import JobQueue
from shoal.queue.stats import DAY_S
from shoal.results.layout import metadata_name, parts_prefix, result_uri
from shoal.retention.deletion import Deletions
from shoal.retention.expiry import Expiry, needed_days
from shoal.retention.uploads import UnusedUploads
from shoal.retention.usage import measure
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.storage.files import FileStorage
from tests.buckets import forget_clients, make_bucket
from tests.cli import invoke
from tests.serving import served, take, wait_for, write_video


@pytest.fixture(params=["file", "gs", "s3"])
def root(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Where sources and results lie."""
    if request.param == "file":
        yield (settings.data_dir / "bucket").as_uri()
        return
    servers = request.getfixturevalue("bucket_servers")
    for name, value in servers[request.param].items():
        monkeypatch.setenv(name, value)
    forget_clients()
    yield make_bucket(request.param)
    forget_clients()


def store(settings: Settings, uri: str, content: bytes = b"12345") -> str:
    local = settings.data_dir / "local"
    local.parent.mkdir(parents=True, exist_ok=True)
    local.write_bytes(content)
    storage_for(uri, settings).put(local, uri, "video/mp4")
    return uri


def stored(settings: Settings, prefix: str) -> list[str]:
    folder = prefix.rstrip("/") + "/"
    if folder.startswith("file:") and not FileStorage([settings.data_dir]).path(folder).exists():
        return []
    return [info.uri for info in storage_for(folder, settings).list(folder)]


def done(
    queue: JobQueue, settings: Settings, root: str, uri: str, *, prompt: str = "person"
) -> Record:
    """A job that has succeeded, with results, and with segments that were left."""
    info = storage_for(uri, settings).stat(uri)
    spec = JobSpec(
        uri=info.uri, version=info.version, size=5, prompts=(prompt,), results=f"{root}/results/v"
    )
    queue.submit(spec)
    lease = take(queue)
    store(settings, parts_prefix(spec) + "0001-1.bin")
    for name in (metadata_name(spec), "v_masks.parquet"):
        store(settings, result_uri(spec, name))
    lease.succeed({metadata_name(spec): 5}, {})
    return queue.records.get(spec.id)


def upload(settings: Settings, name: str = "a.mp4", digest: str = "0123456789abcdef") -> Path:
    path = settings.uploads_dir / digest / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12345")
    return path


def age(queue: JobQueue, record: Record, days: float) -> None:
    """As if a job had ended so long ago."""
    at = now() - days * DAY_S
    queue.redis.hset(queue.records.key(record.id), "finished_at", at)
    queue.redis.zadd(queue.records.indexes.key(ENDED), {record.id: at})


def test_all_that_is_shoals_goes_and_the_source_stays(
    queue: JobQueue, settings: Settings, root: str
) -> None:
    source = store(settings, f"{root}/in/v.mp4")
    record = done(queue, settings, root, source)
    other = done(queue, settings, root, source, prompt="ball")
    deletions = Deletions(queue, settings)
    assert deletions.ask(record.id).deleting_at
    assert deletions.run() == [record.id]
    assert deletions.run() == []
    with pytest.raises(JobNotFound):
        queue.records.get(record.id)
    left = stored(settings, root)
    assert source in left
    assert not [uri for uri in left if record.id in uri]
    assert len([uri for uri in left if other.id in uri]) == 3
    totals = queue.records.totals.read()
    assert (totals["deletions:jobs"], totals["deletion_files:jobs"]) == (1, 3)
    assert totals["deletion_bytes:jobs"] == 15


def test_a_deletion_that_breaks_is_finished_by_the_next_round(
    queue: JobQueue, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any number of files: what is left is deleted, and the record goes last."""
    root = (settings.data_dir / "bucket").as_uri()
    real = FileStorage.delete
    for allowed in range(4):
        record = done(queue, settings, root, store(settings, f"{root}/in/{allowed}.mp4"))
        broken = done(queue, settings, root, store(settings, f"{root}/in/{allowed}b.mp4"))
        left = [allowed]

        def delete(self: FileStorage, uri: str, left: list[int] = left) -> None:
            if broken.id in uri and not left[0]:  # noqa: B023 - called within the loop's turn
                raise StorageUnavailable("no answer")
            left[0] -= broken.id in uri  # noqa: B023
            real(self, uri)

        deletions = Deletions(queue, settings)
        deletions.ask(broken.id)
        deletions.ask(record.id)
        monkeypatch.setattr(FileStorage, "delete", delete)
        assert deletions.run() == [record.id]  # a job that breaks holds up no other
        assert queue.records.get(broken.id).deleting_at
        monkeypatch.setattr(FileStorage, "delete", real)
        assert Deletions(queue, settings).run() == [broken.id]
        assert not [uri for uri in stored(settings, root) if broken.id in uri]


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.FAILED, State.CANCELLED])
def test_a_job_of_any_state_is_deleted(queue: JobQueue, settings: Settings, state: State) -> None:
    source = store(settings, (settings.data_dir / "in/v.mp4").as_uri())
    info = storage_for(source, settings).stat(source)
    spec = JobSpec(uri=source, version=info.version, size=5, prompts=("p",), results="file:///x")
    spec = spec.model_copy(update={"results": (settings.data_dir / "out").as_uri()})
    queue.submit(spec)
    deletions = Deletions(queue, settings)
    if state == State.RUNNING:
        lease = take(queue)
        assert deletions.ask(spec.id).cancel_requested
        assert deletions.run() == []
        lease.cancel()
    elif state == State.CANCELLED:
        queue.cancel(spec.id)
    deletions.ask(spec.id)
    assert deletions.run() == [spec.id]
    assert queue.records.find(spec.id) is None
    assert queue.line.take() is None


def test_nothing_brings_it_back_but_who_submits_it(
    queue: JobQueue, settings: Settings, tmp_path: Path
) -> None:
    inbox = settings.data_dir / "inbox"
    rules = tmp_path / "rules.toml"
    rules.write_text(f'[[rule]]\nbucket = "{inbox.as_uri()}"\nprompts = ["person"]\n')
    settings = settings.model_copy(update={"rules": rules})
    loaded = RulesFile(settings).current()
    video = write_video(settings, "inbox/a.mp4")
    os.utime(video, (now() - 60,) * 2)
    *_, page = reconcile(queue, loaded, settings)
    assert page.missing == 1
    lease = take(queue)
    lease.succeed({}, {})
    spec = lease.record.spec
    deletions = Deletions(queue, settings)
    deletions.ask(spec.id)
    with pytest.raises(StateConflict, match="being deleted"):
        queue.submit(spec)
    deletions.run()
    *_, page = reconcile(queue, loaded, settings)
    assert page.missing == 0
    assert queue.submit(spec, again=False)[1] is False  # an event that comes once more
    assert queue.records.find(spec.id) is None
    assert queue.submit(spec)[1] is True
    queue.cancel(spec.id)
    queue.forget(spec.id)
    *_, page = reconcile(queue, loaded, settings)  # the tombstone went with the submission
    assert page.missing == 1


def test_an_upload_goes_with_the_last_job_that_needs_it(
    queue: JobQueue, settings: Settings
) -> None:
    root = (settings.data_dir / "bucket").as_uri()
    path = upload(settings)
    first = done(queue, settings, root, path.as_uri())
    second = done(queue, settings, root, path.as_uri(), prompt="ball")
    deletions = Deletions(queue, settings)
    deletions.ask(first.id)
    deletions.run()
    assert path.exists()
    deletions.ask(second.id)
    deletions.run()
    assert not path.exists()
    assert not path.parent.exists()


def test_uploads_are_kept_for_days_after_their_last_job(
    queue: JobQueue, settings: Settings
) -> None:
    root = (settings.data_dir / "bucket").as_uri()
    path, source = upload(settings), store(settings, f"{root}/in/v.mp4")
    rules = RulesFile(settings).current()
    expiry = Expiry(queue, settings, Deletions(queue, settings))
    first = done(queue, settings, root, path.as_uri())
    second = done(queue, settings, root, path.as_uri(), prompt="ball")
    age(queue, done(queue, settings, root, source), 8)
    age(queue, first, 8)
    age(queue, second, 6)
    expiry.run(rules)
    assert path.exists()
    age(queue, second, 7.1)
    expiry.run(rules)
    assert not path.exists()
    assert source in stored(settings, root)
    assert queue.records.get(first.id).state == State.SUCCEEDED
    assert queue.records.totals.read()["deletions:uploads"] == 1


def test_results_are_kept_for_the_days_of_their_rule_or_of_all(
    queue: JobQueue, settings: Settings, tmp_path: Path
) -> None:
    root = (settings.data_dir / "bucket").as_uri()
    path = tmp_path / "rules.toml"
    path.write_text(
        f'[[rule]]\nname = "short"\nbucket = "{root}/s"\nprompts = ["p"]\nresults_days = 2\n'
        f'[[rule]]\nname = "ever"\nbucket = "{root}/e"\nprompts = ["p"]\nresults_days = 0\n'
    )
    settings = settings.model_copy(update={"rules": path, "results_days": 10.0})
    rules = RulesFile(settings).current()
    assert needed_days(rules, settings) == 11
    records = {}
    for name, source in (("short", "rule:short"), ("ever", "rule:ever"), ("other", "")):
        records[name] = done(queue, settings, root, store(settings, f"{root}/{name}.mp4"))
        share = records[name].share.model_copy(update={"source": source})
        queue.redis.hset(queue.records.key(records[name].id), "share", share.model_dump_json())
    deletions = Deletions(queue, settings)
    for days, expected in ((1.5, []), (3, ["short"]), (9, []), (11, ["other"]), (900, [])):
        for record in queue.records.read_all([each.id for each in records.values()]):
            age(queue, record, days)
        Expiry(queue, settings, deletions).run(rules)
        assert deletions.run() == [records[name].id for name in expected]


def test_a_record_is_kept_as_long_as_it_is_needed_to_delete_its_results(
    queue: JobQueue, settings: Settings
) -> None:
    root = (settings.data_dir / "bucket").as_uri()
    record = done(queue, settings, root, store(settings, f"{root}/v.mp4"))
    age(queue, record, 50)
    assert Maintenance(queue, 30, lambda: 61).forget_old() == []
    assert Maintenance(queue, 30).forget_old() == [record.id]


def test_a_batch_goes_with_its_videos(queue: JobQueue, settings: Settings) -> None:
    uris = [write_video(settings, f"{n}.mp4").as_uri() for n in range(3)]
    runner = BatchRunner(queue, RulesFile(settings), settings)
    batch = runner.batches.create(BatchRequest(uris=uris, prompts=["person"]))
    other = runner.batches.create(BatchRequest(uris=uris[:1], prompts=["person"]))
    while runner.round():
        pass
    ids = [queue.line.take() for _ in uris]
    assert all(ids)
    for job_id in ids:
        queue.untake(job_id.decode() if isinstance(job_id, bytes) else "")
    take(queue).succeed({}, {})
    runner.batches.delete(batch.id)
    while runner.round():
        pass
    deletions = Deletions(queue, settings)
    assert len(deletions.run()) == 2
    assert [b.id for b in runner.batches.page(limit=9)[0]] == [other.id]
    assert queue.records.indexes.counts(["jobs"]) == [1]
    runner.batches.delete(other.id)  # the last one that has the video
    while runner.round():
        pass
    assert len(deletions.run()) == 1
    assert queue.records.indexes.counts(["jobs"]) == [0]


def test_the_api_deletes_one_or_many_and_tells_what_is_stored(
    queue: JobQueue, settings: Settings
) -> None:
    root = settings.results_root
    records = [
        done(queue, settings, root, upload(settings, f"{n}.mp4", f"{n:016x}").as_uri())
        for n in range(3)
    ]
    with served(settings) as url, Client(url) as client:
        use = {each.what: (each.files, each.bytes) for each in client.storage().items}
        assert use == {"uploads": (3, 15), "results": (6, 30), "segments": (3, 15)}
        assert client.delete(records[0].id).deleting_at
        wait_for(lambda: queue.records.find(records[0].id) is None)
        with pytest.raises(ApiError) as error:
            client.delete(records[0].id)
        assert error.value.status == 404
        body = {"action": "delete", "filter": {"state": "succeeded"}}
        answer = client._http.ask("POST", "/videos/bulk", json=body).json()
        assert answer["changed"] == 2
        wait_for(lambda: not any(client.list()))
        assert {each.what: each.files for each in client.storage().items} == {
            "uploads": 0,
            "results": 0,
        }


def test_the_command_line_asks_before_it_deletes(
    queue: JobQueue, settings: Settings, tmp_path: Path
) -> None:
    record = done(queue, settings, settings.results_root, upload(settings).as_uri())
    with served(settings) as url:
        answer = invoke("delete", record.id, url=url, cwd=tmp_path, stdin="n\n")
        assert answer.returncode
        assert queue.records.get(record.id).deleting_at is None
        answer = invoke("storage", "--json", url=url, cwd=tmp_path)
        assert {each["what"] for each in json.loads(answer.stdout)["items"]} == {
            "uploads",
            "results",
            "segments",
        }
        assert invoke("delete", record.id, "--yes", url=url, cwd=tmp_path).returncode == 0
        wait_for(lambda: queue.records.find(record.id) is None)


def test_a_location_that_cannot_be_listed_is_named(settings: Settings) -> None:
    settings = settings.model_copy(update={"results": "s3://nobody-has-this-bucket/x"})
    settings.uploads_dir.mkdir(parents=True)
    report = measure(RulesFile(settings).current(), settings)
    assert list(report.unreadable) == ["s3://nobody-has-this-bucket/x/"]


def test_uploads_that_no_job_uses_go_after_their_days(queue: JobQueue, settings: Settings) -> None:
    used, unused, other = (
        upload(settings, f"{digest[0]}.mp4", digest) for digest in ("a" * 16, "b" * 16, "c" * 16)
    )
    partial = settings.uploads_dir / ".partial" / "0123-local"
    partial.parent.mkdir()
    partial.write_bytes(b"12")
    uploads, noted, listed = (
        UnusedUploads(queue, settings),
        f"{queue.name}:unused-uploads",
        f"{queue.name}:uploads-listed",
    )
    uploads.run()
    assert queue.redis.zcard(noted) == 3
    done(queue, settings, (settings.data_dir / "bucket").as_uri(), used.as_uri())
    uploads.touch(other.as_uri())  # uploaded again
    for uri in map(text, queue.redis.zrange(noted, 0, -1)):
        queue.redis.zadd(noted, {uri: now() - 7.1 * DAY_S})
    uploads.run()  # not again within the hour
    assert unused.exists()
    queue.redis.delete(listed)
    UnusedUploads(queue, settings.model_copy(update={"uploads_days": 0})).run()
    assert unused.exists()
    queue.redis.delete(listed)
    uploads.run()
    assert [path.exists() for path in (used, unused, unused.parent, other)] == [
        True,
        False,
        False,
        True,
    ]
    assert partial.exists()
    assert queue.records.totals.read()["deletions:uploads"] == 1
