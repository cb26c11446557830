"""Which decoders a video's file may reach. FFmpeg has some 500, and most read formats of games and
devices that are long gone; a hostile file can name any of them. docs/results.md says why each is
here.
"""

from __future__ import annotations

from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from shoal.errors import UnsupportedCodec

# FFmpeg's names of decoders, which are not always those of codecs: 'flv' is Sorenson H.263, 'dca'
# is DTS, 'mp3float' is what it takes for MP3.
PICTURES = frozenset(
    (
        *("h264", "hevc", "libdav1d", "vp8", "vp9"),  # what cameras, phones and the web make today
        *(
            "mpeg1video",
            "mpeg2video",
            "mpeg4",
            "h263",
            "h263i",
            "h263p",
        ),  # discs and TV
        *("msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "wmv3", "vc1"),  # Windows
        *("mjpeg", "prores", "dnxhd", "cfhd", "dvvideo"),  # cameras and editing
        *("ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "v210"),  # archives and science
        *("gif", "apng", "png", "webp"),  # pictures
        *("qtrle", "svq1", "svq3", "cinepak", "theora"),  # QuickTime and Ogg of earlier days
        *("flv", "vp6", "vp6a", "vp6f", "rv10", "rv20", "rv30", "rv40"),  # the web of earlier days
    )
)
SOUND = frozenset(
    (
        *("aac", "aac_latm", "mp3", "mp3float", "mp2", "mp2float", "mp1", "mp1float"),
        *("ac3", "eac3", "dca", "truehd", "mlp", "s302m"),  # discs and TV
        *("opus", "libopus", "vorbis", "flac", "alac", "wavpack", "tta"),
        *("pcm_s8", "pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le"),
        *("pcm_s32be", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_u16le"),
        *("pcm_u16be", "pcm_bluray", "pcm_dvd", "pcm_alaw", "pcm_mulaw"),
        *("adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "adpcm_swf", "adpcm_yamaha"),
        *("g722", "g726", "g726le", "gsm", "gsm_ms"),  # telephones and surveillance cameras
        *("amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb"),  # early mobile phones
        *("wmav1", "wmav2", "wmapro", "wmalossless", "wmavoice"),  # Windows
        *("nellymoser", "speex", "cook"),  # the web of earlier days
    )
)

# For FFmpeg itself, which opens decoders while it looks at a file, and for each that is opened.
OPTIONS = {"codec_whitelist": ",".join(sorted(PICTURES | SOUND))}


def check_pictures(stream: VideoStream, name: str) -> None:
    """
    Args:
        name: the file's.

    Raises:
        UnsupportedCodec: the stream needs a decoder that is not in the list, or that is not there.
    """
    context = stream.codec_context
    if context is None:
        raise UnsupportedCodec(f"{name} holds video in a codec that this FFmpeg does not know")
    if context.codec.name not in PICTURES:
        raise UnsupportedCodec(
            f"{name} holds video in the codec {context.codec.name!r}, which is not opened"
        )


def can_decode(track: AudioStream) -> bool:
    """Whether the sound of a track may be decoded. One that may not is left out."""
    context = track.codec_context
    return context is not None and context.codec.name in SOUND
