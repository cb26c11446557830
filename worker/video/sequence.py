"""A folder or a plain tar of JPEG or PNG pictures as a video."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import av

from shoal.errors import CheckpointUnusable, NoFrames, NotAVideo, TruncatedVideo
from shoal.frames import natural_key
from worker.video.frame import VideoInfo
from worker.video.planes import Decoded, orientation_of
from worker.video.position import Mark
from worker.video.probe import Limits

CODECS = {".jpg": "mjpeg", ".jpeg": "mjpeg", ".png": "png"}
MAX_PICTURE_BYTES = 1 << 28  # one compressed picture; more is no picture


class Entry(NamedTuple):
    """One picture, not yet read. In a folder ``offset`` is 0."""

    name: str
    offset: int
    size: int


def is_tar(path: Path) -> bool:
    """Whether it is an uncompressed tar: 'ustar' at byte 257 (POSIX.1-1988 and later)."""
    with path.open("rb") as file:
        return file.read(262)[257:] == b"ustar"


class PictureSequence:
    """Pictures read one by one, in the natural order of their names, at a given rate.

    Members of a tar are read where they lie in the file. Links and hidden names are left out.

    Attributes:
        info: size of the first picture; the rate is the one asked for.
        decode_errors: pictures that could not be decoded; their places in time stay empty.
        missing_s: one frame if the tar was cut off, and what could not be decoded so far.
        truncated: whether the tar was cut off; refused unless allowed.
    """

    def __init__(
        self, path: Path, limits: Limits, *, fps: float, allow_truncated: bool = False
    ) -> None:
        """List the pictures and decode the first.

        Raises:
            NoFrames, NotAVideo, TruncatedVideo, UnsupportedFrameRate, VideoTooLarge: as the
            names say.
        """
        self.decode_errors = 0
        self._next = 0  # index of the picture to read next
        self._path = path
        self._limits = limits
        self._fps = fps
        limits.check_rate(fps)
        self._entries, self.truncated = _list_folder(path) if path.is_dir() else _list_tar(path)
        if self.truncated and not allow_truncated:
            raise TruncatedVideo(f"{path.name} is a tar that ends in the middle of a member")
        if not self._entries:
            raise NoFrames(f"{path.name} holds no .jpg or .png pictures")
        limits.check_duration(len(self._entries) / fps)
        self._file: BinaryIO | None = None if path.is_dir() else path.open("rb")
        try:
            self.info = self._describe()
        except BaseException:
            self.close()
            raise

    @property
    def missing_s(self) -> float:
        """Seconds of what could not be read so far."""
        return (self.decode_errors + self.truncated) / self._fps

    def pictures(self) -> Iterator[Decoded]:
        """Yield every picture that can be decoded, from the current place on."""
        for index in range(self._next, len(self._entries)):
            self._next = index + 1
            picture = self._decode(self._entries[index])
            if picture is None:
                self.decode_errors += 1
            else:
                yield Decoded(index, index / self._fps, picture, orientation_of(picture))

    def mark(self) -> Mark:
        """The place after the picture yielded last."""
        return Mark(self._next - 1, decode_errors=self.decode_errors)

    def skip_to(self, index: int, on_picture: Callable[[], None]) -> None:
        """Pass by the pictures before this one unread; see ``Reader.skip_to``."""
        self._next = min(index, len(self._entries))

    def resume(
        self, mark: Mark, is_it: Callable[[Decoded], bool], on_picture: Callable[[], None]
    ) -> None:
        """Read on after a place of an earlier run; see ``Reader.resume``."""
        if mark.index >= len(self._entries):
            raise CheckpointUnusable(f"there is no picture {mark.index}")
        self._next = mark.index + 1
        self.decode_errors = mark.decode_errors

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _describe(self) -> VideoInfo:
        first = self._decode(self._entries[0])
        if first is None:
            raise NotAVideo(f"{self._entries[0].name} is not a picture that can be read")
        orientation = orientation_of(first)
        width, height = orientation.size(first)
        self._limits.check_size(width, height)
        return VideoInfo(
            width=width,
            height=height,
            fps=self._fps,
            duration_s=len(self._entries) / self._fps,
            frames=len(self._entries),
            codec="png" if self._entries[0].name.lower().endswith(".png") else "jpeg",
            rotation=orientation.degrees,
        )

    def _decode(self, entry: Entry) -> av.VideoFrame | None:
        data = self._read(entry)
        self._limits.check_size(*_announced_size(data))
        codec = CODECS[Path(entry.name).suffix.lower()]
        decoder = av.CodecContext.create(codec, "r")
        assert isinstance(decoder, av.VideoCodecContext)
        decoder.options = self._limits.decoder_options
        try:
            # PyAV gives a picture without a parser only when the decoder is asked twice.
            pictures = decoder.decode(av.Packet(data)) + decoder.decode(None)
        except av.FFmpegError:
            return None
        return pictures[0] if pictures else None

    def _read(self, entry: Entry) -> bytes:
        if self._file is None:
            with (self._path / entry.name).open("rb") as file:
                return file.read(MAX_PICTURE_BYTES)
        self._file.seek(entry.offset)
        return self._file.read(min(entry.size, MAX_PICTURE_BYTES))


def _is_picture(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in CODECS and not path.name.startswith(".")


def _list_folder(path: Path) -> tuple[list[Entry], bool]:
    entries = [
        Entry(item.name, 0, 0)
        for item in path.iterdir()
        if _is_picture(item.name) and item.is_file() and not item.is_symlink()
    ]
    return sorted(entries, key=lambda entry: natural_key(entry.name)), False


def _list_tar(path: Path) -> tuple[list[Entry], bool]:
    """The pictures in a tar, and whether it was cut off."""
    entries, size, cut_off = [], path.stat().st_size, False
    try:
        with tarfile.open(path, "r:") as tar:
            while member := tar.next():
                tar.members = []  # type: ignore[attr-defined]  # it would keep them all
                if member.isreg() and not member.issparse() and _is_picture(member.name):
                    entries.append(Entry(member.name, member.offset_data, member.size))
            cut_off = not _ends_here(path, tar.offset)
    except tarfile.ReadError:
        cut_off = True
    whole = [entry for entry in entries if entry.offset + entry.size <= size]
    cut_off = cut_off or len(whole) < len(entries)
    return sorted(whole, key=lambda entry: natural_key(entry.name)), cut_off


def _ends_here(path: Path, offset: int) -> bool:
    """Whether a block of zeros follows, as at the end of every whole tar (POSIX, pax format).

    ``tarfile`` takes a header that cannot be read for the end as well.
    """
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _announced_size(data: bytes) -> tuple[int, int]:
    """Width and height in the header of a PNG or JPEG, (0, 0) if there is none.

    PNG: the IHDR chunk. JPEG: the first frame header, SOF0 to SOF15 (ITU-T T.81, B.2.2).
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = data[position + 5 : position + 7], data[position + 7 : position + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return 0, 0
