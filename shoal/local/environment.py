"""What each process of Shoal gets of the environment of the one that starts it: no more than it
needs, so that a process which is taken over by a hostile file knows no secret of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shoal.settings import SECRETS

# The settings that the model process reads (``test_least_knowledge`` holds this list to the code).
MODEL_SETTINGS = (
    "log_format",
    "data_dir",
    "file_roots",
    "engine",
    "part_s",
    "split_s",
    "keep_checkpoints_days",
    "sam3_weights",
    "sam3_revision",
    "sam3_compile",
    "sam3_gpus",
    "sam3_window",
    "max_video_bytes",
    "max_pixels",
    "max_duration_s",
    "max_fps",
    "source_allow",
)

# What any program needs to run here: its libraries, its language, how to reach the network.
BASE = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TERM", "NO_COLOR"),
        *("TMPDIR", "TMP", "TEMP", "VIRTUAL_ENV", "CONDA_PREFIX"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    )
)
BASE_PREFIXES = ("LC_", "XDG_", "PYTHON")

# Of the model process besides: GPUs, threads, caches, and the buckets' credentials.
MODEL = frozenset(
    (
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("STORAGE_EMULATOR_HOST", "CLOUDSDK_CONFIG", "GCLOUD_PROJECT", "NO_GCE_CHECK"),
        *("BOTO_CONFIG", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"),
    )
)
MODEL_PREFIXES = (
    *("CUDA_", "NVIDIA_", "NCCL_", "TORCH", "PYTORCH_", "TRITON_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "MALLOC_"),
    *("HF_", "HUGGINGFACE_", "TRANSFORMERS_"),
    *("GOOGLE_", "GCE_", "AWS_", "AZURE_", "OTEL_"),
)
# Tokens of the Hugging Face hub: the model process is told on its pipe, for as long as it loads.
HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

# Secrets that only the API has a use for: all but the queue's address.
API_ONLY = SECRETS - {"SHOAL_REDIS_URL"}


def for_model(environ: Mapping[str, str], also: Sequence[str] = ()) -> dict[str, str]:
    """The environment of a model process.

    Args:
        also: names of further variables (``SHOAL_MODEL_ENV``).
    """
    settings = {f"SHOAL_{name.upper()}" for name in MODEL_SETTINGS}
    named = {*also} | settings
    return {k: v for k, v in environ.items() if k in named or (_is_known(k) and not _tells(k, v))}


def for_worker(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker: all but the API's secrets."""
    return {name: value for name, value in environ.items() if name not in API_ONLY}


def for_api(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the API: all but what gives access to weights."""
    return {name: value for name, value in environ.items() if name not in HUB_TOKENS}


def for_server(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a Valkey server, which has its settings from its own file."""
    return {name: value for name, value in environ.items() if _is_base(name)}


def _is_base(name: str) -> bool:
    return name in BASE or name.startswith(BASE_PREFIXES)


def _is_known(name: str) -> bool:
    return _is_base(name) or name in MODEL or name.startswith(MODEL_PREFIXES)


def _tells(name: str, value: str) -> bool:
    """Whether a variable that is otherwise passed on holds a secret that is not for reading videos.

    Headers and passwords of a trace collector are: traces of the model process need a collector
    that asks for none.
    """
    if name.startswith("OTEL_"):
        return name.endswith("HEADERS") or "@" in value
    return name in HUB_TOKENS
