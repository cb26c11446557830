"""Split jobs: their results are those of an unsplit run, save for IDs that nobody could know."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from shoal.errors import MixedEngines, SegmentsLost
from shoal.model.job import JobSpec, Role
from shoal.model.prompts import Exemplar, Removal
from shoal.model.record import Phase
from shoal.results.layout import result_name, split_prefix
from tests import media
from tests.attempts import Job
from tests.fakes import Fake, FakeSession
from tests.media import seconds
from tests.split_attempts import SplitJob
from worker.engines.base import FrameResult, Mask, ObjectResult, Query
from worker.protocol import HandOver
from worker.video.frame import Frame, VideoInfo

pytestmark = pytest.mark.slow

FRAMES = 300
ALL = ["overlay", "crops", "coco", "csv"]


class Walkers(Fake):
    """Objects that appear and go: each session numbers them as it meets them."""

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> FakeSession:
        self.sessions_open += 1
        return WalkersSession(self, query, state)


class WalkersSession(FakeSession):
    """Object k is there on frames 25k to 25k + 60, in a row of its own."""

    def __init__(self, predictor: Fake, query: Query, state: bytes | None) -> None:
        super().__init__(predictor, query)
        self.known: dict[str, int] = json.loads(state) if state else {}  # frame of the first sight

    def _one(self, frame: Frame) -> FrameResult:
        objects = []
        for each in range(frame.index // 25 - 2, frame.index // 25 + 1):
            if each < 0 or frame.index > 25 * each + 60:
                continue
            first = self.known.setdefault(str(each), frame.index)
            x, y = frame.index % 25, 18 * (each % 5)
            mask = Mask(x, y, np.ones((16, 40), np.uint8))
            prompt = self.prompts[each % len(self.prompts)]
            box = (float(x), float(y), x + 40.0, y + 16.0)
            number = 1 + list(self.known).index(str(each))
            objects.append(ObjectResult(number, prompt, 0.9, box, mask, first / 1024))
        return FrameResult(frame.index, objects)

    def state(self) -> bytes:
        return json.dumps(self.known).encode()


class Blinkers(Walkers):
    """Walkers that are missed now and then, around the cuts as well."""

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> FakeSession:
        self.sessions_open += 1
        return BlinkersSession(self, query, state)


class BlinkersSession(WalkersSession):
    def _one(self, frame: Frame) -> FrameResult:
        found = super()._one(frame)
        seen = [o for o in found.objects if (frame.index + int(o.box[1])) % 8 > 2]
        return FrameResult(frame.index, seen if frame.index % 100 > 4 else [])


def difference(ours: Path, theirs: Path) -> float:
    """The largest mean difference of two frames' luma, of all frames."""
    with av.open(str(ours)) as first, av.open(str(theirs)) as second:
        pairs = zip(first.decode(video=0), second.decode(video=0), strict=True)
        worst = 0.0
        for a, b in pairs:
            assert seconds(a) == seconds(b)
            lumas = [each.to_ndarray(format="gray").astype(int) for each in (a, b)]
            worst = max(worst, float(np.abs(lumas[0] - lumas[1]).mean()))
        return worst


def is_render(spec: JobSpec) -> bool:
    return spec.segment is not None and spec.segment.role is Role.RENDER


def cutouts(path: Path) -> dict[str, Any]:
    """By name: when pictures of an object's video are shown and how much is opaque; other files."""
    found: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith(".webm"):
                with av.open(io.BytesIO(content), "r") as container:
                    packets = [each for each in container.demux(video=0) if each.dts is not None]
                    found[name] = [each.pts for each in packets]
            else:
                found[name] = content
    return found


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    media.write_video(path, frames=FRAMES)
    return path


def split(clip: Path, folder: Path, count: Any = 3, **options: Any) -> SplitJob:
    folder.mkdir()
    return SplitJob(clip, folder, options.pop("load", Walkers), split=count, **options)


