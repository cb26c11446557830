"""What of a video is not in its results: in the metadata, the record, and on the video's page."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

import api.dashboard
from shoal.results.layout import AudioMetadata, Metadata
from tests.tables import write_results


@pytest.fixture
def metadata(tmp_path: Path) -> Metadata:
    write_results(tmp_path)
    (path,) = tmp_path.glob("*_metadata.json")
    found = Metadata.model_validate_json(path.read_text())
    return found.model_copy(update={"outputs": {"metadata": "file:///m.json"}})


def test_a_whole_video_has_none(metadata: Metadata) -> None:
    assert metadata.summary()["warnings"] == []


def test_each_loss_is_one(metadata: Metadata) -> None:
    changed = {"left_out": ["One."], "truncated": True, "missing_s": 2.0, "decode_errors": 3}
    lossy = metadata.model_copy(
        update={
            "video": metadata.video.model_copy(update=changed),
            "audio": AudioMetadata(state="lost", reason="there is no decoder for it"),
        }
    )
    assert lossy.summary()["warnings"] == [
        "One.",
        "The file is cut off: 2.0 s could not be read.",
        "3 packets were damaged or could not be decoded.",
        "The sound is missing: there is no decoder for it.",
    ]


@pytest.mark.parametrize(
    ("audio", "count"),
    [
        (AudioMetadata(state="copied", reason="3 of its packets cannot be decoded"), 1),
        (AudioMetadata(state="encoded"), 0),
        (AudioMetadata(state="none", reason="the source has none"), 0),
        (AudioMetadata(state="off", reason="the job asks for none"), 0),
    ],
)
def test_sound_that_nobody_misses_is_none(
    metadata: Metadata, audio: AudioMetadata, count: int
) -> None:
    assert len(metadata.model_copy(update={"audio": audio}).warnings()) == count


def test_metadata_of_before_can_be_read(metadata: Metadata) -> None:
    old = metadata.model_dump()
    del old["audio"]
    del old["video"]["left_out"], old["video"]["end_s"]
    assert Metadata.model_validate(old).audio.state == "off"


def test_the_page_shows_them() -> None:
    folder = Path(api.dashboard.__file__).parent / "templates"
    source = (folder / "video" / "outcome.html").read_text()
    shown = source[source.index("{% for warning") : source.index("<dl>")]
    template = jinja2.Environment(autoescape=True).from_string(shown)
    page = template.render(record={"summary": {"warnings": ["Stream <1> was not read."]}})
    assert "Stream &lt;1&gt; was not read." in page
