"""What routes ask for.

All are coroutines: FastAPI would run a plain function in a thread of its own, which costs more
most of the routes themselves.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from api.bucket_uploads import BucketUploads
from api.middleware.auth import needs
from api.reader import RecordReader
from api.storage_calls import StorageCalls
from api.submissions import Submissions
from shoal.ingest.rules_file import RulesFile
from shoal.model.token import Scope
from shoal.queue.queue import JobQueue
from shoal.settings import Settings


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _rules(request: Request) -> RulesFile:
    rules: RulesFile = request.app.state.rules
    return rules


async def _queue(request: Request) -> JobQueue:
    queue: JobQueue = request.app.state.queue
    return queue


async def _reader(request: Request) -> RecordReader:
    reader: RecordReader = request.app.state.reader
    return reader


async def _submissions(request: Request) -> Submissions:
    submissions: Submissions = request.app.state.submissions
    return submissions


async def _storage(request: Request) -> StorageCalls:
    storage: StorageCalls = request.app.state.storage
    return storage


async def _bucket_uploads(request: Request) -> BucketUploads | None:
    uploads: BucketUploads | None = request.app.state.bucket_uploads
    return uploads


SettingsDep = Annotated[Settings, Depends(_settings)]
RulesDep = Annotated[RulesFile, Depends(_rules)]
SubmissionsDep = Annotated[Submissions, Depends(_submissions)]
QueueDep = Annotated[JobQueue, Depends(_queue)]
BucketUploadsDep = Annotated[BucketUploads | None, Depends(_bucket_uploads)]
ReaderDep = Annotated[RecordReader, Depends(_reader)]
StorageDep = Annotated[StorageCalls, Depends(_storage)]

# What the caller's token must be good for. Each router has READ; what changes something says more.
READ, SUBMIT, ADMIN = needs(Scope.READ), needs(Scope.SUBMIT), needs(Scope.ADMIN)
