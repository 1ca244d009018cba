"""Records as real runs leave them, with simulated readers instead of trained networks."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmark.hashing import hash_json
from benchmark.recipe import Recipe
from benchmark.records.outcomes import Outcome
from benchmark.records.record import (
    BackboneFacts,
    CamFacts,
    Cams,
    DataFacts,
    Epoch,
    NetworkFacts,
    Predictions,
    Record,
    Throughput,
    Timings,
    WeightsFacts,
)
from benchmark.records.run import Run

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
DEVICE = "AMD EPYC 7763, 2 cores"


@dataclass(frozen=True)
class Reader:
    """A backbone as far as a table sees it: how well it reads, how fast, how large."""

    name: str
    framework: str
    skill: float
    infer: float
    memory_mb: float
    params_m: float
    gmacs: float
    pretrained: bool = False


TWELVE = (
    Reader("torch/baseline_cnn", "torch", 2.6, 1460.0, 610.0, 3.28, 0.09),
    Reader("keras/baseline_cnn", "tensorflow", 2.5, 1310.0, 940.0, 3.28, 0.09),
    Reader("timm/resnet50", "torch", 3.9, 92.0, 1710.0, 23.52, 1.34, True),
    Reader("keras/resnet50", "tensorflow", 3.7, 71.0, 2380.0, 23.60, 1.26, True),
    Reader("keras_cv/resnet50", "tensorflow", 2.2, 69.0, 2410.0, 23.57, 1.26),
    Reader("timm/vgg16", "torch", 3.1, 19.0, 3960.0, 134.28, 5.05, True),
    Reader("keras/vgg16", "tensorflow", 3.2, 17.0, 3120.0, 14.72, 5.01, True),
    Reader("keras_cv/vgg16", "tensorflow", 1.9, 16.5, 3140.0, 14.72, 5.01),
    Reader("keras/efficientnet_b0", "tensorflow", 4.0, 188.0, 1620.0, 4.05, 0.13, True),
    Reader("timm/efficientnet_b0", "torch", 4.1, 231.0, 1190.0, 4.01, 0.13, True),
    Reader("timm/tf_efficientnet_lite0", "torch", 4.2, 327.0, 980.0, 3.38, 0.13, True),
    Reader("keras_cv/efficientnet_v2_b0", "tensorflow", 2.4, 205.0, 1570.0, 5.92, 0.24),
)
FOUR = tuple(TWELVE[i] for i in (0, 1, 3, 10))


@dataclass(frozen=True)
class Study:
    """A data set with its split, and what all runs on it share."""

    name: str = "phantom"
    synthetic: bool = True
    grouped: bool = True
    patients: int = 60
    slices: int = 5
    limit: int | None = None
    leaks: tuple[str, ...] = ()
    split: str = "holdout"
    classes: tuple[str, ...] = CLASSES
    negative_class: str | None = "notumor"
    device: str = DEVICE
    fold: int | None = None
    folds: int | None = None
    kind: str = "holdout"
    removed: int | None = None
    grouping: str = ""

    def in_folds(self, count: int, kind: str = "folds", removed: int | None = None) -> "list[Study]":
        """Return a study for each fold of a cross-validation, each with test images of its own."""
        prefix = {"slice": "slice-", "official-folds": "official-"}.get(kind, "")
        return [
            replace(self, split=f"{prefix}fold-{k}-of-{count}", fold=k, folds=count, kind=kind, removed=removed)
            for k in range(1, count + 1)
        ]

    @property
    def data(self) -> DataFacts:
        n_test = self.patients * self.slices
        return DataFacts(
            name=self.name,
            fingerprint=hash_json([self.name, self.classes]),
            class_names=self.classes,
            negative_class=self.negative_class,
            synthetic=self.synthetic,
            grouped=self.grouped,
            split=self.split,
            split_hash=hash_json([self.name, self.split, self.limit, self.patients]),
            limit=self.limit,
            n_train=3 * n_test,
            n_validation=n_test // 3,
            n_test=n_test,
            leaks=self.leaks,
            split_kind=self.kind,
            fold=self.fold,
            folds=self.folds,
            scheme="" if self.folds is None else hash_json([self.name, self.kind, self.folds, self.removed]),
            removed=self.removed,
            grouping=self.grouping,
        )

    def predictions(self, skill: float, seed: int = 0) -> Predictions:
        """Return what a reader of this skill says: patients and slices are as hard for one reader as for another."""
        parts = []
        for part, patients, draw in (
            ("validation", max(len(self.classes), self.patients // 3), 1),
            ("test" if self.fold is None else f"fold {self.fold}", self.patients, 2 + (self.fold or 0)),
        ):
            hard = np.random.default_rng(draw)
            own = np.random.default_rng([draw, seed, int(skill * 1000)])
            n, c = patients * self.slices, len(self.classes)
            patient = np.repeat(np.arange(patients), self.slices)
            labels = patient % c
            logits = (
                hard.normal(0, 1.0, (patients, c))[patient] + hard.normal(0, 0.7, (n, c)) + own.normal(0, 0.6, (n, c))
            )
            logits[np.arange(n), labels] += skill
            logits -= logits.max(axis=1, keepdims=True)
            chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            ids = [f"{part}/{self.classes[k]}/{i:04d}.png" for i, k in enumerate(labels)]
            groups = [f"{part}-{p:03d}" if self.grouped else "" for p in patient]
            parts.append((ids, ["validation" if draw == 1 else "test"] * n, labels, groups, chances))
        ids, names, labels, groups, chances = (list(column) for column in zip(*parts, strict=True))
        return Predictions(
            np.concatenate(ids).astype(np.str_),
            np.concatenate(names).astype(np.str_),
            np.concatenate(labels).astype(np.int64),
            np.concatenate(groups).astype(np.str_),
            np.concatenate(chances).astype(np.float32),
        )

    def run(self, reader: Reader, seed: int = 0, **changes: Any) -> tuple[Record, Predictions | None]:
        """Return a finished run of ``reader``; ``changes`` replace fields of the record."""
        recipe = changes.pop("recipe", Recipe(epochs=10, size=128))
        data = self.data
        asked = f"imagenet:{reader.name}" if reader.pretrained else "none"
        run = Run(
            backbone=reader.name,
            backbone_source=hash_json(reader.name),
            recipe=recipe,
            data_fingerprint=data.fingerprint,
            images_hash=hash_json([data.name, data.limit, self.removed and self.fold]),
            split_hash=data.split_hash,
            seed=seed,
            engine=reader.framework,
            device_kind="cpu",
            precision="float32",
            weights=asked,
        )
        record = Record(
            key=run.key,
            identity=run.identity(),
            outcome=Outcome.OK,
            recipe_name="default",
            seed=seed,
            device=self.device,
            backbone=BackboneFacts(name=reader.name, framework=reader.framework, library=_library(reader.name)),
            data=data,
            weights=WeightsFacts(
                policy="imagenet", used="imagenet" if reader.pretrained else "none", requested=asked
            ),
            network=NetworkFacts(
                parameters=int(reader.params_m * 1e6),
                trainable_parameters=int(reader.params_m * 1e6),
                gmacs=reader.gmacs,
                stages=("stem", "body", "head"),
                stages_proven=True,
                preprocessing={"scale": 1 / 255},
                execution={"precision": "float32", "tf32": "off", "channels_last": "on", "compile": "off"},
                conventions={"bn_eps": "1e-05"},
            ),
            throughput=_throughput(reader, seed),
            timings=Timings(
                compute_s=900.0 / reader.infer, data_s=0.4, harness_s=0.2, total_s=1000.0 / reader.infer + 9
            ),
            history=_history(reader, seed),
            best_epoch=9,
        ).model_copy(update=changes)
        predictions = self.predictions(reader.skill, seed) if record.outcome is Outcome.OK else None
        return record, predictions


def _library(name: str) -> str:
    library = name.replace(":", "/").split("/")[0]
    return "own" if name.endswith("baseline_cnn") else library


def _throughput(reader: Reader, seed: int) -> Throughput:
    speed = reader.infer * (1 + 0.02 * seed)
    return Throughput(
        train_images_per_s=speed / 3.6,
        train_images_per_s_iqr=speed / 90,
        infer_images_per_s=speed,
        infer_images_per_s_iqr=speed / 60,
        pipeline_images_per_s=speed * 0.9,
        pipeline_images_per_s_iqr=speed / 50,
        latency_p50_ms=1400 / speed,
        latency_p95_ms=1700 / speed,
        latency_calls=200,
        batch_size=32,
        peak_memory_mb=reader.memory_mb,
    )


def _history(reader: Reader, seed: int, epochs: int = 10) -> tuple[Epoch, ...]:
    noise = np.random.default_rng([seed, int(reader.infer)]).normal(0, 0.02, (epochs, 3))
    pace = 0.35 + 0.15 * reader.pretrained
    floor = 0.9 / reader.skill
    return tuple(
        Epoch(
            epoch=e + 1,
            learning_rate=1e-3 * (1 - e / epochs),
            train_loss=float(max(0.005, 1.38 * np.exp(-pace * e) + 0.01 + noise[e, 0])),
            val_loss=float(max(0.02, floor + (1.38 - floor) * np.exp(-pace * e) + 0.01 * e + noise[e, 1])),
            val_macro_f1=float(np.clip(0.95 - floor / 2 - 0.6 * np.exp(-pace * e) + noise[e, 2], 0.1, 0.995)),
            seconds=300 / reader.infer,
        )
        for e in range(epochs)
    )


def explained(study: Study, reader: Reader, *, finds: bool, seed: int = 0) -> tuple[Record, Predictions, Cams]:
    """Return a run with Grad-CAM maps and lesions of 8 x 8 pixels in images of 32 x 32.

    Args:
        finds: whether the maps are highest at the lesion, else in the opposite corner.
    """
    record, predictions = study.run(reader, seed)
    assert predictions is not None
    test = predictions.part("test")
    count = len(test.labels)
    ill = np.array([study.classes[label] != study.negative_class for label in test.labels])
    masks = np.zeros((count, 32, 32), dtype=bool)
    maps = np.full((count, 8, 8), 0.25, dtype=np.float16)
    for i in range(count):
        row, column = i % 2, (i // 2) % 4  # in the upper half, so that the opposite corner is another
        masks[i, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = ill[i]
        high, wide = (row, column) if finds else (3 - row, 3 - column)
        maps[i, 2 * high : 2 * high + 2, 2 * wide : 2 * wide + 2] = 1
    cams = Cams(
        image_ids=test.image_ids,
        predicted=test.probabilities.argmax(axis=1),
        scored=ill,
        maps=maps,
        masks=np.packbits(masks, axis=2),
        mean_mask=masks[ill].mean(axis=0).astype(np.float16),
    )
    facts = CamFacts(stage="conv3", images=count, scored=int(ill.sum()))
    return record.model_copy(update={"cam": facts}), predictions, cams
