"""What the phases of a split job leave for each other: the plan, and the parts of the segments."""

from __future__ import annotations

from pydantic import ValidationError

from shoal.errors import SegmentsLost, SourceNotFound
from shoal.model.job import JobSpec, Role, SplitSegment
from shoal.results.layout import content_type, part_name, split_prefix
from shoal.storage import storage_for
from shoal.storage.files import writing
from worker.pipeline.checkpoint import Checkpoint, Origin, SavedFile
from worker.pipeline.context import JobContext
from worker.pipeline.part_store import PartStore
from worker.pipeline.split.plan import SplitPlan


def save_plan(context: JobContext, plan: SplitPlan) -> str:
    """Upload a plan, if the job is still this attempt's; gives the file's name.

    Raises:
        Stopped: the job is not wanted any more.
    """
    name = f"plan-a{context.run.attempt}.json"
    path = context.work_dir / name
    with writing("the work directory"):
        path.write_text(plan.model_dump_json())
    uri = split_prefix(context.spec) + name
    context.confirm()
    storage_for(uri, context.settings).put(path, uri, content_type(name))
    return name


def read_plan(context: JobContext) -> SplitPlan:
    """The plan of a split job or of the job of a segment.

    Raises:
        SegmentsLost: it is not there, or of another version of Shoal.
    """
    segment = context.spec.segment
    uri = split_prefix(context.spec) + (segment.plan if segment else context.run.plan)
    try:
        return SplitPlan.model_validate_json(b"".join(storage_for(uri, context.settings).read(uri)))
    except (SourceNotFound, ValidationError) as error:
        raise SegmentsLost(f"the plan of the segments cannot be used: {uri}") from error


def segment_spec(context: JobContext, role: Role, number: int) -> JobSpec:
    """A segment of the split job that the context is of."""
    spec, plan = context.spec, context.run.plan
    segment = SplitSegment(job=spec.id, role=role, number=number, plan=plan)
    return spec.model_copy(update={"segment": segment})


def load_segment(context: JobContext, spec: JobSpec) -> tuple[Checkpoint, PartStore]:
    """What a finished segment has left; its files are then in the store's folder.

    Raises:
        SegmentsLost: it is not there any more.
        StorageUnavailable and its like: the storage did not answer.
    """
    assert spec.segment
    store = PartStore(context, spec, f"{spec.segment.role}-{spec.segment.number}")
    found = store.newest(Origin(job_id=spec.id, prompts=spec.prompts, made_by={}))
    if found is None or not found.checkpoint.complete:
        raise SegmentsLost(f"segment {spec.segment.number} is not complete in {store.prefix}")
    return found, store


def joined_origin(spec: JobSpec, plan: str) -> Origin:
    """Of the joined tables of a split job, which any engine's worker goes on with."""
    job_id = spec.segment.job if spec.segment else spec.id
    return Origin(job_id=job_id, prompts=spec.prompts, made_by={"plan": plan})


def is_of(file: SavedFile, number: int) -> bool:
    """Whether a file of the joined tables is that of a segment."""
    return file.name.startswith(part_name(number, 0, "").removesuffix("a0."))
