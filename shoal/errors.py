"""Every failure a user can meet, as one tree.

A class is a cause. It has a stable ``code`` (scripts, metrics and the docs key on it), a ``hint``
that says what to do, and ``transient``: whether the same job may succeed when it is tried again.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

from shoal.redact import redact


class ShoalError(Exception):
    """Base of the tree. ``str(error)`` is the one-line cause."""

    code: ClassVar[str] = "internal_error"
    default_hint: ClassVar[str] = "This is a fault in Shoal: please report it with the traceback."
    transient: ClassVar[bool] = False
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint or self.default_hint


# --- the request is at fault -----------------------------------------------------------------


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


class InvalidCallback(RequestError):
    """Not an address that a callback may go to."""

    code = "invalid_callback"
    default_hint = "Give an https:// or http:// URL of a public host; see docs/callbacks.md."


class CallbackForbidden(InvalidCallback):
    """A callback's host has an address that is not public."""

    code = "callback_forbidden"
    default_hint = "List the host or its network in SHOAL_CALLBACK_ALLOW on the API."


class CallbacksOff(RequestError):
    code = "callbacks_off"
    default_hint = "Set SHOAL_CALLBACK_SECRET on the API: 'whsec_' and 32 random bytes in base64."


class CallbackNotFound(RequestError):
    code = "callback_not_found"
    default_hint = "GET /callbacks lists them; they are kept for 30 days."
    http_status = 404


class StateConflict(RequestError):
    """The job is in a state in which this cannot be done to it."""

    code = "state_conflict"
    default_hint = "'shoal show ID' tells the state of the job."
    http_status = 409


class Unauthorized(RequestError):
    code = "unauthorized"
    default_hint = "Send 'Authorization: Bearer TOKEN'; 'shoal token create' makes tokens."
    http_status = 401


class InsufficientScope(RequestError):
    """A known token, and not good for this."""

    code = "insufficient_scope"
    default_hint = "Use a token of a wider scope; 'shoal token create' makes one."
    http_status = 403


class RateLimited(RequestError):
    """Too many requests with one token."""

    code = "rate_limited"
    default_hint = "Wait as long as 'Retry-After' says, or raise SHOAL_RATE_LIMIT on the API."
    http_status = 429

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TokenExists(RequestError):
    code = "token_exists"
    default_hint = "Choose another name, or revoke it first: 'shoal token revoke NAME'."
    http_status = 409


class TokenNotFound(RequestError):
    code = "token_not_found"
    default_hint = "'shoal token list' shows the tokens that there are."
    http_status = 404


class TokensOff(RequestError):
    """Without a first token the API is open to its machine, and others would mean nothing."""

    code = "tokens_off"
    default_hint = "Set SHOAL_API_TOKENS on the API to a first one, and use it to make others."
    http_status = 409


class BadEvent(RequestError):
    """A bucket event that cannot be read, and never will be."""

    code = "bad_event"
    default_hint = "Send the notification as the bucket's provider writes it; see docs/ingest-*.md."
    http_status = 422


class BadEventSender(RequestError):
    """A bucket event whose sender is not who it should be."""

    code = "bad_event_sender"
    default_hint = "Check how the sender proves itself; see docs/ingest-*.md."
    http_status = 401


class SenderCheckUnavailable(RequestError):
    """The certificates that prove a sender cannot be had now. The sender tries again."""

    code = "sender_check_unavailable"
    default_hint = "The API must reach www.googleapis.com, or sns.*.amazonaws.com, over HTTPS."
    http_status = 503


class EventsNotConfigured(RequestError):
    """The setting is missing that tells who may send events. The sender tries again."""

    code = "events_not_configured"
    default_hint = "Set it on the API; docs/ingest-*.md say what to."
    http_status = 503


# --- the video is at fault -------------------------------------------------------------------


class VideoError(ShoalError):
    """The video cannot be processed, now or later."""

    code = "bad_video"
    default_hint = "Check that it plays; re-encode it: 'ffmpeg -i IN -c:v libx264 OUT.mp4'."
    http_status = 422


class SourceNotFound(VideoError):
    code = "source_not_found"
    default_hint = "Check the URI: the object may have been moved, renamed or deleted."
    http_status = 404


