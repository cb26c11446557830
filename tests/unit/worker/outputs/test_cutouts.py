"""Each object cut out: what a player with transparency shows."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from shoal.results.formats.tables import Tables
from tests.media import seconds
from tests.tables import EVERY, FPS, HEIGHT, SEEN, WIDTH, WRITTEN, result, shape, write_tables
from worker.engines.base import FrameResult
from worker.outputs.base import NotesFile, draw_all
from worker.outputs.cutouts import NOTES, CutoutsSink, join_cutouts
from worker.outputs.second_pass import object_of, with_results
from worker.video.frame import Frame
from worker.video.planes import planes


def frames(*indices: int) -> Iterator[Frame]:
    """Pictures whose luma tells the column."""
    for index in indices:
        picture = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        y, u, v = planes(picture)
        y[:], u[:], v[:] = 60 + 2 * np.arange(WIDTH, dtype=np.uint8), 90, 170
        yield Frame(index, index / FPS / EVERY, picture, wanted=True)


def write(tables: Tables, path: Path, after: int = -1, until: int = 99) -> None:
    """The zip of the written frames in a stretch."""
    notes = path.with_suffix(".json")
    NOTES.write(tables, {}, [NotesFile(0, notes)])
    found = with_results(frames(*range(30)), tables)
    draw_all(CutoutsSink(path, notes), (each for each in found if after < each[0].index <= until))


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return write_tables(tmp_path)


def shown(data: bytes) -> list[av.VideoFrame]:
    """The frames of a transparent WebM; FFmpeg's own decoder would leave the alpha out."""
    decoder = av.CodecContext.create("libvpx-vp9", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    found: list[av.VideoFrame] = []
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            if packet.dts is not None:
                found.extend(decoder.decode(packet))
    return found


def planes_of(picture: av.VideoFrame) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    return [
        np.frombuffer(memoryview(each), np.uint8).reshape(each.height, -1)[:, : each.width]
        for each in picture.planes
    ]


def test_each_object_moves_through_its_own_video(tables: Tables, tmp_path: Path) -> None:
    path = tmp_path / "cutouts.zip"
    write(tables, path)
    with zipfile.ZipFile(path) as archive:
        index = json.loads(archive.read("cutouts.json"))
        rows = list(csv.DictReader(io.StringIO(archive.read("places.csv").decode())))
        videos = {each["object_id"]: shown(archive.read(each["file"])) for each in index}
    assert sorted(videos) == sorted(SEEN)
    assert [path.name for path in tmp_path.glob("*.webm")] == []
    for each in index:
        object_id = each["object_id"]
        prompt, on = SEEN[object_id]
        assert each["prompt"] == prompt
        assert (each["first_frame"], each["last_frame"]) == (on[0], on[-1])
        assert each["start_s"] == pytest.approx(on[0] / FPS / EVERY)
        places = {
            int(row["frame"]): (int(row["x"]), int(row["y"]))
            for row in rows
            if int(row["object_id"]) == object_id
        }
        assert list(places) == list(on)
        by_time = {round(seconds(v), 2): v for v in videos[object_id]}
        for frame in on:
            video = by_time[round((frame - on[0]) / FPS / EVERY, 2)]
            assert (video.width, video.height) == (each["width"], each["height"])
            y, _, _, alpha = planes_of(video)
            x, top = places[frame]
            whole = np.zeros((HEIGHT + 80, WIDTH + 80), bool)
            whole[40 + top :, 40 + x :][: alpha.shape[0], : alpha.shape[1]] = alpha > 127
            expected = shape(object_id, frame).to_full(HEIGHT, WIDTH) > 0
            ours = whole[40 : 40 + HEIGHT, 40 : 40 + WIDTH]
            assert whole.sum() == ours.sum()  # nothing outside of the frame
            assert (ours & expected).sum() / (ours | expected).sum() > 0.9
            inside = np.argwhere(alpha > 250)
            told = 60 + 2 * (inside[:, 1] + x)
            assert np.abs(y[alpha > 250].astype(int) - told).mean() < 8


def test_an_object_that_is_away_is_not_shown(tables: Tables, tmp_path: Path) -> None:
    path = tmp_path / "cutouts.zip"
    write(tables, path)
    with zipfile.ZipFile(path) as archive:
        video = shown(archive.read("1000001.webm"))
    covered = [int((planes_of(each)[3] > 127).sum()) for each in video]
    assert len(covered) == 5  # twice, gone, twice again
    assert covered[2] == 0
    assert min(covered[:2] + covered[3:]) > 50


@pytest.mark.parametrize("cut", WRITTEN)
def test_pieces_are_joined_at_any_frame(tables: Tables, tmp_path: Path, cut: int) -> None:
    whole, first, second, joined = (tmp_path / f"{name}.zip" for name in ("w", "1", "2", "joined"))
    write(tables, whole)
    write(tables, first, until=cut)
    write(tables, second, after=cut)
    join_cutouts([first, second], joined)
    with zipfile.ZipFile(whole) as theirs, zipfile.ZipFile(joined) as ours:
        assert ours.namelist() == theirs.namelist()
        for name in ours.namelist():
            mine, other = ours.read(name), theirs.read(name)
            if not name.endswith(".webm"):
                assert mine == other, name
                continue
            mine_shown, other_shown = shown(mine), shown(other)
            assert [each.pts for each in mine_shown] == [each.pts for each in other_shown]
            for a, b in zip(mine_shown, other_shown, strict=True):
                opaque, expected = planes_of(a)[3] > 127, planes_of(b)[3] > 127
                assert (opaque != expected).mean() < 0.02


def test_no_object_at_all(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, empty=True)
    path = tmp_path / "cutouts.zip"
    write(tables, path)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["cutouts.json", "places.csv"]
        assert json.loads(archive.read("cutouts.json")) == []


# --- the way there -------------------------------------------------------------------------------


def same(ours: FrameResult, index: int) -> bool:
    expected = result(index).objects
    return len(ours.objects) == len(expected) and all(
        (a.object_id, a.prompt, a.box, a.detection_score)
        == (b.object_id, b.prompt, b.box, b.detection_score)
        and (a.mask.x, a.mask.y) == (b.mask.x, b.mask.y)
        and np.array_equal(a.mask.bits, b.mask.bits)
        for a, b in zip(ours.objects, expected, strict=True)
    )


def test_written_frames_come_with_their_own_results(tables: Tables) -> None:
    found = list(with_results(frames(*range(40)), tables))
    assert [frame.index for frame, _ in found] == list(WRITTEN)
    assert all(same(found_result, frame.index) for frame, found_result in found)


@pytest.mark.parametrize(("to_the_end", "last"), [(False, WRITTEN[-1]), (True, 39)])
def test_frames_in_between_show_the_one_before(tables: Tables, to_the_end: bool, last: int) -> None:
    found = list(with_results(frames(*range(40)), tables, in_between=True, to_the_end=to_the_end))
    assert [frame.index for frame, _ in found] == list(range(last + 1))
    for frame, found_result in found:
        assert same(found_result, min(frame.index // EVERY * EVERY, WRITTEN[-1]))


def test_nothing_is_shown_before_the_first_written_frame(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, frames=WRITTEN[4:])
    found = list(with_results(frames(*range(40)), tables, in_between=True))
    assert found[0][0].index == WRITTEN[4]


def test_a_row_becomes_the_object_that_it_was(tables: Tables) -> None:
    rows = {(row.frame, row.object_id): row for row in tables.rows()}
    made = object_of(rows[WRITTEN[2], 2])
    assert same(FrameResult(0, [made]), WRITTEN[2]) is False  # 1 is on that frame, too
    assert np.array_equal(made.mask.bits, shape(2, WRITTEN[2]).bits)
