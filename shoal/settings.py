"""All settings, once. Every field is an environment variable ``SHOAL_<NAME>``."""

from __future__ import annotations

import base64
import ipaddress
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shoal.errors import InvalidSetting
from shoal.secrets import hide

GIB = 1024**3
BUCKETS = ("gs://", "s3://", "az://")
Pause = Annotated[float, Field(ge=0, le=7 * 24 * 3600)]
MIN_TOKEN_CHARS = 16  # shorter ones can be tried out
USER_ID = os.getuid() if hasattr(os, "getuid") else 0  # clients run where there is none, too


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOAL_", frozen=True, extra="ignore")

    # --- the queue: shared by API and workers
    redis_url: str = "redis://127.0.0.1:6379/0"
    log_format: Literal["text", "json"] = "text"
    queue: str = Field("shoal", pattern=r"^[A-Za-z0-9_-]{1,40}$")

    # --- where things are
    data_dir: Path = Path("shoal-data")  # results and uploads, unless these are in a bucket
    results: str = ""  # a URI; empty: file://<data_dir>/results
    file_roots: Annotated[tuple[Path, ...], NoDecode] = ()  # file:// is allowed under these
    # A worker's scratch space: a folder that is its user's alone.
    work_dir: Path = Path(tempfile.gettempdir()) / f"shoal-{USER_ID}"

    # --- API
    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=0, le=65535)
    api_tokens: Annotated[tuple[SecretStr, ...], NoDecode] = ()  # comma-separated; they may do all
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ("127.0.0.1", "::1")  # IPs and networks
    rate_limit: int = Field(6000, ge=0)  # requests per minute with one API token; 0: no limit
    max_upload_bytes: int = Field(50 * GIB, gt=0)
    max_uploads_bytes: int = Field(200 * GIB, ge=0)  # of all that are kept; 0: none are taken
    uploads_share: float = Field(0.5, gt=0, le=1)  # of these, for one token that is not an admin's
    min_free_bytes: int = Field(GIB, ge=0)  # that uploads leave free on their disk
    retention_days: float = Field(30, ge=0)  # a job is forgotten so long after its end; 0: never
    results_days: float = Field(0, ge=0)  # a job is deleted with its results; 0: never
    uploads_days: float = Field(7, ge=0)  # an upload is deleted after its jobs' end; 0: never
    callback_secret: Annotated[tuple[SecretStr, ...], NoDecode] = ()  # whsec_...; two to change it
    callback_allow: Annotated[tuple[str, ...], NoDecode] = ()  # private hosts and networks

    # --- bucket events: who may send them, and what becomes of them
    rules: Path | None = None  # rules.toml; none: events and the sweep make no jobs
    sweep_s: float = Field(300, ge=0)  # the API looks for videos without a job this often; 0: never
    gcs_audience: str = ""  # what the sender's token is for: the push endpoint's URL
    gcs_senders: Annotated[tuple[str, ...], NoDecode] = ()  # e-mails of service accounts
    sns_topics: Annotated[tuple[str, ...], NoDecode] = ()  # ARNs
    event_tokens: Annotated[tuple[SecretStr, ...], NoDecode] = ()  # of EventBridge, MinIO, Ceph

    # --- worker
    engine: str = "auto"  # the engine that jobs with engine "auto" get
    beat_s: float = Field(5, gt=0)  # a worker renews its lease this often
    lease_s: float = Field(20, gt=1)  # without a beat for this long, the job goes to another worker
    grace_s: float = Field(20, ge=0)  # from SIGTERM to the end of the process, at most
    drain: bool = False  # a first SIGTERM lets the worker finish its video; the next one counts
    hourly_price: float = Field(0, ge=0)  # of a worker's machine, in US dollars; 0: not known
    retries: int = Field(3, ge=0)  # of transient failures, per job
    # Pauses before its first, second, ... retry, more or less a fifth; empty: none.
    retry_pauses_s: Annotated[tuple[Pause, ...], NoDecode] = (10, 60, 300)
    job_timeout_s: float = Field(6 * 3600, gt=0)
    keep_checkpoints_days: float = Field(7, ge=0)  # after success, for corrections; 0: none
    part_s: float = Field(60, gt=0)  # after so much work it is saved: an interruption costs less
    split_s: float = Field(600, ge=60)  # segments of a job with split "auto" last so long
    stall_s: float = Field(300, gt=0)  # a video without any progress for so long is given up
    max_memory: ByteSize = ByteSize(0)  # of a model process, such as 12GiB; 0: what there is
    model_env: Annotated[tuple[str, ...], NoDecode] = ()  # variables that an engine of yours needs
    max_jobs: int = Field(0, ge=0)  # a worker ends after so many; 0: never
    idle_exit_s: float = Field(0, ge=0)  # a worker ends after so long without a job; 0: never
    model_load_timeout_s: float = Field(600, gt=0)
    sam3_weights: str = ""  # a directory; empty or facebook/sam3: from the Hugging Face hub
    sam3_revision: str = "3c879f39826c281e95690f02c7821c4de09afae7"  # a commit of facebook/sam3

    sam3_compile: bool = True  # sam3: compile the model on a GPU before the first job
    sam3_gpus: Annotated[tuple[int, ...], NoDecode] = ()  # sam3-native: indices; empty: the first
    sam3_window: int = Field(256, ge=64)  # sam3-native: frames that it gets at a time

    # --- what a video may be
    max_video_bytes: int = Field(50 * GIB, gt=0)
    max_pixels: int = Field(8192 * 4320, gt=0)
    max_duration_s: float = Field(6 * 3600, gt=0)
    max_fps: float = Field(480, gt=0)
    # Hosts and networks from which https:// videos may come though they are private; http:// only
    # from these.
    source_allow: Annotated[tuple[str, ...], NoDecode] = ()

    @field_validator(
        "file_roots",
        "api_tokens",
        "trusted_proxies",
        "sam3_gpus",
        "retry_pauses_s",
        "model_env",
        "gcs_senders",
        "sns_topics",
        "event_tokens",
        "callback_secret",
        "callback_allow",
        "source_allow",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any, info: Any) -> Any:
        separator = os.pathsep if info.field_name == "file_roots" else ","
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(separator) if part.strip())
        return value

    @field_validator("work_dir")
    @classmethod
    def _unresolved(cls, value: Path) -> Path:
        return value.expanduser().absolute()  # whose link it may be is looked at when it is used

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("rules")
    @classmethod
    def _rules_path(cls, value: Path | None) -> Path | None:
        return value.expanduser().resolve() if value and value != Path() else None

    @field_validator("api_tokens", "event_tokens")
    @classmethod
    def _is_long(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(secret) < MIN_TOKEN_CHARS for secret in value):
            raise ValueError(
                f"a token has at least {MIN_TOKEN_CHARS} characters: 'openssl rand -hex 32'"
            )
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _is_network(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            ipaddress.ip_network(entry)
        return value

    @field_validator("callback_secret")
    @classmethod
    def _is_key(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in value:
            kind, _, key = secret.get_secret_value().partition("_")
            if kind != "whsec" or len(base64.b64decode(key + "==")) < 24:
                raise ValueError("must be 'whsec_' and at least 24 bytes in base64")
        return value

    @field_validator("callback_allow", "source_allow")
    @classmethod
    def _is_host(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if "/" in entry or ":" in entry:
                ipaddress.ip_network(entry)
        return value

    @field_validator("model_env")
    @classmethod
    def _is_no_secret(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if secrets := SECRETS.intersection(value):
            raise ValueError(f"the model process must not have {min(secrets)}")
        return value

    @field_validator("lease_s")
    @classmethod
    def _outlives_beats(cls, value: float, info: Any) -> float:
        if value < 2 * info.data.get("beat_s", 0):
            raise ValueError("lease_s must be at least twice beat_s")
        return value

    @property
    def stop_s(self) -> float:
        """How much of ``grace_s`` a video has to stop; the rest is for the books."""
        return self.grace_s - min(2.0, self.grace_s / 3)

    @property
    def results_root(self) -> str:
        return self.results or (self.data_dir / "results").as_uri()

    @property
    def uploads_dir(self) -> Path:
        return self.data_dir / "uploads"

    @property
    def uploads_bucket(self) -> str:
        """Where uploads go with results in a bucket, a URI without a last slash; else empty."""
        root = self.results_root.rstrip("/")
        return f"{root}/.uploads" if root.startswith(BUCKETS) else ""

    def is_upload(self, uri: str) -> bool:
        """Whether a URI leads to a file that was uploaded to the API."""
        bucket = self.uploads_bucket
        return uri.startswith(_uri(self.uploads_dir)) or bool(
            bucket and uri.startswith(f"{bucket}/")
        )

    @property
    def readable_roots(self) -> tuple[Path, ...]:
        """Where file:// may point: the data directory always, and what was configured."""
        return (self.data_dir, *(root.expanduser() for root in self.file_roots))


# Variables whose values are secrets of the API, the queue or a user.
SECRETS = frozenset(
    f"SHOAL_{name.upper()}"
    for name, field in Settings.model_fields.items()
    if "SecretStr" in str(field.annotation)
) | {"SHOAL_REDIS_URL", "SHOAL_API_TOKEN"}


@lru_cache(maxsize=4)
def _uri(folder: Path) -> str:
    """What the URIs of all files below a folder begin with."""
    return folder.as_uri() + "/"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The process's settings, read from the environment once.

    Raises:
        InvalidSetting: names the variable, never its value, which may be a secret.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise InvalidSetting(f"SHOAL_{name}: {first['msg']}") from None
    _hide_secrets(settings)
    return settings


def _hide_secrets(settings: Settings) -> None:
    """Leave out every secret of the settings, and the password of Redis."""
    for value in dict(settings).values():
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, SecretStr):
                hide([each.get_secret_value()])
    try:
        password = urlsplit(settings.redis_url).password or ""
    except ValueError:  # not a URL: who connects says so
        return
    hide([password, unquote(password)])
