"""The options of a job as keyword arguments, so that editors and type checkers know them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias, TypedDict

from shoal.client.transport import plain
from shoal.model.job import Deinterlace, Direction, Split
from shoal.model.outputs import AnyOutput, parse_outputs

OutputConfig: TypeAlias = str | Mapping[str, Any] | AnyOutput


class JobOptions(TypedDict, total=False):
    """The fields of ``shoal.model.job.Options``, which documents them; omitted = default."""

    sample_fps: float | Literal["auto"]
    track_fps: float | None
    max_frames: int
    max_objects: int
    score_threshold: float | None
    engine: str
    sequence_fps: float
    allow_truncated: bool
    direction: Direction | Literal["forward", "backward", "both"]
    start_frame: int | None
    deinterlace: Deinterlace | Literal["auto", "on", "off"]
    detect_every: int
    score_threshold_detection: float | None
    det_nms_thresh: float | None
    fill_hole_area: int | None
    recondition_every_nth_frame: int | None
    hotstart_delay: int | None
    memory_temporal_stride_for_eval: int
    split: Split | Literal["off", "auto"] | int
    outputs: OutputConfig | Iterable[OutputConfig]


def as_json(options: JobOptions) -> dict[str, Any]:
    """Options as a request body.

    Raises:
        UnknownOutput, InvalidOutput: ``outputs`` is not valid.
    """
    body: dict[str, Any] = dict(options)
    if "outputs" in body:
        body["outputs"] = [plain(each) for each in parse_outputs(body["outputs"])]
    return body
