"""CLIP's tokenizer, through which SAM3 reads its prompts, without a model.

``bpe_simple_vocab_16e6.txt.gz`` is that of https://github.com/openai/CLIP, as it lies there
(MIT licence, ``LICENSE.clip``).
"""

from __future__ import annotations

import gzip
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = Path(__file__).parent / "bpe_simple_vocab_16e6.txt.gz"

START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = 49_408  # all tokens: 256 bytes, each also as the end of a word, the merges, and the marks
MERGES = WORDS - 2 * 256 - 2  # the first of those in the file

# Runs of letters, single digits, runs of other signs; English endings stand for themselves.
PIECES = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


_loading = threading.Lock()


def encode(text: str) -> list[int]:
    """The tokens of a text, with the marks of its start and its end."""
    with _loading:  # takes a second at first, and many threads would begin it at once
        made = tokenizer()
    ids: list[int] = made.encode(text).ids
    return ids


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    """As ``transformers.CLIPTokenizer`` makes it from the same vocabulary."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary, merges = vocabulary_and_merges()
    bpe = models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>", unk_token=END)
    made = Tokenizer(bpe)
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.post_processor = processors.RobertaProcessing(
        (END, vocabulary[END]), (START, vocabulary[START]), trim_offsets=False
    )
    made.add_special_tokens([START, END])
    return made


def vocabulary_and_merges() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Numbers by token, and which two tokens become one, the most frequent first."""
    lines = gzip.decompress(VOCABULARY.read_bytes()).decode().split("\n")[1 : MERGES + 1]
    merges = [(first, second) for first, second in map(str.split, lines)]
    letters = _letters()
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += [first + second for first, second in merges]
    words += [START, END]
    return {word: number for number, word in enumerate(words)}, merges


def _letters() -> list[str]:
    """A printable character for each byte: its own, or one beyond the 255th."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in own] + [chr(256 + n) for n in range(256 - len(own))]
