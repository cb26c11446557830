"""Videos, good and bad, made on the fly.

Every picture says which one it is: ``picture_number`` reads the number back after encoding.
"""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av import AudioFrame, VideoFrame
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

WIDTH, HEIGHT = 160, 120
CELLS = 8  # the picture's number in binary: dark and bright cells in the left half of row 0

Rgb = NDArray[np.uint8]


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> Rgb:
    """(height, width, 3): green, a red right half, a blue bottom quarter; its number on top."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 1] = 90
    rgb[:, width // 2 :, 0] = 180
    rgb[height * 3 // 4 :, :, 2] = 200
    cell = width // 2 // CELLS
    for bit in range(CELLS):
        if number >> bit & 1:
            rgb[:cell, bit * cell : (bit + 1) * cell] = 255
        else:
            rgb[:cell, bit * cell : (bit + 1) * cell] = 0
    return rgb


def picture_number(decoded: av.VideoFrame) -> int:
    """The number (0 to 255) in a decoded picture that is upright."""
    grey = decoded.to_ndarray(format="gray")
    cell = decoded.width // 2 // CELLS
    middles = [grey[cell // 2, bit * cell + cell // 2] for bit in range(CELLS)]
    return sum(1 << bit for bit, value in enumerate(middles) if value > 128)


def add_video(
    container: OutputContainer,
    codec: str,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    *,
    fps: int = 25,
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> VideoStream:
    """A video stream, ``options`` are those of its encoder."""
    stream = container.add_stream(codec, rate=fps, options=options)
    assert isinstance(stream, VideoStream)
    stream.width, stream.height = size
    stream.pix_fmt = pixel_format
    return stream


def seconds(timed: VideoFrame | AudioFrame) -> float:
    """When a decoded frame is shown or heard."""
    assert timed.pts is not None
    assert timed.time_base is not None
    return float(timed.pts * timed.time_base)


def rgb(decoded: VideoFrame) -> Rgb:
    return np.asarray(decoded.to_ndarray(format="rgb24"), np.uint8)


def write_video(
    path: Path,
    frames: int = 50,
    fps: int = 25,
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: Sequence[float] | None = None,
    pixel_aspect: Fraction = Fraction(1),
    options: dict[str, str] | None = None,
) -> None:
    """Numbered pictures; the suffix of ``path`` chooses the container.

    Args:
        times: seconds of each frame, instead of a constant rate; ``frames`` is ignored then.
        options: of the container.
    """
    times = times if times is not None else [number / fps for number in range(frames)]
    time_base = Fraction(1, 90_000)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = add_video(container, codec, size, fps=fps, pixel_format=pixel_format)
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        if codec != "mpeg4":
            stream.codec_context.time_base = time_base
        for number, time_s in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            if codec == "mpeg4":
                frame.pts = number
            else:
                frame.pts, frame.time_base = round(time_s / time_base), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_noise(path: Path, frames: int) -> None:
    """Pictures that cannot be compressed: several kB each, also once they are encoded again."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = add_video(container, "libx264")
        for _ in range(frames):
            noise = random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())


def write_variable(path: Path, times: Sequence[float]) -> None:
    """A frame at each of these times, in seconds."""
    write_video(path, times=times, fps=30)


# Display matrices (a b c d of ISO/IEC 14496-12, 8.3.2) by degrees counter-clockwise.
MATRICES = {0: (1, 0, 0, 1), 90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), 270: (0, 1, -1, 0)}
MIRRORED = (-1, 0, 0, 1)


def write_rotated(path: Path, matrix: tuple[int, int, int, int], frames: int = 10) -> None:
    """An mp4 whose header says that its pictures must be turned by ``matrix`` (a b c d)."""
    write_video(path, frames=frames)
    data = bytearray(path.read_bytes())
    # tkhd, version 0: the matrix comes 40 bytes after the type and its four version bytes.
    start = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def write_audio(path: Path, seconds: float = 2.0) -> None:
    """Silence."""
    rate = 48_000
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mp2" if path.suffix == ".ts" else "aac", rate=rate)
        for start in range(0, round(seconds * rate), 1024):
            samples = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_empty_mp4(path: Path) -> None:
    """An mp4 that announces a picture track and holds no picture."""
    with av.open(str(path), "w", format="mp4") as container:
        add_video(container, "libx264")
        container.start_encoding()


def write_resized(path: Path, sizes: Iterable[tuple[int, int]] = ((160, 120), (80, 60))) -> None:
    """MPEG-TS whose pictures change their size: recordings joined end to end."""
    data = b""
    for number, size in enumerate(sizes):
        part = path.with_name(f"{path.stem}-{number}.ts")
        write_video(part, frames=50, size=size)
        data += part.read_bytes()
        part.unlink()
    path.write_bytes(data)


