"""Read the results of a job in Python: tracks, masks, frames, and other formats made of them."""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from shoal.errors import PackageMissing, ResultNotFound, UnknownOutput, UnsupportedLocation
from shoal.results.layout import ENDINGS, Metadata, Track

try:
    import numpy as np
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    from shoal.results import formats
    from shoal.results.formats.summary import summarize
    from shoal.results.formats.tables import Row, Tables
except ImportError as error:
    raise PackageMissing(f"{error.name} is not installed, required to read results") from error

if TYPE_CHECKING:
    import pandas
    import supervision

NEEDED = ("metadata", "masks", "frames")
METADATA = ENDINGS["metadata"]
STEMS_SHOWN = 10


@dataclass(frozen=True)
class FrameObjects:
    """The objects on one written frame, n of them.

    Attributes:
        index: the frame's number in the source, from 0.
        time_s: seconds since the source's first frame.
        categories: numbers of the job's prompts, from 1.
        rows: as the mask table has them.
    """

    index: int
    time_s: float
    height: int
    width: int
    categories: dict[str, int]
    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def object_ids(self) -> NDArray[np.int64]:
        """(n,), the same on every frame of a track."""
        return np.array([row.object_id for row in self.rows], np.int64)

    @property
    def prompts(self) -> list[str]:
        """n of them."""
        return [row.prompt for row in self.rows]

    @property
    def scores(self) -> NDArray[np.float32]:
        """(n,), 0 to 1."""
        return np.array([row.score for row in self.rows], np.float32)

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(n, 4): x0, y0, x1, y1 in pixels."""
        boxes = [(row.box_x0, row.box_y0, row.box_x1, row.box_y1) for row in self.rows]
        return np.array(boxes, np.float32).reshape(-1, 4)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """(n, height, width)."""
        masks = [row.mask() for row in self.rows]
        return np.array(masks, np.bool_).reshape(-1, self.height, self.width)

    def to_supervision(self) -> supervision.Detections:
        """As supervision has them; class ids are the numbers of the prompts in the job, from 0.

        Raises:
            PackageMissing: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise PackageMissing(
                "supervision is not installed", hint="Run pip install supervision."
            ) from error
        return supervision.Detections(
            xyxy=self.boxes,
            mask=self.masks,
            confidence=self.scores,
            class_id=np.array([self.categories[row.prompt] - 1 for row in self.rows], np.int64),
            tracker_id=self.object_ids,
            data={"class_name": np.array(self.prompts, dtype=np.str_)},
            metadata={"frame": self.index, "time_s": self.time_s},
        )


