"""Interlaced sources: whole pictures for engine and overlay, one for each, at the same times."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.filter import Graph

from shoal.errors import Stopped, TruncatedVideo
from shoal.model.job import Deinterlace
from shoal.results.layout import overlay_name
from tests import media
from tests.attempts import Job, Line
from tests.video.authored import Square, encode
from worker.video.planes import fingerprint
from worker.video.source import Source, open_source

FRAMES, FPS = 20, 25
HOW = {
    "h264.mp4": ("libx264", {"x264-params": "tff=1:keyint=6:bframes=2"}),
    "mpeg2.ts": ("mpeg2video", {"flags": "+ildct+ilme", "q": "2", "g": "6"}),
}


def bar(time: int) -> np.ndarray:
    """A bright bar on grey, (120, 160, 3), that moves 3 pixels per field."""
    rgb = np.full((120, 160, 3), 60, np.uint8)
    left = 8 + 3 * time
    rgb[20:100, left : left + 24] = (230, 220, 60)
    return rgb


def woven(number: int) -> av.VideoFrame:
    """Two moments in one picture, the earlier in the even lines."""
    rgb = bar(2 * number)
    rgb[1::2] = bar(2 * number + 1)[1::2]
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")


@pytest.fixture(scope="module", params=HOW)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("interlaced") / str(request.param)
    codec, options = HOW[request.param]
    encode(made, [woven(n) for n in range(FRAMES)], codec=codec, options=options, fps=FPS)
    return made


def opened(path: Path, how: Deinterlace = Deinterlace.AUTO, **options: object) -> Source:
    return open_source(path, sample_fps=0, deinterlace=how, **options)


def combing(picture: av.VideoFrame) -> float:
    """How much neighbouring lines differ where the bar is: of a whole picture hardly at all."""
    luma = picture.to_ndarray(format="gray").astype(int)[24:96]
    return float(np.abs(2 * luma[1:-1] - luma[:-2] - luma[2:]).mean())


def as_ffmpeg(path: Path) -> list[np.ndarray]:
    """All pictures of the file through its filter, in one go."""
    graph = Graph()
    made: list[np.ndarray] = []
    with av.open(str(path)) as container:
        source = graph.add_buffer(template=container.streams.video[0])
        bwdif = graph.add("bwdif", mode="send_frame", deint="all")
        graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
        for picture in (*container.decode(video=0), None):
            graph.push(picture)
            while True:
                try:
                    made.append(graph.pull().to_ndarray())
                except (av.BlockingIOError, av.EOFError):
                    break
    return made


def test_each_picture_is_made_whole_at_its_time(path: Path) -> None:
    with opened(path, Deinterlace.OFF) as source:
        stored = list(source.frames())
    with opened(path) as source:
        whole = list(source.frames())
    assert [(f.index, f.time_s) for f in whole] == [(f.index, f.time_s) for f in stored]
    assert len(whole) == FRAMES
    assert min(combing(frame.picture) for frame in stored) > 10
    assert max(combing(frame.picture) for frame in whole) < 5
    # At both ends a neighbour lacks: what stands for it is this reader's own choice.
    for frame, wanted in zip(whole[1:-1], as_ffmpeg(path)[1:-1], strict=True):
        assert np.array_equal(frame.picture.to_ndarray(), wanted)


@pytest.mark.parametrize("how", [Deinterlace.AUTO, Deinterlace.ON])
def test_reading_on_from_any_picture_yields_the_very_same(path: Path, how: Deinterlace) -> None:
    with opened(path, how) as source:
        whole = [(f.index, fingerprint(f.picture), source.position()) for f in source.frames()]
    wanted = [(index, print_) for index, print_, _ in whole]
    for index, print_, position in whole:
        with opened(path, how) as source:
            source.resume(position, print_)
            got = [(f.index, fingerprint(f.picture)) for f in source.frames()]
        assert got == wanted[index + 1 :], index


def test_beginning_in_the_middle_and_leaving_out_changes_no_picture(path: Path) -> None:
    with opened(path) as source:
        wanted = {frame.index: fingerprint(frame.picture) for frame in source.frames()}
    with opened(path, start_frame=7) as source:
        source.skip_to_start()
        assert {f.index: fingerprint(f.picture) for f in source.frames()} == {
            index: print_ for index, print_ in wanted.items() if index >= 7
        }
    with open_source(path, sample_fps=5, deinterlace=Deinterlace.AUTO) as source:
        for frame in source.frames():
            assert fingerprint(frame.picture) == wanted[frame.index]


def test_a_video_that_does_not_say_so_is_left_alone_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    encode(path, [woven(n) for n in range(6)])  # woven, and not flagged
    with opened(path) as source:
        assert min(combing(frame.picture) for frame in source.frames()) > 10
    with opened(path, Deinterlace.ON) as source:
        assert max(combing(frame.picture) for frame in source.frames()) < 5


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_an_interrupted_overlay_is_that_of_one_that_was_not(
    path: Path, tmp_path: Path, direction: str
) -> None:
    def pictures(job: Job) -> list[np.ndarray]:
        with av.open(str(job.results / overlay_name(job.spec))) as overlay:
            found = list(overlay.decode(video=0))
        assert max(map(combing, found)) < 8
        return [picture.to_ndarray(format="gray").astype(int) for picture in found]

    jobs = []
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
        outputs = [{"kind": "overlay", "opacity": 0, "labels": False}]
        jobs.append(Job(path, tmp_path / name, Square, outputs=outputs, direction=direction))
    whole, cut = jobs
    whole.attempt()
    with pytest.raises(Stopped):
        cut.attempt(Line(stop_at=9))
    cut.attempt()
    assert cut.metadata()["resumed"] == 1
    assert cut.overlay_times() == whole.overlay_times()
    for ours, wanted in zip(pictures(cut), pictures(whole), strict=True):
        assert np.abs(ours - wanted).mean() < 3


def test_a_fault_ahead_does_not_cost_the_picture_before_it(tmp_path: Path) -> None:
    """Reading one picture ahead meets the end of a cut off file one picture early."""
    media.write_truncated_mkv(tmp_path / "a.mkv")
    with open_source(tmp_path / "a.mkv", sample_fps=0, allow_truncated=True) as source:
        count = len(list(source.frames()))
    with opened(tmp_path / "a.mkv", max_frames=count) as source:
        assert len(list(source.frames())) == count
    with opened(tmp_path / "a.mkv") as source, pytest.raises(TruncatedVideo):
        list(source.frames())


def test_it_is_an_option_of_a_job(path: Path, tmp_path: Path) -> None:
    job = Job(path, tmp_path, Square, deinterlace="off", outputs=["overlay"])
    job.attempt()
    with av.open(str(job.results / overlay_name(job.spec))) as overlay:
        assert min(combing(picture) for picture in overlay.decode(video=0)) > 5
    assert job.metadata()["options"]["deinterlace"] == "off"
