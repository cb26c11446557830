"""Previews on the real stack: an API, a worker, and videos that it may be at."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from shoal.client import Client
from shoal.errors import ApiError
from shoal.model.job import State
from shoal.model.preview import Preview, PreviewState
from shoal.queue.queue import JobQueue
from tests.conftest import SHOAL, SubmitClip
from tests.running import Processes, eventually
from tests.security.test_bombs import BOMBS


def check_street(found: Preview, client: Client) -> None:
    assert found.error is None
    assert found.state is PreviewState.DONE
    assert found.engine == "cpu"
    assert found.video is not None
    assert (found.video.fps, found.video.duration_s) == (25, 10)
    assert len(found.frames) == 6
    assert [frame.frame for frame in found.frames] == sorted({f.frame for f in found.frames})
    for number, frame in enumerate(found.frames):
        assert frame.exact
        assert frame.time_s == pytest.approx(frame.frame / 25)
        assert (frame.width, frame.height) == (640, 272)
        for each in frame.objects:
            assert each.prompt in ("person", "bicycle")
            assert each.mask.size == (272, 640)
        assert client.previews.picture(found, number)[:2] == b"\xff\xd8"
    prompts = [each.prompt for frame in found.frames for each in frame.objects]
    assert {"person", "bicycle"} == set(prompts)


def test_idle_and_busy_workers_answer(
    processes: Processes, sample_clip: Path, submit_clip: SubmitClip, tmp_path: Path
) -> None:
    client = processes.api()
    uri = client.upload(sample_clip).uri
    with pytest.raises(ApiError) as caught:
        client.previews.make(uri, ["person"])
    assert caught.value.remote_code == "no_worker"
    assert "shoal worker" in caught.value.hint

    processes.worker("cpu")
    eventually(processes.idle_workers, "the worker")
    check_street(client.previews.make(uri, ["person", "bicycle"]), client)
    check_command_line(processes, uri, tmp_path)

    job = client.submit(uri, ["person"], sample_fps=0)
    processes.wait_frames(job.id)
    check_street(client.previews.make(uri, ["person", "bicycle"]), client)
    assert client.get(job.id).state == State.RUNNING
    check_bad_videos(client, tmp_path)
    record = processes.wait_state(job.id, "succeeded", "failed")
    assert (record.state, record.failures) == (State.SUCCEEDED, 0)

    client.pause()  # jobs wait, people do not
    check_street(client.previews.make(uri, ["person", "bicycle"]), client)


def check_command_line(processes: Processes, uri: str, folder: Path) -> None:
    """``shoal preview`` writes pictures with masks drawn, and prints a table."""
    env = processes.env | {"SHOAL_API_URL": f"http://127.0.0.1:{processes.settings.api_port}"}
    command = [*SHOAL, "preview", uri, "-p", "person", "-p", "bicycle", "--frames", "2"]
    done = subprocess.run(
        [*command, "--to", str(folder / "out")], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    pictures = sorted((folder / "out").glob("*.jpg"))
    assert len(pictures) == 2
    assert "× person" in done.stdout
    assert str(pictures[0]) in done.stdout
    example = folder / "exemplars.json"
    example.write_text('[{"prompt": "person", "frame": 20, "box": [10, 10, 60, 90]}]')
    refused = subprocess.run(
        [*command, "--exemplars", str(example)], env=env, capture_output=True, text=True
    )
    assert refused.returncode != 0
    assert "the cpu engine does not support 'exemplars'" in " ".join(refused.stderr.split())
    plain = subprocess.run([*command, "--json"], env=env, capture_output=True, text=True)
    assert [each["time_s"] for each in json.loads(plain.stdout)["frames"]] == pytest.approx(
        [frame / 25 for frame in (int(path.stem[-8:]) for path in pictures)]
    )


def check_bad_videos(client: Client, folder: Path) -> None:
    """What is no video fails alone, and the video that the worker is at goes on."""
    (folder / "bad.mp4").write_bytes(b"no video at all")
    (folder / "bomb.mp4").write_bytes(BOMBS["stss.mp4"][0]())
    for name, code in (("bad.mp4", "not_a_video"), ("bomb.mp4", "video_bomb")):
        found = client.previews.make(client.upload(folder / name).uri, ["person"])
        assert found.state is PreviewState.FAILED
        assert found.error is not None
        assert found.error.code == code


def test_a_preview_that_no_worker_takes_expires(
    processes: Processes, sample_clip: Path, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that waits for a worker that is loading, and is killed."""
    client = processes.api()
    worker = processes.worker("tests.fakes:SlowToLoad")
    eventually(lambda: client.queue().workers, "the worker")
    uri = client.upload(sample_clip).uri
    asked = client._http.json(
        Preview, "POST", "/previews", json={"uri": uri, "prompts": ["person"]}
    )
    assert client.previews.get(asked.id, wait_s=0.2).state is PreviewState.WAITING
    worker.kill()
    queue.redis.hincrbyfloat(f"{queue.name}:preview:{asked.id}", "since", -61)
    found = client.previews.get(asked.id)
    assert found.error is not None
    assert found.error.code == "preview_expired"
    with pytest.raises(ApiError) as caught:
        client.previews.get("0" * 24)
    assert caught.value.remote_code == "preview_not_found"
