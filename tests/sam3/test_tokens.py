"""Tokens are counted at submit time as the worker counts them."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import HealthCheck, example, given, settings, strategies as st
from transformers import CLIPTokenizer

from shoal.engines import clip


@cache
def theirs() -> Any:
    """The tokenizer of SAM3's processor, on CLIP's vocabulary."""
    vocabulary, merges = clip.vocabulary_and_merges()
    pairs: Any = merges  # pairs are taken, and what the type says are lines of a file is not
    return CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=32)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=100))
@example("a man with a red umbrella, who's waiting at the 21st bus stop")
@example("fußgänger Über café 東京タワー 🚲 №7 it's they'll 'd <|endoftext|> <|EndOfText|> \u0301e")
def test_tokens_are_those_of_transformers(text: str) -> None:
    assert clip.encode(text) == theirs()(text).input_ids