def whole(clip: Path, folder: Path, **options: Any) -> Job:
    folder.mkdir()
    job = Job(clip, folder, options.pop("load", Walkers), **options)
    job.attempt()
    return job


@pytest.mark.parametrize("count", [2, 3, 4])
def test_it_equals_an_unsplit_run(clip: Path, tmp_path: Path, count: int) -> None:
    straight = whole(clip, tmp_path / "whole", outputs=ALL)
    job = split(clip, tmp_path / "split", count, outputs=ALL)
    job.complete()
    assert job.segments == count
    assert job.phases == [Phase.TRACK, Phase.JOIN, Phase.RENDER, Phase.FINAL]
    assert job.rows() == straight.rows()
    assert job.overlay_times() == straight.overlay_times()
    ours, theirs = job.metadata(), straight.metadata()
    for key in ("video", "frames_processed", "objects_per_prompt", "output_fps", "original_fps"):
        assert ours[key] == theirs[key], key
    assert ours["engine"] == theirs["engine"]
    assert (ours["segments"], theirs["segments"]) == (count, 0)
    assert ours["resumed"] == 0
    for kind in ("crops", "coco", "csv", "summary", "crops-sheet"):
        mine, other = (each.results / result_name(each.spec, kind) for each in (job, straight))
        assert mine.read_bytes() == other.read_bytes(), kind


