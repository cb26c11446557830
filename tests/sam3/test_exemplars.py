"""Boxes around examples: what they add to a prompt, and for how long."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from shoal.errors import GpuOutOfMemory
from tests.sam3 import tiny, videos
from worker.engines.base import Exemplar, ExemplarReader, FrameResult, Query
from worker.engines.sam3 import session as session_module
from worker.engines.sam3.examples import Example, encode_examples, examples_of
from worker.engines.sam3.lookahead import read_examples
from worker.engines.sam3.predictor import Sam3Predictor
from worker.engines.sam3.session import Sam3Session

BOX = (10.0, 15.0, 40.0, 45.0)
FRAMES = 20


def opened(predictor: Sam3Predictor, query: Query) -> Sam3Session:
    """A session that knows its exemplars."""
    session = predictor.open(videos.INFO, query)
    assert isinstance(session, ExemplarReader)
    session.read_exemplars(
        [each for each in videos.make(10) if each.index in query.exemplar_frames]
    )
    return session


def track(predictor: Sam3Predictor, query: Query, count: int = FRAMES) -> list[FrameResult]:
    return videos.track(opened(predictor, query), videos.make(count))


def test_boxes_are_relative_and_belong_to_their_prompts() -> None:
    query = Query(
        ("a", "bc"),
        exemplars=(
            Exemplar(prompt="bc", frame=3, box=BOX),
            Exemplar(prompt="thing", frame=3, box=(0, 0, 80, 60), positive=False),
            Exemplar(prompt="bc", frame=7, box=BOX),
        ),
    )
    assert query.concepts == ("a", "bc", "thing")
    assert query.labels == query.concepts
    assert query.frames == frozenset()
    assert query.exemplar_frames == {3, 7}
    assert examples_of(query, (videos.HEIGHT, videos.WIDTH)) == {
        3: [
            Example(1, 3, (25 / 80, 30 / 60, 30 / 80, 30 / 60), True),
            Example(2, 3, (0.5, 0.5, 1.0, 1.0), False),
        ],
        7: [Example(1, 7, (25 / 80, 30 / 60, 30 / 80, 30 / 60), True)],
    }


@torch.inference_mode()
def test_on_its_own_frame_it_is_what_transformers_computes(predictor: Sam3Predictor) -> None:
    """The detector is given tokens; transformers' own is given the boxes themselves."""
    model, device = predictor._loaded.model, torch.device("cpu")
    (frame,) = videos.make(1)
    session = predictor.open(videos.INFO, Query(("a",)))
    pixels, prompts = session._pixels(frame)[None], session._prompts
    session.close()
    assert prompts is not None
    vision = model.detector_model.get_vision_features(pixel_values=pixels)
    examples = [
        Example(0, 0, (0.3, 0.5, 0.2, 0.4), True),
        Example(0, 0, (0.7, 0.4, 0.3, 0.3), False),
    ]
    prompts.examples |= encode_examples(model, vision, examples)
    embeddings, attention = prompts.with_examples()
    ours = model.detector_model(
        vision_embeds=vision,
        text_embeds=_pooled(embeddings),
        attention_mask=attention,
    )
    theirs = model.detector_model(
        vision_embeds=vision,
        text_embeds=_pooled(prompts.embeddings),
        attention_mask=prompts.attention,
        input_boxes=torch.tensor([[each.box for each in examples]], device=device),
        input_boxes_labels=torch.tensor([[1, 0]], device=device),
    )
    assert torch.equal(ours.pred_logits, theirs.pred_logits)
    assert torch.equal(ours.pred_masks, theirs.pred_masks)
    bare = model.detector_model(
        vision_embeds=vision,
        text_embeds=_pooled(prompts.embeddings),
        attention_mask=prompts.attention,
    )
    assert not torch.equal(ours.pred_logits, bare.pred_logits)


def _pooled(embeddings: torch.Tensor) -> Any:
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    return BaseModelOutputWithPooling(pooler_output=embeddings)


def test_examples_apply_from_the_first_frame_and_only_to_their_prompt(
    predictor: Sam3Predictor,
) -> None:
    query = Query(
        ("a", "bc"),
        exemplars=(
            Exemplar(prompt="bc", frame=1, box=BOX),
            Exemplar(prompt="bc", frame=1, box=(50, 5, 70, 25), positive=False),
            Exemplar(prompt="a", frame=3, box=BOX),
        ),
    )
    session = opened(predictor, query)
    assert session._prompts is not None
    attention = session._prompts.with_examples()[1]
    session.close()
    assert attention[:, 32:].sum(1).tolist() == [2, 3]  # boxes, and one more


def test_a_concept_without_words_is_found_also_before_its_example(
    predictor: Sam3Predictor,
) -> None:
    query = Query((), exemplars=(Exemplar(prompt="thing", frame=9, box=BOX),))
    results = track(predictor, query)
    assert results[0].objects
    assert {each.prompt for result in results for each in result.objects} == {"thing"}


def test_memory_that_does_not_suffice_for_an_exemplar_halves_the_lookahead(
    plain: Path, predictor: Sam3Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = Query((), exemplars=(Exemplar(prompt="thing", frame=3, box=BOX),))
    sizes = []

    def short(model: Any, prompts: Any, pixels: torch.Tensor, examples: Any) -> Any:
        sizes.append(len(pixels))
        if len(pixels) > room:
            raise torch.OutOfMemoryError
        return read_examples(model, prompts, pixels, examples)

    monkeypatch.setattr(session_module, "read_examples", short)
    ahead, room = Sam3Predictor(str(plain), lookahead=4), 1
    opened(ahead, query).close()
    assert sizes == [4, 2, 1]
    room = 0
    with pytest.raises(GpuOutOfMemory):
        opened(ahead, query)


@pytest.mark.parametrize("lookahead", [1, 4])
def test_results_do_not_depend_on_the_lookahead(
    plain: Path, predictor: Sam3Predictor, lookahead: int
) -> None:
    query = Query(("a",), exemplars=(Exemplar(prompt="thing", frame=3, box=BOX),))
    expected = videos.shown(track(predictor, query))
    ahead = Sam3Predictor(str(plain), lookahead=lookahead)
    assert videos.shown(track(ahead, query)) == expected


def test_a_resumed_session_knows_the_examples(predictor: Sam3Predictor) -> None:
    query = Query(
        ("a",),
        exemplars=(
            Exemplar(prompt="thing", frame=3, box=BOX),
            Exemplar(prompt="thing", frame=8, box=(50, 5, 70, 25), positive=False),
        ),
    )
    frames = videos.make(FRAMES)
    expected = videos.shown(track(predictor, query))
    resume = partial(predictor.open, videos.INFO, query)
    results = videos.track_interrupted(opened(predictor, query), resume, frames, cut=6)
    assert videos.shown(results) == expected


@torch.inference_mode()
def test_negative_and_positive_boxes_are_different_tokens(predictor: Sam3Predictor) -> None:
    model: Any = predictor._loaded.model
    pixels = torch.zeros(1, 3, tiny.SIZE, tiny.SIZE)
    vision: Sam3VisionEncoderOutput = model.detector_model.get_vision_features(pixel_values=pixels)
    box = (0.4, 0.5, 0.3, 0.2)
    positive, negative = (
        encode_examples(model, vision, [Example(0, 0, box, sign)])[0, 0] for sign in (True, False)
    )
    assert positive.shape == negative.shape == (2, tiny.WIDTH)
    assert not torch.equal(positive[0], negative[0])
