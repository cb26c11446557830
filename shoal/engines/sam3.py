"""What the SAM3 engine can be asked: any short phrase."""

from __future__ import annotations

import re

from shoal.errors import InvalidPrompt

MAX_TOKENS = 32  # read by the text encoder, the first and the last of them marks

# The pieces into which CLIP's tokenizer cuts a text before it looks for tokens: runs of letters,
# single digits, runs of other signs. An apostrophe may belong to what follows it.
_PIECES = re.compile(r"'?[^\W\d_]+|\d|(?:[^\w\s']|_)+")


def check(prompt: str) -> None:
    """Refuse a prompt that cannot fit, whatever its words are.

    The worker counts the tokens themselves; here each piece counts as the one that it is at least.

    Raises:
        InvalidPrompt: it is too long.
    """
    if (pieces := len(_PIECES.findall(prompt))) > MAX_TOKENS - 2:
        raise InvalidPrompt(
            f"the prompt {prompt!r} has at least {pieces + 2} tokens, SAM3 reads {MAX_TOKENS}",
            hint="Use fewer words: SAM3 wants a short noun phrase, such as 'red car'.",
        )
