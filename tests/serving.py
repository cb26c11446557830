"""For tests of the API: a served one, and a worker's part of the story told by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from api.server import listen, make_server
from shoal.model.job import JobSpec
from shoal.model.record import text
from shoal.queue.lease import Lease
from shoal.queue.queue import JobQueue
from shoal.results.layout import result_uri
from shoal.settings import Settings
from shoal.storage import storage_for


@contextmanager
def served(
    settings: Settings, port: int = 0, transport: httpx.BaseTransport | None = None
) -> Iterator[str]:
    """An API on a given or a free port; gives its URL.

    Args:
        transport: by which the API fetches certificates of event senders.
    """
    settings = settings.model_copy(update={"api_port": port})
    with listen(settings) as listener:
        server = make_server(settings, transport)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the API did not start"
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def take(queue: JobQueue, worker: str = "worker-1") -> Lease:
    """Start the first job in line, as a worker does."""
    job_id = queue.line.take()
    assert job_id is not None
    lease = Lease.take(queue, job_id.decode(), worker)
    assert lease is not None
    return lease


def waiting(queue: JobQueue) -> list[str]:
    """The ids of all that waits, source by source."""
    return [text(each) for key in queue.line.lists() for each in queue.redis.lrange(key, 0, -1)]


def publish(spec: JobSpec, settings: Settings, files: dict[str, bytes]) -> dict[str, int]:
    """Write result files where a worker would; returns their names and sizes."""
    local = settings.data_dir / "to-publish"
    for name, content in files.items():
        local.write_bytes(content)
        uri = result_uri(spec, name)
        storage_for(uri, settings).put(local, uri, "application/octet-stream")
    return {name: len(content) for name, content in files.items()}


def write_video(settings: Settings, name: str = "match #1.mp4") -> Path:
    """A file that the API may read; it never looks into one."""
    path = settings.data_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not really a video")
    return path


def wait_for(condition: Callable[[], bool]) -> None:
    """Return when ``condition`` holds; the test's own time limit ends a wait in vain."""
    while not condition():
        time.sleep(0.02)
