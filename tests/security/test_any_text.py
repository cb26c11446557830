"""Whatever text stands where a user writes one, the answer is no error of the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings as effort, strategies as st
from pydantic import SecretStr

from shoal.errors import InvalidVisualPrompt, ShoalError, UnsupportedLocation
from shoal.ingest.decide import UploadedObject, judge
from shoal.ingest.rules_file import RulesFile
from shoal.model.prompts import MAX_SIDE, VisualPrompt, check_fits, clean_objects
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.storage.files import FileStorage
from shoal.storage.gcs import GoogleStorage
from shoal.storage.s3 import S3Storage
from tests.security.conftest import Patient
from tests.serving import served

URIS = [
    "file://[::1/x", "file://[/x", "file://]/x", "file://[x]/x", "//[x", "file:", "file:///",
    "file:///%00", "file:///" + "a" * 300, "file:///" + "a/" * 1500, "file:///%ff%fe", "file:///%",
    "file:///" + "%c3%a9" * 200, "FILE:///x", "file:x", "://", ":", "s3:", "s3://", "s3://[/x",
    "gs://[::1/x", "http://[", "file:///..", "file:///\ud800", "\x00", "file:///a?b#c",
]  # fmt: skip
HOSTILE = st.sampled_from(URIS) | st.text(
    st.sampled_from("ab/:[]%*?#@.\\ \x00\n\ud800é٣😀"), max_size=40
)
ANY = HOSTILE | st.text(max_size=60) | st.builds("file:///{}".format, st.text(max_size=40))
SLOWLY: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.fixture(scope="module")
def settings(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("text")
    (folder / "rules.toml").write_text(
        '[[rule]]\nbucket = "s3://in*"\nkey = "**/a/**/*.mp4"\nprompts = ["car"]\n'
        f'[[rule]]\nbucket = "{(folder / "data").as_uri()}"\nkey = "in/**"\nprompts = ["car"]\n'
    )
    return Settings(
        redis_url=valkey_url,
        queue="text",
        data_dir=folder / "data",
        rules=folder / "rules.toml",
        sweep_s=0,
        callback_secret=(SecretStr("whsec_" + "QUJDRA" * 6),),
    )


@pytest.fixture(scope="module")
def http(settings: Settings) -> Iterator[httpx.Client]:
    with served(settings) as url, Patient(url) as client:
        yield client


def post(http: httpx.Client, path: str, document: Any) -> httpx.Response:
    """As JSON in ASCII: half a pair of surrogates gets through."""
    headers = {"content-type": "application/json"}
    return http.post(path, content=json.dumps(document), headers=headers)


def _elsewhere(text: str) -> str:
    """Not of a cloud: that would be asked over the network."""
    return text.replace("s3:", "s4:").replace("gs:", "gt:")


@effort(max_examples=100, **SLOWLY)
@given(ANY)
def test_any_text_as_a_uri(http: httpx.Client, settings: Settings, text: str) -> None:
    uri = _elsewhere(text)
    answer = post(http, "/videos", {"uri": uri, "prompts": ["car"]})
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["code"]
    assert post(http, "/batches", {"uris": [uri], "prompts": ["car"]}).status_code < 500
    assert post(http, "/batches", {"globs": [uri], "prompts": ["car"]}).status_code < 500
    assert http.get("/ui/rules", params={"uri": text.encode(errors="replace")}).status_code < 500
    assert http.get("/ui/login", params={"to": text.encode(errors="replace")}).status_code < 500


@effort(max_examples=80, **SLOWLY)
@given(ANY, st.sampled_from(["prompts", "callback", "label", "object", "counts", "engine", "name"]))
def test_any_text_in_a_submission(http: httpx.Client, text: str, field: str) -> None:
    mask = {"size": [4, 4], "counts": text if field == "counts" else "0"}
    pointed: dict[str, Any] = {"label": "car", "frame": 0, "mask": mask}
    if field in ("label", "object"):
        pointed[field] = text
    document: dict[str, Any] = {
        "uri": "file:///x",
        "prompts": [text] if field == "prompts" else ["car"],
        "objects": [pointed] if field in ("label", "object", "counts") else [],
        "options": {"engine": text} if field == "engine" else {},
        "callback": text if field == "callback" else "",
    }
    assert 400 <= post(http, "/videos", document).status_code < 500
    batch = {name: value for name, value in document.items() if name != "uri"}
    named = {"name": text} if field == "name" else {}
    assert post(http, "/batches", batch | named | {"uris": ["file:///x"]}).status_code < 500
    assert post(http, "/videos", document | {text: 0}).status_code == 422
    assert post(http, "/videos/bulk", {"action": "retry", "cursor": text}).status_code < 500
    assert (
        post(http, "/videos/bulk", {"action": "retry", "filter": {"text": text}}).status_code < 500
    )


@effort(max_examples=500, **SLOWLY)
@given(ANY | st.builds("s3://in/{}".format, ANY))
@example("s3://in/.")
@example("s3://in/a/.")
@example("s3://in/..")
def test_any_text_has_a_storage_or_none(settings: Settings, text: str) -> None:
    for storage in (FileStorage(settings.readable_roots), S3Storage(), GoogleStorage()):
        for ask in (storage.key, lambda uri: storage_for(uri, settings)):
            try:
                ask(text)
            except ShoalError:
                continue
    with suppress(UnsupportedLocation):
        judge(UploadedObject(text, "1", 1), RulesFile(settings).current(), settings)


# --- masks ---------------------------------------------------------------------------------------

COUNTS = st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30)


@effort(max_examples=500, **SLOWLY)
@given(COUNTS, st.integers(1, MAX_SIDE), st.integers(1, MAX_SIDE))
@example("o" * 60_000, 4, 4)
@example("o" * 20, 4, 4)
@example("_N" * 3000, 4, 4)
@example("P" * 60_000, 4, 4)
def test_any_run_lengths_are_a_mask_or_refused(counts: str, height: int, width: int) -> None:
    mask = {"size": (height, width), "counts": counts}
    prompt = VisualPrompt.model_validate({"label": "car", "frame": 0, "mask": mask})
    with suppress(InvalidVisualPrompt):
        clean_objects([prompt])
    with suppress(InvalidVisualPrompt):
        check_fits([prompt], width, height)


@pytest.mark.parametrize(
    "change",
    [
        {"mask": {"size": [-2, -3], "counts": "06"}},
        {"mask": {"size": [0, 0], "counts": ""}},
        {"mask": {"size": [10**30, 1], "counts": "06"}},
        {"mask": {"size": [4, 4], "counts": "o" * 60_000}},
        {"mask": {"size": [4, 4], "counts": "oo0"}},
        {"mask": {"size": [4, 4], "counts": "@"}},
        {"mask": {"size": [4, 4], "counts": ""}},
        {"mask": {"size": [4, 4], "counts": "é"}},
        {"frame": 10**30, "points": [[1, 1, 1]]},
        {"points": [[1e308, -1e308, 1]], "frame": 2**31},
    ],
)
def test_an_absurd_mask_or_frame_is_refused_with_a_code(
    http: httpx.Client, change: dict[str, Any]
) -> None:
    pointed = {"label": "car", "frame": 0} | change
    document = {"uri": "file:///x", "prompts": ["car"], "objects": [pointed]}
    for path, body in (("/videos", document), ("/batches", document | {"uris": ["file:///x"]})):
        body = {name: value for name, value in body.items() if path == "/videos" or name != "uri"}
        answer = post(http, path, body)
        assert answer.status_code == 422
        assert answer.json()["code"] in ("invalid_request", "invalid_visual_prompt")


# --- what lies outside the roots ------------------------------------------------------------------


@pytest.fixture
def outside(settings: Settings, tmp_path: Path) -> Path:
    """A folder that may not be read, with links of all sorts in it and into it."""
    settings.data_dir.mkdir(exist_ok=True)
    (tmp_path / "there.mp4").write_bytes(b"x")
    (tmp_path / "back").symlink_to(settings.data_dir)
    (tmp_path / "link").symlink_to(tmp_path / "there.mp4")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (settings.data_dir / "in.mp4").write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["there.mp4", "missing.mp4", "link", "loop", "dangling", "back/in.mp4", "back/missing.mp4",
     "back/../there.mp4", "link/../../x", "x" * 300, "there.mp4/below", ".", "..", ""],
)  # fmt: skip
def test_no_answer_tells_what_lies_outside(
    http: httpx.Client, outside: Path, settings: Settings, name: str
) -> None:
    """The same words for what is there and what is not: those that were sent."""
    inside = settings.data_dir / f"to-{outside.name}"
    inside.symlink_to(outside)
    try:
        for folder in (outside, inside):
            uri = f"file://{folder}/{name}"
            answer = post(http, "/videos", {"uri": uri, "prompts": ["car"]})
            if folder is inside and (name.startswith("back/in") or ".." in name):
                continue  # a link that an operator made leads back in; '..' goes by the letters
            if folder is inside and name.startswith("back/"):
                assert answer.json()["code"] == "source_not_found"
                continue
            assert (answer.status_code, answer.json()["code"]) == (403, "location_forbidden")
            assert answer.json()["detail"] == f"outside the allowed folders: {uri}"
    finally:
        inside.unlink()


def test_a_link_to_a_process_tells_no_target(http: httpx.Client) -> None:
    for uri in ("file:///proc/self/exe", "file:///proc/self/nothing", "file:///proc/1/cwd"):
        answer = post(http, "/videos", {"uri": uri, "prompts": ["car"]}).json()
        assert answer["detail"] == f"outside the allowed folders: {uri}"


def test_the_way_in_does_not_go_through_what_lies_outside(
    settings: Settings, outside: Path
) -> None:
    """Or whether a link is there could be told from where '..' after it leads."""
    up = "../" * len(outside.parts)
    for first in ("there.mp4", "missing", "link", "back"):
        uri = f"file://{outside}/{first}/{up}{str(settings.data_dir)[1:]}/in.mp4"
        assert FileStorage([settings.data_dir]).stat(uri).size == 1
