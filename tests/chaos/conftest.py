"""Settings of the chaos tests."""

from __future__ import annotations

import pytest

from shoal.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A worker that stands still for some seconds, as on a busy machine, keeps its video.

    One that a test takes a video from has a lease of its own: ``SHORT_LEASE``.
    """
    return settings.model_copy(update={"lease_s": 12})
