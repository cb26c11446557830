"""Names that are too long are shortened by one rule, which loses none of them."""

from __future__ import annotations

from hypothesis import given, strategies as st

from shoal.model.job import MAX_STEM_BYTES, JobSpec
from shoal.model.names import HASH_CHARS, fit, fit_file
from shoal.results.layout import ENDINGS, result_name, result_uri, results_folder

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@given(NAMES, st.integers(HASH_CHARS + 1, 300))
def test_a_name_fits_and_short_ones_stay(name: str, most: int) -> None:
    found = fit(name, most)
    assert len(found.encode()) <= most
    assert (found == name) == (len(name.encode()) <= most)
    assert fit(name, most) == found == fit(found, most)


def test_names_that_differ_at_their_end_stay_apart() -> None:
    names = [f"{'漢' * 82}{number}" for number in range(50)]
    assert len({fit(name, 230) for name in names}) == len(names)


@given(NAMES, st.sampled_from(["", ".mp4", ".tar", "." + "x" * 300]))
def test_a_file_that_is_uploaded_keeps_its_suffix(name: str, suffix: str) -> None:
    found = fit_file(name * 20 + suffix, 180)
    assert len(found.encode()) <= 180
    if 0 < len(suffix) < 5:
        assert found.endswith(suffix)


def spec(uri: str, results: str = "file:///results/x") -> JobSpec:
    return JobSpec(uri=uri, version="1", size=1, prompts=("person",), results=results)


@given(NAMES)
def test_every_result_of_any_video_is_a_name_that_a_disk_can_hold(name: str) -> None:
    job = spec(f"gs://bucket/{name * 40}.mp4")
    for kind in ENDINGS:
        assert len(result_name(job, kind).encode()) <= 255


def test_names_of_today_do_not_change() -> None:
    assert spec("s3://b/match one.mp4").stem == "match one"
    long = "a" * MAX_STEM_BYTES
    assert result_name(spec(f"s3://b/{long}.mp4"), "csv") == f"{long}_tracks.csv"
    assert results_folder("gs://out/r", "a/b/match") == "gs://out/r/a/b/match"
    assert results_folder("file:///out", "a/../b") == "file:///out/a/_/b"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_every_result_in_a_bucket_has_a_key_that_it_can_have(text: str) -> None:
    key = (text * 1024).encode()[:1020].decode("utf-8", "ignore")
    for root in ("s3://results", "gs://results/of/all kinds"):
        job = spec(f"s3://videos/{key}.mp4", results_folder(root, key))
        for kind in ENDINGS:
            uri = result_uri(job, result_name(job, kind))
            assert len(uri.partition("://")[2].partition("/")[2].encode()) <= 1024


def test_parts_of_a_key_that_no_disk_can_hold_are_shortened_on_disk() -> None:
    folder = results_folder("file:///out", f"{'a' * 300}/{'b' * 255}")
    first, second = folder.removeprefix("file:///out/").split("/")
    assert (len(first), second) == (255, "b" * 255)
