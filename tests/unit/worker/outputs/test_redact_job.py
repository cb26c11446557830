"""Redacted videos from end to end: no picture that shows what was to be hidden is ever written."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.cli.outputs import read_outputs
from shoal.errors import InvalidOption, InvalidOutput, InvalidPrompt, Stopped
from shoal.model.job import Options
from shoal.model.outputs import check_fits, parse_outputs, prompts_of
from shoal.model.record import Progress
from shoal.results.layout import result_name
from tests.attempts import Job, Line, times
from tests.fakes import Fake, FakeSession
from tests.media import rgb, seconds
from worker.engines.base import FrameResult, Mask, ObjectResult, Query
from worker.protocol import StopReason
from worker.video.frame import Frame, VideoInfo

WIDTH, HEIGHT, FPS, FRAMES = 320, 180, 10, 60
SIDE = 48  # of the secret, in pixels
MISSED = (*range(12, 20), 33)  # frames on which the predictor does not see it
CUT = 40  # the first frame of the second scene
FIRST_SEEN = 44  # there
SECRET = np.kron(
    np.random.default_rng(7).integers(0, 2, (8, 8)), np.ones((SIDE // 8, SIDE // 8))
).astype(np.uint8)


def place(index: int) -> tuple[int, int]:
    """The secret's top left corner on a frame."""
    return (20 + 4 * index, 40) if index < CUT else (30, 100)


