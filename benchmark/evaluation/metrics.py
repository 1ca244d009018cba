"""The scorer: every score of a run from its probabilities, computed by the harness alone.

Scores that are functions of the confusion matrix are written for stacks of matrices, shape (..., C, C) with rows
the true and columns the predicted class, so that one definition serves a run and its thousands of bootstrap
resamples. ``nan`` stands for "undefined"; it becomes an empty cell, never a zero.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.errors import UserError
from benchmark.records.record import Predictions, Record

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SUM_TOLERANCE = 1e-3  # rows of float32 softmax outputs, or of bfloat16 ones cast up, sum to 1 within this


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class.

    Args:
        name: of the class.
        support: number of test images of it.
        f1, precision, recall: 0-1; ``nan`` where undefined (0 / 0).
        false_negatives: images of the class that are not predicted as it.
        missed: images of the class that are predicted as the negative class; ``None`` for the negative class
            itself and where there is none.
    """

    name: str
    support: int
    f1: float
    precision: float
    recall: float
    false_negatives: int
    missed: int | None


@dataclass(frozen=True)
class Scores:
    """Scores of one run on one set of images; ``nan`` where undefined. All others follow from ``confusion``.

    Args:
        auroc: see :func:`auroc`.
        confusion: int64, shape (C, C), true class by row, predicted class by column.
        classes: one for each class, in the data set's order.
    """

    auroc: float
    confusion: Counts
    classes: tuple[ClassScores, ...]

    @property
    def macro_f1(self) -> float:
        """Unweighted mean of the classes' F1, 0-1."""
        return float(macro_f1(self.confusion))

    @property
    def accuracy(self) -> float:
        """Share of images whose class is predicted, 0-1."""
        return float(accuracy(self.confusion))


@dataclass(frozen=True)
class RunScores:
    """What a record is worth: scores on the test images, and the macro-F1 on which choices were made."""

    test: Scores
    val_macro_f1: float


def decide(probabilities: npt.NDArray[np.floating]) -> Counts:
    """Return the predicted class of each image: the most probable, the first of equals.

    Args:
        probabilities: shape (N, C).

    Returns:
        int64, shape (N,).
    """
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def confusion_matrix(labels: Counts, predicted: Counts, num_classes: int) -> Counts:
    """Count images by true (row) and predicted (column) class: int64, shape (C, C)."""
    cells = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def f1_per_class(confusion: npt.NDArray[np.generic]) -> Floats:
    """F1 = 2 TP / (2 TP + FP + FN) (van Rijsbergen 1979): (..., C, C) to (..., C); ``nan`` where 0 / 0."""
    matrix = np.asarray(confusion, dtype=np.float64)
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    return ratio(2 * hits, matrix.sum(axis=-1) + matrix.sum(axis=-2))


def macro_f1(confusion: npt.NDArray[np.generic]) -> Floats:
    """Unweighted mean of the classes' F1 (the mean of F1s, not the F1 of means; Opitz & Burst 2019).

    Classes without images don't count, even where they are predicted: an external test set may lack them. Where every
    class has images that is scikit-learn's ``f1_score(average="macro")``: (..., C, C) to (...).
    """
    has_images = np.asarray(confusion).sum(axis=-1) > 0
    return _mean_of_defined(np.where(has_images, f1_per_class(confusion), np.nan))


def precision_per_class(confusion: npt.NDArray[np.generic]) -> Floats:
    """TP / (TP + FP): (..., C, C) to (..., C); ``nan`` where a class is never predicted."""
    matrix = np.asarray(confusion, dtype=np.float64)
    return ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-2))


def recall_per_class(confusion: npt.NDArray[np.generic]) -> Floats:
    """TP / (TP + FN): (..., C, C) to (..., C); ``nan`` where a class has no images."""
    matrix = np.asarray(confusion, dtype=np.float64)
    return ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1))


def accuracy(confusion: npt.NDArray[np.generic]) -> Floats:
    """Share of images whose class is predicted: (..., C, C) to (...)."""
    matrix = np.asarray(confusion, dtype=np.float64)
    return ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum(axis=(-2, -1)))


def balanced_accuracy(confusion: npt.NDArray[np.generic]) -> Floats:
    """Mean recall over the classes that have images (Brodersen et al. 2010): (..., C, C) to (...)."""
    return _mean_of_defined(recall_per_class(confusion))


def mcc(confusion: npt.NDArray[np.generic]) -> Floats:
    """Matthews correlation for several classes, R_K of Gorodkin 2004 (eq. 8): (..., C, C) to (...).

    Zero where predictions or labels are all of one class, the usual convention for 0 / 0 (Chicco & Jurman 2020).
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    true, predicted = matrix.sum(axis=-1), matrix.sum(axis=-2)
    total, hits = matrix.sum(axis=(-2, -1)), np.trace(matrix, axis1=-2, axis2=-1)
    covariance = hits * total - (true * predicted).sum(axis=-1)
    spread = np.sqrt((total**2 - (true**2).sum(axis=-1)) * (total**2 - (predicted**2).sum(axis=-1)))
    return np.asarray(np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 0))


def cohen_kappa(confusion: npt.NDArray[np.generic]) -> Floats:
    """Cohen's kappa (Cohen 1960, "A coefficient of agreement for nominal scales", Educational and Psychological
    Measurement 20(1)): ``(p_o - p_e) / (1 - p_e)``, (..., C, C) to (...).

    ``p_o`` is the share of images whose class is predicted, ``p_e`` the share that would be if predictions were drawn
    independently of the labels, as often of each class as they are. ``nan`` where 0 / 0: labels and predictions are
    all of one class.
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    total, hits = matrix.sum(axis=(-2, -1)), np.trace(matrix, axis1=-2, axis2=-1)
    by_chance = (matrix.sum(axis=-1) * matrix.sum(axis=-2)).sum(axis=-1)
    return ratio(hits * total - by_chance, total**2 - by_chance)


