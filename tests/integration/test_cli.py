"""The command line as a script and a person meet it, against a served API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shoal import __version__
from shoal.client import Client
from shoal.errors import AudioOnly
from shoal.exits import Exit
from shoal.model.failure import Failure
from shoal.model.filter import Filter
from shoal.model.job import State
from shoal.model.outputs import Overlay
from shoal.model.record import Progress
from shoal.model.worker import WorkerInfo
from shoal.queue.queue import JobQueue
from shoal.queue.workers import announce
from shoal.settings import Settings
from tests.cli import invoke
from tests.running import eventually
from tests.serving import publish, served, take, write_video

ROOT = Path(__file__).parents[2]
SHOAL = [sys.executable, "-c", "from shoal.cli import app; app(prog_name='shoal')"]

Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(url: str, **extra: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "SHOAL_API_URL": url, "COLUMNS": "200"} | extra


@pytest.fixture
def shoal(api_url: str, tmp_path: Path) -> Run:
    return partial(invoke, url=api_url, cwd=tmp_path)


def document(run: subprocess.CompletedProcess[str]) -> Any:
    """What --json printed: one document, and nothing else on stdout."""
    return json.loads(run.stdout)


@pytest.fixture
def failed(client: Client, queue: JobQueue, settings: Settings) -> str:
    """The id of a failed job."""
    job_id = client.submit(write_video(settings, "silent.mp4").as_uri(), ["person"]).id
    take(queue).fail(Failure.of(AudioOnly("the file has no picture")))
    return job_id


@pytest.fixture
def succeeded(client: Client, queue: JobQueue, settings: Settings) -> str:
    """The id of a job with results."""
    record = client.submit(write_video(settings, "match.mp4").as_uri(), ["person", "ball"])
    files = {"match_segmented.mp4": b"o" * 2_000_000, "match_metadata.json": b"{}"}
    summary = {"objects_detected": 3, "frames_processed": 150}
    take(queue).succeed(publish(record.spec, settings, files), summary)
    return record.id


def test_local_files_are_uploaded_and_uris_passed_on(
    shoal: Run, queue: JobQueue, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "local clip.mp4").write_bytes(b"local")
    remote = write_video(settings).as_uri()
    options = ["-p", "person", "--prompt", "ball", "--sample-fps", "0", "--max-frames", "7"]
    options += ["--deinterlace", "on", "-o", "overlay:hdr=keep", "--split", "4"]
    run = shoal("submit", "local clip.mp4", remote, *options, "--allow-truncated", "--json")
    assert run.returncode == Exit.OK, run.stderr
    local, passed = (queue.records.get(item["id"]) for item in document(run)["items"])
    assert local.spec.uri.startswith(settings.uploads_dir.as_uri())
    assert passed.spec.uri == remote
    for record in (local, passed):
        assert record.spec.prompts == ("person", "ball")
        assert record.spec.options.sample_fps == 0
        assert record.spec.options.max_frames == 7
        assert record.spec.options.allow_truncated
        assert record.spec.options.deinterlace == "on"
        assert record.spec.options.split == 4
        overlay, *_ = record.spec.options.outputs
        assert isinstance(overlay, Overlay)
        assert overlay.hdr == "keep"


def test_a_name_with_brackets_is_that_video(
    shoal: Run, queue: JobQueue, settings: Settings
) -> None:
    """Also where another object matches the name as a pattern."""
    uris = [write_video(settings, f"in/{name}.mp4").as_uri() for name in ("clip[1]", "clip1")]
    literal = uris[1].replace("clip1", "clip[1]")
    run = shoal("submit", literal, "-p", "person", "--name", "x", "--json")
    assert run.returncode == Exit.OK, run.stderr
    eventually(lambda: queue.depth().queued == 1, "the job of the batch")
    (record,) = queue.records.page(Filter(), limit=10)[0]
    assert record.spec.uri == uris[0]


def test_what_does_not_match_tells_how_to_write_a_bracket(
    shoal: Run, settings: Settings, tmp_path: Path
) -> None:
    write_video(settings, "in/other.mp4")
    pattern = (settings.data_dir / "in").as_uri() + "/clip[[]1].mp4"
    run = shoal("submit", pattern, "-p", "person", "--watch")
    assert run.returncode == Exit.NOT_FOUND
    assert "[[]" in run.stderr


def test_objects_are_read_from_a_file_before_anything_is_uploaded(
    shoal: Run, queue: JobQueue, settings: Settings, tmp_path: Path
) -> None:
    uri = write_video(settings).as_uri()
    (tmp_path / "objects.json").write_text(
        '[{"label": "cup", "frame": 0, "box": [1, 2, 30, 40]},'
        ' {"label": "cup", "frame": 9, "points": [[5, 6, 1]]}]'
    )
    options = ["--objects", "objects.json", "--remove-object", "3", "--remove-object", "5@40"]
    (tmp_path / "exemplars.json").write_text('[{"prompt": "plate", "box": [1, 2, 30, 40]}]')
    options += ["--exemplars", "exemplars.json", "--track-fps", "2.5"]
    limits = ["--max-objects", "7", "--score-threshold", "0.25", "--json"]
    run = shoal("submit", uri, *options, *limits)
    assert run.returncode == Exit.OK, run.stderr
    (item,) = document(run)["items"]
    spec = queue.records.get(item["id"]).spec
    assert spec.prompts == ()
    assert [each.frame for each in spec.objects] == [0, 9]
    assert [(each.object_id, each.frame) for each in spec.remove_objects] == [(3, 0), (5, 40)]
    assert (spec.options.max_objects, spec.options.score_threshold) == (7, 0.25)
    assert [(each.prompt, each.positive) for each in spec.exemplars] == [("plate", True)]
    assert spec.options.track_fps == 2.5

    (tmp_path / "objects.json").write_text('[{"label": "cup", "frame": 0, "box": [30, 2, 1, 40]}]')
    for arguments, message in (
        (["--objects", "objects.json"], "x0 < x1"),
        (["--objects", "missing.json"], "missing.json"),
        (["--exemplars", "objects.json"], "objects.json"),
        (["-p", "person", "--remove-object", "five"], "is not an object ID"),
    ):
        run = shoal("submit", uri, *arguments)
        assert run.returncode != Exit.OK
        assert message in run.stderr
    assert queue.depth().queued == 1

    run = shoal("submit", uri, "--exemplars", "exemplars.json", "--name", "all", "--json")
    assert run.returncode == Exit.OK, run.stderr
    assert [each["prompt"] for each in document(run)["exemplars"]] == ["plate"]


def test_one_bad_source_does_not_keep_the_others_out(shoal: Run, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(name.encode())
    run = shoal("submit", "a.mp4", "missing.mp4", "b.mp4", "-p", "person", "--json")
    assert run.returncode == Exit.NOT_FOUND
    answer = document(run)
    assert len(answer["items"]) == 2
    assert answer["error"]["code"] == "source_not_found"
    assert answer["error"]["item"] == "missing.mp4"
    assert "missing.mp4" in run.stderr


def test_watching_ends_with_the_jobs(
    shoal: Run, queue: JobQueue, settings: Settings, tmp_path: Path
) -> None:
    def work() -> None:
        for outcome in ("succeed", "fail"):
            while not queue.depth().queued:
                time.sleep(0.02)
            lease = take(queue)
            lease.heartbeat(Progress(stage="predict", frames=5, frames_expected=10))
            if outcome == "succeed":
                lease.succeed({}, {"objects_detected": 1, "frames_processed": 10})
            else:
                lease.fail(Failure.of(AudioOnly("the file has no picture")))

    (tmp_path / "clip.mp4").write_bytes(b"clip")
    worker = threading.Thread(target=work)
    worker.start()
    good = shoal("submit", "clip.mp4", "-p", "person", "--watch", "--json")
    bad = shoal("submit", "clip.mp4", "-p", "car", "--watch")
    worker.join()
    assert good.returncode == Exit.OK
    assert document(good)["items"][0]["state"] == "succeeded"
    assert bad.returncode == Exit.FAILED
    assert "audio_only" in bad.stdout
    assert AudioOnly.default_hint in bad.stdout


def test_lists(shoal: Run, succeeded: str, failed: str) -> None:
    everything = shoal("list")
    for part in (succeeded[:12], "match.mp4", "person, ball", "3 objects in 150 frames"):
        assert part in everything.stdout
    assert failed[:12] in everything.stdout
    assert [j["id"] for j in document(shoal("list", "--json"))["items"]] == [failed, succeeded]
    only = document(shoal("list", "--state", "failed", "--text", "SILENT", "--json"))
    assert [job["id"] for job in only["items"]] == [failed]
    assert len(document(shoal("list", "--limit", "1", "--json"))["items"]) == 1
    assert document(shoal("list", "--text", "nothing", "--json")) == {"items": []}


def test_a_failed_job_shows_its_cause(shoal: Run, failed: str) -> None:
    run = shoal("show", failed)
    assert run.returncode == Exit.OK
    for part in ("silent.mp4", "failed", "audio_only: the file has no picture", "started"):
        assert part in run.stdout
    assert AudioOnly.default_hint in run.stdout
    shown = document(shoal("show", failed, "--json"))
    assert shown["error"]["code"] == "audio_only"
    events = [event["event"] for event in shown["timeline"]]
    assert events == ["queued", "started", "failure", "failed"]


def test_the_beginning_of_an_id_is_enough(shoal: Run, succeeded: str) -> None:
    assert document(shoal("show", succeeded[:8].upper(), "--json"))["id"] == succeeded
    assert document(shoal("show", succeeded[:1], "--json"))["id"] == succeeded
    assert shoal("show", "x" * 3).returncode == Exit.NOT_FOUND


def test_results_are_downloaded(shoal: Run, succeeded: str, tmp_path: Path) -> None:
    run = shoal("download", succeeded, "--to", "out", "--json")
    assert run.returncode == Exit.OK
    assert document(run)["files"] == ["out/match_segmented.mp4", "out/match_metadata.json"]
    assert (tmp_path / "out" / "match_segmented.mp4").read_bytes() == b"o" * 2_000_000


def test_a_job_without_results(shoal: Run, failed: str) -> None:
    run = shoal("download", failed, "--json")
    assert run.returncode == Exit.NOT_FOUND
    assert document(run)["error"]["code"] == "result_not_found"
    assert "failed" in run.stderr


def test_cancel_and_retry(shoal: Run, client: Client, settings: Settings, succeeded: str) -> None:
    waiting = client.submit(write_video(settings, "b.mp4").as_uri(), ["person"]).id
    run = shoal("cancel", succeeded, waiting, "--json")
    assert run.returncode == Exit.REFUSED
    assert [job["state"] for job in document(run)["items"]] == ["cancelled"]
    assert document(run)["error"]["code"] == "state_conflict"
    run = shoal("retry", waiting)
    assert run.returncode == Exit.OK
    assert client.get(waiting).state == State.QUEUED


def test_the_queue(shoal: Run, queue: JobQueue, failed: str) -> None:
    assert "no workers connected" in shoal("queue").stdout
    worker = WorkerInfo(name="gpu-1", host="node", pid=1, started_at=time.time(), state="idle")
    announce(queue.redis, queue.name, worker, ttl_s=60)
    shown = shoal("queue").stdout
    assert "gpu-1" in shown
    assert "1 failed" in shown
    status = document(shoal("queue", "--json"))
    assert status["jobs"]["failed"] == 1
    assert [worker["name"] for worker in status["workers"]] == ["gpu-1"]


def test_a_worker_is_drained(shoal: Run, queue: JobQueue) -> None:
    worker = WorkerInfo(name="gpu-1", host="node", pid=1, started_at=time.time(), state="idle")
    announce(queue.redis, queue.name, worker, ttl_s=60)
    run = shoal("drain", "gpu-2", "--json")
    assert run.returncode == Exit.NOT_FOUND
    assert document(run)["error"]["code"] == "worker_not_found"
    assert not announce(queue.redis, queue.name, worker, ttl_s=60)
    assert "gpu-1 will exit" in shoal("drain", "--all").stdout
    assert "idle, draining" in shoal("queue").stdout
    assert announce(queue.redis, queue.name, worker, ttl_s=60)
    assert shoal("drain").returncode == shoal("drain", "gpu-1", "--all").returncode == Exit.USAGE


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (["show", "0" * 24], Exit.NOT_FOUND, "job_not_found"),
        (["watch", "0" * 24], Exit.NOT_FOUND, "job_not_found"),
        (["submit", "file:///etc/passwd", "-p", "person"], Exit.REFUSED, "location_forbidden"),
        (["submit", "ftp://host/a.mp4", "-p", "person"], Exit.REFUSED, "unsupported_location"),
        (["submit", "clip.mp4", "-p", " "], Exit.REFUSED, "invalid_prompt"),
        (["submit", "clip.mp4", "-p", "a", "--engine", "x"], Exit.REFUSED, "unknown_engine"),
        (["submit", "clip.mp4", "-p", "a", "--max-frames", "-1"], Exit.REFUSED, "invalid_option"),
        (["submit", "missing.mp4", "-p", "person"], Exit.NOT_FOUND, "source_not_found"),
        (["submit", ".", "-p", "person"], Exit.REFUSED, "no_frames"),
    ],
)
def test_errors_name_cause_and_hint(
    shoal: Run, tmp_path: Path, arguments: list[str], exit_code: Exit, code: str
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"clip")
    plain, machine = shoal(*arguments), shoal(*arguments, "--json")
    assert plain.returncode == machine.returncode == exit_code
    assert plain.stdout == ""
    assert plain.stderr.startswith("error: ")
    assert "\nhint:  " in plain.stderr
    assert "Traceback" not in plain.stderr
    error = document(machine)["error"]
    assert error["code"] == code
    assert error["message"] in plain.stderr
    assert error["hint"] in plain.stderr


def test_an_api_that_is_away(shoal: Run) -> None:
    away = shoal("--url", "http://127.0.0.1:1", "list", "--json")
    assert away.returncode == Exit.UNREACHABLE
    assert document(away)["error"]["code"] == "api_unreachable"


def test_the_token(shoal: Run, settings: Settings, queue: JobQueue, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0\n")
    with served(settings.model_copy(update={"api_tokens": (SecretStr("t0"),)})) as url:
        assert shoal("--url", url, "queue").returncode == Exit.REFUSED
        assert shoal("--url", url, "--token-file", "token", "queue").returncode == Exit.OK
        assert shoal("queue", SHOAL_API_URL=url, SHOAL_API_TOKEN="t0").returncode == Exit.OK
    missing = shoal("--token-file", "nowhere", "queue")
    assert missing.returncode == Exit.REFUSED
    assert "nowhere: No such file" in missing.stderr


def test_tokens_are_made_listed_and_revoked(
    shoal: Run, settings: Settings, queue: JobQueue
) -> None:
    with served(settings.model_copy(update={"api_tokens": (SecretStr("t0"),)})) as url:
        admin = {"SHOAL_API_URL": url, "SHOAL_API_TOKEN": "t0"}
        made = shoal("token", "create", "ci", "--scope", "submit", **admin)
        secret = made.stdout.strip()
        assert secret.startswith("shoal_")
        ci = {"SHOAL_API_URL": url, "SHOAL_API_TOKEN": secret}
        assert shoal("queue", **ci).returncode == Exit.OK
        refused = shoal("token", "list", **ci)
        assert refused.returncode == Exit.REFUSED
        assert "'ci' has 'submit'" in refused.stderr
        assert shoal("token", "create", "ci", "--scope", "read", **admin).returncode == Exit.REFUSED
        listed = shoal("token", "list", **admin).stdout
        assert "ci" in listed
        assert "SHOAL_API_TOKENS[0]" in listed
        assert secret not in listed
        assert shoal("token", "revoke", "ci", **admin).returncode == Exit.OK
        assert shoal("queue", **ci).returncode == Exit.REFUSED
        assert shoal("token", "revoke", "ci", **admin).returncode == Exit.NOT_FOUND


@pytest.mark.parametrize("command", ["api", "worker", "up", "doctor"])
def test_no_password_on_the_command_line(shoal: Run, command: str) -> None:
    run = shoal(command, "--redis-url", "redis://:s3cret@127.0.0.1:1/0")
    assert run.returncode == Exit.REFUSED
    assert "SHOAL_REDIS_URL" in run.stderr
    assert "s3cret" not in run.stderr


def test_wrong_usage_and_version(shoal: Run) -> None:
    assert shoal("submit", "clip.mp4").returncode == Exit.USAGE
    assert shoal("swim").returncode == Exit.USAGE
    assert shoal("--version").stdout == f"shoal {__version__}\n"
    assert "Exit codes" in shoal("--help").stdout


def test_a_name_cannot_steer_the_terminal(shoal: Run, client: Client, settings: Settings) -> None:
    video = write_video(settings, "evil\x1b[2J[red].mp4")
    job_id = client.submit(video.as_uri(), ["person"]).id
    for run in (shoal("list"), shoal("show", job_id)):
        assert "\x1b" not in run.stdout
        assert "[red].mp4" in run.stdout
