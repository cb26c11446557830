"""What is known of engines at submit time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shoal import engines
from shoal.engines import Feature, clip, cpu
from shoal.errors import (
    EngineUnavailable,
    InvalidPrompt,
    UnknownEngine,
    UnknownPrompt,
    UnsupportedByEngine,
)
from worker.engines import load


def words(prompt: str) -> set[str]:
    return {cpu.WORDS[index] for index in cpu.resolve(prompt)}


def test_the_vocabulary_is_that_of_coco() -> None:
    assert len(cpu.WORDS) == len(set(cpu.WORDS)) == 80
    # Indices by which the detector was trained.
    known = {
        0: "person",
        2: "car",
        32: "sports ball",
        40: "wine glass",
        41: "cup",
        79: "toothbrush",
    }
    assert {index: cpu.WORDS[index] for index in known} == known


def test_every_word_answers_to_itself() -> None:
    assert [cpu.resolve(word) for word in cpu.WORDS] == [(index,) for index in range(80)]


@pytest.mark.parametrize(
    ("prompt", "meaning"),
    [
        ("people", {"person"}),
        ("Women", {"person"}),
        ("children", {"person"}),
        ("soccer players", {"person"}),
        ("buses", {"bus"}),
        ("benches", {"bench"}),
        ("knives", {"knife"}),
        ("ponies", {"horse"}),
        ("wine glasses", {"wine glass"}),
        ("mice", {"mouse"}),
        ("ties", {"tie"}),
        ("sheep", {"sheep"}),
        ("skis", {"skis"}),
        ("scissors", {"scissors"}),
        ("TVs", {"tv"}),
        ("balls", {"sports ball", "frisbee"}),
        ("vehicles", {"car", "motorcycle", "bus", "truck"}),
        ("  Traffic\tLIGHTS ", {"traffic light"}),
        ("potted-plants", {"potted plant"}),
        ("mug", {"cup"}),
    ],
)
def test_case_plural_and_aliases(prompt: str, meaning: set[str]) -> None:
    assert words(prompt) == meaning


@pytest.mark.parametrize("prompt", ["person with a hat", "s", "", "glas", "unicorn", "bu"])
def test_what_is_not_a_word_is_refused(prompt: str) -> None:
    with pytest.raises(UnknownPrompt) as caught:
        cpu.resolve(prompt)
    assert repr(prompt) in str(caught.value)


def test_a_refusal_names_the_closest_words_and_all_words() -> None:
    with pytest.raises(UnknownPrompt, match=r"'elefant'.*elephant") as caught:
        cpu.resolve("elefant")
    assert all(word in caught.value.hint for word in (*cpu.WORDS, "vehicle"))


def test_a_refusal_without_close_words_claims_none() -> None:
    with pytest.raises(UnknownPrompt) as caught:
        cpu.resolve("qqqqqq")
    assert "similar words" not in str(caught.value)


def test_check_wants_every_prompt_known() -> None:
    engines.check("cpu", ["person", "cars"])
    with pytest.raises(UnknownPrompt, match="unicorn"):
        engines.check("cpu", ["person", "unicorn"])


@pytest.mark.parametrize("engine", ["auto", "sam3"])
def test_sam3_answers_any_short_phrase_and_auto_with_it(engine: str) -> None:
    engines.check(engine, ["person", "a unicorn that doesn't smile", "№ 7", "x" * 90])


@pytest.mark.parametrize("engine", ["auto", "sam3"])
@pytest.mark.parametrize(
    ("fits", "tokens", "too_long"),
    [
        ("the " * 30, 33, "the " * 31),
        ("7" * 30, 33, "7" * 31),
        ("a-" * 15, 34, "a-" * 16),
        ("dragonfly " * 30, 33, "dragonfly " * 31),
        ("zqxj " * 10, 35, "zqxj " * 11),
    ],
)
def test_a_prompt_of_more_than_32_tokens_is_refused(
    engine: str, fits: str, tokens: int, too_long: str
) -> None:
    engines.check(engine, [fits])
    with pytest.raises(InvalidPrompt, match=f"has {tokens} tokens; SAM3 supports 32") as caught:
        engines.check(engine, ["person", too_long])
    assert "short noun phrase" in caught.value.hint


def test_tokens_are_those_of_clip() -> None:
    """The numbers are those that CLIP's text encoder was trained with."""
    ids = [49406, 320, 1125, 539, 320, 2368, 49407]
    assert clip.encode("a photo of a cat") == clip.encode("A  photo of\ta CAT") == ids
    assert clip.encode("") == [49406, 49407]


