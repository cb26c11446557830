"""``python -m worker.video.probe_child PATH MAX_PIXELS``: open a video to see what it takes.

Tables of a few bytes may announce gigabytes, and FFmpeg builds them while it opens a file. This
process opens it first, as the model process will, and may take little memory and time. It ends
with one of the exit codes below, or by a signal, which is as telling.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import av
from av.container import InputContainer

from shoal.local.process_guard import die_with_parent
from worker.video.allocations import cap_allocations, max_allocation
from worker.video.probe import OPTIONS, VideoLimits

FITS = 0  # or is no video at all: the model process will say so
BOMB = 3  # it took more than its room

CPU_S = 20
BASE_ROOM = 192 << 20  # for tables: three million samples of an mp4
ROOM_SHARE = 4  # and a quarter of the file's size,
MAX_ROOM = 1 << 30  # up to this
FRAMES_BYTES_PER_PIXEL = 32  # 20 frames of 4:2:0, which a decoder may hold
INDEX_ENTRY_BYTES = 24  # AVIndexEntry
DEMUX_BYTES = 256 << 20  # of packets that are read: indexes of fragments grow on the way


def table_room(file_size: int) -> int:
    """Bytes that opening a file of this size may take, without its frames."""
    return min(MAX_ROOM, BASE_ROOM + file_size // ROOM_SHARE)


def probe(path: Path, limits: VideoLimits) -> int:
    """Open a video within its room; returns an exit code.

    A demuxer may go on when it gets no memory. Hence the process may take more than the room, by
    the largest single block: who is refused one has used up the room before.
    """
    spare = max_allocation(limits.max_pixels)
    cap_allocations(spare)
    base = address_space("VmSize")
    room = table_room(path.stat().st_size)
    options = OPTIONS | limits.decoder_options
    try:
        limit_address_space(base + room + spare)
        # Without decoders: what is measured are tables, tags and packets.
        pixels, frames = _open(path, options | {"codec_whitelist": "none"}, DEMUX_BYTES)
        if address_space("VmPeak") > base + room or frames * INDEX_ENTRY_BYTES > room:
            return BOMB
        room += FRAMES_BYTES_PER_PIXEL * min(pixels, 2 * limits.max_pixels)
        limit_address_space(base + room + spare)
        _open(path, options, 0)
    except MemoryError:  # of Python or of FFmpeg
        return BOMB
    except (av.FFmpegError, ValueError, OSError):
        pass
    return BOMB if address_space("VmPeak") > base + room else FITS


def _open(path: Path, options: dict[str, str], read_bytes: int) -> tuple[int, int]:
    """Open a video and read so much of it.

    Returns:
        The pixels of its largest picture, and how many frames an mp4's longest table announces.
    """
    with av.open(f"file:{path}", options=options, metadata_errors="replace") as container:
        _demux(container, read_bytes)
        streams = container.streams.video
        contexts = [stream.codec_context for stream in streams]
        pixels = max((c.width * c.height for c in contexts if c is not None), default=0)
        is_mp4 = "mp4" in container.format.name
        return pixels, max((stream.frames for stream in streams if is_mp4), default=0)


def _demux(container: InputContainer, read_bytes: int) -> None:
    if not len(container.streams):
        return  # PyAV demands one
    for packet in container.demux():
        read_bytes -= packet.size
        if read_bytes <= 0:
            return


def address_space(field: str) -> int:
    """Bytes of virtual memory: ``VmSize`` for now, ``VmPeak`` for ever; 0 where none tells."""
    if sys.platform != "linux":
        return 0
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def limit_address_space(size: int) -> None:
    if sys.platform == "linux":  # others do not enforce it
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        size = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(resource.RLIMIT_AS, (size, hard))


def main() -> None:
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))  # SIGXCPU, then SIGKILL
    sys.exit(probe(Path(sys.argv[1]), VideoLimits(max_pixels=int(sys.argv[2]))))


if __name__ == "__main__":
    main()
