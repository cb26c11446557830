"""How many videos of a batch its token may queue now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shoal.model.batch import Batch
from shoal.model.job import JobSpec
from shoal.model.token import Limits
from shoal.queue.queue import JobQueue
from shoal.queue.quotas import Quotas
from shoal.queue.tokens import TokenStore


class BatchRoom:
    """Deals out the room that the limits of tokens leave."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._tokens = TokenStore(queue.redis, queue.name)
        self._quotas = Quotas(queue.redis, queue.name)

    def pages(self, batch: Batch, specs: Sequence[JobSpec]) -> Iterator[Sequence[JobSpec]]:
        """All the videos, in pages that may be queued; those that are known come first.

        Raises:
            QuotaExceeded: the token may not queue the rest now.
        """
        token = self._tokens.get(batch.owner) if batch.owner else None
        if token is None or token.limits == Limits():
            yield specs
            return
        key, redis = self._queue.records.key, self._queue.redis
        new = [spec for spec in specs if not redis.exists(key(spec.id))]
        yield [spec for spec in specs if spec not in new]
        while new:
            room = self._quotas.room(token)
            page = new if room is None else new[:room]
            if not page:
                self._quotas.check_room(token, len(new))
            self._quotas.submit(token, len(page))
            yield page
            new = new[len(page) :]
