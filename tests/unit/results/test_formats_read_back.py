"""Each format, read by the tool that its users have."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

from shoal.results import formats
from shoal.results.formats import tables as tables_module
from shoal.results.formats.polygons import joined, rings
from shoal.results.formats.tables import Row, Tables
from tests.tables import (
    EVERY,
    FPS,
    HEIGHT,
    LABELS,
    SEEN,
    WIDTH,
    WRITTEN,
    result,
    shape,
    write_tables,
)

ROWS = [(frame, each.object_id) for frame in WRITTEN for each in result(frame).objects]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return write_tables(tmp_path)


def write(kind: str, tables: Tables, name: str) -> Path:
    path = tables.masks.with_name(name)
    formats.write(kind, tables, path)
    return path


def full(object_id: int, frame: int) -> np.ndarray[Any, Any]:
    return shape(object_id, frame).to_full(HEIGHT, WIDTH)


def test_pycocotools_reads_coco(tables: Tables) -> None:
    read = COCO(write("coco", tables, "coco.json"))
    assert {each["name"]: each["id"] for each in read.loadCats(read.getCatIds())} == {
        "person": 1,
        "ball": 2,
        "dog": 3,
    }
    assert sorted(read.getImgIds()) == list(WRITTEN)
    assert [(a["image_id"], a["track_id"]) for a in read.loadAnns(read.getAnnIds())] == ROWS
    for each in read.loadAnns(read.getAnnIds()):
        mask = read.annToMask(each)
        assert np.array_equal(mask, full(each["track_id"], each["image_id"]))
        assert each["area"] == mask.sum()
    (ball,) = read.loadAnns(read.getAnnIds(imgIds=[WRITTEN[2]], catIds=[2]))
    assert ball["bbox"] == coco.toBbox(ball["segmentation"]).tolist()


def test_pycocotools_evaluates_coco_against_itself(tables: Tables) -> None:
    from pycocotools.cocoeval import COCOeval

    truth = COCO(write("coco", tables, "coco.json"))
    found = truth.loadRes(truth.loadAnns(truth.getAnnIds()))
    evaluation = COCOeval(truth, found, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_pycocotools_decodes_youtube_vis(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only one object is held at a time."""
    document = write("youtube-vis", tables, "vis.json").read_text()
    monkeypatch.setattr(tables_module, "HELD_BYTES", 1)
    assert write("youtube-vis", tables, "again.json").read_text() == document
    read = json.loads(document)
    (video,) = read["videos"]
    assert (video["length"], len(video["file_names"])) == (len(WRITTEN), len(WRITTEN))
    assert [each["id"] for each in read["annotations"]] == sorted(SEEN)
    for each in read["annotations"]:
        prompt, on = SEEN[each["id"]]
        assert LABELS[each["category_id"] - 1] == prompt
        for frame, rle, area in zip(WRITTEN, each["segmentations"], each["areas"], strict=True):
            assert (rle is None) == (frame not in on)
            if rle is not None:
                mask = coco.decode(rle)
                assert np.array_equal(mask, full(each["id"], frame))
                assert area == mask.sum()


def test_motmetrics_reads_mot(tables: Tables) -> None:
    motmetrics = pytest.importorskip("motmetrics")
    path = write("mot", tables, "mot.txt")
    read = motmetrics.io.loadtxt(str(path), fmt="mot15-2D")
    assert list(read.index) == [(frame + 1, object_id) for frame, object_id in ROWS]
    for (frame, object_id), row in read.iterrows():
        mask = shape(object_id, frame - 1)
        assert (row["X"], row["Y"]) == (mask.x, mask.y)  # it counts pixels from 0
        assert (row["Height"], row["Width"]) == mask.bits.shape
        assert LABELS[int(row["ClassId"]) - 1] == SEEN[object_id][0]
        assert row["Confidence"] == pytest.approx(0.5 + (frame - 1) / 100, abs=1e-4)
    matches = motmetrics.MOTAccumulator()
    for frame, rows in read.groupby(level="FrameId"):
        ids = rows.index.get_level_values("Id").tolist()
        boxes = rows[["X", "Y", "Width", "Height"]].to_numpy()
        apart = np.abs(boxes[:, None] - boxes[None]).sum(axis=2)
        matches.update(ids, ids, np.where(apart == 0, 0, np.nan), frameid=frame)
    summary = motmetrics.metrics.create().compute(matches, metrics=["mota", "idf1", "num_switches"])
    assert summary.iloc[0].tolist() == [1, 1, 0]


