"""CVAT for video 1.1: a track per object, a polygon on each written frame.

https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/#video-format
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from shoal.results.formats.polygons import rings
from shoal.results.formats.tables import Row, Tables


def write(tables: Tables, path: Path) -> None:
    """Write the XML; frames are numbered as in the source, from 0.

    CVAT tracks have one polygon per frame: the largest connected part of a mask, holes filled.
    CVAT interpolates between written frames, except where an object was not found.
    """
    with path.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
        file.write("<version>1.1</version>\n" + tostring(_meta(tables), "unicode") + "\n")
        for number, (_, rows) in enumerate(tables.by_object()):
            file.write(tostring(_track(tables, number, rows), "unicode") + "\n")
        file.write("</annotations>\n")


def _meta(tables: Tables) -> Element:
    meta = Element("meta")
    task = SubElement(meta, "task")
    SubElement(task, "name").text = tables.stem
    SubElement(task, "size").text = str(_length(tables))
    SubElement(task, "mode").text = "interpolation"
    labels = SubElement(task, "labels")
    for name in tables.labels:
        label = SubElement(labels, "label")
        SubElement(label, "name").text = name
        SubElement(label, "attributes")
    size = SubElement(task, "original_size")
    SubElement(size, "width").text = str(tables.width)
    SubElement(size, "height").text = str(tables.height)
    return meta


def _track(tables: Tables, number: int, rows: list[Row]) -> Element:
    track = Element("track", id=str(number), label=rows[0].prompt, source="auto")
    for frame, points, outside in _shapes(tables, rows):
        SubElement(
            track,
            "polygon",
            frame=str(frame),
            keyframe="1",
            outside=str(int(outside)),
            occluded="0",
            points=points,
            z_order="0",
        )
    return track


def _shapes(tables: Tables, rows: list[Row]) -> Iterator[tuple[int, str, bool]]:
    """Frame, points, and whether the object is no longer there."""
    written = tables.indices
    points = ""
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        if parts := rings(row):
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in parts[0])
            yield row.frame, points, False
        at = tables.position(row.frame) + 1
        is_next = following is not None and tables.position(following.frame) == at
        if points and at < len(written) and not is_next:
            yield int(written[at]), points, True


def _length(tables: Tables) -> int:
    """Frames of the source up to the last written one."""
    return int(tables.indices[-1]) + 1 if len(tables.indices) else 0
