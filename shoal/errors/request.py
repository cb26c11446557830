"""The request is at fault."""

from __future__ import annotations

from shoal.errors.base import ShoalError


class RequestError(ShoalError):
    """The request cannot be carried out as it stands."""

    code = "invalid_request"
    default_hint = "Correct the request and send it again."
    http_status = 422


class InvalidPrompt(RequestError):
    code = "invalid_prompt"
    default_hint = "Give 1 to 16 prompts of 1 to 100 characters each, such as 'person'."


class InvalidVisualPrompt(RequestError):
    """An object that was pointed at in a way that makes no sense, or not within the video."""

    code = "invalid_visual_prompt"
    default_hint = "docs/prompts.md shows how to point at objects: points, a box or a mask."


class FrameNotFound(RequestError):
    """A visual prompt on a frame that the video does not have, or that is not reached."""

    code = "frame_not_found"
    default_hint = "Frames count from 0; 'max_frames' must leave those with visual prompts in."


class EngineUnavailable(RequestError):
    """None of the workers that there are could ever run the engine."""

    code = "engine_unavailable"
    default_hint = "Leave out 'engine', or start a worker that can run it and submit again."


class UnsupportedByEngine(RequestError):
    """The engine cannot do what the job asks for."""

    code = "unsupported_by_engine"
    default_hint = "Leave it out, or choose another engine."


class UnknownPrompt(RequestError):
    """The engine has a fixed vocabulary and the prompt is not in it."""

    code = "unknown_prompt"
    default_hint = "Choose words that the engine knows."


class UnknownEngine(RequestError):
    code = "unknown_engine"
    default_hint = "Leave out 'engine' to let the worker choose."


class InvalidOption(RequestError):
    code = "invalid_option"


class UnknownOutput(RequestError):
    """There is no output of this kind."""

    code = "unknown_output"
    default_hint = "docs/results.md lists the kinds of outputs."


class InvalidOutput(RequestError):
    """An output with options that make no sense."""

    code = "invalid_output"
    default_hint = "docs/results.md lists the options of each kind of output."


class PackageMissing(RequestError):
    """What is asked for needs a package that is not installed here."""

    code = "package_missing"
    default_hint = "pip install 'shoal[read]'"


class UnsupportedLocation(RequestError):
    """A URI whose scheme has no storage behind it."""

    code = "unsupported_location"
    default_hint = "Use a file://, gs:// or s3:// URI, or upload it with 'shoal submit PATH'."


class LocationForbidden(RequestError):
    """A file:// URI outside the configured roots."""

    code = "location_forbidden"
    default_hint = "Add its folder to SHOAL_FILE_ROOTS, or upload it with 'shoal submit PATH'."
    http_status = 403


class UploadTooLarge(RequestError):
    code = "upload_too_large"
    default_hint = "Raise SHOAL_MAX_UPLOAD_BYTES on the API, or submit a URI instead."
    http_status = 413


class JobNotFound(RequestError):
    code = "job_not_found"
    default_hint = "'shoal list' shows the jobs that there are."
    http_status = 404


class BatchNotFound(RequestError):
    code = "batch_not_found"
    default_hint = "'shoal batch list' shows the batches that there are."
    http_status = 404


class WorkerNotFound(RequestError):
    code = "worker_not_found"
    default_hint = "'shoal queue' shows the workers that there are."
    http_status = 404


class ResultNotFound(RequestError):
    code = "result_not_found"
    default_hint = "GET /videos/{id}/results lists the names; results appear when a job succeeds."
    http_status = 404


class StateConflict(RequestError):
    """The job is in a state in which this cannot be done to it."""

    code = "state_conflict"
    default_hint = "'shoal show ID' tells the state of the job."
    http_status = 409
