"""One session through what may happen to it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from shoal.errors import InvalidPrompt
from tests.sam3 import tiny, videos
from worker.engines.base import Query
from worker.engines.sam3.predictor import Sam3Predictor
from worker.engines.sam3.session import Sam3Session
from worker.engines.sam3.tracker import MaskTracker
from worker.video.frame import Frame, VideoInfo


@pytest.fixture
def opened(predictor: Sam3Predictor) -> Iterator[Sam3Session]:
    session = predictor.open(videos.INFO, Query(("a", "bc")))
    yield session
    session.close()


def test_results_come_in_order_one_per_frame_and_15_frames_late(opened: Sam3Session) -> None:
    frames = [Frame(3 * f.index, f.time_s, f.picture, f.wanted) for f in videos.make(30)]
    counts, results = [], []
    for frame in frames:
        new = opened.step([frame])
        counts.append(len(new))
        results += new
    assert counts == [0] * 15 + [1] * 15  # 14 for hotstart, 1 in the making
    results += opened.finish()
    assert [result.index for result in results] == [frame.index for frame in frames]


def test_objects_carry_prompt_score_box_and_mask(predictor: Sam3Predictor) -> None:
    prompts = ("a", "bc", "a")  # a repetition asks nothing new
    results = videos.track(predictor.open(videos.INFO, Query(prompts)), videos.make(20))
    objects = [each for result in results for each in result.objects]
    assert {each.prompt for each in objects} == {"a", "bc"}
    for each in objects:
        assert each.object_id > 0
        assert 0 < each.score <= 1
        height, width = each.mask.bits.shape
        assert each.mask.bits[[0, -1]].any(axis=1).all()
        assert each.mask.bits[:, [0, -1]].any(axis=0).all()
        x, y = each.mask.x, each.mask.y
        assert each.box == (x, y, x + width, y + height)
        assert x + width <= videos.WIDTH
        assert y + height <= videos.HEIGHT
    for result in results:
        for prompt in ("a", "bc"):
            masks = [
                each.mask.to_full(videos.HEIGHT, videos.WIDTH)
                for each in result.objects
                if each.prompt == prompt
            ]
            assert not masks or np.sum(masks, axis=0).max() == 1, "no pixel belongs to two"


def test_the_score_is_that_of_the_frame(tmp_path: Path) -> None:
    """The detector's on an object's first frame, the tracker's on all others."""

    def unsure(model: Any) -> None:
        model.tracker_model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(0.5)

    predictor = Sam3Predictor(str(tiny.save_checkpoint(tmp_path, unsure)))
    results = videos.track(predictor.open(videos.INFO, Query(("a",))), videos.make(20))
    objects = [each for result in results for each in result.objects]
    first, *others = [each.score for each in objects]
    assert first > 0.99
    assert {each.detection_score for each in objects} == {first}
    assert all(0.5 < score < 0.9 for score in others)
    assert len(set(others)) == len(others)


def test_a_video_in_which_nothing_is_found(tmp_path: Path) -> None:
    def blind(model: Any) -> None:
        model.detector_model.detr_decoder.presence_head.layer3.bias.fill_(-20.0)

    predictor = Sam3Predictor(str(tiny.save_checkpoint(tmp_path, blind)), lookahead=4)
    session = predictor.open(videos.INFO, Query(("a", "bc")))
    session.step(videos.make(9))
    session = predictor.open(videos.INFO, Query(("a", "bc")), session.state())
    results = session.finish()
    session.close()
    assert [(result.index, result.objects) for result in results] == [(n, []) for n in range(9)]


def test_an_empty_video_has_no_results(opened: Sam3Session) -> None:
    assert opened.step([]) == []
    assert opened.finish() == []


def test_a_video_of_one_pixel(predictor: Sam3Predictor) -> None:
    picture = av.VideoFrame.from_ndarray(np.zeros((2, 2, 3), np.uint8), format="rgb24")
    frame = Frame(0, 0.0, picture.reformat(1, 1, "yuv420p"), wanted=True)
    session = predictor.open(VideoInfo(1, 1, 25, 0, 0, "made up"), Query(("a",)))
    assert [result.index for result in videos.track(session, [frame])] == [0]


def test_pixels_are_those_of_the_processor(opened: Sam3Session, predictor: Sam3Predictor) -> None:
    (frame,) = videos.make(1)
    rgb = frame.picture.to_ndarray(format="rgb24")
    video = predictor._loaded.processor.video_processor(videos=rgb[None], return_tensors="pt")
    assert torch.equal(opened._pixels(frame), video.pixel_values_videos[0, 0])


@pytest.mark.parametrize("letters", [31, 60])
def test_a_prompt_of_more_than_32_tokens_is_refused(predictor: Sam3Predictor, letters: int) -> None:
    predictor.open(videos.INFO, Query(("x" * 30,))).close()  # with its two marks 32
    with pytest.raises(InvalidPrompt, match=rf"has {letters + 2} tokens; SAM3 supports 32"):
        predictor.open(videos.INFO, Query(("a", "x" * letters)))


def test_no_prompt_is_refused(predictor: Sam3Predictor) -> None:
    with pytest.raises(InvalidPrompt):
        predictor.open(videos.INFO, Query(()))


def test_an_error_in_the_middle_reaches_the_caller_and_close_frees_all(
    predictor: Sam3Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, prompts = videos.make(20), ("a",)
    before = videos.shown(videos.track(predictor.open(videos.INFO, Query(prompts)), frames))
    session = predictor.open(videos.INFO, Query(prompts))
    session.step(frames[:5])
    memory = weakref.ref(session._tracker.memory)
    with monkeypatch.context() as patch:
        patch.setattr(MaskTracker, "_propagate", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            session.step(frames[5:])
    session.close()
    session.close()
    gc.collect()
    assert memory() is None
    after = videos.shown(videos.track(predictor.open(videos.INFO, Query(prompts)), frames))
    assert after == before, "the next video is not affected"


def test_bfloat16_runs(plain: Path) -> None:
    """The precision of CUDA devices; its numbers are not compared."""
    predictor = Sam3Predictor(str(plain), lookahead=2)
    predictor._loaded.model.bfloat16()
    session = predictor.open(videos.INFO, Query(("a", "bc")))
    session.step(videos.make(20))
    session = predictor.open(videos.INFO, Query(("a", "bc")), session.state())
    results = session.finish()
    assert any(result.objects for result in results)
    session.close()
