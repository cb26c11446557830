"""Every failure a user can meet, as one tree.

A class is a cause. It has a stable ``code`` (scripts, metrics and the docs key on it), a ``hint``
that says what to do, and ``transient``: whether the same job may succeed when it is tried again.
"""

from __future__ import annotations

from shoal.errors.access import (
    BadEvent as BadEvent,
    BadEventSender as BadEventSender,
    CallbackForbidden as CallbackForbidden,
    CallbackNotFound as CallbackNotFound,
    CallbacksOff as CallbacksOff,
    EventsNotConfigured as EventsNotConfigured,
    InsufficientScope as InsufficientScope,
    InvalidCallback as InvalidCallback,
    RateLimited as RateLimited,
    SenderCheckUnavailable as SenderCheckUnavailable,
    TokenExists as TokenExists,
    TokenNotFound as TokenNotFound,
    TokensOff as TokensOff,
    Unauthorized as Unauthorized,
)
from shoal.errors.base import (
    ShoalError as ShoalError,
)
from shoal.errors.failure import (
    Failure as Failure,
)
from shoal.errors.flow import (
    CheckpointUnusable as CheckpointUnusable,
    LeaseLost as LeaseLost,
    Stopped as Stopped,
)
from shoal.errors.local import (
    ApiError as ApiError,
    ApiUnreachable as ApiUnreachable,
    DataDirBusy as DataDirBusy,
    DeploymentError as DeploymentError,
    InvalidRules as InvalidRules,
    InvalidSetting as InvalidSetting,
    LauncherUnavailable as LauncherUnavailable,
    PortBusy as PortBusy,
    SecretInArguments as SecretInArguments,
    StackError as StackError,
    TokenUnreadable as TokenUnreadable,
    UnsafeBind as UnsafeBind,
)
from shoal.errors.machine import (
    DiskFull as DiskFull,
    GpuError as GpuError,
    GpuOutOfMemory as GpuOutOfMemory,
    InternalError as InternalError,
    JobTimeout as JobTimeout,
    ModelLoadFailed as ModelLoadFailed,
    ModelProcessDied as ModelProcessDied,
    ModelStalled as ModelStalled,
    OutOfMemory as OutOfMemory,
    PoisonousVideo as PoisonousVideo,
    RedisUnavailable as RedisUnavailable,
    StorageNotWritable as StorageNotWritable,
    StorageThrottled as StorageThrottled,
    StorageUnavailable as StorageUnavailable,
    UnknownFunction as UnknownFunction,
    WeightsUnavailable as WeightsUnavailable,
    WrongRegion as WrongRegion,
)
from shoal.errors.request import (
    BatchNotFound as BatchNotFound,
    EngineUnavailable as EngineUnavailable,
    FrameNotFound as FrameNotFound,
    InvalidOption as InvalidOption,
    InvalidOutput as InvalidOutput,
    InvalidPrompt as InvalidPrompt,
    InvalidVisualPrompt as InvalidVisualPrompt,
    JobNotFound as JobNotFound,
    LocationForbidden as LocationForbidden,
    PackageMissing as PackageMissing,
    RequestError as RequestError,
    ResultNotFound as ResultNotFound,
    StateConflict as StateConflict,
    UnknownEngine as UnknownEngine,
    UnknownOutput as UnknownOutput,
    UnknownPrompt as UnknownPrompt,
    UnsupportedByEngine as UnsupportedByEngine,
    UnsupportedLocation as UnsupportedLocation,
    UploadTooLarge as UploadTooLarge,
    WorkerNotFound as WorkerNotFound,
)
from shoal.errors.video import (
    AudioOnly as AudioOnly,
    NoFrames as NoFrames,
    NotAVideo as NotAVideo,
    ResolutionChanged as ResolutionChanged,
    SourceChanged as SourceChanged,
    SourceNotFound as SourceNotFound,
    StartFrameNotFound as StartFrameNotFound,
    StorageForbidden as StorageForbidden,
    TruncatedVideo as TruncatedVideo,
    UnsupportedFrameRate as UnsupportedFrameRate,
    VideoError as VideoError,
    VideoTooLarge as VideoTooLarge,
)
