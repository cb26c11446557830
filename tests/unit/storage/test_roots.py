"""A root that is away: no video is missing, nothing is made anew, and all goes on afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.errors import SourceNotFound, StorageUnavailable
from shoal.storage.files import FileStorage, make_folder

Operation = Callable[[FileStorage, Path, Path], object]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a video, a folder of pictures and results."""
    root = tmp_path / "root"
    for name in ("a.mp4", "frames/1.png", "results/a/a_masks.parquet", "z/b.mp4"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")
    return root


def uri(root: Path, name: str) -> str:
    return f"{root.as_uri()}/{name}"


OPERATIONS: dict[str, Operation] = {
    "stat": lambda storage, root, _: storage.stat(uri(root, "a.mp4")),
    "stat of a folder": lambda storage, root, _: storage.stat(uri(root, "frames/")),
    "fetch": lambda storage, root, tmp: storage.fetch(uri(root, "a.mp4"), "1", tmp),
    "read": lambda storage, root, _: list(storage.read(uri(root, "a.mp4"))),
    "read a range": lambda storage, root, _: list(storage.read(uri(root, "a.mp4"), 2, 3)),
    "list": lambda storage, root, _: list(storage.list(root.as_uri() + "/")),
    "list below": lambda storage, root, _: list(storage.list(uri(root, "z/"))),
    "list on": lambda storage, root, _: list(
        storage.list(root.as_uri() + "/", after=uri(root, "a.mp4"))
    ),
    "entries": lambda storage, root, _: list(storage.entries(uri(root, "results/a/"))),
    "put": lambda storage, root, tmp: storage.put(tmp / "local", uri(root, "results/b/x"), ""),
    "delete": lambda storage, root, _: storage.delete(uri(root, "a.mp4")),
    "empty": lambda storage, root, _: storage.delete(uri(root, "results/a/")),
    "sweep": lambda storage, root, _: storage.sweep(uri(root, "results/a/")),
}


def gone(root: Path) -> Callable[[], None]:
    """The root is moved away; gives what brings it back."""
    away = root.with_name("away")
    root.rename(away)

    def back() -> None:
        assert not root.exists(), "it was made anew"
        away.rename(root)

    return back


def replaced(root: Path) -> Callable[[], None]:
    """There is a file in its place."""
    back = gone(root)
    root.touch()

    def put_back() -> None:
        root.unlink()
        back()

    return put_back


def unmounted(root: Path) -> Callable[[], None]:
    """Its disk is not mounted any more: an empty folder is left. Told by the mount points alone."""
    back = gone(root)
    root.mkdir()
    MOUNTED.discard(root)

    def mount() -> None:
        assert not list(root.iterdir()), "something was written in its place"
        root.rmdir()
        back()
        MOUNTED.add(root)

    return mount


def dangling(root: Path) -> Callable[[], None]:
    """The root is a link to a folder that is moved away."""
    disk = root.with_name("disk")
    root.rename(disk)
    root.symlink_to(disk)
    return gone(disk)


def link_gone(root: Path) -> Callable[[], None]:
    """The root is a link that is removed for a while."""
    disk = root.with_name("disk")
    root.rename(disk)

    def back() -> None:
        root.symlink_to(disk)

    return back


MOUNTED: set[Path] = set()
WAYS = (gone, replaced, unmounted, dangling, link_gone)


@pytest.fixture(autouse=True)
def mounts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MOUNTED.clear()
    MOUNTED.update((root, Path("/")))
    monkeypatch.setattr(Path, "is_mount", lambda path: path in MOUNTED)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_it_is_unavailable_and_then_as_before(
    root: Path, tmp_path: Path, name: str, way: Callable[[Path], Callable[[], None]]
) -> None:
    (tmp_path / "local").write_bytes(b"new")
    operation = OPERATIONS[name]
    FileStorage([root]).fetch(
        uri(root, "a.mp4"), FileStorage([root]).stat(uri(root, "a.mp4")).version, tmp_path
    )
    back = way(root)
    for _ in range(2):
        with pytest.raises(StorageUnavailable) as caught:
            operation(FileStorage([root]), root, tmp_path)
        assert caught.value.transient
    back()
    if name == "fetch":
        info = FileStorage([root]).stat(uri(root, "a.mp4"))
        FileStorage([root]).fetch(info.uri, info.version, tmp_path)
    else:
        operation(FileStorage([root]), root, tmp_path)


@pytest.mark.parametrize("name", ["stat", "stat of a folder", "fetch", "read", "list below"])
def test_what_is_missing_in_a_root_that_is_there_is_not_found(tmp_path: Path, name: str) -> None:
    root = tmp_path / "empty"
    root.mkdir()
    with pytest.raises(SourceNotFound):
        OPERATIONS[name](FileStorage([root]), root, tmp_path)


@pytest.mark.parametrize("after", range(5))
def test_a_listing_never_ends_early(root: Path, after: int) -> None:
    """A root that goes away in the middle is an error, and not the end of the list."""
    listing = FileStorage([root]).list(root.as_uri() + "/")
    names = [next(listing).uri for _ in range(min(after, 4))]
    root.rename(root.with_name("away"))
    try:
        names += [info.uri for info in listing]
    except StorageUnavailable:
        return
    assert len(names) == 4, f"it ends after {len(names)} of 4"


def test_a_folder_that_is_removed_meanwhile_is_left_out(root: Path) -> None:
    listing = FileStorage([root]).list(root.as_uri() + "/")
    first = next(listing).uri
    (root / "z" / "b.mp4").unlink()
    (root / "z").rmdir()
    rest = [info.uri.removeprefix(root.as_uri()) for info in listing]
    assert first.endswith("/a.mp4")
    assert rest == ["/frames/1.png", "/results/a/a_masks.parquet"]


def test_a_root_that_goes_away_while_something_is_put_is_not_made_anew(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "local").write_bytes(b"new")
    check = FileStorage._check_root

    def check_and_go(storage: FileStorage, path: Path) -> None:
        check(storage, path)
        if root.exists():
            root.rename(root.with_name("away"))

    monkeypatch.setattr(FileStorage, "_check_root", check_and_go)
    with pytest.raises(StorageUnavailable):
        FileStorage([root]).put(tmp_path / "local", uri(root, "new/folder/x"), "")
    assert not root.exists()


def test_only_what_is_below_the_root_is_made(root: Path) -> None:
    make_folder(root / "x" / "y", root)
    assert (root / "x" / "y").is_dir()
    with pytest.raises(FileNotFoundError):
        make_folder(root.with_name("other") / "x", root.with_name("other"))
    assert not root.with_name("other").exists()
