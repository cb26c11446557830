"""Batches of several patterns: every object once, however they overlap and whoever dies."""

from __future__ import annotations

import itertools
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from api.background import batch_runner
from api.background.batch_runner import BatchRunner
from shoal.errors import StateConflict
from shoal.ingest.rules_file import RulesFile
from shoal.model.batch import Batch, BatchRequest, BatchState
from shoal.model.filter import Filter
from shoal.queue.batches import Batches
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.serving import take, waiting, write_video

FOLDERS = ("a", "a/b", "a/b/c", "d")
NAMES = ("0.mp4", "1.avi", "[2].mp4", "3 +.mov")
PATTERNS = ("*.mp4", "*.avi", "**/*.mp4", "a/**", "a/*/*.mov", "d/", "a/[2].mp4", "?.mp4", "no/*")


class Killed(BaseException):
    """An API that is gone: no handler of errors sees it."""


class Dying(Batches):
    """Dies as it keeps the page of the given number, before or after Redis has it."""

    def __init__(self, queue: JobQueue, deaths: list[tuple[int, bool]]) -> None:
        super().__init__(queue)
        self._deaths = deaths
        self._page = itertools.count()

    def advance(self, *args: object, **kwargs: object) -> Batch:
        late = dict(self._deaths).get(next(self._page))
        if late is False:
            raise Killed
        kept = super().advance(*args, **kwargs)  # type: ignore[arg-type]
        if late:
            raise Killed
        return kept


def expand(queue: JobQueue, settings: Settings, batch: Batch, batches: Batches) -> None:
    """Run the batch; a runner that dies is followed by the next one."""
    while True:
        runner = BatchRunner(queue, RulesFile(settings), settings)
        runner.batches = batches
        try:
            while runner.round():
                pass
            return
        except Killed:
            queue.redis.delete(batches.key(batch.id, "lock"))  # as it lapses


@hypothesis_settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
@given(
    files=st.sets(st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)), max_size=10),
    patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=4),
    page=st.integers(1, 5),
    deaths=st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=3),
)
def test_every_object_of_any_pattern_is_a_job_once(
    files: set[tuple[str, str]],
    patterns: list[str],
    page: int,
    deaths: list[tuple[int, bool]],
    settings: Settings,
    queue: JobQueue,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    queue.redis.flushall()
    root = tmp_path_factory.mktemp("in")
    settings = settings.model_copy(update={"data_dir": root})
    for folder in (*FOLDERS, "no"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for folder, name in files:
        write_video(settings, f"{folder}/{name}")
    batches = Dying(queue, deaths)
    globs = [f"{root.as_uri()}/{pattern}" for pattern in patterns]
    batch = batches.create(BatchRequest(prompts=["person"], globs=globs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_runner, "PAGE", page)
        expand(queue, settings, batch, batches)

    records, _ = queue.records.page(Filter(batch=batch.id), limit=200)
    found = sorted(unquote(urlsplit(record.spec.uri).path) for record in records)
    assert found == sorted({path for each in patterns for path in wanted(root, each)})
    assert sorted(waiting(queue)) == sorted(record.id for record in records)
    assert batches.status(batches.get(batch.id)).state in (BatchState.RUNNING, BatchState.FINISHED)


def wanted(root: Path, pattern: str) -> set[str]:
    """What pathlib finds; a pattern that is a name means the file of that name alone."""
    if pattern == "a/[2].mp4":
        named = root / pattern
        found = [named] if named.is_file() else list(root.glob(pattern))
    elif pattern.endswith("/"):
        found = list(root.glob(pattern + "**/*"))
    elif pattern.endswith("**"):
        found = list(root.glob(pattern + "/*"))
    else:
        found = list(root.glob(pattern))
    return {str(path) for path in found if path.is_file()}


def test_a_finished_batch_is_not_cancelled(settings: Settings, queue: JobQueue) -> None:
    """It stays finished, and can still be retried."""
    batches, runner = Batches(queue), BatchRunner(queue, RulesFile(settings), settings)
    uri = write_video(settings, "in/0.mp4").as_uri()
    batch = batches.create(BatchRequest(prompts=["person"], uris=[uri]))
    while runner.round():
        pass
    take(queue).succeed({}, {})
    with pytest.raises(StateConflict):
        batches.cancel(batch.id)
    while runner.round():
        pass
    assert batches.status(batches.get(batch.id)).state == BatchState.FINISHED
    batches.retry(batch.id)
