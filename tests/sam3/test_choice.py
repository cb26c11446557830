"""``auto`` takes SAM3 where there are a CUDA device and weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from shoal.settings import get_settings
from worker import engines as predictors


@pytest.fixture(autouse=True)
def settings_read_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("cuda", "setting", "engine", "reason"),
    [
        (True, "there", "sam3", "a CUDA device and weights are available"),
        (True, "nowhere", "cpu", "there are no weights at"),
        (False, "there", "cpu", "there is no CUDA device"),
    ],
)
def test_auto(
    cuda: bool,
    setting: str,
    engine: str,
    reason: str,
    plain: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    where = str(plain) if setting == "there" else setting
    monkeypatch.setenv("SHOAL_SAM3_WEIGHTS", where)
    choice = predictors.choose("auto")
    assert choice.engine == engine
    assert reason in choice.reason


@pytest.mark.parametrize("repository", ["", "facebook/sam3"])
def test_auto_trusts_a_token_to_bring_the_weights(
    repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("SHOAL_SAM3_WEIGHTS", repository)
    monkeypatch.setenv("SHOAL_SAM3_REVISION", "0" * 40)  # nobody has it in a cache
    without = predictors.choose("auto")
    assert without.engine == "cpu"
    assert "neither SHOAL_SAM3_WEIGHTS nor HF_TOKEN is set" in without.reason
    monkeypatch.setenv("HF_TOKEN", "hf_something")
    assert predictors.choose("auto").engine == "sam3"
