"""The shape of ids: what has another one is no key in Redis."""

from __future__ import annotations

import re

JOB_ID = r"[0-9a-f]{24}"  # also of a batch
DELIVERY_ID = r"msg_[0-9a-f]{32}"

_JOB_ID = re.compile(JOB_ID)
_DELIVERY_ID = re.compile(DELIVERY_ID)


def is_job_id(text: str) -> bool:
    """Whether a job or a batch can have this id."""
    return _JOB_ID.fullmatch(text) is not None


def is_delivery_id(text: str) -> bool:
    """Whether a callback can have this id."""
    return _DELIVERY_ID.fullmatch(text) is not None
