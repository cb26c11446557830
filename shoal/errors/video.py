"""The video is at fault."""

from __future__ import annotations

from shoal.errors.base import ShoalError


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
