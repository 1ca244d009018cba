"""Heat maps of a trained network's test images: which are explained, and their maps. The same for every framework."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.data.dataset import DataSet, Positions, Split
from benchmark.draws.randomness import draw, image_numbers
from benchmark.engines.base import Engine
from benchmark.engines.cam_stage import NoFeatureMap
from benchmark.evaluation.cam_metrics import CAM_METHODS, mean_mask, normalized
from benchmark.evaluation.metrics import decide
from benchmark.records.record import CamFacts, Cams, Predictions
from benchmark.training.prefetch import near_equal_batches

Report = Callable[[Mapping[str, Any]], None]

# How many test images are explained where the user does not say: a map costs about one forward pass.
MOST_WITH_MASKS = 1000
MOST_WITHOUT_MASKS = 96
EXAMPLES = 3  # right and wrong ones of each class, to be looked at, beside those that are scored
_BATCH = 32
_SAMPLE_KEY = 0xCA


@dataclass(frozen=True)
class Chosen:
    """The test images that are explained.

    Args:
        numbers: int64, ascending, within the test images.
        scored: bool, whether each belongs to the sample that scores are means of.
    """

    numbers: npt.NDArray[np.int64]
    scored: npt.NDArray[np.bool_]


def choose_images(
    test: Predictions, lesions: npt.NDArray[np.bool_] | None, most: int | None, num_classes: int
) -> Chosen:
    """Choose which test images are explained; the same images for every run that predicts the same.

    Where lesions are known: all images that have one, or a sample of them that depends on their ids alone, so that
    the scores' means are not biased; beside them a few right and a few wrong cases of each class. Elsewhere only
    such cases, as many of each.

    Args:
        test: predictions of the test images.
        lesions: for each, whether a lesion's mask is known; ``None`` where no masks are.
        most: images to explain; by default 1000 with masks, 96 without.
        num_classes: C.
    """
    order = np.argsort(draw(image_numbers(test.image_ids), _SAMPLE_KEY), kind="stable")
    cells = test.labels * 2 + (decide(test.probabilities) != test.labels)
    turn = np.empty(len(order), dtype=np.int64)  # how many of the same class, right or wrong, come before
    for cell in range(2 * num_classes):
        mine = order[cells[order] == cell]
        turn[mine] = np.arange(len(mine))
    by_turn = order[np.argsort(turn[order], kind="stable")]
    if lesions is None or not lesions.any():
        examples, scored = by_turn[: MOST_WITHOUT_MASKS if most is None else most], order[:0]
    else:
        bound = MOST_WITH_MASKS if most is None else most
        examples = by_turn[turn[by_turn] < EXAMPLES][: bound // 2]
        scored = order[lesions[order]][: bound - len(examples)]
    numbers = np.union1d(examples, scored)
    return Chosen(numbers.astype(np.int64), np.isin(numbers, scored))


def explain(
    engine: Engine,
    data: DataSet,
    split: Split,
    predictions: Predictions,
    *,
    most: int | None,
    report: Report,
    method: str = "grad-cam",
) -> tuple[CamFacts, Cams | None]:
    """Return the heat maps of test images, each for its predicted class.

    Args:
        engine: with the trained network.
        data, split: the images.
        predictions: of this network, test images in the order of the split.
        most: see :func:`choose_images`.
        report: gets progress.
        method: one of :data:`~benchmark.evaluation.cam_metrics.CAM_METHODS`.

    Returns:
        Facts and maps; no maps, and the reason among the facts, where the network has no feature map.

    Raises:
        RunFailure: what the engine raises, such as ``oom``.
        ValueError: the maps are not finite.
    """
    report({"event": "phase", "phase": "explaining"})
    try:
        stage = engine.cam_stage()
    except NoFeatureMap as none:
        return CamFacts(reason=str(none)), None
    test = predictions.part("test")
    lesions = None if data.masks is None else np.asarray(data.masks[split.test].any(axis=(1, 2)))
    chosen = choose_images(test, lesions, most, len(data.class_names))
    positions, predicted = split.test[chosen.numbers], decide(test.probabilities[chosen.numbers])
    maps = cam_maps(engine, data, positions, predicted, method)
    masks, mean = _masks(data, split, positions)
    cams = Cams(test.image_ids[chosen.numbers], predicted, chosen.scored, maps.astype(np.float16), masks, mean)
    scored = int(chosen.scored.sum())
    return CamFacts(stage=stage, images=len(positions), scored=scored, method=method), cams


def cam_maps(
    engine: Engine,
    data: DataSet,
    positions: Positions,
    classes: npt.NDArray[np.int64],
    method: str = "grad-cam",
) -> npt.NDArray[np.float32]:
    """Return heat maps of images for given classes, float32 of shape (M, h, w), the largest value of each 1.

    Raises:
        NoFeatureMap: the network has no stage that can be explained.
        ValueError: the maps are not finite.
    """
    maps: list[npt.NDArray[np.float32]] = []
    _, formula = CAM_METHODS[method]
    for batch in near_equal_batches(np.arange(len(positions)), _BATCH):
        inputs = engine.normalize(engine.upload(np.ascontiguousarray(data.pixels[positions[batch]])))
        features, gradients = engine.fetch(engine.features_and_gradients(inputs, classes[batch]))
        maps.append(normalized(formula(features, gradients)))
    stacked = np.concatenate(maps)
    if not np.isfinite(stacked).all():
        raise ValueError("the network's features or gradients are not finite")
    return stacked


def _masks(
    data: DataSet, split: Split, positions: Positions
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    """Return the packed masks of images, and the mean mask of the training images."""
    if data.masks is None:
        return np.zeros((len(positions), 0, 0), dtype=np.uint8), np.zeros((0, 0), dtype=np.float16)
    packed = np.packbits(data.masks[positions] != 0, axis=2)
    mean = mean_mask(data.masks[split.train])
    return packed, np.zeros((0, 0), dtype=np.float16) if mean is None else mean.astype(np.float16)
