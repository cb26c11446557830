"""What routes ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request

from api.auth import needs
from shoal.queue import JobQueue, redis_errors
from shoal.rules_file import RulesFile
from shoal.settings import Settings
from shoal.tokens import Scope


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _rules(request: Request) -> RulesFile:
    rules: RulesFile = request.app.state.rules
    return rules


def _queue(request: Request) -> Iterator[JobQueue]:
    with redis_errors():  # also around the route: what it raises comes by here
        yield request.app.state.queue


SettingsDep = Annotated[Settings, Depends(_settings)]
RulesDep = Annotated[RulesFile, Depends(_rules)]
QueueDep = Annotated[JobQueue, Depends(_queue)]

# What the caller's token must be good for. Each router has READ; what changes something says more.
READ, SUBMIT, ADMIN = needs(Scope.READ), needs(Scope.SUBMIT), needs(Scope.ADMIN)
