"""Validates and queues submissions of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.batcher import Batcher
from api.json_response import ModelResponse
from api.storage_calls import DEADLINE_S, StorageCalls, late
from api.submitter import SubmitRequest, Submitter
from shoal import log_context
from shoal.errors import (
    CallbackForbidden,
    CallbacksOff,
    EngineUnavailable,
    InvalidCallback,
    InvalidPrompt,
    InvalidVisualPrompt,
    ShoalError,
    UnknownEngine,
    UnknownPrompt,
    UnsupportedByEngine,
)
from shoal.ingest.previews import check_can_answer, check_source, specify_preview
from shoal.ingest.submissions import (
    FoundVideo,
    ValidatedRequest,
    check_workers,
    depends_on_workers,
    find_each,
    specify,
    validate_request,
)
from shoal.model.job import JobSpec, State
from shoal.model.preview import Preview, PreviewRequest
from shoal.model.record import Record
from shoal.model.share import Level
from shoal.model.source_url import has_secrets
from shoal.model.submission import Submission
from shoal.model.token import Limits, Token
from shoal.queue.connection import redis_errors
from shoal.queue.previews import Previews, new_id
from shoal.queue.queue import JobQueue
from shoal.queue.quotas import Quotas
from shoal.queue.workers import list_workers
from shoal.settings import Settings
from shoal.url_policy import check_callback

# What the checks of a submission refuse, for ``documented``.
PROMPT_ERRORS = (
    InvalidPrompt,
    InvalidVisualPrompt,
    UnknownPrompt,
    UnknownEngine,
    UnsupportedByEngine,
    EngineUnavailable,
)
CALLBACK_ERRORS = (InvalidCallback, CallbackForbidden, CallbacksOff)


def queued_response(record: Record, queued: bool) -> Response:
    """202 for a job that this request put on the queue, 200 for one that was known."""
    return ModelResponse(record, 202 if queued else 200, {"Location": f"/videos/{record.id}"})


class Submissions:
    """Takes submissions, as ``api.events.inbox.Inbox`` takes events."""

    def __init__(
        self, queue: JobQueue, submitter: Submitter, settings: Settings, storage: StorageCalls
    ) -> None:
        self._queue = queue
        self._submitter = submitter
        self._storage = storage
        self._settings = settings
        self._file_batcher = Batcher(self._find_each)
        self._quotas = Quotas(queue.redis, queue.name)
        self._limited = asyncio.Lock()  # one submission at a time of tokens with limits

    async def take(self, submission: Submission, token: Token) -> tuple[Record, bool]:
        """The job of a submission, and whether this call put it on the queue.

        Raises:
            InvalidCallback, CallbackForbidden, CallbacksOff
            QuotaExceeded
            RedisUnavailable
            and what ``specify`` and ``check_workers`` raise
        """
        check_callback(submission.callback, self._settings)
        validated = await self._validate(submission)
        spec = specify(validated, await self._find(submission.uri), self._settings)
        await self._check_workers(validated)
        if has_secrets(submission.uri):
            with redis_errors():
                await run_in_threadpool(self._queue.records.links.keep, spec.id, submission.uri)
        return await self.queue(spec, submission.callback, token, submission.priority)

    async def queue(
        self, spec: JobSpec, callback: str, token: Token, priority: Level | None = None
    ) -> tuple[Record, bool]:
        """A job that is valid, and whether this call put it on the queue.

        Raises:
            QuotaExceeded, RedisUnavailable
        """
        is_anonymous = not self._settings.api_tokens
        share = token.share(priority, is_anonymous=is_anonymous)
        request = SubmitRequest(spec, callback, share)
        if token.limits == Limits():
            record, queued = await self._submitter.submit(request)
        else:
            record, queued = await self._submit_limited(request, token)
        log_context.note(job=record.id)
        return record, queued

    async def _submit_limited(self, request: SubmitRequest, token: Token) -> tuple[Record, bool]:
        """What is known already costs nothing."""
        with redis_errors():
            async with self._limited:
                known = await run_in_threadpool(self._queue.records.find, request.spec.id)
                if known is None or known.state in (State.FAILED, State.CANCELLED):
                    await run_in_threadpool(self._quotas.check_room, token, 1)
                record, queued = await self._submitter.submit(request)
                if queued:
                    await run_in_threadpool(self._quotas.submit, token, 1)
        return record, queued

    async def check(self, submission: Submission) -> None:
        """Refuse what ``take`` would refuse, as far as that does not depend on the video.

        Raises:
            what ``take`` raises
        """
        check_callback(submission.callback, self._settings)
        await self._check_workers(await self._validate(submission))

    async def preview(self, request: PreviewRequest) -> Preview:
        """Have a preview made.

        Raises:
            NoWorker, PreviewUnsupported, RateLimited
            RedisUnavailable
            and what ``take`` raises
        """
        check_source(request.uri)
        validated = await self._validate(request.submission)
        found = await self._find(request.uri)
        spec = specify_preview(request, validated, found, new_id())

        def ask() -> Preview:
            with redis_errors():
                check_can_answer(validated, list_workers(self._queue.redis, self._queue.name))
                return Previews(self._queue.redis, self._queue.name).ask(spec)

        return await run_in_threadpool(ask)

    async def _validate(self, submission: Submission) -> ValidatedRequest:
        if submission.objects:  # masks take their time
            return await run_in_threadpool(validate_request, submission)
        return validate_request(submission)

    async def _check_workers(self, validated: ValidatedRequest) -> None:
        if depends_on_workers(validated):
            with redis_errors():
                await run_in_threadpool(check_workers, validated, self._queue)

    async def _find(self, uri: str) -> FoundVideo:
        """As ``find``. Files share a thread: a disk that hangs holds up no other request.

        Raises:
            StorageUnavailable: no answer in time; and what ``find`` raises.
        """
        if uri.startswith("file://"):
            found = await self._find_file(uri)
        else:
            (found,) = await self._find_each([uri])
        if isinstance(found, ShoalError):
            raise found
        return found

    async def _find_file(self, uri: str) -> FoundVideo | ShoalError:
        """Also behind others, whose disk hangs, it does not wait for longer."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._file_batcher.put(uri)
        except TimeoutError as error:
            raise late(uri) from error

    async def _find_each(self, uris: Sequence[str]) -> Sequence[FoundVideo | ShoalError]:
        return await self._storage.run(uris[0], find_each, uris, self._settings)