@pytest.mark.parametrize(
    "options",
    [
        {"sample_fps": 12},
        {"sample_fps": 0, "max_frames": 150},
        {"sample_fps": 0, "start_frame": 41},
        {"sample_fps": 12.5, "start_frame": 7, "max_frames": 140},
    ],
)
def test_the_same_frames_are_written(clip: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    straight = whole(clip, tmp_path / "whole", **options)
    job = split(clip, tmp_path / "split", 2, **options)
    job.complete()
    assert job.segments == 2
    assert job.rows() == straight.rows()
    assert job.overlay_times() == straight.overlay_times()
    assert job.metadata()["video"] == straight.metadata()["video"]


def test_interrupted_in_any_segment_and_in_any_order_it_ends_the_same(
    clip: Path, tmp_path: Path
) -> None:
    straight = whole(clip, tmp_path / "whole", outputs=ALL)
    job = split(clip, tmp_path / "split", outputs=ALL)
    job.complete(cuts=lambda spec: (1, 20, 60), order=lambda specs: specs[::-1])
    assert job.rows() == straight.rows()
    assert job.overlay_times() == straight.overlay_times()
    assert job.metadata()["resumed"] == 18
    mine, other = (each.results / result_name(each.spec, "crops") for each in (job, straight))
    assert mine.read_bytes() == other.read_bytes()


def test_every_segment_reads_exemplars_wherever_in_the_video_they_are(
    clip: Path, tmp_path: Path
) -> None:
    """Once: an interrupted one goes on with what it knows. Segments that are drawn need none."""
    read: list[list[int]] = []

    class Readers(Walkers):
        def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> FakeSession:
            return Reader(self, query, state)

    class Reader(WalkersSession):
        def read_exemplars(self, frames: Iterable[Frame]) -> None:
            read.append([frame.index for frame in frames])

    job = split(clip, tmp_path / "split", load=Readers, outputs=["overlay"])
    shown = [Exemplar(prompt="person", frame=n, box=(1, 2, 30, 40)) for n in (290, 3)]
    job.spec = job.spec.model_copy(update={"exemplars": tuple(shown)})
    job.complete(cuts=lambda spec: (20,))
    assert job.segments == 3
    assert read == [[3, 290]] * 3


def test_tables_do_not_wait_for_rendering(clip: Path, tmp_path: Path) -> None:
    job = split(clip, tmp_path / "split", outputs=["coco"])
    job.complete()
    assert job.phases == [Phase.TRACK, Phase.JOIN]
    assert job.rows() == whole(clip, tmp_path / "whole", outputs=["coco"]).rows()


@pytest.mark.parametrize(
    "output",
    [
        {"kind": "redact", "prompts": ["person"]},
        {"kind": "overlay", "trails": True},
        {"kind": "overlay", "trails": True, "rate": "original"},
        "webm-alpha",
    ],
)
def test_what_needs_other_frames_sees_both_sides_of_a_cut(
    clip: Path, tmp_path: Path, output: Any
) -> None:
    straight = whole(clip, tmp_path / "whole", load=Blinkers, outputs=[output])
    job = split(clip, tmp_path / "split", load=Blinkers, outputs=[output])
    job.complete(cuts=lambda spec: (1, 20) if is_render(spec) else ())
    at_once = isinstance(output, dict) and output.get("rate") == "original"
    assert (Phase.RENDER in job.phases) != at_once
    for path in straight.results.iterdir():
        ours = job.results / path.name
        if path.suffix == ".mp4":
            assert difference(ours, path) < 2.0
        elif path.suffix == ".zip":
            assert set(cutouts(ours)) == set(cutouts(path))
            assert cutouts(ours) == cutouts(path)
        elif not path.name.endswith("_metadata.json") and path.suffix != ".parquet":
            told = ours.read_bytes().replace(job.spec.id.encode(), straight.spec.id.encode())
            assert told == path.read_bytes()


def test_the_notes_of_segments_are_those_of_the_whole_video(clip: Path, tmp_path: Path) -> None:
    """Boxes and masks that are hidden and ways that are drawn, number for number."""
    outputs = [{"kind": "redact", "prompts": ["person"]}, {"kind": "overlay", "trails": True}]
    straight = whole(clip, tmp_path / "whole", load=Blinkers, outputs=outputs)
    job = split(clip, tmp_path / "split", load=Blinkers, outputs=outputs)
    job.complete()
    for piece in ("covers.parquet", "trails.parquet"):
        [one] = straight.folder.glob(f"work-*/{piece}")
        final = job.folder / f"work-{job.attempts}" / "parts"
        pieces = [pq.read_table(path) for path in sorted(final.glob(f"*{piece}"))]
        assert len(pieces) == 3
        expected = pq.read_table(one).to_pylist()
        assert expected
        found = [row for each in pieces for row in each.to_pylist()]
        # Those of trails begin with the last seconds before their segment.
        once = [row for number, row in enumerate(found) if row not in found[:number]]
        assert once == expected


class Assuming(Walkers):
    """In the middle of a video it assumes that objects began earlier, and sees a ghost."""

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> FakeSession:
        self.sessions_open += 1
        return AssumingSession(self, query, state)


class AssumingSession(WalkersSession):
    def __init__(self, predictor: Fake, query: Query, state: bytes | None) -> None:
        super().__init__(predictor, query, state)
        self.assume_until_s = query.assume_until_s

    def _one(self, frame: Frame) -> FrameResult:
        found = super()._one(frame).objects
        if self.assume_until_s < 0:
            return FrameResult(frame.index, found)
        objects = [
            replace(each, detection_score=None)
            if (each.detection_score or 0) * 1024 / 25 <= self.assume_until_s
            else each
            for each in found
        ]
        ghost = ObjectResult(
            99, "ball", 0.3, (0, 90, 9, 99), Mask(0, 90, np.ones((9, 9), np.uint8))
        )
        return FrameResult(frame.index, [*objects, ghost])


def test_what_was_only_assumed_is_left_out_unless_it_was_there_before(
    clip: Path, tmp_path: Path
) -> None:
    straight = whole(clip, tmp_path / "whole", load=Assuming, outputs=["coco"])
    job = split(clip, tmp_path / "split", load=Assuming, outputs=["coco"])
    job.complete()
    assert job.rows() == straight.rows()


class WarmingUp(Walkers):
    """Counts the frames that it is given."""

    warm_up_s = 2.0
    stepped: ClassVar[int] = 0

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> FakeSession:
        self.sessions_open += 1
        return CountingSession(self, query, state)


class CountingSession(WalkersSession):
    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        WarmingUp.stepped += len(frames)
        return super().step(frames)


@pytest.mark.parametrize(("count", "tracked"), [(3, 300 + 2 * (50 + 16)), (6, 300 + 3 * (50 + 16))])
def test_segments_begin_earlier_where_the_engine_must_warm_up(
    clip: Path, tmp_path: Path, count: int, tracked: int
) -> None:
    straight = whole(clip, tmp_path / "whole", outputs=["coco"])
    job = split(clip, tmp_path / "split", count, load=WarmingUp, outputs=["coco"])
    before = WarmingUp.stepped
    job.complete()
    assert job.rows() == straight.rows()
    assert WarmingUp.stepped - before == tracked


def test_removed_objects_are_those_of_the_whole_video(clip: Path, tmp_path: Path) -> None:
    removed = (Removal(object_id=6, frame=0), Removal(object_id=3, frame=60))
    straight = whole(clip, tmp_path / "whole", remove_objects=removed)
    job = split(clip, tmp_path / "split", remove_objects=removed)
    job.complete()
    kept = [r for r in whole(clip, tmp_path / "all").rows() if r["object_id"] != 6]
    expected = [r for r in kept if r["object_id"] != 3 or r["frame"] < 60]
    assert job.rows() == expected
    assert straight.rows() != expected  # the fake engine leaves nothing out itself
    assert job.metadata()["objects_detected"] == len({r["object_id"] for r in expected})


def test_a_video_that_is_too_short_stays_whole(clip: Path, tmp_path: Path) -> None:
    job = split(clip, tmp_path / "auto", "auto")
    job.complete()
    assert job.phases == []
    assert job.metadata()["segments"] == 0
    few = split(clip, tmp_path / "few", 2, max_frames=127)
    few.complete()
    assert few.phases == []
    assert few.rows() == whole(clip, tmp_path / "whole", max_frames=127).rows()


def test_segments_are_not_shorter_than_two_overlaps(clip: Path, tmp_path: Path) -> None:
    job = split(clip, tmp_path / "many", 200)
    job.complete()
    assert job.segments == 4
    assert job.rows() == whole(clip, tmp_path / "whole").rows()


class Other(Walkers):
    name = "other"


def test_all_segments_have_one_engine(clip: Path, tmp_path: Path) -> None:
    job = split(clip, tmp_path / "split")
    handed = job.order(job.spec)
    assert isinstance(handed, HandOver)
    job.load = Other
    with pytest.raises(MixedEngines, match="'fake'; this is 'other'"):
        job.order(job.specs(handed, Role.TRACK)[0])


def test_what_is_lost_is_said(clip: Path, tmp_path: Path) -> None:
    job = split(clip, tmp_path / "split")
    handed = job.order(job.spec)
    assert isinstance(handed, HandOver)
    first, second, third = job.specs(handed, Role.TRACK)
    for spec in (first, third):
        job.order(spec)
    phase: dict[str, Any] = {"plan": handed.plan, "segments": 3}
    with pytest.raises(SegmentsLost, match="segment 2 is not complete"):
        job.order(job.spec, phase=Phase.JOIN, **phase)
    with pytest.raises(SegmentsLost, match="joined tables"):
        job.order(job.spec, phase=Phase.FINAL, **phase)
    job.storage.delete(split_prefix(job.spec) + handed.plan)
    with pytest.raises(SegmentsLost, match="plan"):
        job.order(second)


def test_every_segment_and_every_role_has_an_id_of_its_own(clip: Path, tmp_path: Path) -> None:
    job = split(clip, tmp_path / "split")
    handed = HandOver(phase=Phase.TRACK, plan="plan-a1.json", segments=3)
    specs: list[JobSpec] = [job.spec]
    for role in Role:
        specs += job.specs(handed, role)
    assert len({spec.id for spec in specs}) == 7
