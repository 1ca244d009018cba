"""The weight-randomisation check of heat maps (Adebayo et al. 2018, "Sanity Checks for Saliency Maps", section 4).

Weights are drawn anew from the head down, stage by stage, and after each the same images are explained. A map that
hardly changes does not show what the network has learned. The check spoils the network that it is done on.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from benchmark.data.dataset import DataSet, Positions
from benchmark.engines.base import Engine
from benchmark.evaluation.cam_metrics import rank_correlation
from benchmark.measurement.grad_cam import Report, cam_maps
from benchmark.records.record import Cams, Randomized

_IMAGES = 24  # of a run, on which the check is made
_STEPS = 12  # a network of more stages is spoiled several at a time: the curve has its shape all the same


def check(
    engine: Engine,
    stages: tuple[str, ...],
    data: DataSet,
    cams: Cams,
    *,
    report: Report,
    method: str = "grad-cam",
) -> tuple[Randomized, ...]:
    """Return the steps of the check on a few of the images whose maps a run keeps, for the classes they explain.

    Args:
        engine, stages, data: see :func:`cascade`.
        cams: of the trained network.
        report: gets progress.
        method: by which they were made.
    """
    report({"event": "phase", "phase": "checking the maps"})
    some = np.unique(np.linspace(0, len(cams.image_ids) - 1, min(_IMAGES, len(cams.image_ids))).astype(np.int64))
    place = {name: number for number, name in enumerate(data.image_ids.tolist())}
    positions = np.array([place[name] for name in cams.image_ids[some].tolist()], dtype=np.int64)
    return cascade(engine, stages, data, positions, cams.predicted[some], method=method)


def cascade(
    engine: Engine,
    stages: tuple[str, ...],
    data: DataSet,
    positions: Positions,
    classes: npt.NDArray[np.int64],
    seed: int = 0,
    method: str = "grad-cam",
) -> tuple[Randomized, ...]:
    """Return how much maps still resemble those of the trained network, the more of its stages are randomised.

    Resemblance is Spearman's rank correlation, without absolute values, averaged over the images.

    Args:
        engine: with the trained network; its weights are lost.
        stages: names of the network's stages in order; the last is the head.
        data, positions: the images, M of them.
        classes: int64, shape (M,), whose logit is explained; the same throughout.
        seed: of the new weights.
        method: of the maps.

    Returns:
        One entry for each step, from the head down to the first stage that was trained. Frozen stages keep theirs.

    Raises:
        NoFeatureMap: the network has no stage that can be explained.
        ValueError: a map is not finite.
    """
    trained = cam_maps(engine, data, positions, classes, method)
    state = engine.state(optimizer=False)
    steps = []
    for group in _groups([stage for stage in stages if any(_in_stage(name, stage) for name in state)]):
        for name in state:
            if any(_in_stage(name, stage) for stage in group):
                state[name] = redrawn(state[name], seed, name)
        engine.load_state(state)
        maps = cam_maps(engine, data, positions, classes, method)
        steps.append(Randomized(stage=group[-1], correlation=float(rank_correlation(trained, maps).mean())))
    return tuple(steps)


def redrawn(values: npt.NDArray[np.generic], seed: int, name: str) -> npt.NDArray[np.generic]:
    """Return new values for a weight: the same on every framework, for the same seed, name and shape.

    A kernel is drawn from a normal distribution of mean zero and its own standard deviation, cut at two of them. What
    has one dimension (biases, scales, running statistics) is put in a random order, which keeps variances positive
    and activations at their size.
    """
    generator = np.random.default_rng([seed, *name.encode()])
    if not np.issubdtype(values.dtype, np.floating):
        return values
    if values.ndim < 2:
        return generator.permutation(values) if values.ndim else values
    draws = generator.standard_normal(values.shape, dtype=np.float32)
    outside = np.abs(draws) > 2
    while outside.any():
        draws[outside] = generator.standard_normal(int(outside.sum()), dtype=np.float32)
        outside = np.abs(draws) > 2
    return np.asarray(draws * values.astype(np.float64).std(), dtype=values.dtype)


def _in_stage(name: str, stage: str) -> bool:
    return name.startswith(f"{stage}/")


def _groups(stages: list[str]) -> Iterator[list[str]]:
    """Yield stages from the last to the first, the head alone, the others in a few groups of neighbours."""
    if not stages:
        return
    yield stages[-1:]
    others = stages[-2::-1]
    for group in np.array_split(np.arange(len(others)), min(len(others), _STEPS - 1) or 1):
        if len(group):
            yield [others[number] for number in group]
