"""What models have in common that read what users write."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

MAX_CHARS = 1 << 16


class Strict(BaseModel):
    """Refuses fields that it does not know.

    Each of them would be an error of its own, with a report of its own: a body of nothing else
    would keep an API busy for seconds. So one that has far too many is refused as a whole.
    """

    # With a limit pydantic looks at every text, and refuses half a pair of surrogates, which JSON
    # can name and nothing else can write.
    model_config = ConfigDict(extra="forbid", str_max_length=MAX_CHARS)

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, given: Any) -> Any:
        if isinstance(given, dict) and len(given) > len(cls.model_fields) + 10:
            raise ValueError(f"{len(given)} fields were given, {len(cls.model_fields)} are known")
        return given
