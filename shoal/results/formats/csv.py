"""The tracks as comma-separated values: the mask table with areas in place of masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv
from pycocotools import mask as coco

from shoal.results.formats.tables import BATCH_ROWS, Tables

LEFT_OUT = ("rle", "height", "width")


def write(tables: Tables, path: Path) -> None:
    """Write a header and a line per object and frame; ``area`` counts the mask's pixels."""
    with pq.ParquetFile(tables.masks) as table:
        kept = [field for field in table.schema_arrow if field.name not in LEFT_OUT]
        schema = pa.schema([_plain(field) for field in kept] + [pa.field("area", pa.int64())])
        with csv.CSVWriter(path, schema) as writer:
            for batch in table.iter_batches(BATCH_ROWS):
                arrays = [batch[field.name].cast(_plain(field).type) for field in kept]
                writer.write_batch(pa.record_batch([*arrays, _areas(batch)], schema=schema))


def _plain(field: pa.Field[pa.DataType]) -> pa.Field[pa.DataType]:
    """Without dictionaries, which CSV does not know."""
    return pa.field(field.name, pa.string()) if pa.types.is_dictionary(field.type) else field


def _areas(batch: pa.RecordBatch) -> pa.Array[Any]:
    columns = (batch[name].to_pylist() for name in LEFT_OUT)
    masks = [
        {"size": [height, width], "counts": rle}
        for rle, height, width in zip(*columns, strict=True)
    ]
    return pa.array([int(coco.area(mask)) for mask in masks], pa.int64())
