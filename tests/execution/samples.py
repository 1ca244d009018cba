"""Runs and records to test with."""

from typing import Any

import numpy as np

from benchmark.recipe import Recipe
from benchmark.records.outcomes import Outcome
from benchmark.records.record import BackboneFacts, DataFacts, Predictions, Record, WeightsFacts
from benchmark.records.run import Run

CLASSES = ("glioma", "notumor")


def a_run(**changes: Any) -> Run:
    """Return a run; name the fields that matter."""
    values: dict[str, Any] = {
        "backbone": "torch/tiny",
        "backbone_source": "00",
        "recipe": Recipe(epochs=1, size=16),
        "data_fingerprint": "11",
        "images_hash": "22",
        "split_hash": "33",
        "seed": 0,
        "engine": "torch",
        "device_kind": "cpu",
        "precision": "float32",
        "weights": "none",
    }
    return Run(**{**values, **changes})


def a_record(outcome: Outcome = Outcome.OK, **changes: Any) -> Record:
    """Return the record of :func:`a_run` with ``changes`` to the run."""
    run = a_run(**changes)
    return Record(
        key=run.key,
        identity=run.identity(),
        outcome=outcome,
        reason="" if outcome is Outcome.OK else "it went wrong",
        recipe_name="quick",
        seed=run.seed,
        device="a processor",
        backbone=BackboneFacts(name=run.backbone, framework=run.engine, library="own"),
        data=DataFacts(
            name="toy", fingerprint=run.data_fingerprint, class_names=CLASSES, negative_class="notumor",
            synthetic=True, grouped=False, split="holdout", split_hash=run.split_hash, limit=None,
            n_train=4, n_validation=2, n_test=2,
        ),
        weights=WeightsFacts(policy="none", used="none", requested="none"),
    )  # fmt: skip


def some_predictions(first: float = 0.75) -> Predictions:
    """Return predictions for two validation and two test images of two classes."""
    return Predictions(
        image_ids=np.array(["a.png", "b.png", "c.png", "d.png"]),
        parts=np.array(["validation", "validation", "test", "test"]),
        labels=np.array([0, 1, 0, 1]),
        groups=np.array(["", "", "", ""]),
        probabilities=np.array([[first, 1 - first]] * 4, dtype=np.float32),
    )
