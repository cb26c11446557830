"""What routes ask for.

All are coroutines: FastAPI would run a plain function in a thread of its own, which costs more
most of the routes themselves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from api.auth import needs
from api.desk import Desk
from shoal.queue import JobQueue, redis_errors
from shoal.rules_file import RulesFile
from shoal.settings import Settings
from shoal.tokens import Scope


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _rules(request: Request) -> RulesFile:
    rules: RulesFile = request.app.state.rules
    return rules


async def _queue(request: Request) -> AsyncIterator[JobQueue]:
    with redis_errors():  # also around the route: what it raises comes by here
        yield request.app.state.queue


async def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


SettingsDep = Annotated[Settings, Depends(_settings)]
RulesDep = Annotated[RulesFile, Depends(_rules)]
DeskDep = Annotated[Desk, Depends(_desk)]
QueueDep = Annotated[JobQueue, Depends(_queue)]

# What the caller's token must be good for. Each router has READ; what changes something says more.
READ, SUBMIT, ADMIN = needs(Scope.READ), needs(Scope.SUBMIT), needs(Scope.ADMIN)
