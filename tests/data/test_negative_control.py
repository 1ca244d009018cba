"""The negative control on the phantom: with labels dealt among patients, only a leaking split scores above chance."""

from dataclasses import replace

import numpy as np
from sklearn.metrics import f1_score

from benchmark.data.preparation.prepare import open_dataset
from benchmark.data.relabel import with_permuted_labels
from benchmark.data.splits.splits import SplitOptions, make_splits

PERMUTATIONS = 200


def nearest(pixels, split):
    """Return for each test image its most similar training image: the perfect memoriser."""
    known = np.concatenate([split.train, split.validation])
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    return known[(flat[split.test] @ flat[known].T).argmax(axis=1)]


def test_only_a_slice_level_split_beats_chance_on_permuted_labels():
    data = replace(open_dataset("phantom", size=32), folder=None)  # in memory: 200 permutations are not kept
    permuted = with_permuted_labels(data, 0)
    by_patient = make_splits(permuted, SplitOptions(kind="folds"))
    by_slice = make_splits(permuted, SplitOptions(kind="slice"))

    def score(labels, splits, neighbours):
        tested = np.concatenate([split.test for split in splits])
        return f1_score(labels[tested], labels[np.concatenate(neighbours)], average="macro")

    neighbours = [nearest(data.pixels, split) for split in by_patient]
    chance = [score(with_permuted_labels(data, k).labels, by_patient, neighbours) for k in range(1, PERMUTATIONS + 1)]
    low, high = np.quantile(chance, [0.025, 0.975])
    assert low <= score(permuted.labels, by_patient, neighbours) <= high
    slice_score = score(permuted.labels, by_slice, [nearest(data.pixels, split) for split in by_slice])
    assert slice_score > high + 0.2
