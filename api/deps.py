"""What routes ask for.

All are coroutines: FastAPI would run a plain function in a thread of its own, which costs more
most of the routes themselves.
"""

from __future__ import annotations

from typing import Annotated, Any

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


def _of_app(name: str) -> Any:
    """A part of the application's state."""

    async def found(request: Request) -> Any:
        return getattr(request.app.state, name)

    return Depends(found)


SettingsDep = Annotated[Settings, _of_app("settings")]
RulesDep = Annotated[RulesFile, _of_app("rules")]
SubmissionsDep = Annotated[Submissions, _of_app("submissions")]
QueueDep = Annotated[JobQueue, _of_app("queue")]
BucketUploadsDep = Annotated[BucketUploads | None, _of_app("bucket_uploads")]
ReaderDep = Annotated[RecordReader, _of_app("reader")]
StorageDep = Annotated[StorageCalls, _of_app("storage")]

# What the caller's token must be good for. Each router has READ; what changes something says more.
READ, SUBMIT, ADMIN = needs(Scope.READ), needs(Scope.SUBMIT), needs(Scope.ADMIN)
