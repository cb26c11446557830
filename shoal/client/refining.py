"""The calls for new versions of results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from shoal.client.schemas import RefinePlan, Versions
from shoal.client.transport import Transport, plain
from shoal.model.edits import SplitEdit
from shoal.model.prompts import VisualPrompt
from shoal.model.record import Record


class RefineCalls:
    """Part of ``Client``."""

    _http: Transport

    def refine(
        self,
        job_id: str,
        *,
        remove: Iterable[int] = (),
        merge: Iterable[Sequence[int]] = (),
        split: Iterable[SplitEdit | Mapping[str, int]] = (),
        relabel: Mapping[int, str] | None = None,
        objects: Iterable[VisualPrompt | Mapping[str, Any]] = (),
        callback: str = "",
    ) -> Record:
        """Make a new version of the results of a job that has succeeded.

        Args:
            remove: IDs of objects to leave out.
            merge: groups of IDs that are one object, which gets ID and label of the first.
            split: tracks to cut in two, as ``object_id`` and first ``frame`` of the second part.
            relabel: new labels by object ID.
            objects: corrections of the tracking, as visual prompts; not together with edits.
            callback: webhook URL to notify when the new job ends.

        Returns:
            The record of the new job. The same version is the same job.

        Raises:
            ApiError: the job has not succeeded (``state_conflict``), there is no such object
                (``unknown_object``), or edits contradict each other (``invalid_edit``).
        """
        body = _body(remove, merge, split, relabel, objects) | {"callback": callback}
        return self._http.json(Record, "POST", _path(job_id), json=body)

    def plan_refine(
        self,
        job_id: str,
        *,
        remove: Iterable[int] = (),
        merge: Iterable[Sequence[int]] = (),
        split: Iterable[SplitEdit | Mapping[str, int]] = (),
        relabel: Mapping[int, str] | None = None,
        objects: Iterable[VisualPrompt | Mapping[str, Any]] = (),
    ) -> RefinePlan:
        """As ``refine``, without queueing: what it would do, and from where it would continue."""
        body = _body(remove, merge, split, relabel, objects)
        return self._http.json(RefinePlan, "POST", _path(job_id) + "/plan", json=body)

    def versions(self, job_id: str) -> Sequence[Record]:
        """All versions of the results of a job, oldest first; the job is one of them."""
        path = f"/videos/{quote(job_id, safe='')}/versions"
        return self._http.json(Versions, "GET", path).items


def _path(job_id: str) -> str:
    return f"/videos/{quote(job_id, safe='')}/refine"


def _body(
    remove: Iterable[int],
    merge: Iterable[Sequence[int]],
    split: Iterable[SplitEdit | Mapping[str, int]],
    relabel: Mapping[int, str] | None,
    objects: Iterable[VisualPrompt | Mapping[str, Any]],
) -> dict[str, Any]:
    return {
        "remove": list(remove),
        "merge": [list(group) for group in merge],
        "split": [plain(each) for each in split],
        "relabel": {str(object_id): label for object_id, label in (relabel or {}).items()},
        "objects": [plain(each) for each in objects],
    }