class Result:
    """The results of one job.

    Iterating over it yields its written frames in order, a few rows of the table at a time.

    Attributes:
        metadata: what was done.
    """

    def __init__(self, folder: Path, stem: str, *, temporary: bool = False):
        """
        Args:
            folder: local, with the three files.
            stem: what their names begin with.
            temporary: the folder is removed with this object.
        """
        if temporary:
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        paths = {kind: folder / (stem + ENDINGS[kind]) for kind in NEEDED}
        for path in paths.values():
            if not path.is_file():
                raise ResultNotFound(
                    f"{path} is missing", hint="The folder must contain all result files."
                )
        self.metadata = Metadata.model_validate_json(paths["metadata"].read_bytes())
        self.tables = Tables.of(self.metadata, stem, paths["masks"], paths["frames"])

    def __repr__(self) -> str:
        return (
            f"<shoal.Result {self.tables.stem}: {len(self)} frames, "
            f"{self.metadata.objects_detected} objects>"
        )

    def __len__(self) -> int:
        """How many frames were written."""
        return len(self.tables.indices)

    def __iter__(self) -> Iterator[FrameObjects]:
        for index, time_s, rows in self.tables.by_frame():
            yield self._frame(index, time_s, rows)

    @property
    def frames(self) -> NDArray[np.int64]:
        """(n,) numbers of the written frames in the source, from 0."""
        return self.tables.indices

    @property
    def times_s(self) -> NDArray[np.float64]:
        """(n,) seconds of the written frames since the source's first."""
        return self.tables.times

    @cached_property
    def tracks(self) -> list[Track]:
        """All objects, by first appearance."""
        return summarize(self.tables).tracks

    def frame(self, index: int) -> FrameObjects:
        """One written frame, by its number in the source.

        Raises:
            ResultNotFound: it was not written.
        """
        at = self.tables.position(index)
        if at == len(self) or self.frames[at] != index:
            raise ResultNotFound(
                f"frame {index} was not processed", hint="Result.frames lists the processed frames."
            )
        rows = self._rows("frame", index)
        return self._frame(index, float(self.times_s[at]), rows)

    def masks(self, object_id: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """All masks of an object: (n,) frame numbers and (n, height, width).

        Raises:
            ResultNotFound: there is no such object.
        """
        rows = self._rows("object_id", object_id)
        if not rows:
            raise ResultNotFound(
                f"there is no object {object_id}", hint="Result.tracks lists the objects."
            )
        masks = np.array([row.mask() for row in rows], np.bool_)
        return np.array([row.frame for row in rows], np.int64), masks

    def to_pandas(self, *, rle: bool = False) -> pandas.DataFrame:
        """One row per object and written frame.

        Args:
            rle: with the masks, as COCO run lengths, and their sizes.

        Raises:
            PackageMissing: pandas is not installed.
        """
        columns = None if rle else [name for name in Row._fields if name not in _MASK_COLUMNS]
        table = pq.read_table(self.tables.masks, columns=columns)
        try:
            return table.to_pandas()
        except ImportError as error:
            raise PackageMissing(
                "pandas is not installed", hint="Run pip install pandas."
            ) from error

    def export(self, kind: str, to: Path | str = ".") -> Path:
        """Write another format; see ``docs/results.md``.

        Args:
            kind: 'youtube-vis', 'coco', 'mot', 'csv', 'png', 'yolo', 'cvat', 'label-studio' or
                'summary'.
            to: the folder.

        Raises:
            UnknownOutput: there is no such format, or it needs the pictures of the video.
        """
        path = self.export_path(kind, to)
        path.parent.mkdir(parents=True, exist_ok=True)
        formats.write(kind, self.tables, path)
        return path

    def export_path(self, kind: str, to: Path | str = ".") -> Path:
        """Where ``export`` writes; raises what it does."""
        if kind not in formats.FORMATS:
            choices = ", ".join(formats.FORMATS)
            if kind in ENDINGS:
                raise UnknownOutput(
                    f"{kind!r} cannot be derived from the mask table",
                    hint=f"Submit the video again with this output. Exportable formats: {choices}.",
                )
            raise UnknownOutput(f"unknown format {kind!r}", hint=f"Choose from {choices}.")
        return Path(to) / (self.tables.stem + ENDINGS[kind])

    def _rows(self, column: str, value: int) -> list[Row]:
        table = pq.read_table(self.tables.masks, filters=[(column, "==", value)])
        return [Row(**fields) for fields in table.to_pylist()]

    def _frame(self, index: int, time_s: float, rows: list[Row]) -> FrameObjects:
        tables = self.tables
        return FrameObjects(
            index, time_s, tables.height, tables.width, tables.categories, tuple(rows)
        )


_MASK_COLUMNS = ("rle", "height", "width")


def read(source: str | os.PathLike[str]) -> Result:
    """The results of a job.

    Args:
        source: the folder with its files, or its metadata file; a path, or a URI with file://,
            gs:// or s3://; or the job's address at an API, such as
            ``http://127.0.0.1:8000/videos/ID``.

    Raises:
        ResultNotFound: there are none, or those of several jobs.
        PackageMissing: the packages of the extra ``read`` are not installed.
        ShoalError: the storage or the API did not answer, or refuses.
    """
    text = os.fspath(source)
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme in ("http", "https"):
        return _from_api(text)
    if scheme and scheme != "file":
        return _from_bucket(text)
    path = _local(text) if scheme else Path(text).expanduser()
    if path.name.endswith(METADATA) and not path.is_dir():
        return Result(path.parent, path.name.removesuffix(METADATA))
    folder = path if path.is_dir() else path.parent
    names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    return Result(folder, _stem(names, text))


def _local(uri: str) -> Path:
    """
    Raises:
        UnsupportedLocation: not a URI.
    """
    try:
        return Path(unquote(urlsplit(uri).path))
    except ValueError as error:
        raise UnsupportedLocation(f"not a file URI: {uri}") from error


def _from_bucket(uri: str) -> Result:
    from shoal.settings import Settings
    from shoal.storage import storage_for

    storage = storage_for(uri, Settings())
    folder = uri.rpartition("/")[0] + "/" if uri.endswith(METADATA) else uri.rstrip("/") + "/"
    found = {info.uri.rpartition("/")[2]: info.uri for info in storage.entries(folder)}
    names = [uri.rpartition("/")[2]] if uri.endswith(METADATA) else list(found)
    stem = _stem(names, uri)
    with _downloads() as downloads:
        for kind in NEEDED:
            if (name := stem + ENDINGS[kind]) in found:
                with (downloads / name).open("wb") as file:
                    file.writelines(storage.read(found[name]))
        return Result(downloads, stem, temporary=True)


def _from_api(url: str) -> Result:
    from shoal.client import Client

    base, _, job_id = url.rstrip("/").rpartition("/videos/")
    with Client(base or url, os.environ.get("SHOAL_API_TOKEN", "")) as client:
        return from_client(client, job_id)


def from_client(client: Any, job_id: str) -> Result:
    """The results of a job that an API has; ``client`` is a ``shoal.client.Client``.

    Raises:
        ResultNotFound: it has none.
        ApiError, ApiUnreachable: the API refuses, or does not answer.
    """
    names = [file.name for file in client.results(job_id)]
    stem = _stem(names, f"job {job_id}")
    with _downloads() as downloads:
        for kind in NEEDED:
            if (name := stem + ENDINGS[kind]) in names:
                client.download(job_id, name, downloads)
        return Result(downloads, stem, temporary=True)


@contextmanager
def _downloads() -> Iterator[Path]:
    """A new folder, removed where reading into it fails."""
    folder = Path(mkdtemp(prefix="shoal-read-"))
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _stem(names: list[str], where: str) -> str:
    """What the names of a job's files begin with."""
    stems = [name.removesuffix(METADATA) for name in names if name.endswith(METADATA)]
    if len(stems) != 1:
        what = "no results" if not stems else f"results of {len(stems)} jobs"
        hint = f"Use the results folder of one job; it has one file that ends with {METADATA}."
        if stems:
            shown = ", ".join(stem + METADATA for stem in sorted(stems)[:STEMS_SHOWN])
            more = ", ..." if len(stems) > STEMS_SHOWN else ""
            hint = f"Name the metadata file of the one that is meant: {shown}{more}"
        raise ResultNotFound(f"there are {what} in {where}", hint=hint)
    return stems[0]
