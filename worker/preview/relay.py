"""The parent's side of previews: from Redis to the model process, and what it finds back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from shoal.errors import ModelProcessDied, PreviewExpired, RedisUnavailable
from shoal.model.failure import Failure
from shoal.model.preview import PreviewSpec
from shoal.model.source_url import public_name
from shoal.model.worker import WorkerInfo
from shoal.queue.connection import redis_errors
from shoal.queue.previews import ANSWER_S, Previews
from worker.model_handle import ModelProcess
from worker.protocol import Detect, FromModel, PreviewEnded, PreviewFound

log = logging.getLogger(__name__)

POLL_S = 0.2  # a preview waits this long, at most, before a worker sees it


class PreviewRelay:
    """One preview at a time, whether or not there is a job."""

    def __init__(self, previews: Previews, model: ModelProcess, worker: WorkerInfo) -> None:
        self._previews = previews
        self._model = model
        self._worker = worker
        self._spec: PreviewSpec | None = None
        self._until = 0.0
        self._next_poll = 0.0

    @property
    def is_pending(self) -> bool:
        """Whether the model process is at one."""
        return self._spec is not None

    def poll(self) -> None:
        """Hand on the next preview that the model can answer, if it is time to look."""
        at = time.monotonic()
        self._give_up_if_late()
        if self._spec or at < self._next_poll:
            return
        self._next_poll = at + POLL_S
        try:
            with redis_errors():
                self._spec = self._previews.take(self._worker.engine)
        except (RedisUnavailable, RedisError) as error:
            log.debug("no previews meanwhile: %s", error)
        if self._spec:
            log.info("preview %s: %s", self._spec.id, public_name(self._spec.uri))
            self._until = at + ANSWER_S
            self._model.send(Detect(preview=self._spec))

    def hear(self, message: FromModel | None) -> bool:
        """Whether a message was about a preview; it is dealt with then."""
        if not isinstance(message, PreviewFound | PreviewEnded):
            return False
        if self._spec is None or message.preview != self._spec.id:
            return True  # about one that was given up
        if isinstance(message, PreviewFound):
            with _logged():
                self._previews.add_frame(
                    message.preview, message.number, message.frame, message.jpeg, message.video
                )
        else:
            if message.lost:
                self._model.kill()
            self._finish(message.failure)
        return True

    def answer_one(self, meanwhile: Callable[[], None], must_stop: Callable[[], bool]) -> bool:
        """Where there is no job: answer a preview that waits, or one begun beside the last job.

        Only one, so that previews and jobs take turns.

        Args:
            meanwhile: called often.

        Returns:
            Whether there was one.
        """
        if not self.is_pending and self._model.alive:
            self.poll()
        was_pending = self.is_pending
        while self.is_pending and not must_stop():
            meanwhile()
            self._wait()
            self._give_up_if_late()
        return was_pending

    def _wait(self) -> None:
        """Wait a moment for what the model process finds."""
        try:
            message = self._model.wait(POLL_S)
        except ModelProcessDied as error:
            self.fail(error)
            return
        if message and not self.hear(message):
            self._model.kill()
            self.fail(ModelProcessDied(f"the model process sent {message.kind!r} out of order"))

    def _give_up_if_late(self) -> None:
        if self._spec and time.monotonic() > self._until:
            self.fail(PreviewExpired(f"the model did not answer within {ANSWER_S:.0f} s"))

    def fail(self, error: Exception) -> None:
        """Give up the preview that there is, if any."""
        if self._spec:
            self._finish(Failure.of(error))

    def give_back(self) -> None:
        """Leave the preview that there is to another worker."""
        spec, self._spec = self._spec, None
        if spec:
            with _logged():
                self._previews.give_back(spec)

    def _finish(self, failure: Failure | None) -> None:
        assert self._spec
        spec, self._spec = self._spec, None
        with _logged():
            self._previews.finish(spec.id, failure)


@contextmanager
def _logged() -> Iterator[None]:
    """Redis is away: the preview expires."""
    try:
        with redis_errors():
            yield
    except (RedisUnavailable, RedisError) as error:
        log.warning("a preview is lost: %s", error)
