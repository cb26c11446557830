"""Errors while a job runs: the video, the worker, a service that it needs."""

from __future__ import annotations

from shoal.errors.base import ShoalError


class VideoError(ShoalError):
    """The video cannot be processed; a retry does not help."""

    code = "bad_video"
    default_hint = (
        "Check that the video plays, or re-encode it: 'ffmpeg -i IN -c:v libx264 OUT.mp4'."
    )
    http_status = 422


class SourceNotFound(VideoError):
    code = "source_not_found"
    default_hint = "Check the URI: the file may have been moved, renamed or deleted."
    http_status = 404


class SourceChanged(VideoError):
    """The file was replaced or deleted after the job was submitted."""

    code = "source_changed"
    default_hint = "Submit the video again: its content has changed since the job was submitted."


class OwnResult(VideoError):
    """A rule made a job of a copy of a result, and nothing but the object's metadata told so."""

    code = "own_result"
    default_hint = "To process it all the same, submit it with 'shoal submit'."


class StorageForbidden(VideoError):
    """The storage denies read access."""

    code = "storage_forbidden"
    default_hint = "Grant the credentials of the API and the workers read access to the bucket."
    http_status = 403


class NotAVideo(VideoError):
    code = "not_a_video"


class UnsupportedCodec(NotAVideo):
    """The pictures are in a codec that is not opened: see docs/results.md."""

    code = "unsupported_codec"


class AudioOnly(VideoError):
    code = "audio_only"
    default_hint = "The file has audio but no video stream. Submit the video file."


class TruncatedVideo(VideoError):
    """The file ends earlier than its container declares."""

    code = "truncated_video"
    default_hint = (
        "The upload or recording was interrupted. Upload it again, or set 'allow_truncated' to "
        "process the readable part."
    )


class NoFrames(VideoError):
    code = "no_frames"
    default_hint = "The file declares a video stream but contains no frames. Upload it again."


class StartFrameNotFound(VideoError):
    """``start_frame`` is beyond the end of the video."""

    code = "start_frame_not_found"
    default_hint = (
        "Frames are counted from 0 at the source's frame rate, not at 'sample_fps'. Use a smaller "
        "'start_frame', or remove it."
    )


class ResolutionChanged(VideoError):
    code = "resolution_changed"
    default_hint = (
        "Re-encode the video to one resolution: 'ffmpeg -i IN -vf scale=1280:720 OUT.mp4'."
    )


class UnsupportedFrameRate(VideoError):
    code = "unsupported_frame_rate"
    default_hint = "Re-encode the video with regular timestamps: 'ffmpeg -i IN -r 30 OUT.mp4'."


class VideoTooLarge(VideoError):
    """The video exceeds the limits for pixels, seconds or bytes."""

    code = "video_too_large"
    default_hint = "Increase SHOAL_MAX_PIXELS, SHOAL_MAX_DURATION_S or SHOAL_MAX_VIDEO_BYTES."


class VideoBomb(VideoError):
    """A file that asks for far more memory or computing than a video of its size can need."""

    code = "video_bomb"
    default_hint = (
        "Its tables or tags are broken or made to exhaust memory. If it plays, write it anew: "
        "'ffmpeg -i IN -map 0:v:0 -c copy -map_metadata -1 OUT.mkv'."
    )


class OpeningTimeout(ShoalError):
    """The video could not be opened in time, though that computes little."""

    code = "opening_timeout"
    default_hint = "It is tried again by itself; if it comes back, look at the worker's disk."
    transient = True
    http_status = 503


class DiskFull(ShoalError):
    code = "disk_full"
    default_hint = "Free disk space on the worker, or set SHOAL_WORK_DIR to a larger disk."
    transient = True
    http_status = 507


class StorageNotWritable(ShoalError):
    code = "storage_not_writable"
    default_hint = "Check the permissions and the URI in SHOAL_RESULTS."


class StorageUnavailable(ShoalError):
    code = "storage_unavailable"
    default_hint = "Storage did not respond. The job will be retried automatically."
    transient = True
    http_status = 503