def test_datumaro_imports_coco(tables: Tables, tmp_path: Path) -> None:
    """What stands behind CVAT's imports and exports."""
    datumaro = pytest.importorskip("datumaro")
    folder = tmp_path / "dataset/annotations"
    folder.mkdir(parents=True)
    (tmp_path / "dataset/images").mkdir()
    write("coco", tables, "coco.json").rename(folder / "instances_default.json")
    read = datumaro.Dataset.import_from(str(tmp_path / "dataset"), "coco_instances")
    names = [label.name for label in read.categories()[datumaro.AnnotationType.label]]
    assert names == list(LABELS)
    items = {item.id: item for item in read}
    assert sorted(items) == [f"frame_{frame:06}" for frame in WRITTEN]
    for frame in WRITTEN:
        annotations = items[f"frame_{frame:06}"].annotations
        masks = [each for each in annotations if each.type is datumaro.AnnotationType.mask]
        found = {each.attributes["track_id"]: each for each in masks}
        assert sorted(found) == sorted(each.object_id for each in result(frame).objects)
        for object_id, annotation in found.items():
            assert names[annotation.label] == SEEN[object_id][0]
            assert np.array_equal(annotation.image, full(object_id, frame))


def test_datumaro_imports_cvat(tables: Tables, tmp_path: Path) -> None:
    datumaro = pytest.importorskip("datumaro")
    (tmp_path / "cvat").mkdir()
    write("cvat", tables, "cvat.xml").rename(tmp_path / "cvat/annotations.xml")
    read = datumaro.Dataset.import_from(str(tmp_path / "cvat"), "cvat")
    labels = [label.name for label in read.categories()[datumaro.AnnotationType.label]]
    assert labels == list(LABELS)
    tracks = sorted(SEEN)  # CVAT numbers them from 0
    for item in read:
        frame = item.attributes["frame"]
        found = {
            tracks[each.attributes["track_id"]]: each
            for each in item.annotations
            if not each.attributes["outside"]
        }
        assert sorted(found) == sorted(each.object_id for each in result(frame).objects)
        gone = {
            tracks[each.attributes["track_id"]]
            for each in item.annotations
            if each.attributes["outside"]
        }
        assert not gone & found.keys()
        for object_id, each in found.items():
            assert labels[each.label] == SEEN[object_id][0]
            ring = np.reshape(each.points, (-1, 2))
            assert np.array_equal(filled([ring]), full(object_id, frame))
    ends = {frame for _, on in SEEN.values() for frame in WRITTEN if frame - EVERY in on}
    assert {item.attributes["frame"] for item in read} == {*WRITTEN} & ({*SEEN[1][1]} | ends)


def filled(rings: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """The pixels whose centres lie in a polygon."""
    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    for ring in rings:
        outline = ring.astype(np.float32)
        for y, x in np.ndindex(inside.shape):
            inside[y, x] |= cv2.pointPolygonTest(outline, (x + 0.5, y + 0.5), False) > 0
    return inside


def test_rings_of_a_mask_of_several_parts_with_a_hole() -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:20, 5:25] = 1
    mask[10:12, 10:12] = 0
    mask[30:34, 0:8] = 1  # at the edge
    mask[47, 63] = 1
    rle = coco.encode(np.asfortranarray(mask))["counts"].decode()
    row = Row(0, 0.0, 1, "person", 1.0, None, 0, 0, 1, 1, rle, HEIGHT, WIDTH)
    found = rings(row)
    assert [filled([each]).sum() for each in found] == [15 * 20, 4 * 8, 1]
    mask[10:12, 10:12] = 1
    assert np.array_equal(filled(found), mask)
    assert np.array_equal(filled([joined(found)]), mask)
    empty = coco.encode(np.asfortranarray(np.zeros_like(mask)))["counts"].decode()
    assert rings(row._replace(rle=empty)) == []


