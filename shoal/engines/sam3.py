"""Validates prompts for SAM3, which accepts any short phrase."""

from __future__ import annotations

from shoal.engines import clip
from shoal.errors import InvalidPrompt

MAX_TOKENS = 32  # of the text encoder, including the start and end tokens
# UTF-8 bytes; a token has at least one. The margin covers normalization, which may add bytes.
SURELY_SHORT = (MAX_TOKENS - 2) // 3


def check(prompt: str) -> None:
    """Reject a prompt that exceeds the token limit of the text encoder.

    Raises:
        InvalidPrompt: the prompt is too long.
    """
    if len(prompt.casefold().encode()) <= SURELY_SHORT:
        return
    if (count := len(clip.encode(prompt))) > MAX_TOKENS:
        raise InvalidPrompt(
            f"the prompt {prompt!r} has {count} tokens; SAM3 supports {MAX_TOKENS}",
            hint="Use a short noun phrase, such as 'red car'.",
        )
