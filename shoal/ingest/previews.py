"""Validates requests for previews, as the job that each stands for is validated."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from shoal import engines
from shoal.errors import NoWorker, PreviewUnsupported
from shoal.ingest.submissions import FoundVideo, ValidatedRequest
from shoal.model.preview import PreviewRequest, PreviewSpec
from shoal.model.source_url import is_web
from shoal.model.worker import WorkerInfo

WITHOUT_PREVIEW = (".tar", ".webp", "/")  # pictures, not files with an index of their frames


def check_source(uri: str) -> None:
    """
    Raises:
        PreviewUnsupported: by its name it is a sequence of pictures.
    """
    if urlsplit(uri).path.lower().endswith(WITHOUT_PREVIEW):
        raise PreviewUnsupported("there are no previews of folders and archives of pictures")


def check_can_answer(asked: ValidatedRequest, workers: Iterable[WorkerInfo]) -> None:
    """
    Raises:
        UnsupportedByEngine: the engine has no previews.
        NoWorker: no worker is connected, or none with the engine.
        UnknownPrompt, InvalidPrompt, UnsupportedByEngine: none can do what is asked for.
    """
    engine, used = asked.options.engine, asked.features | {engines.Feature.PREVIEW}
    engines.check(engine, asked.prompts, used)
    loaded = [worker.engine for worker in workers if not worker.draining]
    if engine == engines.AUTO and loaded:
        return engines.check_loaded(loaded, asked.prompts, used)
    if not any(each in ("", engine) for each in loaded):
        which = "" if engine == engines.AUTO else f" with the engine {engine!r}"
        raise NoWorker(f"no worker{which} is connected")
    return None


def specify_preview(
    request: PreviewRequest, asked: ValidatedRequest, found: FoundVideo, preview_id: str
) -> PreviewSpec:
    return PreviewSpec(
        id=preview_id,
        uri=request.uri if is_web(request.uri) else found.video.uri,
        size=found.video.size,
        prompts=asked.prompts,
        objects=asked.objects,
        exemplars=asked.exemplars,
        frames=request.frames,
        times_s=tuple(request.times_s),
        score_threshold=request.score_threshold,
        engine=request.engine,
        draw=request.draw,
    )
