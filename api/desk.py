"""Where requests hand in videos: what they ask for is checked and queued."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from starlette.concurrency import run_in_threadpool

from api.submitter import Submitter, Wish
from api.together import Together
from shoal import engines, log_context, outputs
from shoal.errors import ShoalError, VideoTooLarge
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
        self._files = Together(self._find_each)

    async def take(self, submission: Submission) -> tuple[Record, bool]:
        """The job of a submission, and whether this call put it on the queue.

        Raises:
            InvalidCallback, CallbackForbidden, CallbacksOff
            RedisUnavailable
            and what ``specify`` and ``check_workers`` raise
        """
        check_callback(submission.callback, self._settings)
        if submission.objects:  # masks take their time
            asked = await run_in_threadpool(check_asked, submission)
        else:
            asked = check_asked(submission)
        spec = specify(asked, await self._find(submission.uri), self._settings)
        if depends_on_workers(asked):
            with redis_errors():
                await run_in_threadpool(check_workers, asked, self._queue)
        wish = Wish(spec, submission.callback)
        ((record, queued),) = await self._submitter.submit([wish])
        log_context.note(job=record.id)
        return record, queued

    async def _find(self, uri: str) -> Found:
        """As ``find``. Files share a thread: a disk that hangs holds up no other request."""
        if uri.startswith("file://"):
            found = await self._files.put(uri)
        else:
            (found,) = await self._find_each([uri])
        if isinstance(found, ShoalError):
            raise found
        return found

    async def _find_each(self, uris: Sequence[str]) -> Sequence[Found | ShoalError]:
        return await run_in_threadpool(find_each, uris, self._settings)


class Asked(NamedTuple):
    """What a request wants of a video, by itself in order."""

    prompts: tuple[str, ...]
    objects: tuple[VisualPrompt, ...]
    remove_objects: tuple[Removal, ...]
    options: Options

    @property
    def features(self) -> frozenset[engines.Feature]:
        """What it asks for besides words."""
        return engines.features(self.options, self.objects, self.remove_objects)


class Found(NamedTuple):
    """A video, and the name of its results' folder below the results' root."""

    video: ObjectInfo
    key: str


def check_asked(submission: Submission) -> Asked:
    """
    Raises:
        InvalidPrompt, InvalidVisualPrompt, UnknownPrompt, UnknownEngine, UnsupportedByEngine
        InvalidOutput
    """
    options, objects = submission.options, clean_objects(submission.objects)
    named = outputs.prompts_of(options.outputs)
    prompts = clean_prompts([*submission.prompts, *named], may_lack=bool(objects))
    outputs.check_fits(options.outputs, labels(prompts, objects), max_objects=options.max_objects)
    asked = Asked(prompts, objects, tuple(submission.remove_objects), options)
    engines.check(options.engine, prompts, asked.features)
    return asked


def depends_on_workers(asked: Asked) -> bool:
    """Whether ``check_workers`` has anything to check."""
    engine = asked.options.engine
    if engine == engines.AUTO:
        return not engines.all_can(asked.prompts, asked.features)
    return engines.needs_device(engine)


def check_workers(asked: Asked, queue: JobQueue) -> None:
    """Refuse now what all workers that there are would refuse later.

    Raises:
        EngineUnavailable: none runs where the job's engine can.
        UnknownPrompt, InvalidPrompt, UnsupportedByEngine: none can do what the job asks for.
    """
    if not depends_on_workers(asked):
        return
    engine, workers = asked.options.engine, list_workers(queue.redis, queue.name)
    if engine == engines.AUTO:
        loaded = (worker.engine for worker in workers)
        engines.check_loaded(loaded, asked.prompts, asked.features)
    else:
        engines.check_devices(engine, (worker.device for worker in workers))


def find(uri: str, storage: Storage, settings: Settings, video: ObjectInfo | None = None) -> Found:
    """Look at a video; reads no more of it than its size.

    Args:
        video: what its storage says of it, where that is known.

    Raises:
        LocationForbidden, SourceNotFound, StorageUnavailable
        UnsupportedLocation
        VideoTooLarge: more bytes than SHOAL_MAX_VIDEO_BYTES.
    """
    video = video or storage.stat(uri)
    if video.size > settings.max_video_bytes:
        raise VideoTooLarge(
            f"the video has {video.size} bytes, {settings.max_video_bytes} is the limit"
        )
    if settings.is_upload(video.uri):  # by its name alone
        return Found(video, PurePosixPath(unquote(urlsplit(video.uri).path)).stem)
    return Found(video, storage.key(video.uri))


def find_each(uris: Sequence[str], settings: Settings) -> list[Found | ShoalError]:
    """As ``find``, of videos in one storage; instead of one that cannot be had, the reason.

    Raises:
        UnsupportedLocation: there is no such storage.
    """
    storage = storage_for(uris[0], settings)
    found: list[Found | ShoalError] = []
    for uri in uris:
        try:
            found.append(find(uri, storage, settings))
        except ShoalError as error:
            found.append(error)
    return found


def specify(asked: Asked, found: Found, settings: Settings) -> JobSpec:
    """The job that does what was asked for with a video."""
    video, key = found
    return JobSpec(
        uri=video.uri,
        version=video.version,
        size=video.size,
        prompts=asked.prompts,
        objects=asked.objects,
        remove_objects=asked.remove_objects,
        options=asked.options,
        results=results_folder(settings.results_root, key),
    )
