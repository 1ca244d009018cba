"""Where networks look, as numbers: scores of a run's Grad-CAM maps, what maps of that size can reach, and baselines.

A map that is coarser than 7 x 7 pixels has no scores of its own: not even the lesion itself, averaged to that size,
can be told from none.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from benchmark.engines.cam_stage import FINEST_NEEDED
from benchmark.evaluation.cam_metrics import BASELINES, SCORES, score_baselines, score_maps, score_oracle
from benchmark.evaluation.intervals import Interval, known, logit_interval
from benchmark.evaluation.roc import clustered_variance
from benchmark.records.record import Cams, Predictions, Record
from benchmark.reporting.board.column import Values

Floats = npt.NDArray[np.float64]
ByName = Mapping[str, Floats]  # score by column name, float64 of shape (M,), one entry for each image

CAM_STEM = "plot_cams"  # how the names of pictures of maps begin
IMAGES, RANDOMIZED = "cam_images", "cam_randomized"
SIDES = ("right", "wrong")  # predictions, whose maps are scored apart


@dataclass(frozen=True)
class CamScores:
    """Scores of one run's maps on the images whose lesion is known, M of them.

    Args:
        image_ids: str, shape (M,).
        groups: str, shape (M,): the patient, empty where it is not known.
        right: bool, shape (M,): whether the class that is explained is that of the image.
        size: the side of the square masks in pixels.
        shape: height and width of the maps in pixels.
        scores: the scores of the run's maps.
        ceiling: the scores of the lesions themselves as maps of this shape.
        baselines: the scores of each baseline at this shape on the same masks, by its name.
    """

    image_ids: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]
    right: npt.NDArray[np.bool_]
    size: int
    shape: tuple[int, int]
    scores: ByName
    ceiling: ByName
    baselines: Mapping[str, ByName]

    @property
    def coarse(self) -> bool:
        """Whether maps of this shape can't show where a lesion is."""
        return min(self.shape) < FINEST_NEEDED

    def judged(self) -> dict[str, Floats]:
        """Return by column name what is said of the run's own maps, ``nan`` for images that do not count.

        Empty where the maps are too coarse.
        """
        if self.coarse:
            return {}
        values: dict[str, Floats] = {}
        for score in SCORES:
            own = self.scores[score]
            values[score] = own
            for baseline, by_name in self.baselines.items():
                values[f"{score}_less_{BASELINES[baseline]}"] = own - by_name[score]
            for side, mine in zip(SIDES, (self.right, ~self.right), strict=True):
                values[f"{score}_{side}"] = np.where(mine, own, np.nan)
        return values


def cam_columns(record: Record, scores: CamScores | None) -> Values:
    """Return a run's mean scores by column name, what maps of that size can reach under ``<score>_oracle``, and
    baselines under ``<score>_<baseline>``; what is not known is absent.

    ``cam_randomized`` is how much maps still look the same once all trained weights were drawn anew (Spearman's rank
    correlation; Adebayo et al. 2018), where that was asked for.
    """
    values: Values = {}
    if scores is not None:
        judged = scores.judged()
        values |= {
            name: float(np.nanmean(by_image)) for name, by_image in judged.items() if not np.isnan(by_image).all()
        }
        values |= {f"{name}_oracle": float(by_image.mean()) for name, by_image in scores.ceiling.items()}
        for baseline, by_name in scores.baselines.items():
            values |= {f"{name}_{BASELINES[baseline]}": float(by_image.mean()) for name, by_image in by_name.items()}
        values[IMAGES] = len(scores.image_ids)
        for side, mine in zip(SIDES, (scores.right, ~scores.right), strict=True):
            values[f"{IMAGES}_{side}"] = int(mine.sum())
    if record.cam is not None and record.cam.randomized:
        values[RANDOMIZED] = record.cam.randomized[-1].correlation
    return values


def cam_scores(cams: Cams | None, predictions: Predictions | None) -> CamScores | None:
    """Return the scores of a run's maps, ``None`` where no lesion is known."""
    if cams is None or predictions is None or not cams.scored.any():
        return None
    chosen = np.flatnonzero(cams.scored)
    masks = cams.lesions(chosen)
    ids, shape = cams.image_ids[chosen], (int(cams.maps.shape[1]), int(cams.maps.shape[2]))
    place = {name: number for number, name in enumerate(predictions.image_ids.tolist())}
    at = [place.get(name, -1) for name in ids.tolist()]
    labels, groups = np.append(predictions.labels, -1)[at], np.append(predictions.groups, "")[at]
    ceiling, baselines = _references(cams.masks[chosen].tobytes(), cams.mean_mask.tobytes(), masks.shape[1], shape)
    return CamScores(
        image_ids=ids,
        groups=groups,
        right=cams.predicted[chosen] == labels,
        size=masks.shape[1],
        shape=shape,
        scores=score_maps(cams.maps[chosen].astype(np.float32), masks),
        ceiling=ceiling,
        baselines=baselines,
    )