def write_without_times(path: Path, frames: int = 20) -> None:
    """IVF (32 bytes of header, then 12 before each frame) whose frames are all at time 0."""
    write_video(path, frames=frames, codec="libvpx")
    data = bytearray(path.read_bytes())
    position = 32
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "little")
        data[position + 4 : position + 12] = bytes(8)
        position += 12 + length
    path.write_bytes(data)


def cut(path: Path, share: float) -> None:
    """Keep only the first ``share`` of a file's bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def damage(path: Path, packets: Iterable[int]) -> None:
    """Overwrite these packets of an mp4, counted in decoding order."""
    with av.open(str(path)) as container:
        places = [
            (packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size
        ]
    data = bytearray(path.read_bytes())
    for number in packets:
        position, size = places[number]
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)


def write_truncated_mp4(path: Path, share: float = 0.5) -> None:
    """Index first, then the pictures, of which the last are missing: 8 s are announced."""
    write_video(path, frames=200, options={"movflags": "faststart"})
    cut(path, share)


def write_mp4_without_index(path: Path) -> None:
    """Index last, and cut off: what a recorder leaves that lost its power."""
    write_video(path, frames=100)
    cut(path, 0.5)


def write_truncated_mkv(path: Path, share: float = 0.5) -> None:
    write_video(path, frames=200)
    cut(path, share)


# --- pictures as a video ---------------------------------------------------------------------


def jpeg(number: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A JPEG of ``picture(number)``."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="image2pipe") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(picture(number, width, height), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def png(number: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A PNG of ``picture(number)``."""
    codec = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "rgb24"
    codec.time_base = Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(picture(number, width, height), format="rgb24")
    return b"".join(bytes(packet) for packet in (*codec.encode(frame), *codec.encode(None)))


def write_folder(path: Path, frames: int = 12) -> None:
    """JPEGs named frame1.jpg, frame2.jpg, ..., frame10.jpg, ..."""
    path.mkdir()
    for number in range(frames):
        (path / f"frame{number + 1}.jpg").write_bytes(jpeg(number))


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """A plain tar of these names and contents."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def write_frames_tar(path: Path, frames: int = 12) -> None:
    write_tar(path, ((f"frame{number + 1}.jpg", jpeg(number)) for number in range(frames)))


# --- every file that is refused, with the code -----------------------------------------------

Writer = Callable[[Path], None]


def text(content: str) -> Writer:
    """A writer of this text."""

    def write(path: Path) -> None:
        path.write_text(content)

    return write


def _playlist(path: Path) -> None:
    other = path.with_name("other.ts")
    write_video(other)
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n")


def _concat_script(path: Path) -> None:
    other = path.with_name("other.mp4")
    write_video(other)
    path.write_text(f"ffconcat version 1.0\nfile '{other}'\n")


def _broken_folder(path: Path) -> None:
    path.mkdir()
    (path / "1.jpg").write_bytes(b"no picture")


def _folder_without_pictures(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("no picture")


def _folder_of_two_sizes(path: Path) -> None:
    write_folder(path, frames=2)
    (path / "frame3.jpg").write_bytes(jpeg(2, 80, 60))


def _cut_tar(path: Path) -> None:
    write_frames_tar(path)
    cut(path, 0.5)


BAD_VIDEOS: dict[str, tuple[Writer, str]] = {
    "text.mp4": (text("This is no video.\n" * 100), "not_a_video"),
    "zero-bytes.mp4": (text(""), "not_a_video"),
    "playlist.m3u8": (_playlist, "not_a_video"),
    "playlist-named.mp4": (_playlist, "not_a_video"),
    "concat.txt": (_concat_script, "not_a_video"),
    "concat-named.mp4": (_concat_script, "not_a_video"),
    "sound.m4a": (write_audio, "audio_only"),
    "sound.mkv": (write_audio, "audio_only"),
    "no-pictures.mp4": (write_empty_mp4, "no_frames"),
    "cut.mp4": (write_truncated_mp4, "truncated_video"),
    "cut.mkv": (write_truncated_mkv, "truncated_video"),
    "no-index.mp4": (write_mp4_without_index, "truncated_video"),
    "resized.ts": (write_resized, "resolution_changed"),
    "no-times.ivf": (write_without_times, "unsupported_frame_rate"),
    "rate-1000.mp4": (lambda path: write_video(path, 100, fps=1000), "unsupported_frame_rate"),
    "folder-broken": (_broken_folder, "not_a_video"),
    "folder-empty": (_folder_without_pictures, "no_frames"),
    "folder-two-sizes": (_folder_of_two_sizes, "resolution_changed"),
    "cut.tar": (_cut_tar, "truncated_video"),
    "no-pictures.tar": (lambda path: write_tar(path, [("a.txt", b"-")]), "no_frames"),
}
