"""A folder or a plain tar of JPEG, PNG or WebP pictures as a video."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import av

from shoal.errors import CheckpointUnusable, NoFrames, NotAVideo, TruncatedVideo
from shoal.storage.frames import FRAME_NAMES, natural_key
from worker.video.colour import colours_of
from worker.video.frame import VideoInfo
from worker.video.pictures import MAX_JPEG_BYTES, PNG_SIGNATURE, plain_jpeg, plain_png, plain_webp
from worker.video.planes import Decoded, orientation_of
from worker.video.position import Mark
from worker.video.probe import VideoLimits
from worker.video.tar import TarMember, TarReader

CODECS = {".jpg": "mjpeg", ".jpeg": "mjpeg", ".png": "png", ".webp": "webp"}
MAX_NAMES_BYTES = 1 << 28  # of the list of names beside a fetched folder


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
        self, path: Path, limits: VideoLimits, *, fps: float, allow_truncated: bool = False
    ) -> None:
        """List the pictures and decode the first.

        Raises:
            NoFrames, NotAVideo, TruncatedVideo, UnsupportedFrameRate, VideoBomb, VideoTooLarge:
            as the names say.
        """
        self.decode_errors = 0
        self.left_out: tuple[str, ...] = ()
        self._next = 0  # index of the picture to read next
        self._path = path
        self._limits = limits
        self._fps = fps
        limits.check_rate(fps)
        self._entries, self.truncated = _list_folder(path) if path.is_dir() else _list_tar(path)
        if self.truncated and not allow_truncated:
            raise TruncatedVideo(f"{path.name} is a tar that was cut off, or damaged")
        if not self._entries:
            raise NoFrames(f"{path.name} holds no .jpg, .png or .webp pictures")
        limits.check_duration(len(self._entries) / fps)
        self._names = _original_names(path, len(self._entries))
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
                orientation, name = orientation_of(picture), self._name(index)
                yield Decoded(index, index / self._fps, picture, orientation, name)

    def _name(self, index: int) -> str:
        return self._names[index] if self._names else self._entries[index].name

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
            codec=CODECS[Path(self._entries[0].name).suffix.lower()].replace("mjpeg", "jpeg"),
            rotation=orientation.degrees,
            colours=colours_of(first),
        )

    def _decode(self, entry: TarMember) -> av.VideoFrame | None:
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

    def _read(self, entry: TarMember) -> bytes:
        """The picture, without what its pixels do not need."""
        if self._file is not None:
            self._file.seek(entry.offset)
            return _read_plain(self._file, entry.size)
        path = self._path / entry.name
        with path.open("rb") as file:
            return _read_plain(file, path.stat().st_size)


def _read_plain(file: BinaryIO, size: int) -> bytes:
    start = file.tell()
    signature = file.read(12)
    file.seek(start)
    if signature.startswith(PNG_SIGNATURE):
        return plain_png(file, size)
    data = file.read(min(size, MAX_JPEG_BYTES))
    is_webp = signature[:4] == b"RIFF" and signature[8:] == b"WEBP"
    return plain_webp(data) if is_webp else plain_jpeg(data)


def _is_picture(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in CODECS and not path.name.startswith(".")


def _list_folder(path: Path) -> tuple[list[TarMember], bool]:
    """The pictures in a folder, read from their start, and that none is missing."""
    entries = [
        TarMember(item.name, 0, 0)
        for item in path.iterdir()
        if _is_picture(item.name) and item.is_file() and not item.is_symlink()
    ]
    return _in_order(entries), False


def _original_names(path: Path, count: int) -> list[str]:
    """What the pictures of a folder are called where they come from, if that is noted beside it."""
    noted = path.with_name(FRAME_NAMES)
    if not path.is_dir() or not noted.is_file() or noted.stat().st_size > MAX_NAMES_BYTES:
        return []
    try:
        names = json.loads(noted.read_bytes())
    except ValueError:
        return []
    is_sound = isinstance(names, list) and all(isinstance(each, str) for each in names)
    return names if is_sound and len(names) == count else []


def _list_tar(path: Path) -> tuple[list[TarMember], bool]:
    """The pictures in a tar, and whether it was cut off."""
    size = path.stat().st_size
    with path.open("rb") as file:
        tar = TarReader(file)
        entries = [entry for entry in tar if _is_picture(entry.name)]
    whole = [entry for entry in entries if entry.offset + entry.size <= size]
    return _in_order(whole), not tar.ended or len(whole) < len(entries)


def _in_order(entries: list[TarMember]) -> list[TarMember]:
    return sorted(entries, key=lambda entry: natural_key(entry.name))


def _announced_size(data: bytes) -> tuple[int, int]:
    """Width and height in the header of a PNG, JPEG or WebP, (0, 0) if there is none.

    PNG: the IHDR chunk. JPEG: the first frame header, SOF0 to SOF15 (ITU-T T.81, B.2.2).
    WebP: the first chunk (RFC 9649, 2.5 to 2.7).
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_size(data)
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


def _webp_size(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8X":
            width, height = data[24:27], data[27:30]
            return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
        case b"VP8L":  # after a byte of signature, 14 bits each
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":  # after three bytes of frame tag and three of start code, 14 bits each
            width, height = data[26:28], data[28:30]
            return (
                int.from_bytes(width, "little") & 0x3FFF,
                int.from_bytes(height, "little") & 0x3FFF,
            )
    return 0, 0
