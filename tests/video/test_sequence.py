"""Folders and tars of pictures as videos."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings as effort, strategies as st

from shoal.errors import NoFrames, NotAVideo, TruncatedVideo, UnsupportedFrameRate, VideoTooLarge
from shoal.storage.frames import natural_key, pack
from tests import media
from worker.video.probe import VideoLimits
from worker.video.source import Source, open_source


def open_all(path: Path, **options: object) -> Source:
    return open_source(path, sample_fps=0, **options)


def numbers(path: Path) -> list[int]:
    with open_all(path) as source:
        return [media.picture_number(frame.picture) for frame in source.frames()]


@pytest.mark.parametrize("write", [media.write_folder, media.write_frames_tar])
def test_pictures_come_in_natural_order(tmp_path: Path, write: media.Writer) -> None:
    path = tmp_path / "frames.tar"
    write(path)
    with open_all(path, sequence_fps=4.0) as source:
        frames = list(source.frames())
    assert [media.picture_number(frame.picture) for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == [number / 4 for number in range(12)]
    info = source.info
    assert (info.width, info.height, info.fps, info.frames) == (160, 120, 4, 12)
    assert (info.codec, info.duration_s) == ("jpeg", 3.0)


def test_a_packed_folder_is_the_same_video(tmp_path: Path) -> None:
    media.write_folder(tmp_path / "frames")
    with pack(tmp_path / "frames") as packed:
        (tmp_path / "frames.tar").write_bytes(packed.read())
    assert numbers(tmp_path / "frames.tar") == numbers(tmp_path / "frames") == list(range(12))


def test_png_pictures_of_odd_size(tmp_path: Path) -> None:
    path = tmp_path / "frames.tar"
    media.write_tar(path, [(f"{n}.png", media.png(n, 161, 121)) for n in range(3)])
    with open_all(path) as source:
        frames = list(source.frames())
    assert (source.info.width, source.info.height, source.info.codec) == (161, 121, "png")
    assert [media.picture_number(frame.picture) for frame in frames] == [0, 1, 2]


@effort(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(), st.text())
def test_any_two_names_can_be_ordered(one: str, other: str) -> None:
    sorted([one, other], key=natural_key)


def test_names_never_lead_out_of_a_tar(tmp_path: Path) -> None:
    """Members are read where they lie; their names open nothing."""
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(media.jpeg(99))
    path = tmp_path / "inner" / "nasty.tar"
    path.parent.mkdir()
    media.write_tar(path, [("../outside.jpg", media.jpeg(1)), (str(outside), media.jpeg(2))])
    assert sorted(numbers(path)) == [1, 2]
    assert sorted(item.name for item in tmp_path.rglob("*.jpg")) == ["outside.jpg"]


def test_links_in_a_tar_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "links.tar"
    media.write_tar(path, [("1.jpg", media.jpeg(1))])
    with tarfile.open(path, "a") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo("2.jpg")
            link.type, link.linkname = kind, "/etc/passwd"
            tar.addfile(link)
    assert numbers(path) == [1]


def test_links_and_hidden_files_in_a_folder_are_left_out(tmp_path: Path) -> None:
    media.write_folder(tmp_path / "frames", frames=2)
    (tmp_path / "outside.jpg").write_bytes(media.jpeg(9))
    (tmp_path / "frames" / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    (tmp_path / "frames" / "._frame1.jpg").write_bytes(b"what a Mac leaves")
    (tmp_path / "frames" / "folder.jpg").mkdir()
    assert numbers(tmp_path / "frames") == [0, 1]


def test_a_broken_picture_leaves_its_place_in_time_empty(tmp_path: Path) -> None:
    media.write_folder(tmp_path / "frames", frames=5)
    (tmp_path / "frames" / "frame3.jpg").write_bytes(b"\xff\xd8 no picture")
    with open_all(tmp_path / "frames", sequence_fps=2.0) as source:
        frames = list(source.frames())
    assert [frame.index for frame in frames] == [0, 1, 3, 4]
    assert [frame.time_s for frame in frames] == [0, 0.5, 1.5, 2]
    assert (source.extent.decode_errors, source.extent.missing_s) == (1, 0.5)


def test_a_tar_that_was_cut_off_is_read_as_far_as_it_goes_if_allowed(tmp_path: Path) -> None:
    path = tmp_path / "cut.tar"
    media.write_frames_tar(path)
    media.cut(path, 0.5)
    with open_all(path, allow_truncated=True) as source:
        frames = list(source.frames())
    assert [media.picture_number(frame.picture) for frame in frames] == list(range(len(frames)))
    assert 0 < len(frames) < 12
    assert source.extent.truncated
    assert source.extent.missing_s == 1


@pytest.mark.parametrize("into_block", [0, 100, 512, 600])
def test_a_cut_anywhere_in_a_tar_is_noticed(tmp_path: Path, into_block: int) -> None:
    """At the seam of two members, in a header, before and in the data."""
    path = tmp_path / "cut.tar"
    media.write_frames_tar(path, frames=3)
    with tarfile.open(path) as tar:
        second = tar.getmembers()[1].offset
    path.write_bytes(path.read_bytes()[: second + into_block])
    with pytest.raises(TruncatedVideo):
        open_all(path)


def test_a_compressed_tar_is_no_video(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "frames.tar.gz", "w:gz") as tar:
        media.write_folder(tmp_path / "frames", frames=2)
        tar.add(tmp_path / "frames")
    with pytest.raises(NotAVideo):
        open_all(tmp_path / "frames.tar.gz")


def test_limits_hold_for_pictures(tmp_path: Path) -> None:
    media.write_folder(tmp_path / "frames", frames=3)
    with pytest.raises(VideoTooLarge, match="160×120"):
        open_all(tmp_path / "frames", limits=VideoLimits(max_pixels=160 * 120 - 1))
    with pytest.raises(VideoTooLarge, match="3 s"):
        open_all(tmp_path / "frames", limits=VideoLimits(max_duration_s=2))
    with pytest.raises(UnsupportedFrameRate):
        open_all(tmp_path / "frames", sequence_fps=1000.0)


def test_a_header_that_announces_a_huge_picture_is_refused_before_it_is_decoded(
    tmp_path: Path,
) -> None:
    data = bytearray(media.png(1))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    media.write_tar(tmp_path / "huge.tar", [("1.png", bytes(data))])
    with pytest.raises(VideoTooLarge, match="60000×60000"):
        open_all(tmp_path / "huge.tar")


def test_a_folder_of_nothing_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(NoFrames):
        open_all(tmp_path)
