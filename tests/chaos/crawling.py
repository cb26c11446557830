"""Engines that crawl until the test lets them go: what is to fall in the middle of a video does."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoal.settings import Settings
from tests.fakes import Counting, Fake
from worker.engines import load
from worker.engines.base import FrameResult, Predictor, Query, Session
from worker.video.frame import Frame, VideoInfo

CRAWL_S = 0.2  # per frame: of the clip of the tests 20 s
NOTE = "go"  # a file in the data directory

# For the worker that is to lose its video; the other one has the settings' own.
SHORT_LEASE = {"SHOAL_LEASE_S": "3"}


def let_go(settings: Settings) -> None:
    """From the next frame on all workers are fast."""
    (settings.data_dir / NOTE).touch()


def hold_back(settings: Settings) -> None:
    """They crawl, again."""
    (settings.data_dir / NOTE).unlink(missing_ok=True)


def crawl() -> None:
    if not (Path(os.environ["SHOAL_DATA_DIR"]) / NOTE).exists():
        time.sleep(CRAWL_S)


class Crawling(Fake):
    """``SHOAL_ENGINE=tests.chaos.crawling:Crawling``."""

    def before_frame(self, frame: Frame) -> None:
        crawl()


class CrawlingCounting(Counting):
    """``SHOAL_ENGINE=tests.chaos.crawling:CrawlingCounting``."""

    def before_frame(self, frame: Frame) -> None:
        super().before_frame(frame)
        crawl()


def cpu() -> Predictor:
    """``SHOAL_ENGINE=tests.chaos.crawling:cpu``: the real one."""
    return _crawling(load("cpu"))


def sam3() -> Predictor:
    """``SHOAL_ENGINE=tests.chaos.crawling:sam3``: the real one."""
    return _crawling(load("sam3"))


def _crawling(predictor: Predictor) -> Predictor:
    """The same predictor, whose sessions crawl."""
    real: Any = predictor
    open_session = predictor.open

    def open_crawling(video: VideoInfo, query: Query, state: bytes | None = None) -> Session:
        session: Any = open_session(video, query, state)
        step = session.step

        def crawling_step(frames: Sequence[Frame]) -> list[FrameResult]:
            crawl()
            found: list[FrameResult] = step(frames)
            return found

        session.step = crawling_step
        made: Session = session
        return made

    real.open = open_crawling
    return predictor
