"""One time for all streams of a file, whatever its stamps do.

Recordings that were put end to end start their stamps over or jump by hours, and each stream of the
file jumps where its own packets do. Such a place is a **seam**. The pictures decide where seams lie
and what follows is shifted by one amount, pictures and sound alike, so that the first picture after
the seam begins where the last one before it ends.

Everything is decided packet by packet in the order of the file, so that whoever reads it finds the
same seams; nothing but those is kept of what went by.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from statistics import median_low
from typing import Any, TypeAlias

from av.packet import Packet

from worker.video.position import Key

AnyPacket: TypeAlias = "Packet[Any]"

# Stamps that go back by less are jitter: FFmpeg's own limit (fftools, ts_discontinuity_detect).
BACK_S = 0.1
# A transport or program stream is a signal as it came: a longer silence of all streams means that
# the sender's clock was set anew. Other formats may say that a picture stands for long.
SIGNALS = frozenset(("mpegts", "mpeg"))
SIGNAL_JOINS_S, FILE_JOINS_S = 60.0, 3600.0
# Formats whose packets say when they are decoded; FFmpeg guesses that for others.
WITH_DTS = SIGNALS | {"flv", "mov,mp4,m4a,3gp,3g2,mj2"}
# Formats whose packets say how long their picture stands.
WITH_DURATIONS = frozenset(("mov,mp4,m4a,3gp,3g2,mj2", "gif", "avi"))
NEAR = 8  # pictures whose times tell how far apart they are
MAX_IN_DECODER = 64  # packets that a decoder may hold: reordered, and one for each of its threads
MAX_HELD = 2000  # packets of sound that wait for the pictures to reach a seam: about 40 s of AAC


class StreamTimeline:
    """The time of the pictures' packets.

    Attributes:
        stretches: between the seams so far: where in the file each begins, in bytes, and what is
            added to its stamps.
        now_s: when the last packet so far is decoded, in shifted seconds.
        end_s: when the last picture so far has been shown, in shifted seconds.
        first_s: stamp of the first packet whose picture is to be shown; None before it.
        reached_s: the latest end in any stream since the last seam, as the stamps say.
    """

    def __init__(self, format_name: str, announced_step_s: float, *, indexed: bool) -> None:
        """
        Args:
            format_name: FFmpeg's name of the container's format.
            indexed: whether an index of the whole file gives all times: it has no seams then.
        """
        self.stretches: list[tuple[int, float]] = [(0, 0.0)]
        self.now_s = 0.0
        self.end_s = float("-inf")
        self.first_s: float | None = None
        self._has_seams = not indexed
        self._has_dts = format_name in WITH_DTS
        self._has_durations = format_name in WITH_DURATIONS
        self._joins_s = SIGNAL_JOINS_S if format_name in SIGNALS else FILE_JOINS_S
        self._announced_step_s = announced_step_s
        self._near: list[float] = []  # the last few times that pictures are shown, sorted
        self._key: Key | None = None
        self._seen: dict[int | None, Key | None] = {}
        self._restored: Key | None = None
        # Since the last seam, as the stamps say:
        self._last_s: float | None = None  # when the last packet was decoded
        self._top_s = 0.0  # when the latest picture is shown
        self.reached_s = 0.0

    @property
    def seams(self) -> int:
        """How many there were so far."""
        return len(self.stretches) - 1

    @property
    def shift_s(self) -> float:
        """What is added to the pictures' stamps now."""
        return self.stretches[-1][1]

    def place_picture(self, packet: AnyPacket, position: int) -> None:
        """Shift a packet of the pictures, the next one in the file, which lies there."""
        decoded_s, shown_s = _stamps(packet)
        if decoded_s is not None and shown_s is not None and not packet.is_discard:
            if self._last_s is not None and self._is_seam(packet, decoded_s, shown_s):
                self.stretches.append((position, self.end_s - shown_s))
                self._last_s = None
            self._advance(packet, decoded_s, shown_s)
        shift(packet, self.shift_s)

    def reach(self, packet: AnyPacket) -> None:
        """See a packet of a stream that goes along with the pictures."""
        decoded_s, _ = _stamps(packet)
        if decoded_s is None or self._last_s is None:
            return
        if decoded_s - self.reached_s <= self._joins_s:
            self.reached_s = max(self.reached_s, decoded_s + _duration(packet))

    def is_continued(self, ahead_s: float) -> bool:
        """Whether sound that lies so far after its last packet goes on without a seam."""
        return not self._has_seams or -BACK_S <= ahead_s <= self._joins_s

    def _is_seam(self, packet: AnyPacket, decoded_s: float, shown_s: float) -> bool:
        if not self._has_seams or self._last_s is None:
            return False
        # All pictures from a key frame on are shown after those that were sent before it.
        if packet.is_keyframe and shown_s < self._top_s - BACK_S:
            return True
        if self._has_dts and packet.dts is not None and decoded_s < self._last_s - BACK_S:
            return True
        ahead_s = decoded_s if self._has_dts else shown_s
        return ahead_s - self.reached_s > self._joins_s

    def _advance(self, packet: AnyPacket, decoded_s: float, shown_s: float) -> None:
        if self._last_s is None:
            self._top_s = self.reached_s = shown_s
            self._near.clear()
        insort(self._near, shown_s)
        if len(self._near) > NEAR:
            del self._near[0]
        if packet.is_keyframe:
            if self._restored and packet.pts == self._restored.pts:
                self._near = list(self._restored.near)
                self._restored = None  # a seam may lead to the same stamps
            self._key = Key(packet.pts, tuple(self._near))
        self._seen[packet.pts] = self._key
        if len(self._seen) > MAX_IN_DECODER:
            del self._seen[next(iter(self._seen))]
        step_s = self._step_s()
        duration_s = _duration(packet) or step_s
        if not self._has_durations:
            duration_s = step_s
        self._last_s = decoded_s
        self.now_s = decoded_s + self.shift_s
        self._top_s = max(self._top_s, shown_s)
        self.reached_s = max(self.reached_s, self._top_s, decoded_s + duration_s)
        # Durations are of decoding. The picture that is shown last has that of the last packet.
        self.end_s = self._top_s + self.shift_s + duration_s
        if self.first_s is None:
            self.first_s = shown_s

    def _step_s(self) -> float:
        """The usual time between pictures."""
        steps = [later - earlier for earlier, later in pairwise(self._near)]
        if not steps or not any(steps):
            return self._announced_step_s
        return median_low(steps) or sum(steps) / len(steps)  # 0: half of all stamps repeat

    def key_of(self, pts: int | None) -> Key | None:
        """The key frame before a packet that is in the decoder; see ``restore``."""
        return self._seen.get(pts)

    def restore(self, key: Key | None) -> None:
        """From this key frame on, go on as the timeline that had passed it."""
        self._restored = key


