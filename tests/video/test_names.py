"""Videos and pictures by their own names, whatever those are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shoal.results.layout import ENDINGS, result_name
from shoal.storage.frames import FRAME_NAMES
from tests import media
from tests.attempts import Job
from tests.fakes import Fake
from tests.video.authored import Square
from worker.video.source import open_source

LONG = {
    "229 letters": "a" * 225,
    "255 letters": "a" * 251,
    "82 CJK letters": "漢" * 82,
    "83 CJK letters": "漢" * 83,
    "emoji": "🦈" * 62,
}
OUTPUTS = ["overlay", "crops", "coco", "youtube-vis", "webm-alpha"]


@pytest.mark.parametrize("kind", LONG)
def test_a_video_with_the_longest_name_has_all_its_results(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{LONG[kind]}.mp4"
    media.write_video(path, frames=5)
    job = Job(path, tmp_path, Square, outputs=OUTPUTS)
    done = job.attempt()
    for name in done.results:
        assert (job.results / name).is_file()
        assert name.endswith(tuple(ENDINGS.values()))
    assert result_name(job.spec, "metadata") in done.results
    assert not list(job.results.glob(".*"))


# --- pictures of a folder -------------------------------------------------------------------------

PICTURES = ["left 9.jpg", "left 10.JPG", "scan-ü.png", "z.jpeg"]


def named_in(job: Job) -> tuple[list[str], list[str]]:
    coco = json.loads((job.results / result_name(job.spec, "coco")).read_text())
    vis = json.loads((job.results / result_name(job.spec, "youtube-vis")).read_text())
    return [each["file_name"] for each in coco["images"]], vis["videos"][0]["file_names"]


def test_coco_and_youtube_vis_name_the_pictures_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, name in enumerate(PICTURES):
        (folder / name).write_bytes((media.png if "png" in name else media.jpeg)(number))
    job = Job(folder, tmp_path, Fake, outputs=["coco", "youtube-vis"])
    job.attempt()
    coco, vis = named_in(job)
    assert coco == PICTURES
    assert vis == [f"frames/{name}" for name in PICTURES]


@pytest.mark.parametrize(
    ("noted", "wanted"),
    [
        ('["a.jpg", "b.jpg", "c.jpg"]', ["a.jpg", "b.jpg", "c.jpg"]),
        ('["a.jpg"]', ["1.jpg", "2.jpg", "3.jpg"]),  # of other pictures
        ('{"a": 1}', ["1.jpg", "2.jpg", "3.jpg"]),
        ("[1, 2, 3]", ["1.jpg", "2.jpg", "3.jpg"]),
        ("nonsense", ["1.jpg", "2.jpg", "3.jpg"]),
    ],
)
def test_a_folder_from_a_bucket_brings_its_names(
    tmp_path: Path, noted: str, wanted: list[str]
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (1, 2, 3):
        (folder / f"{number}.jpg").write_bytes(media.jpeg(number))
    (tmp_path / FRAME_NAMES).write_text(noted)
    with open_source(folder, sample_fps=0) as source:
        assert [frame.name for frame in source.frames()] == wanted


def test_they_name_the_members_of_a_tar_also_where_some_are_left_out(tmp_path: Path) -> None:
    names = [f"cam/{number:02}.jpg" for number in range(10)]
    media.write_tar(tmp_path / "a.tar", ((name, media.jpeg(n)) for n, name in enumerate(names)))
    options: dict[str, Any] = {
        "outputs": ["coco", "youtube-vis"],
        "sequence_fps": 10,
        "sample_fps": 5,
    }
    job = Job(tmp_path / "a.tar", tmp_path, Fake, direction="backward", **options)
    job.attempt()
    coco, _ = named_in(job)
    assert coco == names[::2]


def test_the_frames_of_a_video_are_numbered(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", frames=3)
    job = Job(tmp_path / "a.mp4", tmp_path, Fake, outputs=["coco", "youtube-vis"])
    job.attempt()
    coco, vis = named_in(job)
    assert coco == ["frame_000000.jpg", "frame_000001.jpg", "frame_000002.jpg"]
    assert vis == [f"a/{name}" for name in coco]
