"""What counts as an outage of Redis."""

from __future__ import annotations

import pytest
import redis
from redis._parsers.base import BaseParser

from shoal.errors import RedisUnavailable, UnreadableRecord
from shoal.queue.connection import OUTAGES, redis_errors
from shoal.queue.unreadable import parsed

ANSWERS = {
    "OOM": "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF": "MISCONF Valkey is configured to save RDB snapshots, but it can't persist on disk.",
    "READONLY": "READONLY You can't write against a read only replica.",
    "LOADING": "LOADING Valkey is loading the dataset in memory",
    "CLUSTERDOWN": "CLUSTERDOWN Hash slot not served",
    "MASTERDOWN": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is 'no'.",
    "NOREPLICAS": "NOREPLICAS Not enough good replicas to write.",
    "TRYAGAIN": "TRYAGAIN Multiple keys request during rehashing of slot",
    "BUSY": "BUSY Valkey is busy running a script. You can only call SCRIPT KILL.",
    "UNBLOCKED": "UNBLOCKED force unblock from blocking operation, instance state changed",
}
OTHERS = (
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "ERR unknown command 'OOM'",
    "NOSCRIPT No matching script.",
    "BUSYGROUP Consumer Group name already exists",
)


def answered(line: str) -> Exception:
    """What the client raises for an answer of the server."""
    error = BaseParser.parse_error(line)  # type: ignore[no-untyped-call]
    assert isinstance(error, redis.RedisError)
    return error


def in_pipeline(line: str) -> Exception:
    """As one command of several, whose number the client puts before it."""
    error = answered(line)
    pipe = redis.Redis().pipeline()
    pipe.annotate_exception(error, 1, ("SET", "a", "b"))  # type: ignore[no-untyped-call]
    return error


def test_every_outage_has_its_answer() -> None:
    assert set(ANSWERS) == set(OUTAGES)


@pytest.mark.parametrize("make", [answered, in_pipeline])
@pytest.mark.parametrize("code", ANSWERS)
def test_a_server_that_cannot_serve_is_away(code: str, make: object) -> None:
    error = make(ANSWERS[code])  # type: ignore[operator]
    with pytest.raises(RedisUnavailable) as found, redis_errors():
        raise error
    assert found.value.hint == OUTAGES[code]


@pytest.mark.parametrize("code", ANSWERS)
def test_an_outage_makes_no_record_unreadable(code: str) -> None:
    with pytest.raises((RedisUnavailable, UnreadableRecord)) as found:
        parsed("job", "a", dict, answered(ANSWERS[code]))
    is_response = isinstance(answered(ANSWERS[code]), redis.ResponseError)
    assert isinstance(found.value, RedisUnavailable) or not is_response


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("refused"),
        redis.TimeoutError("no answer"),
        answered("ERR max number of clients reached"),
        answered("NOAUTH Authentication required."),
    ],
)
def test_a_server_that_does_not_answer_is_away(error: Exception) -> None:
    with pytest.raises(RedisUnavailable), redis_errors():
        raise error


@pytest.mark.parametrize("line", OTHERS)
def test_other_errors_stay_what_they_are(line: str) -> None:
    with pytest.raises(redis.ResponseError), redis_errors():
        raise answered(line)
