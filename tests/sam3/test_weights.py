"""Where weights come from, and what is said where they do not: transformers' real loading."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file, save_file

from shoal.errors import ModelLoadFailed, WeightsUnavailable
from tests.running import ROOT
from worker.engines.sam3 import weights

TOKEN = "hf_a-secret-of-ours"

# What a hub answers to any request for a revision of this name: status, and its word for it.
ANSWERS = {
    "unlicensed": (403, "GatedRepo"),
    "anonymous": (401, "GatedRepo"),
    "wrong-token": (401, ""),
    "elsewhere": (404, "RepoNotFound"),
    "unknown": (404, "RevisionNotFound"),
    "tokenless": (401, "GatedRepo"),
}

ASK = """
import json, os, sys
from tests.sam3 import torchvision_on_cpu
import torch
from shoal.errors import ShoalError
from shoal.model.failure import Failure
from worker.engines.sam3 import weights
for revision in sys.argv[1:]:
    if revision == "tokenless":
        del os.environ["HF_TOKEN"]
    try:
        loaded = weights.load("", revision, torch.device("cpu"), torch.float32)
        answer = {"identity": loaded.identity}
    except ShoalError as error:
        failure = Failure.of(error)
        answer = {"code": failure.code, "message": failure.message, "hint": failure.hint}
    print(json.dumps({"revision": revision, **answer}), flush=True)
"""


class Hub(ThreadingHTTPServer):
    """A hub on this machine that gives nothing; keeps the token it was shown for each revision."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.tokens: dict[str, set[str | None]] = defaultdict(set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        revision = next((name for name in ANSWERS if name in self.path), "")
        self.server.tokens[revision].add(self.headers.get("authorization"))
        status, word = ANSWERS.get(revision, (404, ""))
        self.send_response(status)
        if word:
            self.send_header("X-Error-Code", word)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def told(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What a fresh process says of each revision: huggingface_hub reads its settings on import."""
    home = tmp_path_factory.mktemp("hub")
    (home / "token").write_text("hf_of-the-machines-user")
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": TOKEN}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *ANSWERS],
        env=env | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert TOKEN not in done.stdout + done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {answer["revision"]: answer for answer in answers}


@pytest.mark.parametrize("revision", ["unlicensed", "anonymous", "wrong-token", "elsewhere"])
def test_a_closed_repository_tells_to_accept_the_licence(
    told: dict[str, dict[str, str]], revision: str
) -> None:
    answer = told[revision]
    assert answer["code"] == "weights_unavailable"
    assert answer["message"] == "access to facebook/sam3 denied with this HF_TOKEN"
    for way in ("licence", "HF_TOKEN", "SHOAL_SAM3_WEIGHTS"):
        assert way in answer["hint"]


def test_an_unknown_revision_is_named(told: dict[str, dict[str, str]]) -> None:
    answer = told["unknown"]
    assert answer["code"] == "weights_unavailable"
    assert "no revision 'unknown'" in answer["message"]
    assert "SHOAL_SAM3_REVISION" in answer["hint"]


def test_the_token_is_that_of_the_environment_or_none(
    told: dict[str, dict[str, str]], hub: Hub
) -> None:
    """Never one that the machine's user has saved."""
    assert hub.tokens["anonymous"] == {f"Bearer {TOKEN}"}
    assert hub.tokens["tokenless"] == {None}
    assert told["tokenless"]["message"] == "access to facebook/sam3 denied without a token"


def test_a_hub_that_cannot_be_reached_is_named() -> None:
    """The tests run in the hub's offline mode, whose error is that of a network that is away."""
    with pytest.raises(
        WeightsUnavailable, match="cannot download facebook/sam3 from the Hugging Face hub"
    ) as caught:
        weights.load("", "0" * 40, torch.device("cpu"), torch.float32)
    assert "network" in caught.value.hint


def load(folder: Path) -> weights.LoadedModel:
    return weights.load(str(folder), "main", torch.device("cpu"), torch.float32)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match=r"is not a directory: .*/nowhere") as caught:
        load(tmp_path / "nowhere")
    assert "facebook/sam3" in caught.value.hint


@pytest.mark.parametrize(
    "missing", ["config.json", "model.safetensors", "processor_config.json", "tokenizer.json"]
)
def test_an_incomplete_directory_is_refused(plain: Path, tmp_path: Path, missing: str) -> None:
    folder = copytree(plain, tmp_path / "copy")
    (folder / missing).unlink()
    with pytest.raises(ModelLoadFailed, match="copy") as caught:
        load(folder)
    assert missing in caught.value.hint


def test_weights_cut_off_in_the_middle_are_refused(plain: Path, tmp_path: Path) -> None:
    file = copytree(plain, tmp_path / "copy") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1_000_000])
    with pytest.raises(ModelLoadFailed, match="cannot load SAM3 from"):
        load(tmp_path / "copy")


def test_another_models_directory_is_refused(plain: Path, tmp_path: Path) -> None:
    config = copytree(plain, tmp_path / "copy") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "sam2_video"}))
    with pytest.raises(
        ModelLoadFailed, match="contains 'sam2_video' instead of a SAM3 video model"
    ):
        load(tmp_path / "copy")


def test_weights_that_lack_parameters_are_refused(plain: Path, tmp_path: Path) -> None:
    """Transformers would fill them with random numbers."""
    path = copytree(plain, tmp_path / "copy") / "model.safetensors"
    tensors = load_file(path)
    del tensors["detector_model.text_projection.bias"]
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(ModelLoadFailed, match=r"1 parameters.* detector_model\.text_projection"):
        load(tmp_path / "copy")


def test_the_names_that_the_published_checkpoint_has_are_known(plain: Path, tmp_path: Path) -> None:
    """It was converted by an earlier transformers, which named the tracker's parameters once."""
    path = copytree(plain, tmp_path / "copy") / "model.safetensors"
    doubled = "tracker_model.tracker_model."
    tensors = load_file(path)
    assert any(name.startswith(doubled) for name in tensors)
    save_file(
        {name.replace(doubled, "tracker_model."): each for name, each in tensors.items()},
        path,
        {"format": "pt"},
    )
    published, ours = load(tmp_path / "copy"), load(plain)
    expected = ours.model.state_dict()
    for name, each in published.model.state_dict().items():
        assert torch.equal(each, expected[name])
    assert published.identity != ours.identity