def test_auto_is_satisfied_by_any_one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(prompt: str) -> None:
        raise UnknownPrompt(prompt)

    monkeypatch.setattr(
        engines,
        "_ENGINES",
        {"open": engines.Engine(lambda prompt: None), "closed": engines.Engine(refuse)},
    )
    engines.check("auto", ["person", "unicorn"])
    with pytest.raises(UnknownPrompt):
        engines.check("closed", ["person", "unicorn"])


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    assert "cpu" in engines.names()
    assert "auto" not in engines.names()
    for refuse in (lambda: engines.check("gpu", ["person"]), lambda: load("gpu")):
        with pytest.raises(UnknownEngine, match="'gpu'") as caught:
            refuse()
        assert "auto, cpu" in caught.value.hint


def test_checking_a_prompt_needs_no_worker_library() -> None:
    code = (
        "import sys; from shoal import engines; engines.check('auto', ['person']);"
        "print({'numpy', 'cv2', 'onnxruntime', 'av', 'worker'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_sam3_native_is_asked_by_texts_points_and_boxes() -> None:
    able = {Feature.POINTS, Feature.BOX, Feature.MAX_OBJECTS, Feature.REMOVE_OBJECTS}
    engines.check("sam3-native", ["anything"], able)
    with pytest.raises(InvalidPrompt, match="32"):
        engines.check("sam3-native", ["the " * 31])
    with pytest.raises(UnsupportedByEngine, match="mask") as caught:
        engines.check("sam3-native", [], [Feature.MASK])
    assert "sam3" in caught.value.hint


@pytest.mark.parametrize("named", [Feature.MASK, Feature.EXEMPLARS, Feature.PREVIEW])
def test_of_several_limits_always_the_same_is_named(named: Feature) -> None:
    others = [each for each in Feature if list(Feature).index(each) > list(Feature).index(named)]
    for used in ([named, *others], [*others, named], [*reversed(others), named]):
        with pytest.raises(UnsupportedByEngine, match=f"'{named.value}'"):
            engines.check("sam3-native", [], used)


def test_an_engine_for_one_kind_of_device_is_refused_where_no_worker_has_it() -> None:
    assert engines.needs_device("sam3-native")
    assert not any(map(engines.needs_device, ("auto", "cpu", "sam3")))
    for devices in ([], [""], ["cpu", ""], ["cpu", "cuda:0 GPU"]):
        engines.check_devices("sam3-native", devices)
    with pytest.raises(
        EngineUnavailable, match=r"requires a CUDA GPU; no connected worker has one$"
    ):
        engines.check_devices("sam3-native", ["cpu", "cpu"])


def test_with_auto_the_workers_that_there_are_decide() -> None:
    engines.check_loaded(["cpu"], ["cars"], ())
    engines.check_loaded(["cpu", "sam3"], ["unicorn"], {Feature.MASK})
    for unknown in ([], [""], ["cpu", ""], ["cpu", "package.module:factory"]):
        engines.check_loaded(unknown, ["unicorn"], {Feature.MASK})
    with pytest.raises(UnknownPrompt, match="unicorn"):
        engines.check_loaded(["cpu", "cpu"], ["car", "unicorn"], ())
    with pytest.raises(UnsupportedByEngine, match="mask"):
        engines.check_loaded(["sam3-native", "cpu"], ["car"], {Feature.MASK})


def test_whether_it_matters_which_engine_a_worker_has() -> None:
    assert engines.all_can(["car"], {Feature.MAX_OBJECTS})
    assert not engines.all_can(["unicorn"], ())
    assert not engines.all_can(["car"], {Feature.MASK})