@lru_cache(maxsize=8)
def _references(packed: bytes, mean: bytes, size: int, shape: tuple[int, int]) -> tuple[ByName, Mapping[str, ByName]]:
    """Return the scores of the lesions themselves, and of the baselines, on packed masks of ``size`` pixels; runs on
    the same images whose maps have one shape share them.
    """
    masks = np.frombuffer(packed, dtype=np.uint8).reshape(-1, size, -(-size // 8))
    usual = np.frombuffer(mean, dtype=np.float16).reshape(size, size).astype(np.float32) if mean else None
    lesions = np.unpackbits(masks, axis=2, count=size).astype(bool)
    return score_oracle(lesions, shape), score_baselines(lesions, usual, shape)


def cam_intervals(runs: Sequence[CamScores | None]) -> dict[str, Interval]:
    """Return 95 % intervals of a row's scores for other patients, by column name; differences are paired by image.

    Images of one patient count as one cluster (Obuchowski 1997); an image that several runs explain (seeds) counts
    once, with its mean.
    """
    scored = [run for run in runs if run is not None]
    judged = [run.judged() for run in scored]
    if not scored or not judged[0]:
        return {}
    ids = np.concatenate([run.image_ids for run in scored])
    groups = np.concatenate([run.groups for run in scored])
    intervals: dict[str, Interval | None] = {}
    for name in judged[0]:
        values = np.concatenate([each[name] for each in judged])
        counts = ~np.isnan(values)
        if not counts.any():
            continue
        images, first, place = np.unique(ids[counts], return_index=True, return_inverse=True)
        of_image = groups[counts][first]
        owners = np.where(of_image == "", np.char.add("\n", images), of_image)
        names, clusters = np.unique(owners, return_inverse=True)
        by_image = np.bincount(place, values[counts]) / np.bincount(place)
        mean = float(by_image.mean())
        error = math.sqrt(
            clustered_variance((by_image - mean) / len(by_image), clusters.astype(np.int64), len(names))
        )
        lowest = -1.0 if "_less_" in name else 0.0
        intervals[name] = logit_interval(mean, error, max(1, len(names) - 1), len(names), lowest)
    return known(intervals)


@dataclass(frozen=True)
class Reference:
    """What the maps of some rows stand beside: the lesions themselves, or a baseline.

    Args:
        name: such as ``centred Gaussian (7 x 7)``.
        means: its mean scores by column name.
        images: how many were scored, the mean of folds.
    """

    name: str
    means: Mapping[str, float]
    images: float


def references(rows: Mapping[str, tuple[Sequence[CamScores], Values]]) -> list[Reference]:
    """Return the ceiling and the baselines, once for each set of images, size of masks and shape of maps.

    Args:
        rows: by a row's name, the scores of its runs, of all folds and seeds, and the row's values, in which the
            references are averaged as the row's own scores are. Rows whose runs are alike share their references.
    """
    sets: dict[tuple[tuple[int, int], int, tuple[str, ...]], tuple[str, CamScores, Values]] = {}
    for row, (runs, values) in rows.items():
        if runs:
            images = {name for run in runs for name in run.image_ids.tolist()}
            sets.setdefault((runs[0].shape, runs[0].size, tuple(sorted(images))), (row, runs[0], values))
    shapes = [(shape, size) for shape, size, _ in sets]
    lines = []
    for (shape, size, _), (row, run, values) in sets.items():
        sizes = f" at {size} px" if len({each for each, _ in shapes}) < len(set(shapes)) else ""
        of_row = f", of {row}" if shapes.count((shape, size)) > 1 else ""
        which = f" ({shape[0]} x {shape[1]}{sizes}{of_row})"
        ends = {"the lesion itself: ceiling": "oracle"} | {name: BASELINES[name] for name in run.baselines}
        for name, end in ends.items():
            means = {score: values[f"{score}_{end}"] for score in run.ceiling}
            lines.append(Reference(name + which, means, values[IMAGES]))
    return lines
