"""Decides whether an upload becomes a job, and if not, why.

Events and the sweep over the buckets come by here, so that one upload is one job, whoever
announced it first.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shoal.errors import ShoalError
from shoal.ingest.rules import Rule, Rules
from shoal.ingest.submissions import validate_for_many
from shoal.model import outputs
from shoal.model.job import JobSpec
from shoal.model.prompts import clean_prompts
from shoal.results.layout import results_folder
from shoal.settings import Settings
from shoal.storage import ObjectInfo, storage_for
from shoal.storage.base import MARKER

PROMPTS = "shoal-prompts"  # object metadata: prompts, separated by commas

# Not .gif and .webp: most of these are stills. A pattern that names the suffix takes them.
# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".264", ".265", ".3g2", ".3gp", ".apng", ".asf", ".avi", ".dv", ".flv", ".h264", ".h265",
    ".hevc", ".ivf", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".mxf", ".obu", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv", ".y4m",
))
# fmt: on

_TEMPORARY_ENDINGS = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".filepart", ".swp", "~")
_TEMPORARY_FOLDERS = ("_temporary/", "gsutil/tmp/", "gcloud/tmp/")  # of Hadoop, gsutil, gcloud
_RESULT = re.compile(r"/[0-9a-f]{24}/[^/]+_segmented\.mp4$")  # as shoal.results.layout names them
_RESULT_MARKS = tuple(
    ending.removesuffix(".mp4") for ending in outputs.ENDINGS.values() if ending.endswith(".mp4")
)


class Reason(StrEnum):
    """Why an upload does not become a job."""

    NOT_AN_UPLOAD = "not_an_upload"  # an event of another kind: deleted, metadata changed, ...
    MALFORMED = "malformed"  # one record of several that cannot be read
    FOLDER_MARKER = "folder_marker"
    EMPTY = "empty"
    TEMPORARY = "temporary_name"
    OWN_RESULT = "own_result"
    NO_RULE = "no_rule"
    WRONG_SUFFIX = "wrong_suffix"
    CHANGING = "changing"  # a file that is being written: the next sweep looks again
    TOO_LARGE = "too_large"
    BAD_PROMPTS = "bad_prompts"  # in the object's metadata
    GONE = "gone"  # deleted before it could be looked at


@dataclass(frozen=True, slots=True)
class UploadedObject:
    """An uploaded object, as described by the event sender.

    Attributes:
        uri: as ``shoal.storage`` spells it.
        version: as its ``stat`` gives it; empty where the sender does not tell.
        size: bytes; ``None`` where the sender does not tell.
        metadata: what the uploader attached; keys in lower case.
    """

    uri: str
    version: str = ""
    size: int | None = None
    content_type: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, info: ObjectInfo) -> UploadedObject:
        metadata = {name.lower(): value for name, value in info.metadata.items()}
        return cls(info.uri, info.version, info.size, info.content_type, metadata)


@dataclass(frozen=True, slots=True)
class Skip:
    """A skipped upload, with the reason."""

    uri: str
    reason: Reason
    detail: str = ""


def judge(upload: UploadedObject, rules: Rules, settings: Settings) -> JobSpec | Skip:
    """The job of an upload, by the first matching rule.

    The upload's version and size must be known.
    """
    if skip := unwanted(upload, rules):
        return skip
    rule = rules.find(upload.uri)
    if rule is None:
        return Skip(upload.uri, Reason.NO_RULE, f"none of {len(rules.items)} rules matches")
    if not is_video(upload, rule.key):
        return Skip(upload.uri, Reason.WRONG_SUFFIX, f"rule {rule.name!r} takes videos only")
    size = upload.size or 0
    if size > settings.max_video_bytes:
        return Skip(upload.uri, Reason.TOO_LARGE, f"{size} bytes, see SHOAL_MAX_VIDEO_BYTES")
    try:
        prompts = _prompts(upload, rule)
    except ShoalError as error:
        return Skip(upload.uri, Reason.BAD_PROMPTS, f"metadata {PROMPTS!r}: {error}")
    return JobSpec(
        uri=upload.uri,
        version=upload.version,
        size=size,
        prompts=prompts,
        objects=rule.objects,
        exemplars=rule.exemplars,
        options=rule.options,
        results=results_folder(
            rules.results_of(rule), storage_for(upload.uri, settings).key(upload.uri)
        ),
    )


def lacks_metadata(upload: UploadedObject) -> bool:
    """Whether the object may have metadata that was not told: a copy of a result is known by it.

    Events of S3 and Azure, and listings of S3, have none.
    """
    return upload.uri.startswith(("s3:", "az:")) and not upload.metadata


def is_named_like_result(upload: UploadedObject) -> bool:
    name = upload.uri.rpartition("/")[2]
    return any(mark in name for mark in _RESULT_MARKS)


def unwanted(upload: UploadedObject, rules: Rules) -> Skip | None:
    """What no rule and no pattern may have."""
    uri = upload.uri
    name = uri.rpartition("/")[2]
    if not name or name.endswith("_$folder$"):
        return Skip(uri, Reason.FOLDER_MARKER)
    if MARKER in upload.metadata:
        return Skip(uri, Reason.OWN_RESULT, f"it carries the metadata {MARKER!r}")
    if root := rules.results_root_over(uri):
        return Skip(uri, Reason.OWN_RESULT, f"results go to {root}")
    if _RESULT.search(uri):
        return Skip(uri, Reason.OWN_RESULT, "it is named like a result")
    if name.startswith((".", "~$")) or name.lower().endswith(_TEMPORARY_ENDINGS):
        return Skip(uri, Reason.TEMPORARY)
    if any(folder in uri for folder in _TEMPORARY_FOLDERS):
        return Skip(uri, Reason.TEMPORARY, "it lies in a folder of temporary files")
    if upload.size == 0:
        return Skip(uri, Reason.EMPTY)
    return None


def is_video(upload: UploadedObject, pattern: str) -> bool:
    """By suffix or content type; a pattern that names a suffix gets what it asked for."""
    suffix = posixpath.splitext(upload.uri)[1].lower()
    named = suffix != "" and pattern.lower().endswith(suffix)
    return suffix in VIDEO_SUFFIXES or named or upload.content_type.startswith("video/")


def _prompts(upload: UploadedObject, rule: Rule) -> tuple[str, ...]:
    """
    Raises:
        InvalidPrompt, UnknownPrompt and what else ``validate_for_many`` raises: in the object's
            metadata; those of the rule are checked.
    """
    named = outputs.prompts_of(rule.options.outputs)
    given = upload.metadata.get(PROMPTS)
    if given is None or not rule.prompts_from_metadata:
        visual = bool(rule.objects or rule.exemplars)
        return clean_prompts([*rule.prompts, *named], may_lack=visual)
    return validate_for_many(rule.submission(given.split(","))).prompts
