"""Patterns, and what is wrong with a rules file."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from shoal.errors import InvalidRules
from shoal.ingest.decide import UploadedObject, judge
from shoal.ingest.rules_file import RulesFile, load
from shoal.model import globs
from shoal.model.job import JobSpec
from shoal.settings import Settings


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("**", "a/b", True),
        ("*.mp4", "a/b.mp4", False),
        ("**/*.mp4", "b.mp4", True),
        ("**/*.mp4", "x/y/b.mp4", True),
        ("a/**", "a", False),
        ("a/**/b", "a/b", True),
        ("a?c", "a/c", False),
        ("[!a]x", "/x", False),
        ("[a-c]x", "bx", True),
        ("a+(b).mp4", "a+(b).mp4", True),
    ],
)
def test_patterns(pattern: str, key: str, expected: bool) -> None:
    assert globs.matches(pattern, key) is expected


SECRET = SecretStr("whsec_" + "QUJDRA" * 6)
HEAD = '[[rule]]\nbucket = "gs://in"\nprompts = ["person"]\n'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[rule]\n", "line 1"),
        (" \n", "rules.toml: the file is empty"),
        ('[[rule]]\nbucket = "gs://in"\nprompts = []\n', "rules.toml:3: prompts: no prompt"),
        (HEAD + "[[rule]]\n" + 'bucket = "ftp://x"\n', "rules.toml:5: bucket: must have the form"),
        (HEAD + "colour = 1\n", "rules.toml:4: colour: Extra"),
        (HEAD + '[rule.options]\nengine = "oracle"\n', "unknown engine 'oracle'"),
        (HEAD + 'results = "gs://in/r"\n', "rules.toml:4: rule 'rule 1': its results go to"),
        (HEAD + 'key = "r/a/*.mp4"\nresults = "gs://in/r"\n', "lies within gs://in/r"),
        (HEAD + 'key = "[z-a]"\n', "rules.toml:4: key: invalid pattern"),
        ('[[rule]]\nbucket = "file:///etc"\nprompts = ["car"]\n', "rules.toml:2: outside"),
        (HEAD.replace("gs:", "s3:") + "prompts_from_metadata = true\n", "rules.toml:4:"),
        (HEAD + 'callback = "http://10.0.0.1/"\n', "rules.toml:4: rule 'rule 1': 10.0.0.1 is not"),
        (HEAD + 'callback = "ftp://example.com/"\n', "must be an http:// or https:// URL"),
        ('[[rules]]\nbucket = "gs://in"\n', "rules.toml:1: unknown entry 'rules'"),
        ('[[rule]]\nbucket = "gs://in"\n', "rules.toml:1: prompts: no prompt"),
        (
            HEAD + 'exemplars = [{ prompt = "car", box = [1, 2, 3, 4], positive = false }]\n',
            "rules.toml:4: rule 'rule 1': exemplars[0]: 'car' has negative exemplars only",
        ),
        (
            HEAD + "[[rule.objects]]\nobject_id = 3\nframe = 0\npoints = [[1, 2, 1]]\n",
            "rules.toml:4: rule 'rule 1': objects[0]: 'object_id' is an ID in the results of one",
        ),
        (
            HEAD + 'options = { engine = "cpu", track_fps = 5 }\n',
            "rules.toml:3: rule 'rule 1': the cpu engine does not support 'track_fps'",
        ),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(InvalidRules) as raised:
        load(path, Settings(data_dir=tmp_path, callback_secret=(SECRET,)))
    assert any(fault in each for each in raised.value.faults), raised.value.faults


def test_rules_stay_in_force_while_their_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(HEAD + 'results = "gs://out"\n')
    file = RulesFile(Settings(data_dir=tmp_path, rules=path))
    path.write_text("")  # as an editor does first
    assert [rule.name for rule in file.current().items] == ["rule 1"]
    assert "the file is empty" in str(file.fault)
    path.write_text("# none for now\n")
    assert not file.current().items
    assert file.fault is None


def test_a_callback_needs_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(HEAD + 'results = "gs://out"\ncallback = "https://example.com/hook"\n')
    with pytest.raises(InvalidRules, match="SHOAL_CALLBACK_SECRET is not set"):
        load(path, Settings(data_dir=tmp_path))
    loaded = load(path, Settings(data_dir=tmp_path, callback_secret=(SECRET,)))
    assert loaded.callback_of("gs://in/a.mp4") == "https://example.com/hook"
    assert loaded.callback_of("gs://elsewhere/a.mp4") == ""


def test_exemplars_and_track_fps_of_a_rule_are_those_of_its_jobs(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        '[[rule]]\nbucket = "gs://in"\noptions = { track_fps = 2.5 }\n'
        'prompts_from_metadata = true\nresults = "gs://out"\n'
        '[[rule.exemplars]]\nprompt = " red  buoy"\nframe = 3\nbox = [10, 10, 40, 40]\n'
        '[[rule.objects]]\nlabel = "gate"\nframe = 0\nbox = [0, 0, 9, 9]\n'
    )
    settings = Settings(data_dir=tmp_path)
    loaded = load(path, settings)
    for metadata, prompts in ({}, ()), ({"shoal-prompts": "boat, ship"}, ("boat", "ship")):
        upload = UploadedObject("gs://in/a.mp4", "1", 9, metadata=metadata)
        job = judge(upload, loaded, settings)
        assert isinstance(job, JobSpec)
        assert job.prompts == prompts
        assert [(each.prompt, each.frame) for each in job.exemplars] == [("red buoy", 3)]
        assert [each.label for each in job.objects] == ["gate"]
        assert job.options.track_fps == 2.5


def test_the_first_match_wins(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    narrow = HEAD + 'name = "narrow"\nkey = "soccer/**"\nresults = "gs://out"\n'
    path.write_text(narrow + HEAD + 'name = "wide"\nresults = "gs://out"\n')
    loaded = load(path, Settings(data_dir=tmp_path))
    found = [loaded.find(f"gs://in/{key}") for key in ("soccer/a.mp4", "a.mp4")]
    assert [rule and rule.name for rule in found] == ["narrow", "wide"]
    assert loaded.find("gs://other/a.mp4") is None
