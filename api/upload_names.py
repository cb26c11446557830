"""What an upload may be called."""

from __future__ import annotations

from shoal.errors import RequestError
from shoal.model.names import MAX_UPLOAD_NAME_BYTES


def check_name(name: str) -> None:
    """
    Raises:
        RequestError: not a plain, printable file name of a sensible length.
    """
    fault = ""
    if not name:
        fault = "is empty"
    elif "/" in name or "\\" in name:
        fault = "contains a path separator"
    elif name.startswith("."):
        fault = "starts with a dot"
    elif not name.isprintable():
        fault = "contains unprintable characters"
    elif len(name.encode()) > MAX_UPLOAD_NAME_BYTES:
        fault = f"is longer than {MAX_UPLOAD_NAME_BYTES} bytes"
    if fault:
        raise RequestError(
            f"the name of the upload {fault}: {name[:60]!r}",
            hint="Use a plain file name, such as PUT /uploads/match.mp4.",
        )
