"""Validates submissions and creates jobs, for the API, batches and events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import quote, unquote

from shoal import engines
from shoal.errors import InvalidOption, InvalidVisualPrompt, ShoalError, VideoTooLarge
from shoal.model import outputs
from shoal.model.globs import UriPattern
from shoal.model.job import Direction, JobSpec, Options, Split
from shoal.model.prompts import (
    Exemplar,
    Removal,
    VisualPrompt,
    clean_exemplars,
    clean_objects,
    clean_prompts,
    labels,
)
from shoal.model.submission import Submission
from shoal.model.worker import WorkerInfo
from shoal.queue.queue import JobQueue
from shoal.queue.workers import list_workers
from shoal.results.layout import results_folder
from shoal.settings import Settings
from shoal.storage import ObjectInfo, Storage, storage_for


class ValidatedRequest(NamedTuple):
    """A request that is valid, independent of the video."""

    prompts: tuple[str, ...]
    objects: tuple[VisualPrompt, ...]
    remove_objects: tuple[Removal, ...]
    options: Options
    exemplars: tuple[Exemplar, ...] = ()

    @property
    def features(self) -> frozenset[engines.Feature]:
        """The features that it uses besides text prompts."""
        return engines.features(self.options, self.objects, self.remove_objects, self.exemplars)


class FoundVideo(NamedTuple):
    """A video, and the name of its results' folder below the results' root."""

    video: ObjectInfo
    key: str


def validate_request(submission: Submission) -> ValidatedRequest:
    """
    Raises:
        InvalidPrompt, InvalidVisualPrompt, UnknownPrompt, UnknownEngine, UnsupportedByEngine
        InvalidOutput, InvalidOption
    """
    options, objects = submission.options, clean_objects(submission.objects)
    if options.direction is Direction.BOTH and any(each.object_id for each in objects):
        raise InvalidVisualPrompt(
            "'object_id' cannot be used with direction 'both'",
            hint="IDs are joined after both directions are tracked. Mark the object by a label.",
        )
    if objects and options.split is not Split.OFF:
        raise InvalidOption(
            "'split' supports text prompts and exemplars only: what is pointed at is known in the "
            "segment where that is done, and in no other",
            hint="Remove 'split', or 'objects'.",
        )
    named = outputs.prompts_of(options.outputs)
    visual = bool(objects or submission.exemplars)
    prompts = clean_prompts([*submission.prompts, *named], may_lack=visual)
    exemplars = clean_exemplars(submission.exemplars, prompts)
    outputs.check_fits(
        options.outputs, labels(prompts, objects, exemplars), max_objects=options.max_objects
    )
    asked = ValidatedRequest(prompts, objects, tuple(submission.remove_objects), options, exemplars)
    engines.check(options.engine, prompts, asked.features)
    return asked


def validate_for_many(submission: Submission) -> ValidatedRequest:
    """As ``validate_request``, of what is asked of many videos: of a batch's or a rule's.

    Visual prompts and exemplars are then at the same positions in all of them.

    Raises:
        InvalidVisualPrompt: also for the ID of an object, which is one video's.
        and what ``validate_request`` raises
    """
    for number, each in enumerate(submission.objects):
        if each.object_id is not None:
            raise InvalidVisualPrompt(
                f"objects[{number}]: 'object_id' is an ID in the results of one video; batches and "
                "rules have many",
                hint="Correct an object in a job of its own, or mark it by a label.",
            )
    return validate_request(submission)


def depends_on_workers(asked: ValidatedRequest) -> bool:
    """Whether ``check_workers`` has anything to check."""
    engine = asked.options.engine
    if engine == engines.AUTO:
        return not engines.all_can(asked.prompts, asked.features)
    return True


def check_workers(asked: ValidatedRequest, queue: JobQueue) -> None:
    """Refuse now what all workers that there are would refuse later.

    Raises:
        EngineUnavailable: none runs the job's engine, or where it can run.
        UnknownPrompt, InvalidPrompt, UnsupportedByEngine: none can do what the job asks for.
    """
    if depends_on_workers(asked):
        check_connected(asked, list_workers(queue.redis, queue.name))


def check_connected(asked: ValidatedRequest, workers: Sequence[WorkerInfo]) -> None:
    """As ``check_workers``, of workers that are known."""
    engine, loaded = asked.options.engine, [worker.engine for worker in workers]
    if engine == engines.AUTO:
        engines.check_loaded(loaded, asked.prompts, asked.features)
        return
    if engines.needs_device(engine):
        engines.check_devices(engine, (worker.device for worker in workers))
    engines.check_running(engine, loaded)


def find(
    uri: str, storage: Storage, settings: Settings, video: ObjectInfo | None = None
) -> FoundVideo:
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
            f"the video has {video.size} bytes; the limit is {settings.max_video_bytes}"
        )
    if settings.is_upload(video.uri):  # by its name alone
        name = video.uri.rpartition("/")[2]
        return FoundVideo(
            video, PurePosixPath(unquote(name) if uri.startswith("file:") else name).stem
        )
    return FoundVideo(video, storage.key(video.uri))


def find_each(uris: Sequence[str], settings: Settings) -> list[FoundVideo | ShoalError]:
    """As ``find``, of videos in one storage; instead of one that cannot be had, the reason.

    Raises:
        UnsupportedLocation: there is no such storage.
    """
    storage = storage_for(uris[0], settings)
    found: list[FoundVideo | ShoalError] = []
    for uri in uris:
        try:
            found.append(find(uri, storage, settings))
        except ShoalError as error:
            found.append(error)
    return found


def object_named(pattern: UriPattern, storage: Storage) -> ObjectInfo | None:
    """The object that is called as the pattern is written: ``clip[1].mp4`` is a name, too.

    Raises:
        ShoalError: a transient one.
    """
    if pattern.below.endswith("**"):
        return None
    name = quote(pattern.below) if pattern.is_file else pattern.below
    try:
        return storage.stat(pattern.folder + name)
    except ShoalError as error:
        if error.transient:
            raise
        return None


def specify(asked: ValidatedRequest, found: FoundVideo, settings: Settings) -> JobSpec:
    """The job that does what was asked for with a video."""
    video, key = found
    return JobSpec(
        uri=video.uri,
        version=video.version,
        size=video.size,
        prompts=asked.prompts,
        objects=asked.objects,
        remove_objects=asked.remove_objects,
        exemplars=asked.exemplars,
        options=asked.options,
        results=results_folder(settings.results_root, key),
    )
