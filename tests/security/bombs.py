"""Small files that ask for much memory, by container.

Boxes, elements and chunks are written by hand, for no writer makes such files.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

MANY = 80_000_000  # samples: gigabytes as an index


Maker = Callable[[], bytes]


def box(kind: bytes, *content: bytes) -> bytes:
    """A box of ISO/IEC 14496-12."""
    data = b"".join(content)
    return struct.pack(">I", 8 + len(data)) + kind + data


def full(kind: bytes, flags: int, *content: bytes) -> bytes:
    """A box with version 0 and flags."""
    return box(kind, struct.pack(">I", flags), *content)


def u32(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def table(kind: bytes, *entries: bytes, announced: int | None = None) -> bytes:
    """A table of the sample table box; ``announced`` entries are claimed."""
    return full(kind, 0, u32(len(entries) if announced is None else announced), *entries)


FTYP = box(b"ftyp", b"isom", u32(512), b"isomiso2mp41")
MATRIX = u32(1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
AVC1 = box(
    b"avc1",
    bytes(6),
    struct.pack(">H", 1),
    bytes(16),
    struct.pack(">HH", 160, 120),
    u32(72 << 16, 72 << 16, 0),
    struct.pack(">H", 1),
    bytes(32),
    struct.pack(">Hh", 24, -1),
)


def stbl(count: int, **tables: bytes) -> bytes:
    """The sample table of ``count`` samples of one byte each, all in one chunk.

    Args:
        tables: boxes that replace, or come after, those that there are.
    """
    boxes = {
        "stsd": full(b"stsd", 0, u32(1), AVC1),
        "stts": table(b"stts", u32(count, 1)),
        "stsc": table(b"stsc", u32(1, count, 1)),
        "stsz": full(b"stsz", 0, u32(1, count)),
        "stco": table(b"stco", u32(40)),
    }
    return box(b"stbl", *(boxes | tables).values())


def trak(number: int, sample_table: bytes, *more: bytes) -> bytes:
    """A video track."""
    tkhd = full(
        b"tkhd", 3, u32(0, 0, number, 0, 1000), bytes(16), MATRIX, u32(160 << 16, 120 << 16)
    )
    mdhd = full(b"mdhd", 0, u32(0, 0, 1000, 1000), struct.pack(">HH", 0x55C4, 0))
    hdlr = full(b"hdlr", 0, u32(0), b"vide", bytes(13))
    dref = box(b"dinf", full(b"dref", 0, u32(1), full(b"url ", 1)))
    minf = box(b"minf", full(b"vmhd", 1, bytes(8)), dref, sample_table)
    return box(b"trak", tkhd, *more, box(b"mdia", mdhd, hdlr, minf))


def mp4(*boxes: bytes, after: bytes = b"") -> bytes:
    """An mp4 whose 'moov' holds these boxes."""
    mvhd = full(
        b"mvhd", 0, u32(0, 0, 1000, 1000, 1 << 16, 1 << 24), bytes(8), MATRIX, bytes(24), u32(99)
    )
    return FTYP + box(b"mdat", bytes(4096)) + box(b"moov", mvhd, *boxes) + after


def tracks(count: int, samples: int = MANY, **tables: bytes) -> bytes:
    return mp4(*(trak(n + 1, stbl(samples, **tables)) for n in range(count)))


def edited(samples: int, edits: int) -> bytes:
    """Each edit plays the whole track again; FFmpeg writes the index out for each."""
    elst = table(b"elst", *[u32(samples, 0, 1 << 16)] * edits)
    return mp4(trak(1, stbl(samples), box(b"edts", elst)))


def moof(number: int, samples: int, runs: int = 1) -> bytes:
    """A fragment of samples of one byte each, none of them described."""
    tfhd = full(b"tfhd", 0x020038, u32(1, 1, 1, 0))
    trun = full(b"trun", 1, u32(samples, 0))
    return box(b"moof", full(b"mfhd", 0, u32(number)), box(b"traf", tfhd, *[trun] * runs))


def fragmented(*fragments: bytes) -> bytes:
    mvex = box(b"mvex", full(b"trex", 0, u32(1, 1, 1, 1, 0)))
    empty = stbl(0, stts=table(b"stts"), stsc=table(b"stsc"), stco=table(b"stco"))
    return mp4(trak(1, empty), mvex, after=b"".join(fragments))


def later_trun() -> bytes:
    """The first fragments are what they should be."""
    mdat = box(b"mdat", bytes(200_000))
    good = [moof(n, 100) + mdat for n in range(50)]
    return fragmented(*good, *(moof(n, MANY) + mdat for n in range(50, 60)))


def cmov() -> bytes:
    """A compressed header that announces 3 GB."""
    packed = zlib.compress(bytes(1000))
    inner = box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", u32(3_000_000_000), packed))
    return FTYP + box(b"moov", inner)


def announced_box(kind: bytes) -> bytes:
    """A box in 'udta' that says it has 2 GB."""
    head = struct.pack(">I", 2_000_000_000) + kind + bytes(100)
    return mp4(trak(1, stbl(100)), struct.pack(">I", 2_000_000_008) + b"udta" + head)


def tags_mp4(count: int) -> bytes:
    """As many tags as go into the file."""
    tags = [
        box(b"----", full(b"mean", 0, b"m"), full(b"name", 0, b"%d" % n), box(b"data", bytes(8)))
        for n in range(count)
    ]
    hdlr = full(b"hdlr", 0, u32(0), b"mdirappl", bytes(9))
    return mp4(trak(1, stbl(100)), box(b"udta", full(b"meta", 0, hdlr, box(b"ilst", *tags))))


def cover(picture: bytes) -> bytes:
    """A PNG as cover, which FFmpeg decodes while it opens the file."""
    hdlr = full(b"hdlr", 0, u32(0), b"mdirappl", bytes(9))
    data = box(b"data", u32(14, 0), picture)
    ilst = box(b"ilst", box(b"covr", data))
    return mp4(trak(1, stbl(100)), box(b"udta", full(b"meta", 0, hdlr, ilst)))


# --- Matroska --------------------------------------------------------------------------------


def element(name: str, *content: bytes, announced: int | None = None) -> bytes:
    """An EBML element with an id in hexadecimal and a length of eight bytes."""
    data = b"".join(content)
    length = len(data) if announced is None else announced
    return bytes.fromhex(name) + struct.pack(">Q", 1 << 56 | length) + data


def short(name: str, *content: bytes) -> bytes:
    """An EBML element of fewer than 127 bytes."""
    data = b"".join(content)
    return bytes.fromhex(name) + bytes([0x80 | len(data)]) + data


def mkv(*elements: bytes) -> bytes:
    header = element("1A45DFA3", short("4282", b"matroska"), short("4287", b"\4"))
    info = element("1549A966", short("2AD7B1", b"\x0f\x42\x40"))
    video = short("E0", short("B0", b"\xa0"), short("BA", b"\x78"))
    track = short(
        "AE",
        short("D7", b"\1"),
        short("73C5", b"\1"),
        short("83", b"\1"),
        short("86", b"V_MPEG4/ISO/AVC"),
        video,
    )
    return header + element("18538067", info, element("1654AE6B", track), *elements)


def mkv_tags(count: int) -> bytes:
    tags = [
        short("7373", short("67C8", short("45A3", b"%d" % n), short("4487", b"-")))
        for n in range(count)
    ]
    return mkv(element("1254C367", *tags))


def mkv_cues(count: int) -> bytes:
    cue = short("BB", short("B3", b"\1"), short("B7", short("F7", b"\1"), short("F1", b"\1")))
    return mkv(element("1C53BB6B", *[cue] * count))


def mkv_attachment() -> bytes:
    """One that announces 3 GB."""
    data = element("465C", b"-", announced=3 << 30)
    return mkv(element("1941A469", element("61A7", short("466E", b"a.ttf"), data)))


def mkv_attachments(count: int) -> bytes:
    file = short(
        "61A7",
        short("466E", b"a"),
        short("4660", b"font/ttf"),
        short("46AE", b"\1"),
        short("465C", b"-"),
    )
    return mkv(element("1941A469", *[file] * count))


# --- RIFF, FLV, Ogg, MPEG-TS and others ------------------------------------------------------


def chunk(kind: bytes, *content: bytes) -> bytes:
    """A chunk of RIFF."""
    data = b"".join(content)
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def avi(*in_stream: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """An AVI whose one stream's header list holds these chunks."""
    avih = chunk(b"avih", struct.pack("<14I", 40_000, 0, 0, 0x10, 10, 0, 1, 0, 160, 120, *[0] * 4))
    strh = chunk(
        b"strh", b"vidsH264", struct.pack("<10I4H", 0, 0, 0, 1, 25, 0, 10, 0, 0, 0, *[0] * 4)
    )
    strf = chunk(
        b"strf", struct.pack("<IiiHHIIiiII", 40, 160, 120, 1, 24, 0x34363248, 0, 0, 0, 0, 0)
    )
    strl = chunk(b"LIST", b"strl", strh, strf, *in_stream)
    hdrl = chunk(b"LIST", b"hdrl", avih, strl)
    movi = chunk(b"LIST", b"movi", chunk(b"00dc", bytes(4096)))
    return chunk(b"RIFF", b"AVI ", before, hdrl, movi, after)


