"""``file://``: which paths are allowed, and how objects are read and written."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from shoal.errors import (
    DiskFull,
    LocationForbidden,
    ShoalError,
    SourceNotFound,
    StorageNotWritable,
    StorageUnavailable,
    UnsupportedLocation,
)
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.storage.files import CHUNK, FileStorage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def storage(root: Path) -> FileStorage:
    return FileStorage([root])


def written(path: Path, content: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# --- what a URI may name -------------------------------------------------------------------------


def test_names_with_blanks_and_percent_signs(storage: FileStorage, root: Path) -> None:
    path = written(root / "a b" / "100% größe #1.mp4")
    assert storage.path(path.as_uri()) == path
    assert storage.stat(path.as_uri()).uri == path.as_uri()


def test_localhost_is_this_machine(storage: FileStorage, root: Path) -> None:
    path = written(root / "a.mp4")
    assert storage.path(f"file://localhost{path}") == path


@pytest.mark.parametrize(
    "uri", ["file://elsewhere/a.mp4", "file:", "/a.mp4", "http://host/a.mp4", "file:///a%00.mp4"]
)
def test_what_is_no_local_file(storage: FileStorage, uri: str) -> None:
    with pytest.raises(UnsupportedLocation):
        storage.path(uri)


@pytest.mark.parametrize(
    "below", ["../outside.mp4", "x/../../outside.mp4", "%2e%2e/outside.mp4", "..%2foutside.mp4"]
)
def test_a_path_that_climbs_out(storage: FileStorage, root: Path, below: str) -> None:
    written(root.parent / "outside.mp4")
    with pytest.raises(LocationForbidden):
        storage.stat(f"{root.as_uri()}/{below}")


def test_a_folder_whose_name_begins_like_the_root(storage: FileStorage, root: Path) -> None:
    other = written(root.parent / "root-of-another" / "a.mp4")
    with pytest.raises(LocationForbidden):
        storage.path(other.as_uri())


def test_a_link_out_of_the_root(storage: FileStorage, root: Path) -> None:
    (root / "link.mp4").symlink_to(written(root.parent / "outside.mp4"))
    (root / "folder").symlink_to(root.parent)
    for uri in ((root / "link.mp4").as_uri(), (root / "folder" / "outside.mp4").as_uri()):
        with pytest.raises(LocationForbidden):
            storage.stat(uri)
        with pytest.raises(LocationForbidden):
            list(storage.read(uri))


def test_a_link_within_the_root_is_what_it_points_to(storage: FileStorage, root: Path) -> None:
    path = written(root / "a.mp4")
    (root / "link.mp4").symlink_to(path)
    assert storage.stat((root / "link.mp4").as_uri()) == storage.stat(path.as_uri())


def test_a_root_that_is_a_link(root: Path) -> None:
    path = written(root / "a.mp4")
    (root.parent / "alias").symlink_to(root)
    storage = FileStorage([root.parent / "alias"])
    assert storage.path((root.parent / "alias" / "a.mp4").as_uri()) == path


def test_only_file_uris_have_a_storage(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert isinstance(storage_for("file:///a", settings), FileStorage)
    for uri in ("ftp://host/a.mp4", "/a.mp4"):
        with pytest.raises(UnsupportedLocation):
            storage_for(uri, settings)


def test_data_directory_and_configured_roots_are_allowed(tmp_path: Path) -> None:
    videos = written(tmp_path / "videos" / "a.mp4")
    with pytest.raises(LocationForbidden):
        storage_for(videos.as_uri(), Settings(data_dir=tmp_path / "data")).stat(videos.as_uri())
    settings = Settings(data_dir=tmp_path / "data", file_roots=(tmp_path / "videos",))
    assert storage_for(videos.as_uri(), settings).stat(videos.as_uri()).size == 7


# --- what is there -------------------------------------------------------------------------------


def test_the_version_changes_with_the_content(storage: FileStorage, root: Path) -> None:
    path = written(root / "a.mp4", b"one")
    os.utime(path, ns=(0, 1_000_000_000))
    before = storage.stat(path.as_uri())
    assert storage.stat(path.as_uri()) == before
    written(path, b"two")
    os.utime(path, ns=(0, 1_000_000_001))
    after = storage.stat(path.as_uri())
    assert (before.size, after.size) == (3, 3)
    assert before.version != after.version


def test_a_folder_is_a_video(storage: FileStorage, root: Path) -> None:
    for name in ("1.jpg", "2.jpg"):
        written(root / "frames" / name, b"12345")
    info = storage.stat((root / "frames").as_uri())
    assert info.uri == (root / "frames").as_uri() + "/"
    assert info.size == 10
    assert storage.stat(info.uri) == info


def test_a_folders_version_covers_each_of_its_files(storage: FileStorage, root: Path) -> None:
    folder = root / "frames"
    first = written(folder / "1.jpg", b"12345")
    versions = {storage.stat(folder.as_uri()).version}
    os.utime(first, ns=(0, 5))
    versions.add(storage.stat(folder.as_uri()).version)
    second = written(folder / "2.jpg", b"12345")
    versions.add(storage.stat(folder.as_uri()).version)
    second.rename(folder / "3.jpg")
    versions.add(storage.stat(folder.as_uri()).version)
    assert len(versions) == 4


def test_keys_are_paths_below_the_innermost_root(root: Path) -> None:
    written(root / "cup" / "final.v2.mp4")
    (root / "frames.d").mkdir()
    storage = FileStorage([root.parent, root])
    assert storage.key((root / "cup" / "final.v2.mp4").as_uri()) == "cup/final.v2"
    assert storage.key((root / "frames.d").as_uri() + "/") == "frames.d"
    assert storage.key(root.as_uri()) == "root"


@pytest.mark.parametrize("below", ["none.mp4", "a.mp4/none.mp4", "x" * 300 + ".mp4"])
def test_what_is_not_there(storage: FileStorage, root: Path, tmp_path: Path, below: str) -> None:
    written(root / "a.mp4")
    uri = f"{root.as_uri()}/{below}"
    with pytest.raises(SourceNotFound):
        storage.stat(uri)
    with pytest.raises(SourceNotFound):
        list(storage.read(uri))
    with pytest.raises(SourceNotFound):
        storage.fetch(uri, "1", tmp_path)


def test_a_link_to_itself_is_not_there(storage: FileStorage, root: Path) -> None:
    (root / "loop.mp4").symlink_to(root / "loop.mp4")
    with pytest.raises(SourceNotFound):
        storage.stat((root / "loop.mp4").as_uri())


def test_a_local_file_is_used_where_it_lies(
    storage: FileStorage, root: Path, tmp_path: Path
) -> None:
    path = written(root / "a.mp4")
    assert storage.fetch(path.as_uri(), storage.stat(path.as_uri()).version, tmp_path) == path


# --- reading -------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * (CHUNK // 128)  # two chunks


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, None), (0, 0), (0, 10), (CHUNK - 5, 10), (100, None), (0, 1 << 40), (len(CONTENT), 10)],
)
def test_a_range_is_read(storage: FileStorage, root: Path, start: int, length: int | None) -> None:
    path = written(root / "a.mp4", CONTENT)
    end = None if length is None else start + length
    chunks = list(storage.read(path.as_uri(), start, length))
    assert b"".join(chunks) == CONTENT[start:end]
    assert all(0 < len(chunk) <= CHUNK for chunk in chunks)


def test_a_file_that_may_not_be_read_is_not_found(
    storage: FileStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(root / "a.mp4")
    monkeypatch.setattr(Path, "open", raising(errno.EACCES))
    with pytest.raises(SourceNotFound, match="not readable") as caught:
        list(storage.read(path.as_uri()))
    assert "read access" in caught.value.hint


def test_a_disk_that_fails_is_unavailable(
    storage: FileStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(root / "a.mp4")
    monkeypatch.setattr(Path, "open", raising(errno.EIO))
    with pytest.raises(StorageUnavailable) as caught:
        list(storage.read(path.as_uri()))
    assert caught.value.transient


# --- writing -------------------------------------------------------------------------------------


def raising(code: int) -> object:
    def fail(*args: object, **options: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    return fail


def test_a_file_is_put_into_new_folders(storage: FileStorage, root: Path, tmp_path: Path) -> None:
    source = written(tmp_path / "result.mp4", b"new")
    target = root / "a" / "b" / "result.mp4"
    storage.put(source, target.as_uri(), "video/mp4")
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]
    assert source.exists()


def test_a_reader_sees_the_old_content_or_the_new(
    storage: FileStorage, root: Path, tmp_path: Path
) -> None:
    target = written(root / "result.mp4", b"old")
    source = written(tmp_path / "result.mp4", b"new")
    with target.open("rb") as reader:
        storage.put(source, target.as_uri(), "video/mp4")
        assert reader.read() == b"old"
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("code", "expected", "transient"),
    [
        (errno.ENOSPC, DiskFull, True),
        (errno.EDQUOT, DiskFull, True),
        (errno.EFBIG, DiskFull, True),
        (errno.EACCES, StorageNotWritable, False),
        (errno.EROFS, StorageNotWritable, False),
        (errno.EIO, StorageUnavailable, True),
    ],
)
def test_a_write_that_fails_is_named_and_leaves_nothing(
    storage: FileStorage,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    expected: type[ShoalError],
    transient: bool,
) -> None:
    target = written(root / "result.mp4", b"old")
    source = written(tmp_path / "result.mp4", b"new")

    def half(_: Path, partial: Path) -> NoReturn:
        partial.write_bytes(b"n")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(shutil, "copyfile", half)
    with pytest.raises(expected) as caught:
        storage.put(source, target.as_uri(), "video/mp4")
    assert caught.value.transient is transient
    assert list(root.iterdir()) == [target]
    assert target.read_bytes() == b"old"


def test_a_file_in_the_place_of_a_folder_cannot_be_written(
    storage: FileStorage, root: Path, tmp_path: Path
) -> None:
    written(root / "results")
    with pytest.raises(StorageNotWritable):
        storage.put(written(tmp_path / "x"), (root / "results" / "x").as_uri(), "")


def test_nothing_is_written_outside_the_roots(
    storage: FileStorage, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(LocationForbidden):
        storage.put(written(tmp_path / "x"), f"{root.as_uri()}/../y", "")
    assert not (root.parent / "y").exists()


def test_a_root_that_was_moved_is_not_an_empty_one(
    storage: FileStorage, root: Path, tmp_path: Path
) -> None:
    written(root / "parts" / "a.state")
    uri = (root / "parts").as_uri() + "/"
    root.rename(tmp_path / "elsewhere")
    local = written(tmp_path / "a.mp4")
    for attempt in (
        lambda: list(storage.entries(uri)),
        lambda: storage.delete(uri),
        lambda: storage.put(local, uri + "a.mp4", "video/mp4"),
    ):
        with pytest.raises(StorageUnavailable, match=r"root does not exist"):
            attempt()
        assert not root.exists()


@pytest.mark.parametrize("name", ["a" * 255, "漢" * 85, "漢" * 77 + "_youtube-vis.json"])
def test_a_file_with_the_longest_name_can_be_written(
    storage: FileStorage, root: Path, tmp_path: Path, name: str
) -> None:
    storage.put(written(tmp_path / "x", b"new"), (root / name).as_uri(), "")
    assert [path.name for path in root.iterdir()] == [name]
    assert (root / name).read_bytes() == b"new"


def test_what_cut_off_writes_left_is_swept(storage: FileStorage, root: Path) -> None:
    whole = written(root / "video" / "a.mp4")
    written(root / "video" / ".a.mp4.0123abcd.partial")  # as releases before named them
    written(root / "video" / ".0123abcd.partial")
    storage.sweep((root / "video").as_uri() + "/")
    storage.sweep((root / "never").as_uri() + "/")
    assert list((root / "video").iterdir()) == [whole]


def test_deleting_twice_is_no_error(storage: FileStorage, root: Path) -> None:
    path = written(root / "a.mp4")
    storage.delete(path.as_uri())
    storage.delete(path.as_uri())
    assert not path.exists()


def test_a_folder_is_listed_and_emptied(storage: FileStorage, root: Path) -> None:
    folder = (root / "parts" / "a").as_uri() + "/"
    assert list(storage.entries(folder)) == []
    storage.delete(folder)
    source = root / "source"
    source.write_bytes(b"content")
    for name in ("a/1.state", "a/2.state", "ab/1.state"):
        storage.put(source, (root / "parts" / name).as_uri(), "text/plain")
    found = [(info.uri.removeprefix(folder), info.size) for info in storage.entries(folder)]
    assert found == [("1.state", 7), ("2.state", 7)]
    storage.delete(folder)
    assert [path.name for path in (root / "parts").iterdir()] == ["ab"]


def test_a_listing_goes_on_after_any_file(storage: FileStorage, root: Path) -> None:
    names = ["b.mp4", "z.mp4", "a/1 #.mp4", "a/1/x.mp4", "a.b/y.mp4", "ab/\N{EURO SIGN}.mp4"]
    uris = [written(root / name).as_uri() for name in names]
    written(root / "elsewhere.txt").replace(root / "a" / "9")
    uris.insert(3, (root / "a" / "9").as_uri())
    top = root.as_uri() + "/"
    assert [info.uri for info in storage.list(top)] == uris
    for number, uri in enumerate(uris, 1):
        assert [info.uri for info in storage.list(top, after=uri)] == uris[number:]
    (root / "a" / "9").unlink()
    assert [info.uri for info in storage.list(top, after=uris[3])] == uris[4:]


def test_folders_that_a_listing_is_past_are_not_opened(storage: FileStorage, root: Path) -> None:
    uri = written(root / "b" / "x.mp4").as_uri()
    written(root / "a" / "x.mp4")
    written(root / "c" / "y.mp4")
    opened = []
    storage_walk = os.scandir

    def scandir(path: str) -> object:
        opened.append(Path(path).name)
        return storage_walk(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        assert len(list(storage.list(root.as_uri() + "/", after=uri))) == 1
    assert opened == [root.name, "b", "c"]
