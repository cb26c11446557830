"""Errors of uploads."""

from __future__ import annotations

from shoal.errors.requests import RequestError


class UploadTooLarge(RequestError):
    code = "upload_too_large"
    default_hint = "Increase SHOAL_MAX_UPLOAD_BYTES on the API, or submit a URI instead."
    http_status = 413


class UploadsFull(RequestError):
    """The quota for uploads is used up."""

    code = "uploads_full"
    default_hint = (
        "Submit a gs:// or s3:// URI instead, or ask the operator to delete processed uploads or "
        "increase SHOAL_MAX_UPLOADS_BYTES."
    )
    http_status = 507


class UploadNotFound(RequestError):
    """No such resumable upload of this token: it never was, was ended, or has expired."""

    code = "upload_not_found"
    default_hint = "Start the upload again; an upload expires seven days after its last byte."
    http_status = 404


class UploadConflict(RequestError):
    """The request does not continue the upload where it is."""

    code = "upload_conflict"
    default_hint = "Ask for the offset with HEAD, and continue there."
    http_status = 409


class TusVersionUnsupported(RequestError):
    code = "tus_version_unsupported"
    default_hint = "Send 'Tus-Resumable: 1.0.0'."
    http_status = 412


class ChecksumMismatch(RequestError):
    """The bytes of a request are not those of its checksum; none of them was kept."""

    code = "checksum_mismatch"
    default_hint = "Send the same bytes again."
    http_status = 460