def avi_index_of_indexes(indexes: int, entries: int) -> bytes:
    """An index whose entries all name one and the same index."""
    index = chunk(
        b"ix00",
        struct.pack("<HBBI4sQI", 2, 0, 1, entries, b"00dc", 0, 0),
        *[struct.pack("<II", 4000, 1)] * entries,
    )
    first = chunk(b"JUNK", index)
    place = 12 + 8  # 'RIFF', size, 'AVI ' and the head of 'JUNK'
    indx = chunk(
        b"indx",
        struct.pack("<HBBI4s3I", 4, 0, 0, indexes, b"00dc", 0, 0, 0),
        *[struct.pack("<QII", place, len(index), entries)] * indexes,
    )
    return avi(indx, before=first)


def avi_idx1(entries: int) -> bytes:
    entry = struct.pack("<4sIII", b"00dc", 0x10, 4, 1)
    return avi(after=chunk(b"idx1", entry * entries))


def flv(announced: int) -> bytes:
    """Key frame arrays that announce more than there is."""

    def name(text: bytes) -> bytes:
        return struct.pack(">H", len(text)) + text

    def array(text: bytes) -> bytes:
        return name(text) + b"\x0a" + u32(announced) + (b"\0" + bytes(8)) * 100

    keyframes = name(b"keyframes") + b"\3" + array(b"times") + array(b"filepositions")
    data = b"\2" + name(b"onMetaData") + b"\x08" + u32(1) + keyframes
    tag = b"\x12" + struct.pack(">I", len(data))[1:] + bytes(7) + data
    return b"FLV\1\1" + u32(9, 0) + tag + u32(len(tag)) + bytes(2000)


