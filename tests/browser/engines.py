"""Engines that take so long that a page can be looked at meanwhile."""

from __future__ import annotations

import time

from tests.fakes import Fake
from worker.video.frame import Frame


class Slower(Fake):
    """``SHOAL_ENGINE=tests.browser.engines:Slower``: a second per frame, minutes for a clip."""

    def before_frame(self, frame: Frame) -> None:
        time.sleep(1)