class SourceChanged(VideoError):
    """The object was replaced or deleted after the job had been made of it."""

    code = "source_changed"
    default_hint = "Submit it again: what is there now is another video."


class StorageForbidden(VideoError):
    """The storage refuses to let us read."""

    code = "storage_forbidden"
    default_hint = "Give the credentials of API and workers the right to read the bucket."
    http_status = 403


class NotAVideo(VideoError):
    code = "not_a_video"


class AudioOnly(VideoError):
    code = "audio_only"
    default_hint = "The file has sound but no picture: submit the video it belongs to."


class TruncatedVideo(VideoError):
    """The file ends before what its container announces."""

    code = "truncated_video"
    default_hint = (
        "The upload or recording was cut off: upload it again, or set the option "
        "'allow_truncated' to process what can be read."
    )


class NoFrames(VideoError):
    code = "no_frames"
    default_hint = "The file announces a picture but holds none: upload it again."


class StartFrameNotFound(VideoError):
    """``start_frame`` lies beyond the video's end."""

    code = "start_frame_not_found"
    default_hint = (
        "Frames count from 0 at the source's own rate, not at 'sample_fps': submit it with a "
        "smaller 'start_frame', or without one."
    )


class ResolutionChanged(VideoError):
    code = "resolution_changed"
    default_hint = "Re-encode it to one size: 'ffmpeg -i IN -vf scale=1280:720 OUT.mp4'."


class UnsupportedFrameRate(VideoError):
    code = "unsupported_frame_rate"
    default_hint = "Give it a usable clock: 'ffmpeg -i IN -r 30 OUT.mp4'."


class VideoTooLarge(VideoError):
    """More pixels, seconds or bytes than the worker is configured for."""

    code = "video_too_large"
    default_hint = "Raise SHOAL_MAX_PIXELS, SHOAL_MAX_DURATION_S or SHOAL_MAX_VIDEO_BYTES."


# --- the machine or a service is at fault ------------------------------------------------------


class DiskFull(ShoalError):
    code = "disk_full"
    default_hint = "Free space on the worker, or point SHOAL_WORK_DIR to a larger disk."
    transient = True
    http_status = 507


class StorageNotWritable(ShoalError):
    code = "storage_not_writable"
    default_hint = "Check the permissions and the address in SHOAL_RESULTS."


class StorageUnavailable(ShoalError):
    code = "storage_unavailable"
    default_hint = "The storage did not answer: the job is tried again by itself."
    transient = True
    http_status = 503


class StorageThrottled(StorageUnavailable):
    code = "storage_throttled"
    default_hint = "Too many requests to the bucket: the job is tried again by itself."


class WrongRegion(ShoalError):
    code = "wrong_region"
    default_hint = "Set AWS_REGION to the bucket's region."
    http_status = 422


class RedisUnavailable(ShoalError):
    code = "redis_unavailable"
    default_hint = "Check that Redis runs and that SHOAL_REDIS_URL points to it."
    transient = True
    http_status = 503


class ModelProcessDied(ShoalError):
    """The process that holds the model ended in the middle of a video."""

    code = "model_process_died"
    default_hint = "It is tried again by itself; if it comes back, look at the worker's memory."
    transient = True


class OutOfMemory(ModelProcessDied):
    """The kernel ended the process that holds the model, for want of memory."""

    code = "out_of_memory"
    default_hint = (
        "It is tried again by itself; if it comes back, give the worker more memory (or its "
        "container a higher limit), or run fewer workers on the machine."
    )


class ModelStalled(ShoalError):
    """The model process lives but came no further with a video."""

    code = "model_stalled"
    default_hint = "It is tried again on a fresh process; raise SHOAL_STALL_S for slow videos."
    transient = True


class PoisonousVideo(ShoalError):
    """A video that ended or blocked the model process again and again."""

    code = "poisonous_video"
    default_hint = "Its attempts ('shoal show ID') tell how; re-encode it, or leave it out."


class ModelLoadFailed(ShoalError):
    code = "model_load_failed"
    default_hint = "Look at the worker's log: weights or libraries are missing or do not match."


class WeightsUnavailable(ModelLoadFailed):
    """The weights are not where they are looked for, or may not be read."""

    code = "weights_unavailable"


