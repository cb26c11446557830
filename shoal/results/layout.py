"""The files of a job's results: their names, types and the metadata's fields."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, Field

from shoal.formatting import compute_time, counted, number
from shoal.model import outputs
from shoal.model.edits import Edits
from shoal.model.job import MAX_STEM_BYTES, JobSpec, Options
from shoal.model.names import MAX_FILE_NAME_BYTES, MAX_KEY_BYTES, fit
from shoal.model.prompts import Exemplar, Removal, VisualPrompt, labels

SCHEMA_VERSION = 1
JOB_ID_CHARS = 24

CONTENT_TYPES = {
    ".mp4": "video/mp4",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".zip": "application/zip",
    ".jpg": "image/jpeg",
}

# How each file of the results is called, after the video's stem.
ENDINGS = outputs.ENDINGS | {
    "frames": "_frames.parquet",
    "summary": "_summary.json",
    "crops-sheet": "_crops.jpg",
    "redaction": "_redaction.json",
    "metadata": "_metadata.json",  # written last: its presence means all results are complete
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


def version_uri(spec: JobSpec, job_id: str, kind: str) -> str:
    """Where an output of another version of a video lies."""
    prefix, name = spec.results_folder(job_id), result_name(spec, kind)
    return prefix + (quote(name) if prefix.startswith("file:") else name)


def results_folder(root: str, key: str) -> str:
    """Where the results of a video go: below ``root``, in a folder named after its key.

    A key is somebody else's. On disk no part of it may lead out of the folder, and none may be
    longer than a name can be; in a bucket all that will lie in the folder needs a key that fits.
    """
    root = root.rstrip("/")
    if root.startswith("file:"):
        parts = ("_" if part in ("", ".", "..") else part for part in key.split("/"))
        return f"{root}/{quote('/'.join(fit(part, MAX_FILE_NAME_BYTES) for part in parts))}"
    above = len(root.partition("://")[2].partition("/")[2].encode())
    stem = min(len(key.rpartition("/")[2].encode()), MAX_STEM_BYTES)
    below = 3 + JOB_ID_CHARS + stem + (MAX_FILE_NAME_BYTES - MAX_STEM_BYTES)
    return f"{root}/{fit(key, MAX_KEY_BYTES - above - below)}"


def parts_prefix(spec: JobSpec) -> str:
    """The folder of what unfinished attempts leave for the next one."""
    if spec.segment:
        return f"{split_prefix(spec)}{spec.id}/"
    return spec.parts_folder(spec.id)


def split_prefix(spec: JobSpec) -> str:
    """The folder of a split job's plan, with a folder for each segment; given either's spec."""
    job_id = spec.segment.job if spec.segment else spec.id
    return f"{spec.results.rstrip('/')}/.parts/{job_id}-split/"


def part_name(number: int, attempt: int, kind: str) -> str:
    """A file of a part, as one attempt wrote it.

    Args:
        kind: ``overlay.mp4`` or ``masks.parquet``.
    """
    return f"{number:05}-a{attempt}.{kind}"


def state_name(number: int, attempt: int, frame: int = -1) -> str:
    """A checkpoint, as one attempt wrote it.

    Args:
        frame: the last one that the engine has seen, of a checkpoint from which corrections of
            later frames can go on; -1 of any other.
    """
    return part_name(number, attempt, f"f{frame}.state" if frame >= 0 else "state")


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
    end_s: float = Field(
        0.0, description="When the last frame read has been shown, from the first one on."
    )
    frames_read: int = Field(description="Frames decoded, written or not.")
    codec: str
    rotation: int = Field(description="Degrees counter-clockwise applied to make it upright.")
    truncated: bool = Field(description="The file was cut off, and 'allow_truncated' was set.")
    missing_s: float = Field(
        description="Seconds that were announced or sent but could not be read."
    )
    decode_errors: int = Field(
        description="Packets that were damaged or could not be decoded and were skipped."
    )
    left_out: list[str] = Field([], description="What of the file was not read, in sentences.")


class AudioMetadata(BaseModel):
    """What became of the sound, in the overlay or else in the redacted video."""

    state: Literal["copied", "encoded", "muted", "lost", "none", "off"] = Field(
        description="'copied' as it was, 'encoded' anew as AAC, 'muted' as asked for, 'lost' since "
        "it could not be read, 'none' in the source, 'off': no output was to have it."
    )
    reason: str = Field("", description="What is missing of it and why; empty if all is there.")


class SamplingMetadata(BaseModel):
    """Which frames were processed."""

    fps: float = Field(0.0, description="Per second of video; 0 = all frames.")
    reason: str = Field("", description="Why, if 'sample_fps' was 'auto'.")
    all_frames_s: float = Field(
        0.0,
        description="Estimated compute time of all frames, in seconds, if 'auto' left some out: "
        "the time of this run, with the model's share in proportion to the frames.",
    )


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
    exemplars: list[Exemplar] = Field([], description="Examples of what to find, or not to.")
    base: str = Field("", description="ID of the job whose results these refine.")
    edits: Edits | None = Field(None, description="What was edited in the results of 'base'.")
    options: Options
    frames_processed: int = Field(description="Frames written to the overlay and the masks.")
    sampling: SamplingMetadata = SamplingMetadata()
    original_fps: float = Field(description="Mean frames per second of the source, measured.")
    audio: AudioMetadata = Field(
        default_factory=lambda: AudioMetadata(state="off"), description="The sound."
    )
    parts: int = Field(description="Pieces that the video was processed in.")
    segments: int = Field(
        0, description="Segments that several workers could track at once; 0: it was not split."
    )
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

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that objects may have, in the job's order."""
        given = labels(self.prompts, self.objects, self.exemplars)
        return tuple(dict.fromkeys((*given, *self.edits.labels))) if self.edits else given

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
            "warnings": self.warnings(),
            "sampling": self.sampling_note(),
        }

    def sampling_note(self) -> str:
        """What 'auto' left out, in a sentence, and what it would have taken; empty if nothing."""
        sampling, video = self.sampling, self.video
        if not sampling.reason or not sampling.fps:
            return ""
        chosen = (
            f"{counted(self.frames_processed, 'frame')} of {number(video.frames_read)} processed, "
            f"{sampling.fps:g} per second, because {sampling.reason}."
        )
        if self.edits:  # the time of this run tells nothing of the model's
            return chosen
        return (
            f"{chosen} All frames (sample_fps 0) "
            f"would take about {compute_time(sampling.all_frames_s)} instead of "
            f"{compute_time(self.timings.get('total', 0.0))}."
        )

    def warnings(self) -> list[str]:
        """What of the video is not in the results, each in a sentence."""
        video, audio = self.video, self.audio
        found = list(video.left_out)
        if video.truncated:
            found.append(f"The file is cut off: {video.missing_s:.1f} s could not be read.")
        if video.decode_errors:
            found.append(f"{video.decode_errors} packets were damaged or could not be decoded.")
        if audio.state == "lost":
            found.append(f"The sound is missing: {audio.reason}.")
        elif audio.reason and audio.state in ("copied", "encoded"):
            found.append(f"Some of the sound is missing: {audio.reason}.")
        return found
