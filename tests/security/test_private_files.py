"""What a worker and ``shoal up`` write belongs to their user alone, but for the results."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from shoal.errors import UnsafeFolder
from shoal.local.private import make_private
from shoal.local.stack import lock_data_dir
from shoal.settings import Settings
from tests import conftest
from tests.chaos.crawling import let_go
from tests.conftest import SubmitClip
from tests.running import Processes, eventually
from worker.workdir import WorkDir

# An empty queue for each test and short leases, in place of what this folder shares by module.
settings, redis, queue = conftest.settings, conftest.redis, conftest.queue


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("open_to", [0o777, 0o770, 0o702, 0o1777])
@pytest.mark.parametrize("use", [make_private, lambda path: WorkDir(path, "w"), lock_data_dir])
def test_a_folder_that_others_can_write_to_is_refused(
    tmp_path: Path, open_to: int, use: object
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(open_to)
    with pytest.raises(UnsafeFolder, match="other users can write") as raised:
        use(folder)  # type: ignore[operator]
    assert "chmod 700" in raised.value.hint
    assert not any(folder.iterdir())


@pytest.mark.parametrize("use", [make_private, lambda path: WorkDir(path, "w"), lock_data_dir])
def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, use: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr("shoal.local.private.os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UnsafeFolder, match="belongs to another user"):
        use(folder)  # type: ignore[operator]


def test_a_link_that_another_user_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, link = tmp_path / "mine", tmp_path / "link"
    mine.mkdir()
    link.symlink_to(mine)
    make_private(link)  # one's own is fine
    settings = Settings(work_dir=link)
    by_another = os.stat_result((0o120777, 0, 0, 1, os.getuid() + 1, 0, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "lstat", lambda path: by_another)
    with pytest.raises(UnsafeFolder, match="link of another user"):
        WorkDir(settings.work_dir, "w")
    assert settings.work_dir == link  # not resolved, or nobody would see


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnsafeFolder, match="no folder"):
        make_private(tmp_path / "file")


def test_new_folders_are_closed(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "b")
    work = WorkDir(tmp_path / "work", "w")
    with work.job("j") as folder:
        assert [mode(path) for path in (tmp_path / "a" / "b", folder, folder.parent)] == [0o700] * 3
    assert mode(tmp_path / "work") == 0o700
    work.close()


def test_the_default_work_dir_is_the_users_own() -> None:
    assert Settings().work_dir.name == f"shoal-{os.getuid()}"


def test_a_worker_writes_for_itself_and_publishes_for_all(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    before = os.umask(0o027)  # as the operator likes it
    try:
        processes.worker("tests.chaos.crawling:Crawling", SHOAL_PART_S="0.5")
    finally:
        os.umask(before)
    processes.wait_frames(job_id)
    scratch: dict[str, int] = {}

    def collected() -> bool:
        for path in processes.settings.work_dir.rglob("*.*"):
            try:
                scratch[path.name] = mode(path)
            except FileNotFoundError:
                continue
        return len(scratch) > 2

    eventually(collected, "scratch files")
    assert not [name for name, bits in scratch.items() if bits & 0o077]
    let_go(processes.settings)
    assert processes.wait_state(job_id, "succeeded", "failed").error is None
    eventually(processes.idle_workers, "the worker to have removed the parts")
    results = processes.settings.data_dir / "results"
    found = list(results.rglob("*"))
    assert any(path.is_file() for path in found)
    assert {mode(path) for path in found if path.is_file()} == {0o640}
    assert {mode(path) for path in [results, *found] if path.is_dir()} == {0o750}
