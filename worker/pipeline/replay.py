"""Tables in place of a model: the results of an earlier job with edits, or of a split job's
segments under the IDs of the whole video.

What is drawn of them goes through the pipeline as any other job, so outputs, checkpoints and
metadata are made in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import ValidationError

from shoal.errors import InternalError, ResultNotFound, SourceNotFound
from shoal.model.edits import Edits
from shoal.model.job import Direction, JobSpec, Options
from shoal.results.formats.tables import BATCH_ROWS, Row, Tables
from shoal.results.layout import EngineMetadata, Metadata, version_uri
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.storage.files import writing
from worker.engines.base import FrameResult, Query
from worker.outputs.second_pass import object_of
from worker.pipeline.edits import Editor
from worker.video.frame import Frame, VideoInfo

NO_EDITS = Edits()


class Replay:
    """Written results as a ``Predictor``.

    Attributes:
        name, device, versions: of the engine that found the objects.
        frames: numbers of the written frames, up to ``last``.
    """

    steps_again = False

    def __init__(
        self,
        engine: EngineMetadata,
        tables: Tables,
        edits: Edits = NO_EDITS,
        last: int | None = None,
    ) -> None:
        self.name = engine.name
        self.device = engine.device
        self.versions = engine.versions
        written = tables.indices if last is None else tables.indices[tables.indices <= last]
        self.frames = frozenset(written.tolist())
        self._tables = tables
        self._editor = Editor(edits, _detection_scores(tables, edits))

    def tracking_fps(self, video: VideoInfo) -> float:
        """0: none but the written frames are needed."""
        return 0.0

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> ReplaySession:
        results = (each for each in self._tables.by_frame() if each[0] in self.frames)
        return ReplaySession(results, self._editor, resumes=state is not None)


class ReplaySession:
    """The written frames, in order."""

    def __init__(
        self, results: Iterator[tuple[int, float, list[Row]]], editor: Editor, *, resumes: bool
    ) -> None:
        self._results = results
        self._editor = editor
        self._skips = resumes  # those before the first frame are published already

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        return [self._result(frame.index) for frame in frames]

    def _result(self, wanted: int) -> FrameResult:
        for index, _, rows in self._results:
            if index == wanted:
                self._skips = False
                return self._editor.apply(FrameResult(index, [object_of(row) for row in rows]))
            if not self._skips:
                raise InternalError(f"frame {index} of the tables is not in the video any more")
        raise InternalError(f"frame {wanted} is not in the tables")

    def finish(self) -> list[FrameResult]:
        """Nothing is owed.

        Raises:
            InternalError: the tables have frames that the video does not have.
        """
        if not self._skips and (missed := next(self._results, None)):
            raise InternalError(f"frame {missed[0]} of the tables is not in the video any more")
        return []

    def state(self) -> bytes:
        """Where it goes on follows from the frame that is stepped next."""
        return b""

    def close(self) -> None:
        """Nothing is held."""


def fetch_replay(spec: JobSpec, settings: Settings, work_dir: Path) -> Replay:
    """The results of the base with the job's edits; downloads them."""
    metadata, tables = fetch_base(spec, settings, work_dir)
    return Replay(metadata.engine, tables, spec.edits or NO_EDITS)


def fetch_base(spec: JobSpec, settings: Settings, work_dir: Path) -> tuple[Metadata, Tables]:
    """Download metadata and tables of the base.

    Raises:
        ResultNotFound: they were moved or deleted, or are not what Shoal writes.
        StorageUnavailable and its like: the storage did not answer.
    """
    folder = work_dir / "base"
    with writing("the work directory"):
        folder.mkdir()
    metadata = fetch_metadata(spec, spec.base, settings)
    masks, frames = folder / "masks.parquet", folder / "frames.parquet"
    for kind, path in {"masks": masks, "frames": frames}.items():
        with writing("the work directory"), path.open("wb") as file:
            file.writelines(_chunks(spec, spec.base, kind, settings))
    return metadata, Tables.of(metadata, spec.stem, masks, frames)


def fetch_metadata(spec: JobSpec, job_id: str, settings: Settings) -> Metadata:
    """The metadata of another version of a video; raises what ``fetch_base`` does."""
    content = b"".join(_chunks(spec, job_id, "metadata", settings))
    try:
        return Metadata.model_validate_json(content)
    except ValidationError as error:
        raise ResultNotFound(f"the metadata of job {job_id} cannot be read") from error


def forward_options(options: Options) -> Options:
    """Options by which a forward read comes by all frames that the base wrote."""
    if options.direction is Direction.FORWARD:
        return options
    changes = {"direction": Direction.FORWARD, "start_frame": None, "max_frames": 0}
    return options.model_copy(update=changes)


def _chunks(spec: JobSpec, job_id: str, kind: str, settings: Settings) -> Iterator[bytes]:
    uri = version_uri(spec, job_id, kind)
    try:
        yield from storage_for(uri, settings).read(uri)
    except SourceNotFound as error:
        raise ResultNotFound(
            f"the results of job {job_id} are gone: {uri}",
            hint="Submit the video again; results that were moved or deleted cannot be edited.",
        ) from error


def _detection_scores(tables: Tables, edits: Edits) -> dict[int, float | None]:
    """Those of the objects that stay of merged groups, by their IDs after the edits."""
    if not edits.merge:
        return {}
    kept = {group[0] for group in edits.merge}
    cuts = dict(zip(edits.new_ids, (split.object_id for split in edits.split), strict=True))
    sources = {object_id: cuts.get(object_id, object_id) for object_id in kept}
    wanted = frozenset(sources.values())
    found: dict[int, float | None] = {}
    with pq.ParquetFile(tables.masks) as table:
        for batch in table.iter_batches(BATCH_ROWS, columns=["object_id", "detection_score"]):
            scores = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            found.update((each, score) for each, score in scores if each in wanted)
    return {object_id: found[source] for object_id, source in sources.items() if source in found}