def test_supervision_reads_yolo(tables: Tables, tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    with zipfile.ZipFile(write("yolo", tables, "yolo.zip")) as archive:
        archive.extractall(tmp_path / "yolo")
    images = tmp_path / "yolo/images/train"
    images.mkdir(parents=True)
    for frame in WRITTEN:
        Image.new("RGB", (WIDTH, HEIGHT)).save(images / f"frame_{frame:06}.jpg")
    read = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(images),
        annotations_directory_path=str(tmp_path / "yolo/labels/train"),
        data_yaml_path=str(tmp_path / "yolo/data.yaml"),
        force_masks=True,
    )
    assert read.classes == list(LABELS)
    for frame in WRITTEN:
        found = read.annotations[str(images / f"frame_{frame:06}.jpg")]
        expected = result(frame).objects
        assert [read.classes[each] for each in found.class_id] == [e.prompt for e in expected]
        for mask, each in zip(found.mask if len(found) else (), expected, strict=True):
            truth = full(each.object_id, frame)
            # It cuts points to whole pixels; the smallest disc is 9 wide.
            assert (mask & truth).sum() / (mask | truth).sum() > 0.7


def test_label_studio_accepts_its_prediction(tables: Tables) -> None:
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    (task,) = json.loads(write("label-studio", tables, "ls.json").read_text())
    labels = "".join(f'<Label value="{label}"/>' for label in LABELS)
    config = interface.LabelInterface(
        f'<View><Labels name="label" toName="video">{labels}</Labels>'
        '<Video name="video" value="$video" frameRate="10"/>'
        '<VideoRectangle name="box" toName="video"/></View>'
    )
    assert config.validate_task({"data": task["data"]})
    (prediction,) = task["predictions"]
    assert config.validate_prediction(prediction, return_errors=True) == []
    for track, (object_id, (prompt, on)) in zip(
        prediction["result"], sorted(SEEN.items()), strict=True
    ):
        value = track["value"]
        assert (track["id"], value["labels"]) == (f"object-{object_id}", [prompt])
        assert [each["frame"] - 1 for each in value["sequence"]] == list(on)
        goes_on = [frame + EVERY in on for frame in on]
        assert [each["enabled"] for each in value["sequence"]] == goes_on
        for each in value["sequence"]:
            x, y, w, h = coco.toBbox(
                coco.encode(np.asfortranarray(full(object_id, each["frame"] - 1)))
            )
            box = [each[side] / 100 for side in ("x", "y", "width", "height")]
            assert box == pytest.approx([x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT], abs=1e-5)


def test_pandas_reads_csv(tables: Tables) -> None:
    pandas = pytest.importorskip("pandas")
    read = pandas.read_csv(write("csv", tables, "tracks.csv"))
    assert list(zip(read["frame"], read["object_id"], strict=True)) == ROWS
    assert read["prompt"].tolist() == [SEEN[object_id][0] for _, object_id in ROWS]
    assert read["area"].tolist() == [full(each, frame).sum() for frame, each in ROWS]
    assert read["score"].tolist() == pytest.approx([0.5 + frame / 100 for frame, _ in ROWS])
    assert set(read.columns) >= {"time_s", "detection_score", "box_x0", "box_y1"}
    assert "rle" not in read.columns


def test_pillow_reads_png(tables: Tables) -> None:
    with zipfile.ZipFile(write("png", tables, "png.zip")) as archive:
        objects = json.loads(archive.read("objects.json"))
        assert {each["object_id"]: each["prompt"] for each in objects} == {
            object_id: prompt for object_id, (prompt, _) in SEEN.items()
        }
        values = {each["object_id"]: each["value"] for each in objects}
        assert sorted(values.values()) == [1, 2, 3]
        names = [f"{frame:06}.png" for frame in WRITTEN]
        assert archive.namelist() == [*names, "objects.json"]
        for frame in WRITTEN:
            image = Image.open(archive.open(f"{frame:06}.png"))
            assert image.mode == "P"
            expected = np.zeros((HEIGHT, WIDTH), int)
            for each in sorted(result(frame).objects, key=lambda each: -int(each.mask.bits.sum())):
                mask = full(each.object_id, frame)
                expected[mask > 0] = values[each.object_id]
            assert np.array_equal(np.asarray(image), expected)


