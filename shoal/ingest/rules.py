"""``rules.toml``: which uploads become jobs, and with which prompts. The first match applies.

[[rule]]
name = "soccer"
bucket = "gs://matches"                 # or s3://..., az://..., or a folder: file:///srv/videos
key = "soccer/**/*.mp4"
prompts = ["soccer player", "ball"]
options = { sample_fps = 5 }
results = "gs://matches-results/soccer" # default: SHOAL_RESULTS
callback = "https://example.com/hook"   # optional webhook URL
priority = "low"                        # high, normal or low; also weight = 3, max_running = 10
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from shoal.errors import ShoalError
from shoal.model import globs
from shoal.model.job import Options
from shoal.model.prompts import (
    MAX_VISUAL_PROMPTS,
    Exemplar,
    VisualPrompt,
    clean_exemplars,
    clean_objects,
    clean_prompts,
)
from shoal.model.share import DEFAULT, RULE, Level, MaxRunning, Share, Weight
from shoal.model.submission import Submission

_BUCKET = re.compile(r"(gs|s3|az)://[^/]+|file:///.*")


@contextmanager
def _as_value_error() -> Iterator[None]:
    """For validators."""
    try:
        yield
    except ShoalError as error:
        raise ValueError(str(error)) from error


class Rule(BaseModel):
    """One entry of ``rules.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("", max_length=100)
    bucket: str = Field(
        description="gs://NAME, s3://NAME or az://NAME, which may be a pattern, or file:///…"
    )
    key: str = Field("**", min_length=1, max_length=1024, description="Pattern of the object's key")
    objects: tuple[VisualPrompt, ...] = Field(
        (), max_length=MAX_VISUAL_PROMPTS, description="The same positions in every video"
    )
    exemplars: tuple[Exemplar, ...] = Field(
        (), max_length=MAX_VISUAL_PROMPTS, description="The same positions in every video"
    )
    prompts: tuple[str, ...] = Field((), validate_default=True)
    options: Options = Options()
    results: str = ""
    callback: str = Field("", description="Webhook URL that is notified when each job ends")
    prompts_from_metadata: bool = False
    priority: Level = Level.NORMAL
    weight: Weight = 1
    max_running: MaxRunning = 0
    results_days: float | None = Field(None, ge=0, le=36500, allow_inf_nan=False)

    @field_validator("bucket")
    @classmethod
    def _is_bucket(cls, value: str) -> str:
        value = value.rstrip("/")
        if not _BUCKET.fullmatch(value):
            raise ValueError("must have the form gs://NAME, s3://NAME, az://NAME or file:///FOLDER")
        if not value.startswith("file:"):
            globs.check(value)
        return value

    @field_validator("key")
    @classmethod
    def _is_pattern(cls, value: str) -> str:
        globs.check(value)
        return value

    @field_validator("results")
    @classmethod
    def _no_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("objects")
    @classmethod
    def _clean_objects(cls, value: tuple[VisualPrompt, ...]) -> tuple[VisualPrompt, ...]:
        with _as_value_error():
            return clean_objects(value)

    @field_validator("exemplars")
    @classmethod
    def _clean_exemplars(cls, value: tuple[Exemplar, ...]) -> tuple[Exemplar, ...]:
        with _as_value_error():
            return clean_exemplars(value, [each.prompt for each in value])

    @field_validator("prompts")
    @classmethod
    def _clean(cls, value: tuple[str, ...], known: ValidationInfo) -> tuple[str, ...]:
        visual = known.data.get("objects") or known.data.get("exemplars")
        with _as_value_error():
            return clean_prompts(value, may_lack=bool(visual))

    def submission(self, prompts: Iterable[str]) -> Submission:
        """What it asks of every video, with these text prompts."""
        return Submission.model_construct(
            uri="",
            prompts=list(prompts),
            objects=list(self.objects),
            remove_objects=[],
            exemplars=list(self.exemplars),
            options=self.options,
        )

    @property
    def share(self) -> Share:
        """The place of its videos in the line."""
        return Share(
            source=RULE + self.name,
            priority=self.priority,
            weight=self.weight,
            max_running=self.max_running,
        )

    @property
    def is_pattern_of_buckets(self) -> bool:
        return not self.bucket.startswith("file:") and bool(globs.WILD.search(self.bucket))

    @property
    def prefix(self) -> str:
        """What the URI of every match begins with, as far as it is known."""
        if self.is_pattern_of_buckets:
            return globs.literal_prefix(self.bucket)
        if self.bucket.startswith("file:"):
            return self.bucket + "/"
        return f"{self.bucket}/{globs.literal_prefix(self.key)}"

    def misses(self, uri: str) -> str:
        """Why the rule does not match, in words; empty if it does."""
        key = self._key_in(uri)
        if key is None:
            return f"not in {self.bucket}"
        if not globs.matches(self.key, key):
            return f"the key {key!r} does not match {self.key!r}"
        return ""

    def _key_in(self, uri: str) -> str | None:
        """The key below the rule's bucket or folder; ``None`` in another one."""
        if self.bucket.startswith("file:"):
            if not uri.startswith(self.bucket + "/"):
                return None
            return unquote(uri.removeprefix(self.bucket + "/"))
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        address = f"{scheme}://{bucket}"
        is_there = address == self.bucket  # which a pattern takes longer to say
        if self.is_pattern_of_buckets:
            is_there = globs.matches(self.bucket, address)
        return key if is_there else None


@dataclass(frozen=True)
class Rules:
    """The rules of one file, in their order.

    Attributes:
        default_results: where results go of rules that do not say.
    """

    items: tuple[Rule, ...]
    default_results: str

    def find(self, uri: str) -> Rule | None:
        return next((rule for rule in self.items if not rule.misses(uri)), None)

    def callback_of(self, uri: str) -> str:
        """Who is told of the job that an upload became; empty: nobody."""
        return self.terms_of(uri)[0]

    def results_days_of(self, source: str, default: float) -> float:
        """How long the results of a source's jobs are kept, in days; 0 is for ever."""
        for rule in self.items:
            if rule.share.source == source and rule.results_days is not None:
                return rule.results_days
        return default

    def terms_of(self, uri: str) -> tuple[str, Share]:
        """Of the job that an upload became: who is told of it, and its place in the line."""
        rule = self.find(uri)
        return (rule.callback, rule.share) if rule else ("", DEFAULT)

    def results_of(self, rule: Rule) -> str:
        return rule.results or self.default_results

    def results_roots(self) -> list[str]:
        return list(dict.fromkeys([*map(self.results_of, self.items), self.default_results]))

    def results_root_over(self, uri: str) -> str:
        """The root of results under which something lies; empty if there is none."""
        roots = self.results_roots()
        return next((root for root in roots if uri.startswith(root.rstrip("/") + "/")), "")