def picture(index: int) -> NDArray[np.uint8]:
    """A street with the secret in it, RGB."""
    rgb = np.full((HEIGHT, WIDTH, 3), (150, 160, 170) if index < CUT else (60, 40, 30), np.uint8)
    rgb[HEIGHT * 2 // 3 :] //= 2
    x, y = place(index)
    rgb[y : y + SIDE, x : x + SIDE] = 40 + 170 * SECRET[..., None]
    return rgb


def shows_secret(rgb: NDArray[np.uint8]) -> bool:
    """Whether it can be made out anywhere."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    if min(grey.shape) < SIDE:
        return False
    match = cv2.matchTemplate(grey, 40 + 170 * SECRET, cv2.TM_CCOEFF_NORMED)
    return float(match.max()) > 0.6


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With sound, tags, a place, and a chapter."""
    path = tmp_path_factory.mktemp("source") / "street.mp4"
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update(
            {"title": "TELLTALE", "location": "+48.8577+002.295/", "comment": "TELLTALE"}
        )
        stream = container.add_stream("libx264", rate=FPS, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.metadata["handler_name"] = "TELLTALE"
        sound = container.add_stream("aac", rate=48_000)
        sound.metadata["language"] = "fra"
        container.set_chapters(
            [
                {
                    "id": 0,
                    "start": 0,
                    "end": 3000,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": "TELLTALE"},
                }
            ]
        )
        for i in range(FRAMES):
            shown = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
            container.mux(stream.encode(shown))
        container.mux(stream.encode())
        tone = np.sin(np.arange(48_000 * FRAMES // FPS) * 440 * 2 * np.pi / 48_000) / 2
        for start in range(0, len(tone), 1024):
            block = tone[start : start + 1024].astype(np.float32)[None]
            samples = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 48_000, start
            container.mux(sound.encode(samples))
        container.mux(sound.encode())
    return path


class Watchful(Fake):
    """Sees the secret, but not on every frame."""

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> WatchfulSession:
        self.sessions_open += 1
        return WatchfulSession(self, query)


class WatchfulSession(FakeSession):
    def _one(self, frame: Frame) -> FrameResult:
        if frame.index in MISSED or CUT <= frame.index < FIRST_SEEN:
            return FrameResult(frame.index)
        x, y = place(frame.index)
        mask = Mask(x, y, np.ones((SIDE, SIDE), np.uint8))
        box = (float(x), float(y), float(x + SIDE), float(y + SIDE))
        number = 1 if frame.index < CUT else 2
        return FrameResult(frame.index, [ObjectResult(number, "face", 0.9, box, mask)])


@dataclass
class Witness(Line):
    """Keeps a copy of every file that it ever sees below a folder."""

    folder: Path = Path()
    kept: Path = Path()
    seen: dict[tuple[str, int, int], Path] = field(default_factory=dict)

    def report(self, progress: Progress, *, now: bool = False) -> None:
        super().report(progress, now=now)
        self.look()

    def look(self) -> None:
        for path in self.folder.rglob("*"):
            if not path.is_file() or self.kept in path.parents:
                continue
            stat = path.stat()
            key = str(path), stat.st_size, stat.st_mtime_ns
            if key not in self.seen:
                self.seen[key] = self.kept / f"{len(self.seen)}-{path.name}"
                shutil.copyfile(path, self.seen[key])


def pictures_of(data: bytes) -> list[NDArray[np.uint8]]:
    """Every picture in a file that FFmpeg can find one in, archives included."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [each for name in archive.namelist() for each in pictures_of(archive.read(name))]
    try:
        with av.open(io.BytesIO(data), "r") as container:
            return [rgb(each) for each in container.decode(video=0)]
    except (av.FFmpegError, IndexError, ValueError):
        return []


def looks(paths: Sequence[Path]) -> tuple[int, int]:
    """How many pictures there are in files, and how many of them show the secret."""
    found = [each for path in paths for each in pictures_of(path.read_bytes())]
    return len(found), sum(map(shows_secret, found))


def new_job(video: Path, folder: Path, *outputs: Any, part_s: float = 3600, **options: Any) -> Job:
    folder.mkdir()
    return Job(video, folder, Watchful, ("face",), part_s, outputs=outputs or ["redact"], **options)


def redacted(job: Job) -> Path:
    return job.results / result_name(job.spec, "redact")


def same_pictures(a: Job, b: Job) -> bool:
    """Bit by bit. How they are packed into slices is chance: x264's threads race for that."""
    first, second = (pictures_of(redacted(job).read_bytes()) for job in (a, b))
    return len(first) == FRAMES and np.array_equal(first, second)


def report(job: Job) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(
        (job.results / result_name(job.spec, "redaction")).read_text()
    )
    return parsed


# --- nothing unredacted --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("style", ["blur", "pixelate", "solid"])
def test_no_file_ever_written_shows_the_secret(video: Path, tmp_path: Path, style: str) -> None:
    assert all(shows_secret(picture(i)) for i in range(FRAMES))
    job = new_job(video, tmp_path / "job", {"kind": "redact", "style": style}, "png", part_s=0.05)
    kept = tmp_path / "kept"
    kept.mkdir()
    for stop_at in (7, 25, 50):  # interrupted, so that parts of all attempts lie about
        with pytest.raises(Stopped):
            job.attempt(Witness(stop_at, folder=tmp_path / "job", kept=kept))
    witness = Witness(folder=tmp_path / "job", kept=kept)
    job.attempt(witness)
    witness.look()
    names = {path.name.rpartition("-")[2] for path in kept.iterdir()}
    assert {"street_redacted.mp4", "a1.light.parquet", "a4.masks.parquet", "redact.mp4"} <= names
    count, shown = looks([*kept.iterdir()])
    assert count >= 2 * FRAMES  # the redacted video, the masks
    assert shown == 0
    rgb = pictures_of(redacted(job).read_bytes())
    assert len(rgb) == FRAMES


def test_the_search_finds_what_an_overlay_shows(video: Path, tmp_path: Path) -> None:
    """So the test above can fail."""
    job = new_job(video, tmp_path / "job", "overlay")
    job.attempt()
    count, shown = looks([path for path in job.results.iterdir() if path.is_file()])
    assert (count, shown) == (FRAMES, FRAMES)


def test_parts_hold_no_pictures(video: Path, tmp_path: Path) -> None:
    job = new_job(video, tmp_path / "job")
    with pytest.raises(Stopped):
        job.attempt(Line(stop_at=30))
    assert {name.partition(".")[2] for name in job.parts} == {
        "frames.parquet",
        "light.parquet",
        "masks.parquet",
        "state",
    }


@pytest.mark.parametrize("shown", ["overlay", "webm-alpha", "crops"])
def test_pictures_beside_a_strict_redaction_are_refused(shown: str) -> None:
    strict = Options(outputs=["redact", shown])
    with pytest.raises(
        InvalidOutput,
        match=f"'{shown}' cannot be combined with redaction: it would show what is hidden",
    ):
        check_fits(strict.outputs, ["face"])
    check_fits(Options(outputs=[{"kind": "redact", "strict": False}, shown]).outputs, ["face"])


# --- gaps ----------------------------------------------------------------------------------------


def test_a_dropout_is_bridged_and_reported(video: Path, tmp_path: Path) -> None:
    job = new_job(video, tmp_path / "job")
    job.attempt()
    found = report(job)
    assert [(each["why"], each["first_frame"], each["last_frame"]) for each in found["check"]] == [
        ("bridged", 12, 19),
        ("bridged", 33, 33),
        ("held", 39, 43),  # the new scene's, with the frame before it
        ("held", 40, 40),  # the old scene's, with the frame after it
    ]
    assert found["frames"] == found["frames_redacted"] == FRAMES
    assert found["scenes"] == 2
    assert job.metadata()["outputs"]["redaction"].endswith("street_redaction.json")


def test_without_gap_seconds_the_dropout_shows(video: Path, tmp_path: Path) -> None:
    """So the bridge is what hides it."""
    job = new_job(video, tmp_path / "job", {"kind": "redact", "gap_seconds": 0})
    job.attempt()
    shown = [shows_secret(each) for each in pictures_of(redacted(job).read_bytes())]
    missed = {*MISSED, *range(CUT, FIRST_SEEN)}
    assert {index for index, each in enumerate(shown) if each} == missed


# --- resume --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"direction": "backward"}, {"direction": "both", "start_frame": 30}],
    ids=["forward", "backward", "both"],
)
def test_an_interrupted_job_writes_the_same_video(
    video: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    straight, job = (new_job(video, tmp_path / name, **options) for name in ("straight", "cut"))
    straight.attempt()
    for stop_at in (5, 14, 16, 39, 55):
        with pytest.raises(Stopped):
            job.attempt(Line(stop_at=stop_at))
    job.attempt()
    assert same_pictures(job, straight)
    assert report(job)["check"] == report(straight)["check"]
    assert times(redacted(job)) == pytest.approx([i / FPS for i in range(FRAMES)])


@dataclass
class RenderStopped(Line):
    """Stops while the redacted video is rendered."""

    at: int = 20

    def report(self, progress: Progress, *, now: bool = False) -> None:
        super().report(progress, now=now)
        if progress.stage == "render" and progress.frames == self.at:
            self.why = self.reason


def test_stopped_while_rendering_only_that_is_done_again(video: Path, tmp_path: Path) -> None:
    straight, job = (new_job(video, tmp_path / name) for name in ("straight", "stopped"))
    straight.attempt()
    with pytest.raises(Stopped):
        job.attempt(RenderStopped())
    assert not job.results.exists()
    line = Line()
    job.attempt(line)
    assert line.stages == ["fetch", "open", "render", "publish"]
    assert line.named("resumed") == [{"part": 1, "frame": FRAMES - 1}]
    assert same_pictures(job, straight)
    assert job.metadata()["frames_processed"] == FRAMES
    assert job.metadata()["resumed"] == 1


def test_cancelled_while_rendering_there_is_no_result(video: Path, tmp_path: Path) -> None:
    """Nor a picture in the parts, which its parent removes once the record says so."""
    job = new_job(video, tmp_path / "job")
    with pytest.raises(Stopped):
        job.attempt(RenderStopped(reason=StopReason.CANCELLED))
    assert not job.results.exists()
    assert not [name for name in job.parts if not name.endswith((".parquet", ".state"))]


# --- what else the source tells ------------------------------------------------------------------


def test_tags_places_and_chapters_are_gone(video: Path, tmp_path: Path) -> None:
    assert b"TELLTALE" in video.read_bytes()
    job = new_job(video, tmp_path / "job")
    job.attempt()
    content = redacted(job).read_bytes()
    assert b"TELLTALE" not in content
    assert b"48.8577" not in content
    with av.open(str(redacted(job))) as container:
        assert container.chapters() == []
        assert set(container.metadata) <= {
            "major_brand",
            "minor_version",
            "compatible_brands",
            "encoder",
        }
        for stream in container.streams:
            assert stream.metadata.get("language", "und") == "und"


@pytest.mark.parametrize("audio", ["keep", "mute", "drop"])
def test_audio_is_kept_muted_or_dropped(video: Path, tmp_path: Path, audio: str) -> None:
    job = new_job(video, tmp_path / "job", {"kind": "redact", "audio": audio})
    job.attempt()
    with av.open(str(redacted(job))) as container:
        assert bool(container.streams.audio) == (audio != "drop")
        if audio == "drop":
            return
        blocks = [each.to_ndarray() for each in container.decode(audio=0)]
    sound = np.concatenate(blocks, axis=1)
    assert sound.shape[1] / 48_000 == pytest.approx(FRAMES / FPS, abs=0.1)
    assert (np.abs(sound).max() > 0.2) == (audio == "keep")
    assert audio == "keep" or np.abs(sound).max() < 1e-3


# --- which frames --------------------------------------------------------------------------------


def test_redaction_takes_every_frame_unless_told_otherwise() -> None:
    assert Options(outputs=["redact"]).sample_fps == 0
    assert Options(outputs=["overlay"]).sample_fps == 1
    with pytest.raises(InvalidOption, match="'redact' requires every frame"):
        Options(outputs=["redact"], sample_fps=5)


def test_frames_that_were_not_asked_for_are_not_written(video: Path, tmp_path: Path) -> None:
    job = new_job(video, tmp_path / "job", start_frame=10, max_frames=20)
    job.attempt()
    assert times(redacted(job)) == pytest.approx([i / FPS for i in range(10, 30)])
    assert looks([redacted(job)]) == (20, 0)
    with av.open(str(redacted(job))) as container:
        heard = [seconds(each) for each in container.decode(audio=0)]
    assert heard[0] == pytest.approx(1.0, abs=0.05)
    assert heard[-1] == pytest.approx(3.0, abs=0.05)


def test_only_the_prompts_named_are_hidden(video: Path, tmp_path: Path) -> None:
    job = new_job(video, tmp_path / "job", {"kind": "redact", "prompts": ["license plate"]})
    job.attempt()
    assert looks([redacted(job)]) == (FRAMES, FRAMES)
    assert report(job)["frames_redacted"] == 0


def test_prompts_are_named_as_a_list_or_joined_by_plus() -> None:
    [_, listed] = parse_outputs({"kind": "redact", "prompts": ["face", " license  plate "]})
    [_, joined] = read_outputs(["redact:prompts=face+license plate"])
    assert listed == joined
    assert prompts_of([joined]) == ("face", "license plate")
    with pytest.raises(InvalidOutput, match=r"redact\.prompts"):
        parse_outputs({"kind": "redact", "prompts": 5})
    with pytest.raises(InvalidPrompt):
        parse_outputs({"kind": "redact", "prompts": ["face", ""]})