def test_more_objects_than_a_palette_has(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.results.formats.png.MAX_PALETTE", 2)
    with zipfile.ZipFile(write("png", tables, "png.zip")) as archive:
        image = Image.open(archive.open("000000.png"))
        assert image.mode.startswith("I;16")
        assert set(np.unique(np.asarray(image))) == {0, 1, 3}


def test_the_summary_has_what_a_dashboard_shows(tables: Tables) -> None:
    read = json.loads(write("summary", tables, "summary.json").read_text())
    assert read["duration_s"] == 2.9
    tracks = {each["object_id"]: each for each in read["tracks"]}
    assert list(tracks) == [1, 1_000_001, 2]  # by first appearance
    ball, person = tracks[2], tracks[1_000_001]
    assert (ball["prompt"], ball["frames"]) == ("ball", 5)
    assert (ball["first_frame"], ball["last_frame"]) == (6, 18)
    assert ball["visible_s"] == pytest.approx(0.5)
    assert ball["mean_area"] == shape(2, 6).bits.sum()
    assert ball["spans"] == [[0.2, 0.6]]
    assert person["spans"] == [[0.0, 0.1], [0.6, 0.7]]
    x, y = 10.5 + 6, 12.5 + 8
    assert ball["path"] == [[round(0.2 + n / 10, 3), x + 3 * n, y] for n in range(5)]
    counts = read["counts"]
    assert counts["times_s"] == [round(n / FPS, 3) for n in range(10)]
    assert counts["frames_per_bin"] == 1
    assert counts["most"] == {
        "person": [2, 2, 1, 1, 1, 1, 2, 2, 1, 1],
        "ball": [0, 0, 1, 1, 1, 1, 1, 0, 0, 0],
        "dog": [0] * 10,
    }
    assert counts["mean"]["person"] == counts["most"]["person"]


def test_a_long_summary_stays_short(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    from shoal.results.formats import summary

    monkeypatch.setattr(summary, "MAX_PATH", 4)
    monkeypatch.setattr(summary, "MAX_BINS", 4)
    read = summary.summarize(tables)
    path = next(each.path for each in read.tracks if each.object_id == 1)
    assert [point[0] for point in path] == [0.0, 0.4, 0.8]
    assert read.counts.frames_per_bin == 3
    assert read.counts.times_s == [0.0, 0.3, 0.6, 0.9]
    assert read.counts.mean["person"] == [1.67, 1.0, 1.67, 1.0]
    assert read.counts.most["ball"] == [1, 1, 1, 0]


def count(kind: str, path: Path) -> int:
    """Objects, or their appearances, or frames: what a format has most of."""
    match kind:
        case "mot":
            return len(path.read_text().splitlines())
        case "csv":
            return len(path.read_text().splitlines()) - 1
        case "png":
            return len(zipfile.ZipFile(path).namelist()) - 1
        case "yolo":
            archive = zipfile.ZipFile(path)
            labels = [name for name in archive.namelist() if name.endswith(".txt")]
            return sum(len(archive.read(name).splitlines()) for name in labels)
        case "cvat":
            return len(ElementTree.parse(path).getroot().findall("track"))
        case "label-studio":
            return len(json.loads(path.read_text())[0]["predictions"][0]["result"])
    read = json.loads(path.read_text())
    return len(read.get("annotations", read.get("tracks")))


@pytest.mark.parametrize("kind", formats.FORMATS)
def test_a_video_without_objects(tmp_path: Path, kind: str) -> None:
    path = write(kind, write_tables(tmp_path, empty=True), "empty")
    assert count(kind, path) == (len(WRITTEN) if kind == "png" else 0)


@pytest.fixture(scope="module")
def long_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    """More rows than are read at a time, and more than pycocotools takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SEEN, 1, ("person", range(5000)))
        yield write_tables(tmp_path_factory.mktemp("long"), frames=tuple(range(5000)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", formats.FORMATS)
def test_a_long_video(long_tables: Tables, kind: str) -> None:
    rows = 5000 + 5 + 4
    path = write(kind, long_tables, f"long-{kind}")
    by_row = {"coco": rows, "mot": rows, "csv": rows, "yolo": rows, "png": 5000}
    assert count(kind, path) == by_row.get(kind, 3)
