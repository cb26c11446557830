"""The machine or a service is at fault."""

from __future__ import annotations

from shoal.errors.base import ShoalError


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
