"""What the SAM3 engine can be asked: any short phrase."""

from __future__ import annotations

from shoal.engines import clip
from shoal.errors import InvalidPrompt

MAX_TOKENS = 32  # read by the text encoder, the first and the last of them marks
# UTF-8 bytes; a token stands for one at least. Spared: normalising, which may lengthen a text.
SURELY_SHORT = (MAX_TOKENS - 2) // 3


def check(prompt: str) -> None:
    """Refuse a prompt that the text encoder would not read to its end.

    Raises:
        InvalidPrompt: it is too long.
    """
    if len(prompt.casefold().encode()) <= SURELY_SHORT:
        return
    if (count := len(clip.encode(prompt))) > MAX_TOKENS:
        raise InvalidPrompt(
            f"the prompt {prompt!r} has {count} tokens, SAM3 reads {MAX_TOKENS}",
            hint="Use fewer words: SAM3 wants a short noun phrase, such as 'red car'.",
        )