class StorageThrottled(StorageUnavailable):
    code = "storage_throttled"
    default_hint = "Too many requests to the bucket. The job will be retried automatically."


class WrongRegion(ShoalError):
    code = "wrong_region"
    default_hint = "Set AWS_REGION to the region of the bucket."
    http_status = 422


class RedisUnavailable(ShoalError):
    code = "redis_unavailable"
    default_hint = "Check that Redis is running and that SHOAL_REDIS_URL is correct."
    transient = True
    http_status = 503


class ShuttingDown(ShoalError):
    """The API was told to stop while a request waited."""

    code = "shutting_down"
    default_hint = "Send the request again: it is answered once an API is up; no job is made twice."
    transient = True
    http_status = 503


class ModelProcessDied(ShoalError):
    """The model process exited while processing a video."""

    code = "model_process_died"
    default_hint = (
        "The job will be retried automatically. If it fails again, check the worker's memory."
    )
    transient = True


class OutOfMemory(ModelProcessDied):
    """The kernel killed the model process because memory ran out."""

    code = "out_of_memory"
    default_hint = (
        "The job will be retried automatically. If it fails again, give the worker more memory "
        "(or its container a higher limit), or run fewer workers on the machine."
    )


class ModelStalled(ShoalError):
    """The model process made no progress with a video."""

    code = "model_stalled"
    default_hint = (
        "The job will be retried on a new process. Increase SHOAL_STALL_S for slow videos."
    )
    transient = True


class PoisonousVideo(ShoalError):
    """A video that repeatedly crashes or blocks the worker (a poison message)."""

    code = "poisonous_video"
    default_hint = (
        "Each attempt ('shoal show ID') has the cause. Re-encode the video, or exclude it."
    )


class ModelLoadFailed(ShoalError):
    code = "model_load_failed"
    default_hint = "Check the worker log: weights or libraries are missing or incompatible."


class WeightsUnavailable(ModelLoadFailed):
    """The model weights are missing or not readable."""

    code = "weights_unavailable"


class GpuOutOfMemory(ShoalError):
    """The video does not fit into GPU memory, even one frame at a time."""

    code = "gpu_out_of_memory"
    default_hint = (
        "Use fewer prompts, a lower 'max_objects', or a GPU with more memory that is not shared."
    )


class GpuError(ShoalError):
    """The GPU or its driver failed; the process that used it must be restarted."""

    code = "gpu_error"
    default_hint = (
        "The job will be retried on a new process. If it fails again, check 'nvidia-smi'."
    )
    transient = True


class GpuGroupOutOfMemory(GpuError):
    """One of several GPUs lacks memory: their processes must be restarted, and no retry helps."""

    transient = False


class JobTimeout(ShoalError):
    code = "timeout"
    default_hint = "Increase SHOAL_JOB_TIMEOUT_S, or lower 'sample_fps' or 'max_frames'."


class SegmentsLost(ShoalError):
    """What was done of a split job is not there any more."""

    code = "segments_lost"
    default_hint = "Retry the job: it starts over. Keep '.parts' folders until jobs have ended."


class MixedEngines(ShoalError):
    """Segments of one job can only be tracked by the same engine."""

    code = "mixed_engines"
    transient = True
    default_hint = "Submit with 'engine', and run workers of other engines on another SHOAL_QUEUE."


class UnknownFunction(ShoalError):
    """A job in the queue that was not created by Shoal."""

    code = "unknown_function"
    default_hint = "Only Shoal may write to its queue. Use a separate Redis or another SHOAL_QUEUE."


class InternalError(ShoalError):
    """An unexpected exception; the failure record has its traceback."""


class Stopped(Exception):
    """The parent asked the model process to stop processing the video."""


class CheckpointUnusable(Exception):
    """The checkpoint cannot be used here; the video starts over."""


class LeaseLost(Exception):
    """Another attempt owns the job; this one must not write."""
