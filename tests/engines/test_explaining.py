"""What a run keeps of Grad-CAM: which images, maps and masks in one orientation, and the check with new weights."""

from typing import Any

import numpy as np
import pytest

from benchmark.data.dataset import DataSet, Split
from benchmark.evaluation.cam_metrics import POINTING, score_maps
from benchmark.measurement.cam_sanity_check import check
from benchmark.measurement.grad_cam import choose_images, explain
from benchmark.records.record import Predictions
from benchmark.reporting.board.cam_scores import cam_scores
from tests.engines import torch_small
from tests.engines.test_cam import known_torch
from tests.engines.torch_small import CLASSES, SIZE

COUNT = 60
TEST = np.arange(20, COUNT)


def data(*, masked: bool) -> DataSet:
    """Return images with a red square above on the right where the class is 0, and its mask."""
    labels = np.arange(COUNT) % CLASSES
    pixels = np.full((COUNT, SIZE, SIZE, 3), 100, dtype=np.uint8)
    masks = np.zeros((COUNT, SIZE, SIZE), dtype=np.uint8)
    pixels[labels == 0, 1:5, 10:15, 0] = 250
    masks[labels == 0, 1:5, 10:15] = 1
    return DataSet(
        name="squares", pixels=pixels, labels=labels, image_ids=np.array([f"{n:02d}" for n in range(COUNT)]),
        class_names=("red", "green", "neither"), fingerprint="", identical=np.arange(COUNT),
        masks=masks if masked else None,
    )  # fmt: skip


def predictions(images: DataSet, wrong: int = 0) -> Predictions:
    """Return what a reader says who is right but for the first images."""
    said = images.labels[TEST].copy()
    said[:wrong] = (said[:wrong] + 1) % CLASSES
    return Predictions(
        images.image_ids[TEST], np.full(len(TEST), "test"), images.labels[TEST], np.full(len(TEST), ""),
        np.eye(CLASSES, dtype=np.float32)[said],
    )  # fmt: skip


def explained(engine: Any, images: DataSet, most: int | None = None, wrong: int = 0, method: str = "grad-cam") -> Any:
    split = Split("holdout", np.arange(10), np.arange(10, 20), TEST, "")
    return explain(engine, images, split, predictions(images, wrong), most=most, report=lambda _: None,
                   method=method)  # fmt: skip


def test_maps_and_masks_keep_one_orientation_from_the_pixels_to_the_scores() -> None:
    images = data(masked=True)
    facts, cams = explained(torch_small.built(known_torch)[0], images)
    assert facts.scored == cams.scored.sum() == (images.labels[TEST] == 0).sum()
    scores = cam_scores(cams, predictions(images))
    assert scores is not None
    for values in scores.scores.values():
        assert values == pytest.approx(1, abs=0.01)  # the network sees red, and red is where the mask is
    turned = score_maps(cams.maps[cams.scored].transpose(0, 2, 1).astype(np.float32), cams.lesions(cams.scored))
    assert turned[POINTING].max() == 0
    assert cams.mean_mask.astype(bool).tolist() == (images.masks[0] > 0).tolist()  # of training images


def test_as_many_images_are_explained_as_asked_for_right_and_wrong_of_each_class() -> None:
    images = data(masked=False)
    engine = torch_small.built()[0]
    facts, cams = explained(engine, images, most=12, wrong=9)
    assert facts.images == len(cams.maps) == 12
    assert facts.scored == 0
    labels = dict(zip(images.image_ids.tolist(), images.labels.tolist(), strict=True))
    truths = [labels[name] for name in cams.image_ids.tolist()]
    kinds = [(truth, truth == said) for truth, said in zip(truths, cams.predicted.tolist(), strict=True)]
    assert {kind: kinds.count(kind) for kind in kinds} == {(c, right): 2 for c in range(3) for right in (True, False)}
    assert explained(engine, images, wrong=9)[0].images == len(TEST)


def test_scored_images_are_a_sample_that_does_not_depend_on_what_is_said() -> None:
    images = data(masked=True)
    lesions = images.masks[TEST].any(axis=(1, 2)) if images.masks is not None else None
    first, second = (choose_images(predictions(images, wrong), lesions, 16, CLASSES) for wrong in (0, 1))
    one, other = (set(each.numbers[each.scored].tolist()) for each in (first, second))
    assert one <= other or other <= one
    assert len(first.numbers) <= 16


def test_the_check_is_made_on_some_of_the_images_and_spoils_the_network() -> None:
    images = data(masked=False)
    engine, network = torch_small.built()
    _, cams = explained(engine, images)
    before = torch_small.logits(engine, images.pixels[:2])
    phases: list[Any] = []
    steps = check(engine, network.stages, images, cams, report=phases.append)
    assert [step.stage for step in steps] == ["head", "1", "0"]
    assert phases == [{"event": "phase", "phase": "checking the maps"}]
    assert not np.allclose(before, torch_small.logits(engine, images.pixels[:2]))


@pytest.mark.parametrize("method", ["hirescam", "layercam"])
def test_other_methods_are_scored_and_checked_alike(method: str) -> None:
    images = data(masked=True)
    engine, network = torch_small.built(known_torch)
    facts, cams = explained(engine, images, method=method)
    assert facts.method == method
    scores = cam_scores(cams, predictions(images))
    assert scores is not None
    assert scores.scores["cam_pointing"] == pytest.approx(1, abs=0.01)
    steps = check(engine, network.stages, images, cams, report=lambda _: None, method=method)
    assert steps[-1].stage == "0"


def test_a_network_without_a_feature_map_leaves_the_reason() -> None:
    def flat(num_classes: int) -> Any:
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 4), nn.Linear(4, num_classes))

    facts, cams = explained(torch_small.built(flat)[0], data(masked=False))
    assert cams is None
    assert facts.reason
