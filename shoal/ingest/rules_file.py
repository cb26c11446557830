"""The file of the rules: read, checked, and reloaded when it changes."""

from __future__ import annotations

import logging
import re
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pydantic import ValidationError

from shoal.errors import (
    InvalidOption,
    InvalidOutput,
    InvalidRules,
    InvalidVisualPrompt,
    ShoalError,
)
from shoal.ingest.rules import Rule, Rules
from shoal.ingest.submissions import validate_for_many
from shoal.model import globs
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.url_policy import check_callback

RESULT_DEPTH = 3  # '<results>/<video>/<job id>/<file>': no result lies less deep than this

log = logging.getLogger(__name__)


class RulesFile:
    """Gives the rules as the file has them now; a broken file leaves the last good ones in force.

    Attributes:
        fault: what is wrong with the file as it is now.
        loaded_at: when the rules in force were read, seconds since the epoch.
    """

    def __init__(self, settings: Settings) -> None:
        """
        Raises:
            InvalidRules: SHOAL_RULES names a file that cannot be read or is wrong.
        """
        self.path: Path | None = settings.rules
        self.fault: InvalidRules | None = None
        self.loaded_at = 0.0
        self._settings = settings
        self._reading = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._rules = Rules((), settings.results_root)
        if self.path:
            self._seen = self._signature(self.path)
            self._load(self.path)

    def current(self) -> Rules:
        """The rules to judge by."""
        if self.path:
            with self._reading:
                # Taken before the file is read: one that is being written is read once more.
                signature = self._signature(self.path)
                if signature != self._seen:
                    self._seen = signature
                    self._reload(self.path)
        return self._rules

    def _reload(self, path: Path) -> None:
        try:
            self._load(path)
        except InvalidRules as error:
            self.fault = error
            log.error("the rules file has errors, the previous rules are still active: %s", error)

    def _load(self, path: Path) -> None:
        self._rules = load(path, self._settings)
        self.fault = None
        self.loaded_at = time.time()
        log.info("loaded %d rules from %s", len(self._rules.items), path)

    def _signature(self, path: Path) -> tuple[int, ...]:
        try:
            status = path.stat()
        except OSError:
            return ()  # gone: reading it says so
        return status.st_mtime_ns, status.st_size, status.st_ino


