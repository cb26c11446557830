"""All errors that users can meet, as one class hierarchy.

Each class is one cause. It has a stable ``code`` (used by scripts, metrics and documentation), a
``hint`` that says what to do, and ``transient``: whether a retry of the same job may succeed.
"""

from __future__ import annotations

from shoal.errors.access import *  # noqa: F403
from shoal.errors.base import ShoalError as ShoalError
from shoal.errors.processing import *  # noqa: F403
from shoal.errors.requests import *  # noqa: F403
from shoal.errors.stack import *  # noqa: F403
from shoal.errors.uploads import *  # noqa: F403
