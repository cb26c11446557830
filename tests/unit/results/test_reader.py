"""``shoal.read``: results in Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import shoal
from shoal.errors import ResultNotFound, UnknownOutput
from shoal.results import formats
from tests.tables import HEIGHT, LABELS, SEEN, WIDTH, WRITTEN, result, shape, write_results

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(tmp_path / "results of a job")
    return tmp_path / "results of a job"


@pytest.fixture
def read(folder: Path) -> shoal.Result:
    return shoal.read(folder)


def test_a_folder_a_file_or_a_uri(folder: Path) -> None:
    metadata = folder / "match_metadata.json"
    for source in (folder, str(folder), metadata, folder.as_uri(), metadata.as_uri()):
        assert shoal.read(source).metadata.prompts == list(LABELS)


def test_frames_one_by_one(read: shoal.Result) -> None:
    assert len(read) == len(WRITTEN)
    assert read.frames.tolist() == list(WRITTEN)
    assert read.times_s.tolist() == pytest.approx([index / 30 for index in WRITTEN])
    for frame, index in zip(read, WRITTEN, strict=True):
        objects = result(index).objects
        assert (frame.index, len(frame)) == (index, len(objects))
        assert frame.object_ids.tolist() == [each.object_id for each in objects]
        assert frame.prompts == [each.prompt for each in objects]
        assert frame.scores.tolist() == pytest.approx([each.score for each in objects])
        assert frame.boxes.tolist() == [list(each.box) for each in objects]
        assert frame.masks.shape == (len(objects), HEIGHT, WIDTH)
        for mask, each in zip(frame.masks, objects, strict=True):
            assert np.array_equal(mask, each.mask.to_full(HEIGHT, WIDTH))


def test_any_frame(read: shoal.Result) -> None:
    frame = read.frame(WRITTEN[6])
    assert frame.object_ids.tolist() == [1, 2, 1_000_001]
    assert frame.time_s == pytest.approx(WRITTEN[6] / 30)
    for missing in (1, WRITTEN[-1] + 1, -1):
        with pytest.raises(ResultNotFound):
            read.frame(missing)


def test_an_object(read: shoal.Result) -> None:
    assert [track.object_id for track in read.tracks] == [1, 1_000_001, 2]
    frames, masks = read.masks(2)
    assert frames.tolist() == list(SEEN[2][1])
    for frame, mask in zip(frames, masks, strict=True):
        assert np.array_equal(mask, shape(2, frame).to_full(HEIGHT, WIDTH))
    with pytest.raises(ResultNotFound):
        read.masks(7)


def test_supervision_takes_the_detections(read: shoal.Result) -> None:
    supervision = pytest.importorskip("supervision")
    found = read.frame(WRITTEN[6]).to_supervision()
    assert isinstance(found, supervision.Detections)
    assert found.tracker_id.tolist() == [1, 2, 1_000_001]
    assert found.class_id.tolist() == [0, 1, 0]
    assert found["class_name"].tolist() == ["person", "ball", "person"]
    assert found.area.tolist() == [each.mask.bits.sum() for each in result(WRITTEN[6]).objects]
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    drawn = supervision.MaskAnnotator().annotate(picture.copy(), found)
    assert np.array_equal(drawn.any(axis=2), found.mask.any(axis=0))
    people = found[found.class_id == 0]
    assert len(people) == 2


def test_supervision_takes_a_frame_without_objects(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    from tests.tables import write_tables

    tables = write_tables(tmp_path, empty=True)
    write_results(tmp_path / "results")
    tables.masks.replace(tmp_path / "results/match_masks.parquet")
    found = shoal.read(tmp_path / "results").frame(0).to_supervision()
    assert isinstance(found, supervision.Detections)
    assert len(found) == 0


def test_pandas_takes_the_rows(read: shoal.Result) -> None:
    pytest.importorskip("pandas")
    frame = read.to_pandas()
    assert len(frame) == sum(len(on) for _, on in SEEN.values())
    assert frame.groupby("object_id").size().to_dict() == {
        object_id: len(on) for object_id, (_, on) in SEEN.items()
    }
    assert "rle" not in frame
    assert "rle" in read.to_pandas(rle=True)


@pytest.mark.parametrize("kind", formats.FORMATS)
def test_another_format(read: shoal.Result, tmp_path: Path, kind: str) -> None:
    """The worker calls the same code: what it writes is compared in test_video_job_outputs."""
    path = read.export(kind, tmp_path / "exported")
    assert path.name.startswith("match_")
    assert path.stat().st_size > 100


@pytest.mark.parametrize("kind", ["overlay", "crops", "gif"])
def test_a_format_that_cannot_be_made(read: shoal.Result, kind: str) -> None:
    with pytest.raises(UnknownOutput, match=kind) as caught:
        read.export(kind)
    assert "coco" in caught.value.hint


def test_where_there_is_nothing_to_read(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultNotFound, match="no results"):
        shoal.read(tmp_path)
    with pytest.raises(ResultNotFound, match="no results"):
        shoal.read(tmp_path / "nowhere")
    write_results(folder, "another")
    with pytest.raises(ResultNotFound, match="2 jobs"):
        shoal.read(folder)


def test_a_missing_table_is_named(folder: Path) -> None:
    (folder / "match_frames.parquet").unlink()
    with pytest.raises(ResultNotFound, match=r"match_frames\.parquet is missing"):
        shoal.read(folder)


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys, shoal; assert not {'numpy', 'pyarrow'} & set(sys.modules); shoal.read;"
        "assert 'pyarrow' in sys.modules;"
        "assert not {'pandas', 'supervision', 'av', 'cv2', 'redis'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_name_that_shoal_does_not_have() -> None:
    with pytest.raises(AttributeError, match="no attribute 'write'"):
        shoal.write  # noqa: B018


def test_a_summary_is_valid_json(read: shoal.Result, tmp_path: Path) -> None:
    summary = json.loads(read.export("summary", tmp_path).read_text())
    assert [each["object_id"] for each in summary["tracks"]] == [1, 1_000_001, 2]


def test_of_several_results_in_a_folder_one_is_named(folder: Path) -> None:
    for path in tuple(folder.iterdir()):
        (folder / path.name.replace("match", "final", 1)).write_bytes(path.read_bytes())
    with pytest.raises(ResultNotFound) as caught:
        shoal.read(folder)
    assert "results of 2 jobs" in str(caught.value)
    for name in ("final_metadata.json", "match_metadata.json"):
        assert name in caught.value.hint
        for source in (folder / name, (folder / name).as_uri()):
            assert shoal.read(source).tables.stem == name.removesuffix("_metadata.json")
