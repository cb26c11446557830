"""The calls for uploads and result files."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from shoal.client import resumable
from shoal.client.schemas import ResultFile, ResultFiles, Upload
from shoal.client.transport import OnBytes, Transport
from shoal.errors import SourceNotFound, StorageNotWritable
from shoal.model.names import MAX_UPLOAD_NAME_BYTES, fit_file
from shoal.storage.frames import pack


class FileCalls:
    """Part of ``Client``."""

    _http: Transport

    def upload(self, path: Path | str, on_bytes: OnBytes | None = None) -> Upload:
        """Upload a video, or a folder of JPEG, PNG or WebP frames, to the API.

        A file of 16 MiB or more continues where an earlier call, or an earlier program, stopped.

        Args:
            on_bytes: called with the number of bytes sent so far and in total.

        Returns:
            The stored upload; submit its ``uri``.

        Raises:
            SourceNotFound: the file does not exist or cannot be read.
            NoFrames: the folder has no frames.
        """
        path = Path(path)
        try:
            if path.is_dir():
                with pack(path) as file:
                    return self._http.send(
                        Upload, _upload(path.resolve().name + ".tar"), file, on_bytes
                    )
            with path.open("rb") as file:
                name = fit_file(path.name, MAX_UPLOAD_NAME_BYTES)
                if os.fstat(file.fileno()).st_size >= resumable.MIN_BYTES:
                    return resumable.send(self._http, path, name, file, on_bytes)
                return self._http.send(Upload, _upload(name), file, on_bytes)
        except OSError as error:
            hint = "Check the path and its permissions."
            raise SourceNotFound(f"cannot read {path}: {error.strerror}", hint=hint) from error

    def results(self, job_id: str) -> Sequence[ResultFile]:
        """The result files of a job; empty until it has succeeded."""
        return self._http.json(ResultFiles, "GET", job_path(job_id) + "/results").items

    def download(
        self, job_id: str, name: str, to: Path | str = ".", on_bytes: OnBytes | None = None
    ) -> Path:
        """Download a result file. It is renamed to its final name when it is complete.

        Args:
            name: ``ResultFile.name``.
            to: target directory, created if needed.
            on_bytes: called with the number of bytes received so far and in total.

        Returns:
            The path of the file.

        Raises:
            StorageNotWritable: the directory or the file cannot be written.
        """
        target = Path(to) / Path(name).name
        partial = target.with_name(f".{uuid.uuid4().hex}.partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                self._http.fetch(
                    f"{job_path(job_id)}/results/{quote(name, safe='')}", file, on_bytes
                )
            return partial.replace(target)
        except OSError as error:
            hint = "Choose another directory, or free disk space."
            raise StorageNotWritable(
                f"cannot write {target}: {error.strerror}", hint=hint
            ) from error
        finally:
            with suppress(OSError):  # already renamed, or never created
                partial.unlink()


def job_path(job_id: str) -> str:
    return f"/videos/{quote(job_id, safe='')}"


def _upload(name: str) -> str:
    return f"/uploads/{quote(fit_file(name, MAX_UPLOAD_NAME_BYTES), safe='')}"
