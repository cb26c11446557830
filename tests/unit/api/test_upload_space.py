"""The room of uploads: whatever they do at once, they stay within it together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from api.upload_space import UploadSpace, partials_dir
from shoal.errors import UploadsFull
from shoal.model.token import Scope, Token
from shoal.settings import Settings

LIMIT = 1000
ADMIN, ALICE, BOB = (
    Token(name="admin", scope=Scope.ADMIN),
    Token(name="alice", scope=Scope.SUBMIT),
    Token(name="bob", scope=Scope.SUBMIT),
)


def limited(folder: Path, **update: object) -> Settings:
    return Settings(data_dir=folder).model_copy(
        update={"max_uploads_bytes": LIMIT, "min_free_bytes": 0} | update
    )


def store(settings: Settings, token: Token, name: str, size: int) -> Path:
    """An upload from its first byte to its last."""
    space, target = UploadSpace(settings, token), settings.uploads_dir / name / "video.mp4"
    try:
        with space.open() as file:
            space.reserve(size, size)
            file.write(bytes(size))
            space.keep(target)
    finally:
        space.partial.unlink(missing_ok=True)
    return target


def taken(settings: Settings) -> int:
    return sum(path.stat().st_size for path in settings.uploads_dir.rglob("*") if path.is_file())


def test_a_token_has_its_share_and_an_admin_all(tmp_path: Path) -> None:
    settings = limited(tmp_path)
    store(settings, ALICE, "1", 300)
    with pytest.raises(UploadsFull, match="'alice' use 300 of 500"):
        store(settings, ALICE, "2", 300)
    store(settings, BOB, "3", 300)
    store(settings, ADMIN, "4", 400)
    with pytest.raises(UploadsFull, match="1000 of 1000"):
        store(settings, ADMIN, "5", 1)


def test_what_a_token_has_in_flight_counts(tmp_path: Path) -> None:
    settings = limited(tmp_path)
    first, second = UploadSpace(settings, ALICE), UploadSpace(settings, ALICE)
    with first.open(), second.open():
        first.reserve(300, 300)
        with pytest.raises(UploadsFull):
            second.reserve(201, 201)
        assert second.reserve(1, 5000) == 200


def test_what_was_removed_makes_room(tmp_path: Path) -> None:
    settings = limited(tmp_path)
    shutil.rmtree(store(settings, ALICE, "1", 500).parent)
    store(settings, ALICE, "2", 500)


def test_what_another_token_stored_is_not_charged(tmp_path: Path) -> None:
    settings = limited(tmp_path)
    store(settings, BOB, "same", 400)
    store(settings, ALICE, "same", 400)
    store(settings, ALICE, "2", 500)


def test_a_reservation_ends_with_the_process_that_made_it(tmp_path: Path) -> None:
    settings = limited(tmp_path)
    crashed = partials_dir(settings) / "c0ffee-alice"
    crashed.parent.mkdir(parents=True)
    with crashed.open("wb") as file:
        file.truncate(LIMIT)
    store(settings, ADMIN, "1", LIMIT)
    assert not crashed.exists()


def test_the_disk_keeps_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others have reserved and not yet written counts as taken."""
    settings = limited(tmp_path, max_uploads_bytes=10**12, min_free_bytes=4096)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 1004096))
    first, second = UploadSpace(settings, ADMIN), UploadSpace(settings, ADMIN)
    with first.open(), second.open():
        first.reserve(600_000, 600_000)
        with pytest.raises(UploadsFull, match="SHOAL_MIN_FREE_BYTES"):
            second.reserve(600_000, 600_000)
        assert second.reserve(1, 600_000) == 400_000


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["reserve", "keep", "break"]), st.integers(0, 700))
)


@hypothesis_settings(deadline=None, max_examples=60)
@given(STEPS)
def test_any_uploads_at_once_stay_within_the_limits(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str, int]]
) -> None:
    settings = limited(tmp_path_factory.mktemp("data"))
    running = {}
    for number, (slot, action, size) in enumerate(steps):
        if slot not in running:
            space = UploadSpace(settings, (ADMIN, ALICE, ALICE, BOB)[slot])
            running[slot] = (space, space.open())
        space, file = running[slot]
        has = space.partial.stat().st_size
        if action == "reserve":
            try:
                assert has + size <= space.reserve(has + size, has + 2 * size) <= has + 2 * size
            except UploadsFull:
                assert space.partial.stat().st_size == has
        else:
            if action == "keep":
                space.keep(settings.uploads_dir / str(number) / "video.mp4")
            file.close()
            space.partial.unlink(missing_ok=True)
            del running[slot]
        assert taken(settings) <= LIMIT
        alices = sum(path.stat().st_size for path in UploadSpace(settings, ALICE)._charged())
        alices += sum(path.stat().st_size for path in partials_dir(settings).glob("*-alice"))
        assert alices <= LIMIT / 2
    for _, file in running.values():
        file.close()
