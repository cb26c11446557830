"""Pictures and tars from hostile hands: read as what they are, or refused by name."""

from __future__ import annotations

import contextlib
import io
import tarfile
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from shoal.errors import VideoError
from tests import media
from tests.security import picture_bombs
from tests.security.bombs import Maker
from worker.video.colour import Converter, colours_of
from worker.video.planes import fingerprint, orientation_of, upright
from worker.video.source import open_source

# --- pictures ---------------------------------------------------------------------------------


def raw_picture(data: bytes, codec: str) -> av.VideoFrame:
    """The picture as FFmpeg decodes the whole file."""
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    return (decoder.decode(av.Packet(data)) + decoder.decode(None))[0]


ORIENTED = [
    each
    for tiff in (
        picture_bombs.exif_orientation(value, order) for order in "<>" for value in range(1, 9)
    )
    for each in (
        ("1.jpg", picture_bombs.jpeg_with(picture_bombs.exif_segment(tiff))),
        ("1.png", picture_bombs.png_with(picture_bombs.png_chunk(b"eXIf", tiff))),
    )
]


@pytest.mark.parametrize(("name", "data"), ORIENTED, ids=[name for name, _ in ORIENTED])
def test_pictures_stay_what_they_are_and_are_turned(tmp_path: Path, name: str, data: bytes) -> None:
    media.write_tar(tmp_path / "a.tar", [(name, data)])
    with open_source(tmp_path / "a.tar", sample_fps=0) as source:
        (frame,) = source.frames()
    expected = raw_picture(data, "png" if name.endswith("png") else "mjpeg")
    converted = Converter(colours_of(expected).sdr).convert(expected)
    turned = upright(converted, orientation_of(expected))
    assert fingerprint(frame.picture) == fingerprint(turned)


CHUNKS = st.lists(
    st.tuples(
        st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"sPLT", b"acTL", b"fdAT"]),
        st.binary(max_size=200),
    ),
    max_size=5,
)
SEGMENTS = st.lists(
    st.tuples(
        st.integers(0xE0, 0xFE).filter(lambda m: m not in (0xE0, 0xEE)), st.binary(max_size=200)
    ),
    max_size=5,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CHUNKS)
def test_no_chunk_beside_the_pixels_changes_a_png(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[tuple[bytes, bytes]]
) -> None:
    data = picture_bombs.png_with(*(picture_bombs.png_chunk(*each) for each in chunks))
    assert fingerprint_of(data, "1.png", tmp_path_factory) == fingerprint_of(
        media.png(1), "1.png", tmp_path_factory
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SEGMENTS)
def test_no_segment_beside_the_pixels_changes_a_jpeg(
    tmp_path_factory: pytest.TempPathFactory, segments: list[tuple[int, bytes]]
) -> None:
    data = picture_bombs.jpeg_with(*(picture_bombs.segment(*each) for each in segments))
    assert fingerprint_of(data, "1.jpg", tmp_path_factory) == fingerprint_of(
        media.jpeg(1), "1.jpg", tmp_path_factory
    )


def fingerprint_of(data: bytes, name: str, folders: pytest.TempPathFactory) -> int:
    folder = folders.mktemp("picture")
    (folder / name).write_bytes(data)
    with open_source(folder, sample_fps=0) as source:
        (frame,) = source.frames()
    return fingerprint(frame.picture)


# --- tars -------------------------------------------------------------------------------------

DAMAGED: dict[str, Maker] = {
    "pax-no-length": lambda: picture_bombs.pax(b"x path=1.png\n"),
    "pax-length-zero": lambda: picture_bombs.pax(b"0 a\n"),
    "pax-length-short": lambda: picture_bombs.pax(b"3 path=1.png\n"),
    "pax-length-long": lambda: picture_bombs.pax(b"99999 path=1.png\n"),
    "pax-length-huge": lambda: picture_bombs.pax(b"9" * 5000 + b" path=1.png\n"),
    "pax-size-negative": lambda: picture_bombs.pax(b"12 size=-99\n"),
    "pax-size-huge": lambda: picture_bombs.pax(b"30 size=99999999999999999999\n"),
    "pax-size-text": lambda: picture_bombs.pax(b"12 size=abc\n"),
    "pax-sparse-map": lambda: picture_bombs.pax(b"25 GNU.sparse.map=1,x,3\n"),
    "pax-sparse-size": lambda: picture_bombs.pax(b"25 GNU.sparse.size=xxxx\n"),
    "pax-digits": lambda: picture_bombs.pax(b"4514 path=" + b"1" * 4500 + b".png\n"),
    "size-negative": lambda: picture_bombs.tar_with(
        picture_bombs.tar_header(b"0", b"\xff" * 12), b""
    ),
    "size-huge": lambda: picture_bombs.tar_with(
        picture_bombs.tar_header(b"0", b"\x80" + b"\xff" * 11), b""
    ),
    "size-text": lambda: picture_bombs.tar_with(picture_bombs.tar_header(b"0", b"zzz"), b""),
    "sparse": lambda: picture_bombs.tar_with(picture_bombs.tar_header(b"S", 10), b""),
    "unknown-type": lambda: picture_bombs.tar_with(picture_bombs.tar_header(b"Q", 10), b""),
}


def read_tar(path: Path, data: bytes) -> None:
    """Open a tar and read it; whatever is amiss has a name."""
    path.write_bytes(data)
    with (
        contextlib.suppress(VideoError),
        open_source(path, sample_fps=0, allow_truncated=True) as source,
    ):
        list(source.frames())


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_tar_has_a_name(tmp_path: Path, kind: str) -> None:
    read_tar(tmp_path / "a.tar", DAMAGED[kind]())


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=200,
)
@given(
    kind=st.sampled_from(b"0157gxLKSVX"),
    size=st.one_of(st.integers(0, 8**11 - 1), st.binary(min_size=12, max_size=12)),
    name=st.binary(max_size=100).map(lambda name: b"1.png" if len(name) % 2 else name),
    body=st.one_of(
        st.binary(max_size=600),
        st.from_regex(
            rb"\d{1,6} (path|size|GNU\.sparse\.(map|size))=[-0-9a,]{0,30}\n", fullmatch=True
        ),
    ),
)
def test_any_header_of_a_tar_is_read_or_has_a_name(
    tmp_path: Path, kind: int, size: int | bytes, name: bytes, body: bytes
) -> None:
    for each in (size, len(body)):
        read_tar(
            tmp_path / "a.tar",
            picture_bombs.tar_with(picture_bombs.tar_header(bytes([kind]), each, name), body),
        )


def test_long_names_of_both_kinds_are_read(tmp_path: Path) -> None:
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        path = tmp_path / "long.tar"
        with tarfile.open(path, "w", format=form) as tar:
            for number in (10, 9):
                member = tarfile.TarInfo(f"{'x' * 300}{number}.png")
                data = media.png(number)
                member.size, member.mtime = len(data), 1.5
                tar.addfile(member, io.BytesIO(data))
        with open_source(path, sample_fps=0) as source:
            numbers = [media.picture_number(frame.picture) for frame in source.frames()]
        assert numbers == [9, 10]
