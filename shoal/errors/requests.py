"""Errors of what was asked for: jobs, videos, results."""

from __future__ import annotations

from shoal.errors.base import ShoalError


class RequestError(ShoalError):
    """The request is invalid."""

    code = "invalid_request"
    default_hint = "Correct the request and send it again."
    http_status = 422


class InvalidPrompt(RequestError):
    code = "invalid_prompt"
    default_hint = "Give 1 to 16 prompts of 1 to 100 characters each, such as 'person'."


class InvalidVisualPrompt(RequestError):
    """A visual prompt that is invalid or outside the video."""

    code = "invalid_visual_prompt"
    default_hint = "See docs/prompts.md for points, boxes and masks."


class FrameNotFound(RequestError):
    """A visual prompt on a frame that does not exist or is not processed."""

    code = "frame_not_found"
    default_hint = "Frames are counted from 0; 'max_frames' must include those with visual prompts."


class InvalidEdit(RequestError):
    """Edits of results that contradict each other, or that the job does not allow."""

    code = "invalid_edit"
    default_hint = "See docs/refine.md for what can be edited."


class UnknownObject(RequestError):
    """The results have no object with this ID."""

    code = "unknown_object"
    default_hint = "The summary and the mask table of the job list its objects."


class EngineUnavailable(RequestError):
    """No connected worker can run the engine."""

    code = "engine_unavailable"
    default_hint = "Remove 'engine', or start a worker that can run it and submit again."


class UnsupportedByEngine(RequestError):
    """The engine does not support an option of the job."""

    code = "unsupported_by_engine"
    default_hint = "Remove it, or choose another engine."


class UnknownPrompt(RequestError):
    """The engine has a fixed vocabulary that does not include the prompt."""

    code = "unknown_prompt"
    default_hint = "Use words of the engine's vocabulary."


class UnknownEngine(RequestError):
    code = "unknown_engine"
    default_hint = "Remove 'engine' to let the worker choose."


class InvalidOption(RequestError):
    code = "invalid_option"


class UnknownOutput(RequestError):
    """The kind of output does not exist."""

    code = "unknown_output"
    default_hint = "See docs/results.md for the kinds of outputs."


class InvalidOutput(RequestError):
    """An output with invalid options."""

    code = "invalid_output"
    default_hint = "See docs/results.md for the options of each kind of output."


class PackageMissing(RequestError):
    """The operation requires a package that is not installed."""

    code = "package_missing"
    default_hint = "Run pip install '.[read]' in a checkout."


class UnsupportedLocation(RequestError):
    """A URI with an unsupported scheme."""

    code = "unsupported_location"
    default_hint = (
        "Use a file://, gs://, s3://, az:// or https:// URI, or upload the file with "
        "'shoal submit PATH'."
    )


class LocationForbidden(RequestError):
    """A file:// URI outside the allowed folders."""

    code = "location_forbidden"
    default_hint = (
        "Add its folder to SHOAL_FILE_ROOTS of API and workers, or upload the file with "
        "'shoal submit PATH'."
    )
    http_status = 403


class SourceForbidden(RequestError):
    """The host of a video's URL has an address that is not public, or is asked without TLS."""

    code = "source_forbidden"
    default_hint = "Add the host or its network to SHOAL_SOURCE_ALLOW of API and workers."
    http_status = 403


class JobNotFound(RequestError):
    code = "job_not_found"
    default_hint = "Run 'shoal list' to see all jobs."
    http_status = 404


class BatchNotFound(RequestError):
    code = "batch_not_found"
    default_hint = "Run 'shoal batch list' to see all batches."
    http_status = 404


class WorkerNotFound(RequestError):
    code = "worker_not_found"
    default_hint = "Run 'shoal queue' to see all workers."
    http_status = 404


class ResultNotFound(RequestError):
    code = "result_not_found"
    default_hint = (
        "GET /videos/{id}/results lists the files. They are available when the job has succeeded."
    )
    http_status = 404


class NoWorker(RequestError):
    """No worker is connected that could answer a preview."""

    code = "no_worker"
    default_hint = "Start one with 'shoal worker', or with everything else: 'shoal up'."
    http_status = 503


class PreviewNotFound(RequestError):
    code = "preview_not_found"
    default_hint = "Previews are kept for an hour. Ask for a new one: POST /previews."
    http_status = 404


class PreviewExpired(RequestError):
    """No worker took the preview, or answered it, in time."""

    code = "preview_expired"
    default_hint = "Ask for a new one. GET /queue shows whether workers are connected."
    http_status = 504


class PreviewUnsupported(RequestError):
    """A source that has no previews."""

    code = "preview_unsupported"
    default_hint = "Submit it with a small 'max_frames' to see what a prompt finds."


class PreviewLimit(RequestError):
    """A preview that would read too much of its video, or for too long."""

    code = "preview_limit"
    default_hint = "Ask for fewer frames, or write the video anew with its index at the beginning."


class StateConflict(RequestError):
    """The operation is not possible in the current state of the job."""

    code = "state_conflict"
    default_hint = "Run 'shoal show ID' to see the state of the job."
    http_status = 409


class UnreadableRecord(RequestError):
    """What Redis holds of a job, a batch or a callback is not what any Shoal of now has written."""

    code = "unreadable_record"
    default_hint = "The log of the API names it: another version or another program wrote it."
    http_status = 409
