"""What all parsers share: JSON that may be anything, and names of buckets and objects."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from shoal.errors import BadEvent
from shoal.ingest.decide import Skip, UploadedObject
from shoal.storage.buckets import BUCKET, MAX_KEY_BYTES

Event = UploadedObject | Skip  # what a parser makes of one record

Model = TypeVar("Model", bound=BaseModel)

MAX_SIZE = 1 << 63
_DOCUMENT = TypeAdapter(dict[str, Any])


def document(body: bytes | str) -> dict[str, Any]:
    """
    Raises:
        BadEvent: not a JSON object in UTF-8, or one that is nested without end.
    """
    try:
        return _DOCUMENT.validate_json(body)
    except ValidationError as error:
        raise BadEvent("the body is not a JSON object") from error


def checked(model: type[Model], value: Any) -> Model:
    """
    Raises:
        BadEvent: names the field that is missing or of another type, never its value.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or model.__name__
        raise BadEvent(f"{field}: {first['msg']}") from error


def object_uri(scheme: str, bucket: str, key: str) -> str:
    """
    Raises:
        BadEvent: no store would have such a bucket or key.
    """
    if not BUCKET.fullmatch(bucket):
        raise BadEvent(f"not the name of a bucket: {bucket[:80]!r}")
    if not key or len(key.encode(errors="replace")) > MAX_KEY_BYTES:
        raise BadEvent(f"not the key of an object: {key[:80]!r}")
    return f"{scheme}://{bucket}/{key}"


def texts(values: Any) -> dict[str, str]:
    """Object metadata: names in lower case, values that are text."""
    pairs = values.items() if isinstance(values, dict) else ()
    return {str(name).lower(): value for name, value in pairs if isinstance(value, str)}