class SoundPlacer:
    """Gives the packets of a sound track their time on the pictures' timeline.

    Sound may come to a seam before the pictures or after them. Its packets tell by a jump of their
    own that they have, and by their place in the file, which stretch they belong to.
    """

    def __init__(self, pictures: StreamTimeline) -> None:
        self._pictures = pictures
        self._stretch = 0  # of the last packet
        self._shift_s = 0.0
        self._end_s: float | None = None  # of the last packet, shifted
        self._lag_s = 0.0  # by which its packets lie behind those of the pictures in the file
        self._held: deque[tuple[AnyPacket, int]] = deque()

    def place(self, packet: AnyPacket, position: int) -> Iterator[AnyPacket]:
        """Take the next packet, which lies there; yield those whose time is known by now."""
        self._held.append((packet, position))
        yield from self.release(flush=len(self._held) > MAX_HELD)

    def release(self, *, flush: bool = False) -> Iterator[AnyPacket]:
        """Yield what waited for a seam of the pictures, or with ``flush`` for one in vain."""
        while self._held:
            packet, position = self._held[0]
            stamp_s, _ = _stamps(packet)
            if stamp_s is not None:
                if not self._place(position, stamp_s):
                    if not flush:
                        return  # the pictures have not come to the seam yet
                    self._shift_s = (self._end_s or 0.0) - stamp_s  # a jump of the sound alone
                self._end_s = stamp_s + self._shift_s + _duration(packet)
            shift(packet, self._shift_s)
            self._held.popleft()
            yield packet

    def _place(self, position: int, stamp_s: float) -> bool:
        """Find the stretch of a packet; whether it is known."""
        stretches = self._pictures.stretches
        following = self._stretch
        while following + 1 < len(stretches) and stretches[following + 1][0] <= position:
            following += 1
        if self._end_s is None:
            self._enter(following)
            return True
        stays = stamp_s + self._shift_s - self._end_s
        if not self._pictures.is_continued(stays):
            # Sound may lie before the pictures that it goes with.
            following = max(following, min(self._stretch + 1, len(stretches) - 1))
            if following == self._stretch:
                return False
            self._enter(following)
        elif following == self._stretch:
            self._lag_s = stamp_s + self._shift_s - self._pictures.now_s
        elif self._oddity(stamp_s + stretches[following][1]) < self._oddity(
            stamp_s + self._shift_s
        ):
            self._enter(following)
        return True

    def _oddity(self, at_s: float) -> float:
        """How far a time is from the end of the sound, and from the pictures around it.

        The latter counts more: sound may have a hole, but lies among its pictures.
        """
        lag_s = at_s - self._pictures.now_s
        return abs(at_s - (self._end_s or 0.0)) + 2 * abs(lag_s - self._lag_s)

    def _enter(self, stretch: int) -> None:
        self._stretch, self._shift_s = stretch, self._pictures.stretches[stretch][1]


def shift(packet: AnyPacket, seconds: float) -> None:
    """Add to the packet's stamps."""
    if seconds and packet.time_base:
        by = round(seconds / packet.time_base)
        packet.pts = packet.pts + by if packet.pts is not None else None
        packet.dts = packet.dts + by if packet.dts is not None else None


def _stamps(packet: AnyPacket) -> tuple[float | None, float | None]:
    """When it is decoded and when it is shown, in seconds; each stands in for the other."""
    dts = packet.dts if packet.dts is not None else packet.pts
    pts = packet.pts if packet.pts is not None else dts
    base = packet.time_base
    if dts is None or pts is None or not base:
        return None, None
    # Not by a product of fractions, which would cost more than all else here.
    return dts * base.numerator / base.denominator, pts * base.numerator / base.denominator


def _duration(packet: AnyPacket) -> float:
    duration, base = packet.duration, packet.time_base
    return duration * base.numerator / base.denominator if duration and base else 0.0
