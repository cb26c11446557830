"""The calls for previews."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from shoal.client.transport import Transport, plain
from shoal.model.preview import USUAL_FRAMES, Preview
from shoal.model.prompts import Exemplar, VisualPrompt


class PreviewCalls:
    """What a model finds on a few frames: ``Client.previews``."""

    def __init__(self, transport: Transport) -> None:
        self._http = transport

    def make(
        self,
        uri: str,
        prompts: str | Iterable[str] = (),
        *,
        objects: Iterable[VisualPrompt | Mapping[str, Any]] = (),
        exemplars: Iterable[Exemplar | Mapping[str, Any]] = (),
        frames: int = USUAL_FRAMES,
        times_s: Iterable[float] = (),
        score_threshold: float | None = None,
        engine: str = "auto",
        draw: bool = False,
    ) -> Preview:
        """Ask for a preview and wait for it.

        Args:
            uri: a ``gs://``, ``s3://`` or ``file://`` URI, or ``Upload.uri``.
            prompts: what to find, as one phrase or several.
            objects: visual prompts; their frames are shown as well.
            exemplars: boxes around examples, which apply to all frames; theirs are shown as well.
            frames: number of frames, spread over the video; ignored with ``times_s``.
            times_s: seconds of the frames.
            score_threshold: minimum score; None = what starts a track in a job.
            draw: draw what was found into the pictures.

        Returns:
            The preview, which has ended. Check ``state``: it may have failed.

        Raises:
            ApiError: ``no_worker``: none is connected that could answer.
        """
        body = {
            "uri": uri,
            "prompts": [prompts] if isinstance(prompts, str) else list(prompts),
            "objects": [plain(each) for each in objects],
            "exemplars": [plain(each) for each in exemplars],
            "frames": frames,
            "times_s": list(times_s),
            "score_threshold": score_threshold,
            "engine": engine,
            "draw": draw,
        }
        preview = self._http.json(Preview, "POST", "/previews", json=body)
        while not preview.state.is_final:
            preview = self.get(preview.id)
        return preview

    def get(self, preview_id: str, wait_s: float = 30.0) -> Preview:
        """A preview, after waiting at most so long for its end.

        Raises:
            ApiError: there is none (``preview_not_found``): they are kept for an hour.
        """
        path = f"/previews/{quote(preview_id, safe='')}"
        return self._http.json(Preview, "GET", path, params={"wait_s": wait_s})

    def picture(self, preview: Preview, number: int) -> bytes:
        """The JPEG of the n-th of ``Preview.frames``."""
        return self._http.ask("GET", preview.frames[number].picture).content
