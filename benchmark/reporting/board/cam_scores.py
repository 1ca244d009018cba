"""Where networks look, as numbers: scores of a run's Grad-CAM maps beside those of maps that know nothing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.cam_metrics import SCORES, score_baselines, score_maps
from benchmark.evaluation.intervals import Interval, logit_interval
from benchmark.evaluation.roc import clustered_variance
from benchmark.records.record import Cams, Predictions, Record
from benchmark.reporting.board.column import Values
from benchmark.reporting.board.columns import BASELINES

Floats = npt.NDArray[np.float64]
ByName = Mapping[str, Floats]  # score by column name, float64 of shape (M,), one entry for each image

CAM_STEM = "plot_cams"  # how the names of pictures of maps begin
IMAGES, RANDOMIZED = "cam_images", "cam_randomized"


@dataclass(frozen=True)
class CamScores:
    """Scores of one run's maps on the images whose lesion is known, M of them.

    Args:
        image_ids: str, shape (M,).
        groups: str, shape (M,): the patient, empty where it is not known.
        size: the side of the square masks in pixels.
        scores: the scores of the run's maps.
        baselines: the scores of each baseline on the same masks, by its name.
    """

    image_ids: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]
    size: int
    scores: ByName
    baselines: Mapping[str, ByName]


def cam_columns(record: Record, scores: CamScores | None) -> Values:
    """Return a run's mean scores by column name, baselines under ``<score>_<baseline>``; what is not known is absent.

    ``cam_randomized`` is how much maps still look the same once all trained weights were drawn anew (Spearman's rank
    correlation; Adebayo et al. 2018), where that was asked for.
    """
    values: Values = {}
    if scores is not None:
        values |= {name: float(by_image.mean()) for name, by_image in scores.scores.items()}
        values[IMAGES] = len(scores.image_ids)
        for baseline, by_name in scores.baselines.items():
            values |= {f"{name}_{BASELINES[baseline]}": float(by_image.mean()) for name, by_image in by_name.items()}
    if record.cam is not None and record.cam.randomized:
        values[RANDOMIZED] = record.cam.randomized[-1].correlation
    return values


def cam_scores(cams: Cams | None, predictions: Predictions | None) -> CamScores | None:
    """Return the scores of a run's maps, ``None`` where no lesion is known."""
    if cams is None or predictions is None or not cams.scored.any():
        return None
    chosen = np.flatnonzero(cams.scored)
    masks = cams.lesions(chosen)
    groups = dict(zip(predictions.image_ids.tolist(), predictions.groups.tolist(), strict=True))
    ids = cams.image_ids[chosen]
    return CamScores(
        image_ids=ids,
        groups=np.array([groups.get(name, "") for name in ids.tolist()], dtype=np.str_),
        size=masks.shape[1],
        scores=score_maps(cams.maps[chosen].astype(np.float32), masks).by_column(),
        baselines=_baselines(cams.masks[chosen].tobytes(), cams.mean_mask.tobytes(), masks.shape[1]),
    )


@lru_cache(maxsize=8)
def _baselines(packed: bytes, mean: bytes, size: int) -> Mapping[str, ByName]:
    """Return the baselines' scores on packed masks of ``size`` pixels; runs on the same images share them."""
    masks = np.frombuffer(packed, dtype=np.uint8).reshape(-1, size, -(-size // 8))
    usual = np.frombuffer(mean, dtype=np.float16).reshape(size, size).astype(np.float32) if mean else None
    lesions = np.unpackbits(masks, axis=2, count=size).astype(bool)
    return {name: scores.by_column() for name, scores in score_baselines(lesions, usual).items()}


def cam_intervals(runs: Sequence[CamScores | None]) -> dict[str, Interval]:
    """Return 95 % intervals of a row's scores for other patients, by column name.

    Images of one patient count as one cluster (Obuchowski 1997); an image that several runs explain (seeds) counts
    once, with its mean.
    """
    scored = [run for run in runs if run is not None]
    if not scored:
        return {}
    ids = np.concatenate([run.image_ids for run in scored])
    groups = np.concatenate([run.groups for run in scored])
    images, first, place = np.unique(ids, return_index=True, return_inverse=True)
    owners = np.where(groups[first] == "", np.char.add("\n", images), groups[first])
    names, clusters = np.unique(owners, return_inverse=True)
    intervals = {}
    for name in SCORES:
        values = np.concatenate([run.scores[name] for run in scored])
        by_image = np.bincount(place, values) / np.bincount(place)
        mean = float(by_image.mean())
        influences = (by_image - mean) / len(by_image)
        error = math.sqrt(clustered_variance(influences, clusters.astype(np.int64), len(names)))
        intervals[name] = logit_interval(mean, error, max(1, len(names) - 1), len(names))
    return intervals


def shared_baselines(runs: Mapping[str, CamScores | None]) -> list[tuple[str, dict[str, float], int]]:
    """Return the baselines' mean scores, each set of images and each size of masks once.

    Args:
        runs: scores by a row's name; those on the same images at one size share their baselines.

    Returns:
        Name of the baseline (with the size of the input or the row's name where there are several sets), its means
        by column name, number of images.
    """
    sets: dict[tuple[int, tuple[str, ...]], tuple[str, CamScores]] = {}
    for row, run in runs.items():
        if run is None:
            continue
        sets.setdefault((run.size, tuple(sorted(run.image_ids.tolist()))), (row, run))
    sizes = [size for size, _ in sets]
    lines = []
    for (size, _), (row, run) in sets.items():
        which = "" if len(sets) == 1 else f" ({size} px)" if sizes.count(size) == 1 else f" ({size} px, of {row})"
        for name, scores in run.baselines.items():
            means = {score: float(values.mean()) for score, values in scores.items()}
            lines.append((name + which, means, len(run.image_ids)))
    return lines
