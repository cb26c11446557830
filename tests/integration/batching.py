"""For tests of batches: requests, the files of one, and an expansion run to its end."""

from __future__ import annotations

from api.background.batch_runner import BatchRunner
from shoal.model.batch import BatchRequest
from shoal.settings import Settings
from tests.serving import write_video


def expand(runner: BatchRunner) -> None:
    while runner.round():
        pass


def write_videos(settings: Settings, count: int) -> str:
    """So many files in some folders; gives the pattern of all."""
    for number in range(count):
        write_video(settings, f"in/{number % 7}/match {number}.mp4")
    return (settings.data_dir / "in").as_uri() + "/**/*.mp4"


def request_of(**fields: object) -> BatchRequest:
    return BatchRequest.model_validate({"prompts": ["person"], **fields})