def auroc(labels: Counts, probabilities: npt.NDArray[np.floating]) -> float:
    """Area under the ROC curve of each class against the rest (Fawcett 2006), averaged without weights as
    scikit-learn's ``roc_auc_score(multi_class="ovr", average="macro")``; ``nan`` unless every class is present.

    Args:
        labels: int64, shape (N,).
        probabilities: shape (N, C).
    """
    present = np.bincount(labels, minlength=probabilities.shape[1])
    if (present == 0).any() or np.count_nonzero(present) < 2:
        return float("nan")
    areas = [_area(labels == c, probabilities[:, c]) for c in range(probabilities.shape[1])]
    return float(np.mean(areas))


def _area(positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> float:
    """Return the area under one ROC curve, added up as scikit-learn's ``roc_auc_score`` does, without its checks,
    which take longer than the area.

    Args:
        positive: shape (N,), some of them true and some not.
        scores: shape (N,), finite.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of equal scores the last
    hits = np.cumsum(positive[order], dtype=np.float64)[ends]
    alarms = 1.0 + ends - hits
    corners = np.ones(len(ends), dtype=bool)
    corners[1:-1] = (np.diff(hits, 2) != 0) | (np.diff(alarms, 2) != 0)
    y, x = (np.concatenate([[0.0], counts[corners] / counts[-1]]) for counts in (hits, alarms))
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2.0).sum())


def score(
    labels: Counts,
    probabilities: npt.NDArray[np.floating],
    class_names: tuple[str, ...],
    negative_class: str | None = None,
) -> Scores:
    """Return every score of one set of images.

    Args:
        labels: int64, shape (N,), N at least 1, indices into ``class_names``.
        probabilities: shape (N, C), rows sum to 1.
        class_names: C names.
        negative_class: the class without a tumour, ``None`` where there is none.

    Raises:
        ValueError: labels or probabilities that are not what is said here.
    """
    check(labels, probabilities, len(class_names))
    confusion = confusion_matrix(labels, decide(probabilities), len(class_names))
    return Scores(
        auroc=auroc(labels, probabilities),
        confusion=confusion,
        classes=_per_class(confusion, class_names, negative_class),
    )


def score_record(record: Record, predictions: Predictions) -> RunScores:
    """Return the scores of a record that is ``ok``.

    Raises:
        UserError: the predictions can't be scored; the sentence names the record.
    """
    names, negative = record.data.class_names, record.data.negative_class
    test, validation = predictions.part("test"), predictions.part("validation")
    try:
        if negative is not None and negative not in names:
            raise ValueError(f"its negative class {negative!r} is not among its classes")
        _check_ids(test)
        scores = score(test.labels, test.probabilities, names, negative)
        val_macro_f1 = float("nan")
        if len(validation.labels):
            check(validation.labels, validation.probabilities, len(names))
            confusion = confusion_matrix(validation.labels, decide(validation.probabilities), len(names))
            val_macro_f1 = float(macro_f1(confusion))
    except ValueError as error:
        raise UserError(
            f"Record {record.key[:12]} of {record.backbone.name} (seed {record.seed}) can't be scored: {error}; "
            f"delete it and run it again."
        ) from None
    return RunScores(scores, val_macro_f1)


def check(labels: Counts, probabilities: npt.NDArray[np.floating], num_classes: int) -> None:
    """Raise ``ValueError`` unless these are N labels and N distributions over ``num_classes`` classes."""
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"there are no labels to score (shape {labels.shape})")
    if probabilities.shape != (len(labels), num_classes):
        raise ValueError(f"probabilities have shape {probabilities.shape}, not {(len(labels), num_classes)}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}, but there are {num_classes} classes")
    if not np.isfinite(probabilities).all():
        raise ValueError("some probabilities are not finite numbers")
    low, sums = float(probabilities.min()), probabilities.sum(axis=1, dtype=np.float64)
    worst = int(np.abs(sums - 1).argmax())
    if low < 0 or abs(sums[worst] - 1) > SUM_TOLERANCE:
        raise ValueError(
            f"its probabilities are not a distribution (smallest value {low:.3g}; those of image {worst} sum to "
            f"{sums[worst]:.4g})"
        )


def _check_ids(predictions: Predictions) -> None:
    ids, counts = np.unique(predictions.image_ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"test image {ids[counts.argmax()]} is predicted {counts.max()} times")


def _per_class(confusion: Counts, names: tuple[str, ...], negative: str | None) -> tuple[ClassScores, ...]:
    f1, precision, recall = f1_per_class(confusion), precision_per_class(confusion), recall_per_class(confusion)
    column = None if negative is None else names.index(negative)
    return tuple(
        ClassScores(
            name=name,
            support=int(confusion[c].sum()),
            f1=float(f1[c]),
            precision=float(precision[c]),
            recall=float(recall[c]),
            false_negatives=int(confusion[c].sum() - confusion[c, c]),
            missed=None if column is None or c == column else int(confusion[c, column]),
        )
        for c, name in enumerate(names)
    )


def ratio(above: Floats, below: Floats) -> Floats:
    """Return ``above / below``, ``nan`` where ``below`` is 0; both of one shape."""
    return np.asarray(np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0))


def _mean_of_defined(values: Floats) -> Floats:
    """Mean over the last axis, leaving ``nan`` out; ``nan`` where nothing is left."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))