def ogg_page(payload: bytes, serial: int, number: int, flags: int) -> bytes:
    lacing = [255] * (len(payload) // 255) + [len(payload) % 255]
    assert len(lacing) < 256
    head = b"OggS\0" + struct.pack("<BQIII", flags, 0, serial, number, 0) + bytes([len(lacing)])
    return head + bytes(lacing) + payload


def ogg(streams: int) -> bytes:
    """Theora streams without end."""
    head = b"\x80theora\3\2\1" + struct.pack(">HH", 10, 8) + bytes(30)
    return b"".join(ogg_page(head, n, 0, 2) for n in range(streams))


def mpegts(streams: int) -> bytes:
    """A program of very many streams, each of which begins a packet of unknown length."""

    def packet(pid: int, payload: bytes, counter: int = 0) -> bytes:
        return (
            b"\x47" + struct.pack(">H", 0x4000 | pid) + bytes([0x10 | counter]) + payload
        ).ljust(188, b"\xff")

    def crc(data: bytes) -> bytes:
        value = 0xFFFFFFFF
        for byte in data:
            value ^= byte << 24
            for _ in range(8):
                value = (value << 1 ^ (0x04C11DB7 if value & 1 << 31 else 0)) & 0xFFFFFFFF
        return u32(value)

    def section(kind: int, number: int, data: bytes) -> bytes:
        body = struct.pack(">BHHBBB", kind, 0xB000 | len(data) + 9, number, 0xC1, 0, 0) + data
        return b"\0" + body + crc(body)

    programs = range(1, streams // 30 + 1)
    out = b""
    for start in range(0, len(programs), 40):
        group = programs[start : start + 40]
        pat = b"".join(struct.pack(">HH", n, 0xE000 | 0x1000 + n) for n in group)
        out += packet(0, section(0, 1, pat))
        for n in group:
            pids = range(0x20 + n * 30, 0x20 + n * 30 + 30)
            pmt = struct.pack(">HH", 0xE000 | pids[0], 0xF000)
            pmt += b"".join(struct.pack(">BHH", 0x1B, 0xE000 | pid, 0xF000) for pid in pids)
            out += packet(0x1000 + n, section(2, n, pmt))
            pes = b"\0\0\1\xe0\0\0\x80\x80\5\x21\0\1\0\1" + bytes(160)
            out += b"".join(packet(pid, pes) for pid in pids)
    return out


def asf(announced: int) -> bytes:
    """A header whose objects announce more than there is."""
    header = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")
    stream = bytes.fromhex("9107DCB7B7A9CF118EE600C00C205365")
    video = bytes.fromhex("C0EF19BC4D5BCF11A8FD00805F5C442B")
    body = video + bytes(16) + struct.pack("<QIIHI", 0, announced, 0, 1, 0)
    body += struct.pack("<IIBH", 160, 120, 2, 40) + struct.pack("<IiiHH", 40, 160, 120, 1, 24)
    inner = stream + struct.pack("<Q", announced) + body
    return header + struct.pack("<QIBB", announced, 1, 1, 2) + inner + bytes(1000)


def wav(channels: int, rate: int) -> bytes:
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, channels, rate, 2**32 - 1, 65535, 16))
    return b"RIFF" + u32(2**32 - 1) + b"WAVE" + form + b"data" + u32(2**32 - 1) + bytes(100_000)


def aiff() -> bytes:
    comm = box(b"COMM", struct.pack(">hIh", 32767, 2**32 - 1, 16), bytes(10))
    return b"FORM" + u32(2**32 - 1) + b"AIFF" + comm[4:8] + comm[:4] + comm[8:] + bytes(100_000)


def gif(side: int, frames: int) -> bytes:
    """Frames of one pixel on a canvas of ``side`` squared."""
    head = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
    return head + frame * frames + b"\x3b"
