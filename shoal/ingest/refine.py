"""New versions of a video: the job that refines the results of another one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import ValidationError

from shoal import engines
from shoal.errors import InvalidEdit, ResultNotFound, SourceNotFound, StateConflict
from shoal.ingest.submissions import ValidatedRequest, validate_request
from shoal.model.edits import EditRequest, KnownObject, RefineRequest, check_edits
from shoal.model.job import Direction, JobSpec, Split, State
from shoal.model.outputs import Redact
from shoal.model.record import Record
from shoal.model.submission import Submission
from shoal.results.layout import ResultSummary, result_uri, summary_name
from shoal.results.parts import state_frame
from shoal.settings import Settings
from shoal.storage import storage_for

MAX_SUMMARY_BYTES = 32 << 20  # of some ten thousand objects


class Refinement(NamedTuple):
    """A version that can be queued.

    Attributes:
        request: what the model has to do again; None if nothing.
        continues_from_frame: see ``RefinePlan``.
    """

    spec: JobSpec
    request: ValidatedRequest | None = None
    continues_from_frame: int | None = None


def refine(
    base: Record, asked: RefineRequest, ancestors: Iterable[Record], settings: Settings
) -> Refinement:
    """The job of a version. Reads what the storage has of the base.

    Args:
        ancestors: what the base was made from, and so on.

    Raises:
        InvalidEdit: edits and corrections cannot be made in one version; and what ``edited`` and
            ``corrected`` raise.
    """
    edits = EditRequest(**{name: getattr(asked, name) for name in EditRequest.model_fields})
    if not asked.objects:
        return Refinement(edited(base, edits, settings))
    if edits != EditRequest():
        raise InvalidEdit(
            "'objects' cannot be combined with edits of the results",
            hint="Make a version with the corrections, then edit that: its IDs may be others.",
        )
    spec, request = corrected(base, asked)
    return Refinement(spec, request, _continues_from(spec, [base, *ancestors], settings))


def corrected(base: Record, asked: RefineRequest) -> tuple[JobSpec, ValidatedRequest]:
    """The job that tracks ``base`` again with corrections.

    Raises:
        InvalidEdit: the results of ``base`` were edited.
        InvalidVisualPrompt: a correction is invalid.
        UnsupportedByEngine: the engine of ``base`` does not support it.
    """
    spec = _whole(base.spec)
    if spec.is_edited:
        raise InvalidEdit(
            f"job {base.id} is an edited version; its tracking cannot be corrected",
            hint=f"Correct the version that it was made from, {spec.base}, then edit that.",
        )
    request = validate_request(
        Submission(
            uri=spec.uri,
            prompts=list(spec.prompts),
            objects=[*spec.objects, *asked.objects],
            remove_objects=list(spec.remove_objects),
            exemplars=list(spec.exemplars),
            options=spec.options,
        )
    )
    if (engine := base.summary.get("engine")) in engines.names():
        engines.check(engine, request.prompts, request.features)
    changes = {"base": base.id, "edits": None, "objects": request.objects}
    return spec.model_copy(update=changes), request


def _continues_from(spec: JobSpec, versions: Iterable[Record], settings: Settings) -> int | None:
    """The frame of the newest checkpoint before the first correction; as workers look for it."""
    if spec.options.direction is not Direction.FORWARD:
        return None
    for version in versions:
        before = min((each.frame for each in spec.objects[len(version.spec.objects) :]), default=0)
        prefix = spec.parts_folder(version.id)
        names = (
            info.uri.rpartition("/")[2] for info in storage_for(prefix, settings).entries(prefix)
        )
        frames = [frame for name in names if (frame := state_frame(name)) is not None]
        if usable := [frame for frame in frames if frame < before]:
            return max(usable)
    return None


def check_base(base: Record) -> None:
    """
    Raises:
        StateConflict: the job has not succeeded.
        InvalidEdit: it redacts.
    """
    if base.state != State.SUCCEEDED:
        raise StateConflict(
            f"job {base.id} is {base.state}; only results of a job that succeeded can be refined"
        )
    if any(isinstance(each, Redact) for each in base.spec.options.outputs):
        raise InvalidEdit(
            f"job {base.id} redacts; an edit could show what is hidden",
            hint="Submit the video again with other prompts or options.",
        )


def edited(base: Record, asked: EditRequest, settings: Settings) -> JobSpec:
    """The job that applies edits to the results of ``base``. Reads its summary.

    Raises:
        UnknownObject, InvalidEdit, InvalidPrompt: see ``check_edits``.
        ResultNotFound: the summary was moved or deleted, or cannot be read.
        StorageUnavailable and its like: the storage did not answer.
    """
    spec = _whole(base.spec)
    given = spec.edits.labels if spec.edits else ()
    edits = check_edits(asked, _objects(base, settings), given)
    if edits.is_empty:
        raise InvalidEdit("there is nothing to change", hint="Give at least one edit.")
    return spec.model_copy(update={"base": base.id, "edits": edits})


def _whole(spec: JobSpec) -> JobSpec:
    """The same in one piece: what is refined is not split."""
    return spec.model_copy(update={"options": spec.options.model_copy(update={"split": Split.OFF})})


def _objects(base: Record, settings: Settings) -> list[KnownObject]:
    uri = result_uri(base.spec, summary_name(base.spec))
    try:
        content = b"".join(storage_for(uri, settings).read(uri, length=MAX_SUMMARY_BYTES + 1))
        if len(content) > MAX_SUMMARY_BYTES:
            raise InvalidEdit(f"job {base.id} has too many objects to be edited")
        tracks = ResultSummary.model_validate_json(content).tracks
    except SourceNotFound as error:
        raise ResultNotFound(
            f"the results of job {base.id} are gone: {uri}",
            hint="Submit the video again; results that were moved or deleted cannot be edited.",
        ) from error
    except ValidationError as error:
        raise ResultNotFound(f"the summary of job {base.id} cannot be read") from error
    return [
        KnownObject(each.object_id, each.prompt, each.first_frame, each.last_frame)
        for each in tracks
    ]
