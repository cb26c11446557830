"""Which decoders and files a video's file may reach: those that are listed, and itself."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from av.audio.codeccontext import AudioCodecContext
from av.codec import codecs_available
from av.codec.codec import Codec
from av.video.codeccontext import VideoCodecContext

from shoal.errors import UnsupportedCodec, VideoError
from shoal.results.layout import AudioMetadata
from tests import media
from worker.video.codecs import OPTIONS, PICTURES, SOUND
from worker.video.probe import VideoLimits, open_container
from worker.video.sound import How, add_sound
from worker.video.source import open_source

# What AVI files call their codecs (FFmpeg's riff.c): listed and unlisted ones, and made-up ones.
FOURCCS = [
    each.ljust(4)
    for line in (
        "AV01 VP80 VP90 mpg1 mpg2 FMP4 XVID DIVX H263 I263 MPG4 MP42 MP43 WMV1 WMV2 WMV3 WVC1 MJPG",
        "apch AVdn CFHD dvsd FFV1 HFYU FFVH ULRG v210 MPNG gif WEBP FLV1 VP6F VP62 RV10 RV20 RV30",
        "RV40 theo cvid",
        "SNOW CRAM MSVC RLE IV31 IV32 IV41 IV50 VP30 VP31 VP40 VP50 VP70 ASV1 ASV2 VCR1 CLJR mszh",
        "zlib 8BPS cyuv DXGM tscc tsc2 ZMBV CSCD LOCO WNV1 AASC FRWU r210 v308 v408 v410 yuv4 y41p",
        "MVHA M8RG MAGY LAGS DRAC Hap1 ICOD SPV1 XWD1 VMnc KGV1 qpeg TM20 duck CAVS AVS1 mmes DUCK",
        "ijpg pgvv MV30 mvdv AMVV G2M4 SCPR MTS2 MSS1 MSS2 dxtr DXD3 FICV HQX1 CUVC CLLC PIM1 VDTZ",
        "FPS1 UMP4 rpza smc sp54 SP5X LEAD NM7A GEOX GPJM XVIX dmb1 VYUY BIT0 VVC1 EVC1 ZZZZ ABCD",
    )
    for each in line.split()
]
STREAM_HEADER = "<4s4sIHHIIIIIIII4H"


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def write_avi(path: Path, fourcc: str, *, sound_tag: int = 0) -> None:
    """An AVI of 5 pictures that are no pictures, in any codec; and sound with a WAVE format tag."""
    tag = fourcc.encode("latin-1")
    frames = [bytes(range(200)) for _ in range(5)]
    streams = 1 + bool(sound_tag)
    main = struct.pack("<14I", 40_000, 0, 0, 0x10, 5, 0, streams, 0, 64, 64, 0, 0, 0, 0)
    header = struct.pack(
        "<4s4sIHHIIIIIIII4H", b"vids", tag, 0, 0, 0, 0, 1, 25, 0, 5, 0, 0, 0, *[0] * 4
    )
    bitmap = struct.pack("<IiiHH4sIiiII", 40, 64, 64, 1, 24, tag, 64 * 64 * 3, 0, 0, 0, 0)
    lists = chunk(b"LIST", b"strl" + chunk(b"strh", header) + chunk(b"strf", bitmap))
    if sound_tag:
        times = (0, 1, 8000, 0, 8000, 0, 0, 1, 0, 0, 0, 0)
        header = struct.pack(STREAM_HEADER, b"auds", bytes(4), 0, 0, 0, *times)
        wave = struct.pack("<HHIIHHH", sound_tag, 1, 8000, 8000, 1, 8, 0)
        lists += chunk(b"LIST", b"strl" + chunk(b"strh", header) + chunk(b"strf", wave))
    data = b"".join(chunk(b"00dc", frame) for frame in frames)
    if sound_tag:
        data += b"".join(chunk(b"01wb", frame) for frame in frames)
    body = b"AVI " + chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + lists)
    path.write_bytes(chunk(b"RIFF", body + chunk(b"LIST", b"movi" + data)))


def decoders(kind: str) -> Iterator[str]:
    for name in sorted(codecs_available):
        try:
            if Codec(name, "r").type == kind:
                yield name
        except ValueError:  # an encoder
            continue


def test_every_listed_decoder_is_one_of_this_ffmpeg() -> None:
    optional = {"libopencore_amrnb", "libopencore_amrwb", "libopus", "webp"}
    assert not PICTURES - set(decoders("video")) - optional
    assert not SOUND - set(decoders("audio")) - optional


def opens(name: str) -> bool:
    context: Any = av.CodecContext.create(name, "r")
    if isinstance(context, VideoCodecContext):
        context.width = context.height = 64
    if isinstance(context, AudioCodecContext):
        context.sample_rate, context.layout = 8000, "mono"
    context.options = VideoLimits().decoder_options
    with av.logging.Capture() as told:
        try:
            context.open()
        except (av.FFmpegError, ValueError):
            return not any("whitelist" in text or "allowlist" in text for _, _, text in told)
    return True


@pytest.mark.parametrize("kind", ["video", "audio", "subtitle"])
def test_ffmpeg_itself_opens_the_listed_decoders_and_no_other(kind: str) -> None:
    av.logging.set_level(av.logging.ERROR)
    try:
        found = {name for name in decoders(kind) if opens(name)}
    finally:
        av.logging.set_level(None)
    assert found == (PICTURES | SOUND) & set(decoders(kind))


@pytest.mark.parametrize("fourcc", FOURCCS)
def test_an_avi_reaches_listed_decoders_only(tmp_path: Path, fourcc: str) -> None:
    path = tmp_path / "hostile.avi"
    write_avi(path, fourcc)
    with av.open(str(path)) as unguarded:
        context = unguarded.streams.video[0].codec_context
    name = context.codec.name if context else ""
    if name in PICTURES:
        try:
            container, _ = open_container(path, VideoLimits())
            container.close()
            with open_source(path, sample_fps=0) as source:
                list(source.frames())
        except UnsupportedCodec:
            raise
        except VideoError:
            pass  # there are no pictures in it
    else:
        with pytest.raises(UnsupportedCodec, match=repr(name) if name else "does not know"):
            open_source(path)


def test_the_list_of_codes_leads_to_both_kinds(tmp_path: Path) -> None:
    """The test above would be worth little if they all led to the same few decoders."""
    found = set()
    for fourcc in FOURCCS:
        write_avi(tmp_path / "a.avi", fourcc)
        with av.open(str(tmp_path / "a.avi")) as container:
            context = container.streams.video[0].codec_context
            found.add(context.codec.name if context else "")
    assert len(found & PICTURES) >= 25
    assert len(found - PICTURES) >= 40


def test_a_refused_decoder_is_not_opened_while_ffmpeg_looks_at_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hostile.avi"
    write_avi(path, "SNOW")
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as told, pytest.raises(UnsupportedCodec, match="'snow'"):
            open_source(path)
    finally:
        av.logging.set_level(None)
    assert any("list" in text and "snow" in text for _, _, text in told)


def with_sound(path: Path, codec: str, container: str) -> None:
    with av.open(str(path), "w", format=container) as target:
        video = media.add_video(target, "mpeg4", (64, 64))
        sound = target.add_stream(codec, rate=44100)
        assert isinstance(sound, av.AudioStream)
        sound.layout = "mono"
        for _ in range(25):
            target.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
        frame = av.AudioFrame("s16", "mono", 44100)
        frame.sample_rate, frame.pts = 44100, 0
        resampler = av.AudioResampler(sound.format, "mono", 44100, sound.frame_size or None)
        for each in [*resampler.resample(frame), *resampler.resample(None)]:
            target.mux(sound.encode(each))
        target.mux(video.encode(None))
        target.mux(sound.encode(None))


def sound_added(tmp_path: Path, source: Path, how: How = "keep") -> tuple[bool, AudioMetadata]:
    """Whether a silent video has sound then, and what is said of it."""
    silent = tmp_path / "silent.mp4"
    media.write_video(silent, 25)
    made, told = add_sound(silent, source, tmp_path / f"{how}.mp4", how, 0.0, None)
    with av.open(str(made)) as container:
        return bool(container.streams.audio), told


@pytest.mark.parametrize(("codec", "kept"), [("pcm_s16le", True), ("dfpwm", False)])
def test_sound_that_may_not_be_decoded_is_left_out_and_told(
    tmp_path: Path, codec: str, kept: bool
) -> None:
    source = tmp_path / "source.avi"
    with_sound(source, codec, "avi")
    added, told = sound_added(tmp_path, source)
    assert added is kept
    if kept:
        assert (told.state, told.reason) == ("encoded", "")
    else:
        assert told.state == "lost"
        assert "'dfpwm'" in told.reason
        assert sound_added(tmp_path, source, "mute")[0]  # silence needs no decoder


def test_sound_in_an_unknown_codec_costs_no_job(tmp_path: Path) -> None:
    write_avi(tmp_path / "source.avi", "MJPG", sound_tag=0x7777)
    added, told = sound_added(tmp_path, tmp_path / "source.avi")
    assert not added
    assert told.state == "lost"


def write_mov_of_another_file(path: Path, other: Path) -> None:
    """A mov without pictures of its own, whose data reference (ISO/IEC 14496-12, 8.7.2) is a
    QuickTime alias of ``other``, which has them at the same place."""
    media.write_video(other, 25)
    data = other.read_bytes()
    at = data.index(b"dref") - 4
    assert data[at + 20 : at + 24] == b"url "
    name = str(other).encode()
    alias = bytes(150) + struct.pack(">HH", 2, len(name)) + name + bytes(len(name) % 2)
    alias += struct.pack(">HH", 0xFFFF, 0)
    reference = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    changed = bytearray(data[: at + 16] + reference + data[at + 28 :])
    boxes = [at, *(data.rindex(box, 0, at) - 4 for box in BOXES_AROUND)]
    for start in boxes:
        size = int.from_bytes(changed[start : start + 4], "big") + len(reference) - 12
        changed[start : start + 4] = size.to_bytes(4, "big")
    pictures = changed.index(b"mdat") + 4
    end = boxes[1]
    changed[pictures:end] = bytes(end - pictures)
    path.write_bytes(changed)


BOXES_AROUND = (b"moov", b"trak", b"mdia", b"minf", b"dinf")


def test_a_mov_that_keeps_its_pictures_in_another_file_reads_nothing_of_it(tmp_path: Path) -> None:
    hostile = tmp_path / "hostile.mov"
    write_mov_of_another_file(hostile, tmp_path / "secret.mp4")
    followed = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(hostile), options=followed) as container:
        assert len(list(container.decode(video=0))) == 25  # so it would, where it is let
    with pytest.raises(VideoError):
        open_source(hostile, sample_fps=0, allow_truncated=True)


def test_the_whitelist_names_all() -> None:
    assert set(OPTIONS["codec_whitelist"].split(",")) == PICTURES | SOUND
