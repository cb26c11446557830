"""Shows this worker and its job in RQ's own tables, for RQ's own tools.

Nothing in Shoal reads them: what is true is in ``shoal.records`` and ``shoal.lease``.
"""

from __future__ import annotations

from rq.executions import prepare_execution
from rq.job import Job
from rq.worker import BaseWorker, WorkerStatus

from shoal.queue import JobQueue


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

    def get_heartbeat_ttl(self, job: Job) -> int:
        return max(1, int(self._lease_s))

    def appear(self) -> None:
        self.register_birth()  # type: ignore[no-untyped-call]
        self.set_state(WorkerStatus.IDLE)

    def started(self, job: Job) -> None:
        prepare_execution(self, job)
        self.prepare_job_execution(job)

    def beat(self, job: Job | None) -> None:
        if not self.connection.hexists(self.key, "birth"):  # a new server, or a long freeze
            self.connection.delete(self.key)
            self.appear()
        if job is not None and self.execution is not None:
            self.maintain_heartbeats(job)
        else:
            self.heartbeat()

    def ended(self, job: Job) -> None:
        with self.connection.pipeline() as pipe:
            self.cleanup_execution(job, pipe)
            self.set_state(WorkerStatus.IDLE, pipeline=pipe)
            pipe.execute()

    def vanish(self) -> None:
        self.register_death()  # type: ignore[no-untyped-call]
