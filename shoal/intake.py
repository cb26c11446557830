"""What an upload leads to: a job, or the reason why there is none.

Events and the sweep over the buckets come by here, so that one upload is one job, whoever
announced it first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

from shoal import engines, outputs
from shoal.errors import ShoalError
from shoal.jobs import JobSpec
from shoal.prompts import clean_prompts
from shoal.results import results_folder
from shoal.rules import Rule, Rules
from shoal.settings import Settings
from shoal.storage import ObjectInfo, storage_for
from shoal.storage.base import MARKER

PROMPTS = "shoal-prompts"  # object metadata: prompts, separated by commas

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
))
# fmt: on

_TEMPORARY_ENDINGS = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".filepart", ".swp", "~")
_TEMPORARY_FOLDERS = ("_temporary/", "gsutil/tmp/", "gcloud/tmp/")  # of Hadoop, gsutil, gcloud
_RESULT = re.compile(r"/[0-9a-f]{24}/[^/]+_segmented\.mp4$")  # as shoal.results names them


class Reason(StrEnum):
    """Why an upload led to no job."""

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
class Upload:
    """An object that somebody has written to a bucket, as the sender describes it.

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
    def of(cls, info: ObjectInfo) -> Upload:
        metadata = {name.lower(): value for name, value in info.metadata.items()}
        return cls(info.uri, info.version, info.size, info.content_type, metadata)


@dataclass(frozen=True, slots=True)
class Skip:
    """An upload without a job, and why."""

    uri: str
    reason: Reason
    detail: str = ""


def judge(upload: Upload, rules: Rules, settings: Settings) -> JobSpec | Skip:
    """The job that the first rule that matches makes of an upload.

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
        options=rule.options,
        results=results_folder(
            rules.results_of(rule), storage_for(upload.uri, settings).key(upload.uri)
        ),
    )


def unwanted(upload: Upload, rules: Rules) -> Skip | None:
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


def is_video(upload: Upload, pattern: str) -> bool:
    """By suffix or content type; a pattern that names a suffix gets what it asked for."""
    suffix = PurePosixPath(upload.uri.rpartition("/")[2]).suffix.lower()
    named = suffix != "" and pattern.lower().endswith(suffix)
    return suffix in VIDEO_SUFFIXES or named or upload.content_type.startswith("video/")


def _prompts(upload: Upload, rule: Rule) -> tuple[str, ...]:
    """
    Raises:
        InvalidPrompt, UnknownPrompt: in the object's metadata; those of the rule are checked.
    """
    named = outputs.prompts_of(rule.options.outputs)
    given = upload.metadata.get(PROMPTS)
    if given is None or not rule.prompts_from_metadata:
        return clean_prompts([*rule.prompts, *named])
    prompts = clean_prompts([*given.split(","), *named])
    outputs.check_fits(rule.options.outputs, prompts, max_objects=rule.options.max_objects)
    engines.check(rule.options.engine, prompts, engines.features(rule.options, (), ()))
    return prompts
