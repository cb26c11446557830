"""Models as responses."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel
from starlette.responses import Response


class ModelResponse(Response):
    """A model of ours as JSON. What a route returns otherwise is validated once more, which for a
    plain function takes a second turn in a thread."""

    media_type = "application/json"

    def __init__(
        self, model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(model.model_dump_json(), status, headers)