class GpuOutOfMemory(ShoalError):
    """The video does not fit, not even frame by frame."""

    code = "gpu_out_of_memory"
    default_hint = (
        "Submit fewer prompts, lower 'max_objects', or use a GPU with more memory that nothing "
        "else shares."
    )


class GpuError(ShoalError):
    """The GPU or its driver failed: the process that used it cannot go on."""

    code = "gpu_error"
    default_hint = "It is tried again on a fresh process; if it comes back, look at 'nvidia-smi'."
    transient = True


class JobTimeout(ShoalError):
    code = "timeout"
    default_hint = "Raise SHOAL_JOB_TIMEOUT_S, or lower 'sample_fps' or 'max_frames'."


class UnknownFunction(ShoalError):
    """A job on our queue that was not made by Shoal."""

    code = "unknown_function"
    default_hint = "Only Shoal may write to its queue: give it a Redis or a SHOAL_QUEUE of its own."


class InternalError(ShoalError):
    """Anything that has no class of its own; the traceback is kept with the failure."""


# --- flow control: not faults, never shown as such ---------------------------------------------


class Stopped(Exception):
    """The parent told the model process to stop in the middle of a video."""


class CheckpointUnusable(Exception):
    """What an earlier attempt left cannot be continued here: the video starts over."""


class LeaseLost(Exception):
    """Another attempt owns the job now: touch nothing."""


# --- the local stack and the client ------------------------------------------------------------


class StackError(ShoalError):
    """``shoal up``, ``shoal api`` or ``shoal worker`` cannot start or go on."""

    code = "stack_error"
    default_hint = "See the log above."


class InvalidSetting(StackError):
    """A ``SHOAL_*`` variable that cannot be understood."""

    code = "invalid_setting"
    default_hint = "Correct the variable in the environment; shoal/settings.py lists them all."


class PortBusy(StackError):
    code = "port_busy"
    default_hint = "Choose another one with --port, or stop the program that uses it."


class DataDirBusy(StackError):
    code = "data_dir_busy"
    default_hint = "Stop the other 'shoal up', or give this one its own --data-dir."


class SecretInArguments(RequestError):
    """Everyone on a machine can read the arguments of its processes."""

    code = "secret_in_arguments"
    default_hint = "Set SHOAL_REDIS_URL instead."


class InvalidRules(StackError):
    """A rules file with faults; ``faults`` has a line for each."""

    code = "invalid_rules"
    default_hint = "Correct the file; 'shoal rules check' says whether it is right."

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class UnsafeBind(StackError):
    code = "unsafe_bind"
    default_hint = "Set SHOAL_API_TOKENS, or bind to 127.0.0.1."


class TokenUnreadable(RequestError):
    code = "token_unreadable"
    default_hint = "Give --token-file a file with the token alone, or set SHOAL_API_TOKEN."


class DeploymentError(StackError):
    """What is to be deployed is not in order: said before anything is started."""

    code = "deployment_error"
    default_hint = "docs/deploy-skypilot.md shows what is needed."


class LauncherUnavailable(ShoalError):
    """What makes machines does not answer, or refused."""

    code = "launcher_unavailable"
    default_hint = "Check that the SkyPilot API server runs: 'sky api info'."
    transient = True
    http_status = 503


class ApiUnreachable(ShoalError):
    code = "api_unreachable"
    default_hint = "Start it with 'shoal up', or point SHOAL_API_URL to it."
    transient = True


class ApiError(ShoalError):
    """An answer of the API that is an error: carries the API's own code and hint."""

    code = "api_error"

    def __init__(self, message: str, *, status: int, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.remote_code = code


class Failure(BaseModel, frozen=True):
    """An error as it is recorded and as it crosses a process boundary."""

    code: str
    message: str
    hint: str
    transient: bool
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe any exception; one that is not ours is an ``internal_error``."""
        trace = redact("".join(traceback.format_exception(error)))
        if not isinstance(error, ShoalError):
            known = InternalError(f"{type(error).__name__}: {error}")
            return cls.of(known).model_copy(update={"traceback": trace})
        return cls(
            code=error.code,
            message=redact(str(error)),
            hint=error.hint,
            transient=error.transient,
            traceback=trace,
        )