def load(path: Path, settings: Settings) -> Rules:
    """Read and check a rules file.

    Raises:
        InvalidRules: all that is wrong with it, with line numbers.
    """
    try:
        text = path.read_text("utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise InvalidRules([f"{path}: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRules([f"{path.name}: {error}"]) from error
    if not text.strip():  # as it also is for a moment while an editor writes it
        raise InvalidRules([f"{path.name}: the file is empty; for no rules, leave a comment in it"])
    faults = [
        (_line(text, rf"\s*\[*\s*{re.escape(name)}\b"), f"unknown entry {name!r}")
        for name in document.keys() - {"rule"}
    ]
    entries = document.get("rule", [])
    if not isinstance(entries, list):
        raise InvalidRules([f"{path.name}: use [[rule]] with double brackets"])
    rules: list[tuple[int, Rule]] = []
    for number, entry in enumerate(entries, start=1):
        try:
            rule = Rule.model_validate({"name": f"rule {number}"} | _table(entry))
            rules.append((number, rule.model_copy(update=_canonical(rule, settings))))
        except ValidationError as error:
            for each in error.errors(include_url=False):
                field = str(each["loc"][0]) if each["loc"] else ""
                where = ".".join(map(str, each["loc"]))
                faults.append((_line_of(text, number, field), f"{where}: {_words(each)}"))
        except ShoalError as error:
            faults.append((_line_of(text, number, "bucket"), f"{error}. {error.hint}"))
    checked = Rules(tuple(rule for _, rule in rules), _canonical_uri(settings.results_root))
    for number, rule in rules:
        for field, fault in _faults(rule, checked, settings):
            faults.append((_line_of(text, number, field), f"rule {rule.name!r}: {fault}"))
    if faults:
        raise InvalidRules([f"{path.name}:{line}: {fault}" for line, fault in sorted(faults)])
    return checked


# --- what is wrong with a rule beside its form ----------------------------------------------------


def _faults(rule: Rule, rules: Rules, settings: Settings) -> Iterator[tuple[str, str]]:
    """(field, fault) of a well-formed rule among the others."""
    if [other.name for other in rules.items].count(rule.name) > 1:
        yield "name", "another rule has the same name"
    try:
        validate_for_many(rule.submission(rule.prompts))
    except InvalidVisualPrompt as error:
        yield "exemplars" if "exemplar" in str(error) else "objects", str(error)
    except (InvalidOption, InvalidOutput) as error:
        yield "options", str(error)
    except ShoalError as error:
        yield "prompts", str(error)
    if rule.prompts_from_metadata and not rule.bucket.startswith("gs://"):
        # S3 events and listings carry none: the job would depend on who announced the video.
        yield "prompts_from_metadata", "only gs:// events carry the metadata of an object"
    try:
        check_callback(rule.callback, settings)
    except ShoalError as error:
        yield "callback", str(error)
    results = rules.results_of(rule)
    try:
        storage_for(results, settings).key(results + "/x")
    except ShoalError as error:
        yield "results", str(error)
        return
    if _feeds_itself(rule, results):
        yield (
            "results" if rule.results else "key",
            f"its results go to {results}, where it would take them for uploads: "
            "narrow 'key', or set 'results' to another bucket or folder",
        )
    elif not rule.is_pattern_of_buckets and (root := rules.results_root_over(rule.prefix)):
        yield "bucket", f"it lies within {root}, where results go: nothing there is ever taken"


def _feeds_itself(rule: Rule, results: str) -> bool:
    """Whether results could match their own rule."""
    if rule.bucket.startswith("file:"):
        if not (results + "/").startswith(rule.bucket + "/"):
            return False
        below = unquote(results.removeprefix(rule.bucket).lstrip("/"))
        return globs.reaches(rule.key, below, RESULT_DEPTH)
    scheme, _, rest = results.partition("://")
    bucket, _, folder = rest.partition("/")
    if not globs.matches(rule.bucket, f"{scheme}://{bucket}"):
        return False
    return globs.reaches(rule.key, folder, RESULT_DEPTH)


def _canonical(rule: Rule, settings: Settings) -> dict[str, str]:
    """File URIs as ``FileStorage`` spells them, so that they compare.

    Raises:
        LocationForbidden, UnsupportedLocation: a bucket or folder that cannot be read here.
    """
    bucket = rule.bucket
    if bucket.startswith("file:"):
        storage_for(bucket, settings).key(bucket)
    else:
        storage_for(bucket, settings)
    return {"bucket": _canonical_uri(bucket), "results": _canonical_uri(rule.results)}


def _canonical_uri(uri: str) -> str:
    if not uri.startswith("file:"):
        return uri.rstrip("/")
    return Path("/" + unquote(uri.removeprefix("file:").lstrip("/"))).resolve().as_uri()


# --- where it is wrong ----------------------------------------------------------------------------


def _table(entry: Any) -> dict[str, Any]:
    return entry if isinstance(entry, dict) else {"": entry}


def _words(fault: Any) -> str:
    return str(fault["msg"]).removeprefix("Value error, ")


def _line_of(text: str, number: int, field: str) -> int:
    """The line of a field of the n-th rule; of the rule itself where the field is not written."""
    headers = [
        index
        for index, line in enumerate(text.splitlines(), start=1)
        if re.match(r"\s*\[\[\s*[\"']?rule[\"']?\s*\]\]", line)
    ]
    if len(headers) < number:  # written as an inline array
        return _line(text, r"\s*rule\s*=")
    start = headers[number - 1]
    end = headers[number] - 1 if number < len(headers) else None
    block: Sequence[str] = text.splitlines()[start:end]
    pattern = re.compile(rf"\s*(\[{{1,2}}\s*rule\s*\.\s*)?[\"']?{re.escape(field)}[\"']?\s*[=.\]]")
    return next((start + n for n, line in enumerate(block, 1) if pattern.match(line)), start)


def _line(text: str, pattern: str) -> int:
    return next((n for n, line in enumerate(text.splitlines(), 1) if re.match(pattern, line)), 1)
