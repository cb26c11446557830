"""Where requests hand in videos: what they ask for is checked and queued."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from starlette.concurrency import run_in_threadpool

from api.submitter import Submitter, Wish
from shoal import engines, log_context, outputs
from shoal.errors import VideoTooLarge
from shoal.jobs import JobSpec, Options
from shoal.prompts import Removal, VisualPrompt, clean_objects, clean_prompts, labels
from shoal.queue import JobQueue, redis_errors
from shoal.records import Record
from shoal.results import results_folder
from shoal.settings import Settings
from shoal.storage import ObjectInfo, Storage, storage_for
from shoal.targets import check_callback
from shoal.wire import Submission
from shoal.workers import list_workers


class Desk:
    """Takes submissions, as ``api.events.inbox.Inbox`` takes events."""

    def __init__(self, queue: JobQueue, submitter: Submitter, settings: Settings) -> None:
        self._queue = queue
        self._submitter = submitter
        self._settings = settings

    async def take(self, submission: Submission) -> tuple[Record, bool]:
        """The job of a submission, and whether this call put it on the queue.

        Raises:
            InvalidCallback, CallbackForbidden, CallbacksOff
            RedisUnavailable
            and what ``specify`` and ``check_workers`` raise
        """
        with redis_errors():
            spec = await run_in_threadpool(self._checked, submission)
        wish = Wish(spec, submission.callback)
        ((record, queued),) = await self._submitter.submit([wish])
        log_context.note(job=record.id)
        return record, queued

    def _checked(self, submission: Submission) -> JobSpec:
        """The job of a submission that can be done here. Asks the storage."""
        check_callback(submission.callback, self._settings)
        spec = specify(submission, self._settings)
        check_workers(spec, self._queue)
        return spec


class Asked(NamedTuple):
    """What a request wants of a video, by itself in order."""

    prompts: tuple[str, ...]
    objects: tuple[VisualPrompt, ...]
    remove_objects: tuple[Removal, ...]
    options: Options


def check_workers(spec: JobSpec | Asked, queue: JobQueue) -> None:
    """Refuse now what all workers that there are would refuse later.

    Raises:
        EngineUnavailable: none runs where the job's engine can.
        UnknownPrompt, InvalidPrompt, UnsupportedByEngine: none can do what the job asks for.
    """
    engine = spec.options.engine
    asked = engines.features(spec.options, spec.objects, spec.remove_objects)
    if engines.needs_device(engine):
        workers = list_workers(queue.redis, queue.name)
        engines.check_devices(engine, (worker.device for worker in workers))
    elif engine == engines.AUTO and not engines.all_can(spec.prompts, asked):
        workers = list_workers(queue.redis, queue.name)
        engines.check_loaded((worker.engine for worker in workers), spec.prompts, asked)


def check_asked(submission: Submission) -> Asked:
    """
    Raises:
        InvalidPrompt, InvalidVisualPrompt, UnknownPrompt, UnknownEngine, UnsupportedByEngine
        InvalidOutput
    """
    objects = clean_objects(submission.objects)
    options, removals = submission.options, tuple(submission.remove_objects)
    named = outputs.prompts_of(options.outputs)
    prompts = clean_prompts([*submission.prompts, *named], may_lack=bool(objects))
    outputs.check_fits(options.outputs, labels(prompts, objects), max_objects=options.max_objects)
    engines.check(options.engine, prompts, engines.features(options, objects, removals))
    return Asked(prompts, objects, removals, options)


def specify(submission: Submission, settings: Settings, video: ObjectInfo | None = None) -> JobSpec:
    """The job that a request asks for; reads no more of the video than its size.

    Args:
        video: what its storage says of it, where that is known.

    Raises:
        InvalidPrompt, InvalidVisualPrompt, UnknownPrompt, UnknownEngine, UnsupportedByEngine
        InvalidOutput
        UnsupportedLocation, LocationForbidden, SourceNotFound, StorageUnavailable
        VideoTooLarge: more bytes than SHOAL_MAX_VIDEO_BYTES.
    """
    asked = check_asked(submission)
    storage = storage_for(submission.uri, settings)
    video = video or storage.stat(submission.uri)
    if video.size > settings.max_video_bytes:
        raise VideoTooLarge(
            f"the video has {video.size} bytes, {settings.max_video_bytes} is the limit"
        )
    return JobSpec(
        uri=video.uri,
        version=video.version,
        size=video.size,
        **asked._asdict(),
        results=_results_uri(video.uri, storage, settings),
    )


def _results_uri(uri: str, storage: Storage, settings: Settings) -> str:
    """Results lie below the video's own path; of an upload, below its name alone."""
    if uri.startswith(settings.uploads_dir.as_uri() + "/"):
        key = PurePosixPath(unquote(urlsplit(uri).path)).stem
    else:
        key = storage.key(uri)
    return results_folder(settings.results_root, key)
