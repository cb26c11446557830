"""Parts of a result put together, without encoding anything again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import pyarrow.parquet as pq

from worker.video.encode import MP4_OPTIONS, add_copy

# Makes one file of pieces, which are in the order of their frames. There are two at least.
Join = Callable[[Sequence[Path], Path], None]


def join_videos(parts: Sequence[Path], path: Path) -> None:
    """One mp4 of several that ``Encoder`` wrote, whose times continue from one to the next.

    Raises:
        OSError: the disk is full.
    """
    with av.open(f"file:{path}", "w", format="mp4", options=MP4_OPTIONS) as joined:
        stream, last_dts = None, None
        for part in parts:
            with av.open(f"file:{part}") as container:
                source = container.streams.video[0]
                if stream is None:
                    stream = add_copy(joined, source)
                for packet in container.demux(source):
                    if packet.dts is None:
                        continue  # the end
                    # Decoding of a part begins some frames' time before its first picture is
                    # shown, where that of the part before has not ended if the rate varies.
                    if last_dts is not None and packet.dts <= last_dts:
                        packet.dts = last_dts + 1
                    last_dts = packet.dts
                    packet.stream = stream
                    joined.mux(packet)


def join_tables(parts: Sequence[Path], path: Path) -> None:
    """One Parquet table of several with the same columns, row group by row group.

    Raises:
        OSError: the disk is full.
    """
    with pq.ParquetWriter(path, pq.read_schema(parts[0]), compression="zstd") as joined:
        for part in parts:
            with pq.ParquetFile(part) as table:
                for group in range(table.num_row_groups):
                    joined.write_table(table.read_row_group(group))


def join(how: Join, parts: Sequence[Path], path: Path) -> Path:
    """The parts as one file of the same kind: ``path``, or the only part as it lies there.

    Raises:
        OSError: the disk is full.
    """
    if len(parts) == 1:
        return parts[0]
    how(parts, path)
    return path
