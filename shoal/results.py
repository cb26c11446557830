"""The files of a job's results: their names, types and the metadata's fields."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field

from shoal.jobs import JobSpec, Options
from shoal.prompts import Removal, VisualPrompt

SCHEMA_VERSION = 1

CONTENT_TYPES = {
    ".mp4": "video/mp4",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".zip": "application/zip",
    ".jpg": "image/jpeg",
}

# How the file of each kind of output is called, after the video's stem.
ENDINGS = {
    "overlay": "_segmented.mp4",
    "masks": "_masks.parquet",
    "frames": "_frames.parquet",
    "summary": "_summary.json",
    "youtube-vis": "_youtube-vis.json",
    "coco": "_coco.json",
    "mot": "_mot.txt",
    "csv": "_tracks.csv",
    "png": "_png.zip",
    "webm-alpha": "_webm-alpha.zip",
    "crops": "_crops.zip",
    "crops-sheet": "_crops.jpg",
    "redact": "_redacted.mp4",
    "redaction": "_redaction.json",
    "metadata": "_metadata.json",  # written last: who sees it sees every result
}


def result_name(spec: JobSpec, kind: str) -> str:
    """What the file of an output is called."""
    return spec.stem + ENDINGS[kind]


def overlay_name(spec: JobSpec) -> str:
    return result_name(spec, "overlay")


def masks_name(spec: JobSpec) -> str:
    return result_name(spec, "masks")


def summary_name(spec: JobSpec) -> str:
    return result_name(spec, "summary")


def metadata_name(spec: JobSpec) -> str:
    return result_name(spec, "metadata")


def result_uri(spec: JobSpec, name: str) -> str:
    """Where a result file lies."""
    prefix = spec.results_prefix
    return prefix + (quote(name) if prefix.startswith("file:") else name)


def results_folder(root: str, key: str) -> str:
    """Where the results of a video go: below ``root``, in a folder named after its key.

    A key is somebody else's. On disk no part of it may lead out of the folder.
    """
    if root.startswith("file:"):
        parts = ("_" if part in ("", ".", "..") else part for part in key.split("/"))
        key = quote("/".join(parts))
    return f"{root.rstrip('/')}/{key}"


def parts_prefix(spec: JobSpec) -> str:
    """The folder of what unfinished attempts leave for the next one."""
    return f"{spec.results.rstrip('/')}/.parts/{spec.id}/"


def part_name(number: int, attempt: int, kind: str) -> str:
    """A file of a part, as one attempt wrote it.

    Args:
        kind: ``overlay.mp4`` or ``masks.parquet``.
    """
    return f"{number:05}-a{attempt}.{kind}"


def content_type(name: str) -> str:
    """The media type of a result file, by its suffix."""
    return CONTENT_TYPES.get("." + name.rpartition(".")[2], "application/octet-stream")


class Track(BaseModel):
    """Where one object is to be seen."""

    object_id: int
    prompt: str
    frames: int = Field(description="Written frames that it is on.")
    first_frame: int = Field(description="Number of the first of them in the source.")
    last_frame: int
    visible_s: float = Field(description="Seconds that those frames stand for.")
    mean_area: float = Field(description="Pixels of its mask, on average.")
    spans: list[tuple[float, float]] = Field(
        description="From the first to the last frame of each appearance, in seconds."
    )
    path: list[tuple[float, float, float]] = Field(
        description="Time in seconds, x and y of the box's centre in pixels; 100 points at most, "
        "evenly over the frames that it is on."
    )


class Counts(BaseModel):
    """How many objects of each prompt there are over time, in at most 500 bins."""

    times_s: list[float] = Field(description="When each bin begins, in seconds.")
    frames_per_bin: int = Field(description="Written frames in a bin; the last may have fewer.")
    mean: dict[str, list[float]] = Field(description="Objects per frame, by prompt and bin.")
    most: dict[str, list[int]] = Field(description="The most on one frame, by prompt and bin.")


class ResultSummary(BaseModel):
    """``<stem>_summary.json``: who is to be seen when, without the masks."""

    schema_version: int = SCHEMA_VERSION
    duration_s: float = Field(description="Time of the video's last frame.")
    tracks: list[Track] = Field(description="By first appearance.")
    counts: Counts


class VideoMetadata(BaseModel):
    """The source as it was processed: upright, sizes in pixels."""

    uri: str
    version: str
    bytes: int
    width: int
    height: int
    duration_s: float = Field(description="Time of the last frame read minus that of the first.")
    frames_read: int = Field(description="Frames decoded, written or not.")
    codec: str
    rotation: int = Field(description="Degrees counter-clockwise applied to make it upright.")
    truncated: bool = Field(description="The file was cut off, and 'allow_truncated' was set.")
    missing_s: float = Field(description="Seconds announced but not there; 0 unless truncated.")
    decode_errors: int = Field(description="Packets that could not be decoded and were skipped.")


class EngineMetadata(BaseModel):
    """What found the objects."""

    name: str
    device: str
    versions: dict[str, str]
    reason: str = Field("", description="Why the worker ran this engine.")


class WorkerMetadata(BaseModel):
    """Who did the work."""

    name: str
    host: str
    model_loads: int = Field(description="Times the worker has loaded its model so far.")
    attempt: int = Field(description="Which attempt at the job this was, from 1.")


class Metadata(BaseModel):
    """``<stem>_metadata.json``."""

    schema_version: int = SCHEMA_VERSION
    job_id: str
    created_at: str = Field(description="When the results were published, ISO 8601, UTC.")
    video: VideoMetadata
    prompts: list[str]
    objects: list[VisualPrompt] = Field([], description="Objects that were pointed at.")
    remove_objects: list[Removal] = Field([], description="Objects that were left out.")
    options: Options
    frames_processed: int = Field(description="Frames written to the overlay and the masks.")
    original_fps: float
    parts: int = Field(description="Pieces that the video was processed in.")
    resumed: int = Field(description="Attempts that continued where an earlier one had stopped.")
    output_fps: float = Field(description="Mean frames per second of the overlay.")
    objects_detected: int = Field(description="Distinct objects, all prompts together.")
    objects_per_prompt: dict[str, int]
    outputs: dict[str, str] = Field(description="URIs of the files, by kind, this one included.")
    engine: EngineMetadata
    timings: dict[str, float] = Field(
        description="Seconds each stage was busy (stages overlap), and 'total' as the clock ran; "
        "summed over the attempts whose work is in the results."
    )
    worker: WorkerMetadata
    shoal_version: str

    def summary(self) -> dict[str, Any]:
        """What the job's record keeps, so that lists need not open the file."""
        return {
            "frames_processed": self.frames_processed,
            "duration_s": self.video.duration_s,
            "objects_detected": self.objects_detected,
            "objects_per_prompt": self.objects_per_prompt,
            "engine": self.engine.name,
            "seconds": self.timings.get("total", 0.0),
            "metadata": self.outputs["metadata"],
        }
