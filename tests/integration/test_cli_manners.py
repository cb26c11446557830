"""What the command line says unasked, refuses at once, and never replaces."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shoal.cli import app, lengths
from shoal.cli.output import printable
from shoal.cli.watching import NO_WORKER_S, ForecastNotice, NoWorkerNotice
from shoal.client import Client
from shoal.exits import Exit
from shoal.model.failure import Failure
from shoal.model.job import JobSpec, State
from shoal.model.record import Forecast, Progress, Record
from shoal.model.worker import WorkerInfo
from shoal.queue.queue import JobQueue
from shoal.queue.workers import announce
from shoal.settings import Settings
from tests import media
from tests.cli import invoke
from tests.integration.test_cli import Run, document
from tests.serving import publish, take, write_video

Succeed = Callable[..., Record]


@pytest.fixture
def shoal(api_url: str, tmp_path: Path) -> Run:
    return partial(invoke, url=api_url, cwd=tmp_path)


@pytest.fixture
def alone(tmp_path: Path) -> Run:
    """Where no API answers: what is refused needs none."""
    return partial(invoke, url="http://127.0.0.1:1", cwd=tmp_path)


@pytest.fixture
def succeed(client: Client, queue: JobQueue, settings: Settings) -> Succeed:
    """Submit a video and have it succeed."""

    def make(name: str = "match.mp4", **options: Any) -> Record:
        record = client.submit(write_video(settings, name).as_uri(), ["person"], **options)
        stem = name.removesuffix(".mp4")
        files = {f"{stem}_masks.parquet": record.id.encode(), f"{stem}_metadata.json": b"{}"}
        take(queue).succeed(publish(record.spec, settings, files), {"frames_processed": 1})
        return client.get(record.id)

    return make


def worker(queue: JobQueue, engine: str) -> None:
    device = "cuda:0" if engine.startswith("sam3") else "cpu"
    info = WorkerInfo(name="w", host="h", pid=1, started_at=1, engine=engine, device=device)
    announce(queue.redis, queue.name, info, 60)


# --- what is said --------------------------------------------------------------------------------


def test_where_the_results_are_and_how_to_get_them(shoal: Run, succeed: Succeed) -> None:
    done = succeed()
    run = shoal("watch", done.id)
    assert run.returncode == Exit.OK
    assert done.spec.results_prefix in run.stdout.replace("\n", "")
    assert f"shoal download {done.id[:12]} --to DIR" in run.stdout


def test_what_a_longer_video_takes_is_told_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = JobSpec(uri="file:///a/long.mp4", version="1", size=1, prompts=("person",), results="r")
    told = Forecast(sampled_fps=1, reason="it is longer than 60 s", all_frames=2000)
    record = Record(
        id=spec.id,
        spec=spec,
        state=State.RUNNING,
        created_at=1,
        queued_at=1,
        progress=Progress(frames_expected=80, forecast=told),
    )
    tell = ForecastNotice()
    tell(record)
    said = capsys.readouterr().err.replace("\n", " ")
    assert "long.mp4: 80 of 2\u202f000 frames" in said
    assert f"shoal cancel {record.id[:12]}" in said
    tell(record)
    assert capsys.readouterr().err == ""
    record.progress.forecast.seconds = 20
    tell(record)
    tell(record)
    assert capsys.readouterr().err.count("about 20 s") == 1
    short = record.model_copy(update={"progress": Progress(forecast=Forecast(seconds=20))})
    ForecastNotice()(short)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "is_told"),
    [((), True), (("--sample-fps", "0"), False), (("-o", "redact"), False)],
)
def test_a_longer_file_is_told_before_its_upload(
    shoal: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    is_told: bool,
) -> None:
    monkeypatch.setattr(lengths, "PROBE_S", 60.0)  # a user waits for no more than some seconds
    media.write_video(tmp_path / "long.mp4", frames=180, fps=2)
    run = shoal("submit", "long.mp4", "-p", "face", *options)
    assert run.returncode == Exit.OK, run.stderr
    assert ("about 90 of about 180 frames" in run.stderr.replace("\n", " ")) == is_told


def test_what_would_control_the_terminal_is_not_shown() -> None:
    assert printable("2\u202f000 \u00a0é") == "2\u202f000 \u00a0é"
    assert printable("a\x1b[2J\n\u2028\u202e") == "a\ufffd[2J\ufffd\ufffd\ufffd"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_queue_without_workers_is_told_once(
    client: Client, queue: JobQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    notice = NoWorkerNotice(client, clock)
    notice()
    assert capsys.readouterr().err == ""
    clock.now = NO_WORKER_S
    notice()
    told = capsys.readouterr().err
    assert "no worker is connected" in told
    assert "shoal worker" in told
    notice()
    assert capsys.readouterr().err == ""
    worker(queue, "cpu")
    late = NoWorkerNotice(client, clock)
    clock.now = 2 * NO_WORKER_S
    late()
    assert capsys.readouterr().err == ""


def test_options_are_told_as_they_are_given(shoal: Run, succeed: Succeed) -> None:
    outputs = [{"kind": "crops", "per_object": 3}, "mot"]
    made = succeed(sample_fps=5, deinterlace="on", direction="backward", outputs=outputs)
    for run in (shoal("show", made.id), shoal("list")):
        for part in ("sample_fps 5", "deinterlace on", "direction backward"):
            assert part in run.stdout
        assert "crops:per_object=3" in run.stdout
        for repr_of in ("Crops(", "kind=", "Deinterlace.", "<", "'"):
            assert repr_of not in run.stdout


def test_a_traceback_is_shown_once(
    shoal: Run, client: Client, queue: JobQueue, settings: Settings
) -> None:
    job_id = client.submit(write_video(settings).as_uri(), ["person"]).id
    trace = "Traceback\n  here it was\nVideoError: broken"
    failure = Failure(
        code="video_error", message="broken", hint="", transient=False, traceback=trace
    )
    take(queue).fail(failure, log=["before", *trace.splitlines()])
    run = shoal("show", job_id)
    assert run.stdout.count("here it was") == 1
    assert "before" in run.stdout


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--sample-fps", "-3"], "--sample-fps"),
        (["--sample-fps", "often"], "sample"),
        (["--max-frames", "-1"], "--max-frames"),
        (["--score-threshold", "7"], "--score-threshold"),
        (["--direction", "both"], "--start-frame"),
        (["--max-objects", "-1"], "--max-objects"),
        (["-o", "redact", "--sample-fps", "2"], "sample_fps"),
    ],
)
def test_a_wrong_option_is_refused_before_the_upload(
    alone: Run, tmp_path: Path, options: list[str], named: str
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    run = alone("submit", "a.mp4", "-p", "person", *options)
    assert run.returncode in (Exit.USAGE, Exit.REFUSED)
    assert named in run.stderr


def test_prompts_in_one_word(shoal: Run, queue: JobQueue, settings: Settings) -> None:
    uri = write_video(settings).as_uri()
    run = shoal("submit", uri, "-p", "person, dog", "-p", "car", "--json")
    (made,) = document(run)["items"]
    assert made["spec"]["prompts"] == ["person", "dog", "car"]
    assert shoal("submit", uri, "-p", " ").returncode == Exit.REFUSED


def test_one_video_is_written_with_every_frame_by_default(
    shoal: Run, client: Client, settings: Settings
) -> None:
    uri = write_video(settings).as_uri()
    for arguments, expected in (
        ([], "auto"),
        (["--sample-fps", "auto"], "auto"),
        (["--sample-fps", "0"], 0),
        (["-o", "redact"], 0),
    ):
        (made,) = document(shoal("submit", uri, "-p", "person", *arguments, "--json"))["items"]
        assert made["spec"]["options"]["sample_fps"] == expected
    assert client.submit(uri, "person").spec.options.sample_fps == "auto"
    assert client.batches.submit("person", uris=[uri]).options.sample_fps == 1


def test_a_batch_takes_one_frame_per_second(shoal: Run, settings: Settings) -> None:
    uri = write_video(settings).as_uri()
    batch = document(shoal("submit", uri, "-p", "person", "--name", "x", "--json"))
    assert batch["options"]["sample_fps"] == 1


@pytest.mark.parametrize("content", ["", "\n", "  \n"])
def test_an_empty_token_file_is_an_error(alone: Run, tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    for run in (
        alone("--token-file", "token", "queue"),
        alone("--token-file", "-", "queue", stdin=content),
        alone("queue", SHOAL_API_TOKEN_FILE="token"),
    ):
        assert run.returncode == Exit.REFUSED
        assert "no token" in run.stderr


@pytest.mark.parametrize("arguments", [["--token", "x" * 20], ["--url", "http://me:x@127.0.0.1"]])
def test_a_token_on_the_command_line_tells_the_safe_ways(alone: Run, arguments: list[str]) -> None:
    run = alone(*arguments, "queue")
    assert run.returncode == Exit.REFUSED
    assert "SHOAL_API_TOKEN" in run.stderr
    assert "--token-file" in run.stderr
    assert "x" * 20 not in run.stderr


@pytest.mark.parametrize("url", ["http://shoal.invalid:8000", "127.0.0.1:1", "ftp://x"])
def test_a_wrong_url_is_not_answered_with_how_to_start(alone: Run, url: str) -> None:
    run = alone("--url", url, "queue")
    assert run.returncode == Exit.UNREACHABLE
    assert "--url" in run.stderr
    assert "shoal up" not in run.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--gpus", "x"],
        ["--gpus", "0,"],
        ["--gpus", "-1"],
        ["--gpus", "0,0"],
        ["--gpus", "0,00"],
        ["--per-gpu", "2"],
        ["--idle-exit", "-1"],
        ["--max-jobs", "0"],
    ],
)
def test_a_worker_that_cannot_be_meant(alone: Run, arguments: list[str]) -> None:
    run = alone("worker", *arguments)
    assert run.returncode == Exit.USAGE
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("engine", ["sam3", "sam3-native"])
def test_an_engine_that_nobody_runs(
    shoal: Run, queue: JobQueue, settings: Settings, engine: str
) -> None:
    submit = ("submit", write_video(settings).as_uri(), "-p", "unicorn", "--engine", engine)
    worker(queue, "cpu")
    run = shoal(*submit)
    assert run.returncode == Exit.REFUSED
    assert f"SHOAL_ENGINE={engine}" in run.stderr
    assert queue.depth().queued == 0
    worker(queue, engine)
    assert shoal(*submit).returncode == Exit.OK


# --- what is not replaced ------------------------------------------------------------------------


def test_a_download_replaces_nothing_unasked(shoal: Run, succeed: Succeed, tmp_path: Path) -> None:
    first, second = succeed(), succeed(sample_fps=5)
    assert shoal("download", first.id, "--to", "out").returncode == Exit.OK
    refused = shoal("download", second.id, "--to", "out")
    assert refused.returncode == Exit.REFUSED
    assert "--force" in refused.stderr
    assert (tmp_path / "out/match_masks.parquet").read_text() == first.id
    assert shoal("download", second.id, "--to", "out", "--force").returncode == Exit.OK
    assert (tmp_path / "out/match_masks.parquet").read_text() == second.id


# --- more of the queue ---------------------------------------------------------------------------


def test_the_queue_is_paused_and_resumed(shoal: Run, queue: JobQueue) -> None:
    assert "paused" in shoal("pause").stdout
    assert queue.paused
    assert document(shoal("resume", "--json"))["paused"] is False
    assert not queue.paused


def test_a_job_is_moved_to_the_front(
    shoal: Run, client: Client, queue: JobQueue, settings: Settings
) -> None:
    first, second = (
        client.submit(write_video(settings, f"{name}.mp4").as_uri(), ["person"]).id for name in "ab"
    )
    assert shoal("priority", second).returncode == Exit.OK
    assert queue.rq.get_job_ids() == [second, first]
    assert document(shoal("priority", second, "normal", "--json"))["priority"] == "normal"
    assert queue.rq.get_job_ids() == [first, second]
    assert shoal("priority", second, "middle").returncode == Exit.USAGE


def completed(url: str, *words: str) -> list[str]:
    """What bash is proposed for the last word."""
    env = {
        "_SHOAL_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("shoal", *words)),
        "COMP_CWORD": str(len(words)),
        "SHOAL_API_URL": url,
    }
    return CliRunner().invoke(app, [], env=env, prog_name="shoal").stdout.split()


def test_tab_proposes_ids_kinds_and_engines(api_url: str, client: Client, succeed: Succeed) -> None:
    done = succeed()
    batch = client.batches.submit("person", uris=[done.spec.uri])
    # No fewer characters: the batch makes another job, whose ID may begin with the same two.
    assert completed(api_url, "show", done.id[:8]) == [done.id[:12]]
    assert completed(api_url, "download", done.id[:14]) == [done.id]
    assert completed(api_url, "batch", "show", batch.id[:3]) == [batch.id[:12]]
    assert completed(api_url, "submit", "a.mp4", "--engine", "sam") == ["sam3-native", "sam3"]
    assert completed(api_url, "submit", "a.mp4", "--output", "c") == [
        "coco",
        "csv",
        "cvat",
        "crops",
    ]
    assert completed(api_url, "export", "x", "--format", "co") == ["coco"]
    assert completed("http://127.0.0.1:1", "show", "a") == []
