"""Shows this worker and its job in RQ's own tables, for RQ's own tools.

Nothing in Shoal reads them: what is true is in ``shoal.queue.records`` and ``shoal.queue.lease``.
"""

from __future__ import annotations

import logging

from rq.exceptions import DeserializationError, NoSuchJobError
from rq.executions import prepare_execution
from rq.job import Job
from rq.worker import BaseWorker, WorkerStatus

from shoal.errors import RedisUnavailable, UnknownFunction
from shoal.queue.connection import redis_errors
from shoal.queue.queue import PROCESS, JobQueue

log = logging.getLogger(__name__)


class RQMirror(BaseWorker):
    """A worker as RQ knows it. Its ``work()`` is never called: ``worker.parent`` has the loop."""

    def __init__(self, queue: JobQueue, name: str, *, beat_s: float) -> None:
        super().__init__(
            [queue.rq],
            name=name,
            connection=queue.redis,
            serializer=queue.rq.serializer,
            worker_ttl=max(16, int(queue.lease_s)),
            job_monitoring_interval=max(1, int(beat_s)),
        )
        self._lease_s = queue.lease_s
        self._shown: Job | None = None  # the job as RQ keeps it

    def get_heartbeat_ttl(self, job: Job) -> int:
        return max(1, int(self._lease_s))

    def appear(self) -> None:
        self.connection.delete(self.key)  # no other worker has its name: what is there is its own
        self.register_birth()  # type: ignore[no-untyped-call]
        self.set_state(WorkerStatus.IDLE)

    def start(self, job_id: str) -> None:
        """Show a job as started, if RQ knows it.

        Raises:
            UnknownFunction: its entry calls for something that Shoal did not ask for.
        """
        try:
            with redis_errors():
                job = Job.fetch(job_id, self.connection, self.serializer)
                if job.func_name != PROCESS:
                    raise UnknownFunction(f"the queue's entry calls {job.func_name}")
                prepare_execution(self, job)
                self.prepare_job_execution(job)
        except DeserializationError as error:
            raise UnknownFunction("the queue's entry is not Shoal's") from error
        except (NoSuchJobError, RedisUnavailable) as error:
            log.warning("RQ's tables do not show job %s: %s", job_id, error)
        else:
            self._shown = job

    def beat(self) -> None:
        if not self.connection.hexists(self.key, "birth"):  # a new server, or a long freeze
            self.appear()
        if self._shown is not None and self.execution is not None:
            self.maintain_heartbeats(self._shown)
        else:
            self.heartbeat()

    def end(self) -> None:
        """Show no job any more."""
        job, self._shown = self._shown, None
        if job is None:
            return
        try:
            with redis_errors(), self.connection.pipeline() as pipe:
                self.cleanup_execution(job, pipe)
                self.set_state(WorkerStatus.IDLE, pipeline=pipe)
                pipe.execute()
        except RedisUnavailable as error:
            log.warning("%s", error)

    def vanish(self) -> None:
        self.register_death()  # type: ignore[no-untyped-call]
