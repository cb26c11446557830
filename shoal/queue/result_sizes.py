"""Which sizes the videos among results have: an upload of another size is no copy of one.

A copy within a bucket may come without its metadata, and asking the storage for that of every
upload would cost more than all else that an event is. Sizes are kept as bits of one string of
1 MiB, by their remainder, also those of deleted results: with a million results, one of nine other
uploads is asked for in vain.
"""

from __future__ import annotations

from collections.abc import Iterable

from redis.client import Pipeline

BITS = 1 << 23


def key_of(namespace: str) -> str:
    return f"{namespace}:result-sizes"


def note(pipe: Pipeline, namespace: str, sizes: Iterable[int]) -> None:
    """Keep the sizes in bytes of new results."""
    for size in sizes:
        pipe.setbit(key_of(namespace), bit_of(size), 1)


def bit_of(size: int) -> int:
    """Which bit is 1 if a result may have this size."""
    return size % BITS
