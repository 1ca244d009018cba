"""Keeping a trained network: its files under its library's own names, and what was chosen on validation images.

A model's folder is complete or absent: it is written beside its place, flushed, and renamed.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from benchmark.atomic_files import flush, inside, put_in_place, tidy_folder, write_atomically
from benchmark.data.dataset import DataSet, Positions, Split
from benchmark.data.sources.files import suffix_of
from benchmark.draws.randomness import draw, image_numbers
from benchmark.engines.base import Engine, NotKept
from benchmark.evaluation.calibration import OPERATING_SPECIFICITY, at_specificity, reliability
from benchmark.evaluation.metrics import score
from benchmark.evaluation.temperature import fit_temperature, scaled
from benchmark.file_names import with_key
from benchmark.hashing import hash_file
from benchmark.models.card import card
from benchmark.models.description import CARD, Calibration, Input, Model, TrainingImages, short_hash
from benchmark.models.feature_distance import HASH_BYTES, MOST_TRAINING, MOST_VALIDATION, TrainingFeatures
from benchmark.models.licences import licence_of_weights
from benchmark.records.record import DataFacts, Predictions, Record
from benchmark.training.prefetch import near_equal_batches
from benchmark.version import __version__

FOLDER = "models"
PROOF_IMAGES = 64
_SAMPLE_KEY = 0x30DE1
_RESERVE_BYTES = 2 * 2**30  # that are left free on the disk

_BYTES = 4  # of a parameter, kept as float32
_PROVENANCE = ("git_commit", "python", "platform", "cpu", "gpu", "at")

Report = Callable[[Mapping[str, Any]], None]


def model_folder(out: Path, backbone: str, key: str) -> Path:
    """Return where the model of a run is kept: ``OUT/models/<backbone>-<key8>``."""
    return out / FOLDER / with_key(backbone, key)


def keep_model(
    engine: Engine,
    data: DataSet,
    split: Split,
    record: Record,
    predictions: Predictions,
    out: Path,
    *,
    keeps: str,
    cam_stage: str | None = None,
    report: Report,
) -> Path:
    """Keep the trained network of a run.

    Args:
        engine: with the trained network.
        data, split: on which it was trained.
        record: of the run, which is ``ok``.
        predictions: of the validation and test images.
        out: the results folder.
        keeps: ``all`` or ``best``, the user's wish.
        cam_stage: the stage that the adapter has explained.
        report: gets one ``phase`` event.

    Returns:
        The model's folder.

    Raises:
        NotKept: the network can't be kept; says why.
        OSError: the disk is full, or can't be written.
    """
    report({"event": "phase", "phase": "keeping the model"})
    final = model_folder(out, record.backbone.name, record.key)
    home = inside(out, FOLDER, final.name).parent
    tidy_folder(final)
    require_room(home, record)
    new = home / f".new-{final.name}-{uuid4().hex[:8]}"
    new.mkdir()
    try:
        saved = engine.save_network(new)
        distance = _keep_features(engine, data, split, new)
        description = describe(record, data, split, predictions, distance)
        files = {path.name: hash_file(path) for path in sorted(new.iterdir())}
        licence = licence_of_weights(record, saved.licence)
        own = {"keeps": keeps, "cam_stage": cam_stage, "reader": asdict(saved), "files": files}
        model = Model(**description, **own, weights_licence=licence)
        model.write(new)
        write_atomically(new / CARD, card(model))
        for path in new.iterdir():
            flush(path)
        flush(new)
        put_in_place(new, final)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return final


def require_room(folder: Path, record: Record) -> None:
    """Raise ``NotKept`` where the disk has too little room for the network."""
    needed = _BYTES * (0 if record.network is None else record.network.parameters) + 2**24
    free = shutil.disk_usage(folder).free
    if free - needed < _RESERVE_BYTES:
        raise NotKept(
            f"the disk has {free / 1e9:.1f} GB free, and {(needed + _RESERVE_BYTES) / 1e9:.1f} GB are wanted"
        )


def features_of(engine: Engine, data: DataSet, positions: Positions, batch_size: int) -> npt.NDArray[np.float32]:
    """Return what reaches the head for images, float32 of shape (N, K); raises ``NotKept`` where it can't be had."""
    arrays = []
    for batch in near_equal_batches(positions, batch_size):
        pixels = np.ascontiguousarray(data.pixels[batch])
        _, features = engine.forward_with_features(engine.upload(pixels))
        arrays.append(engine.fetch([features])[0])
    return np.concatenate(arrays)


def sample(data: DataSet, positions: Positions, most: int) -> Positions:
    """Return at most so many of some images, always the same ones, by their ids alone."""
    order = np.argsort(draw(image_numbers(data.image_ids[positions]), _SAMPLE_KEY), kind="stable")
    return np.sort(positions[order[:most]])


def _keep_features(engine: Engine, data: DataSet, split: Split, folder: Path) -> float | None:
    """Write the features of some training images; return the distance beyond which an image is unlike them."""
    try:
        training = features_of(engine, data, sample(data, split.train, MOST_TRAINING), 32)
        validation = features_of(engine, data, sample(data, split.validation, MOST_VALIDATION), 32)
    except NotKept:
        return None
    seen = np.concatenate([split.train, split.validation])
    hashes = () if data.hashes is None else (bytes(each[:HASH_BYTES]) for each in data.hashes[seen, 1])
    kept = TrainingFeatures.of(training, validation, frozenset(hashes))
    kept.save(folder)
    return kept.threshold


def describe(
    record: Record, data: DataSet, split: Split, predictions: Predictions, distance: float | None
) -> dict[str, Any]:
    """Return the fields of :class:`~benchmark.models.description.Model` that a run and its images tell."""
    assert record.network is not None
    provenance = record.provenance
    recipe = record.identity["recipe"]
    return {
        "version": __version__,
        "key": record.key,
        "identity": record.identity,
        "recipe_name": record.recipe_name,
        "seed": record.seed,
        "device": record.device,
        "engine": record.identity["engine"],
        "backbone": record.backbone,
        "backbone_source": record.identity["backbone_source"],
        "input": Input(size=data.size, resize=recipe["resize"], preprocessing=record.network.preprocessing),
        "data": record.data,
        "audit": () if record.audit is None else tuple(finding.text for finding in record.audit.findings),
        "data_licence": data.licence,
        "data_citation": data.citation,
        "training_images": look_of(data, split.train),
        "calibration": calibrate(predictions, record.data, distance),
        "scores": _scores(predictions, record.data),
        "throughput": record.throughput,
        "parameters": record.network.parameters,
        "gmacs": record.network.gmacs,
        "weights": record.weights,
        "libraries": provenance.get("libraries", {}),
        # names of files may be those of patients
        "proof_images": tuple(map(short_hash, data.image_ids[sample(data, split.test, PROOF_IMAGES)].tolist())),
        "provenance": {
            name: provenance.get(name) for name in ("git_commit", "python", "platform", "cpu", "gpu", "at")
        },
    }


def calibrate(predictions: Predictions, data: DataFacts, distance: float | None) -> Calibration:
    """Choose temperature and threshold on validation images, and see what they do on test images."""
    validation, test = predictions.part("validation"), predictions.part("test")
    temperature = fit_temperature(validation.labels, validation.probabilities)
    cooled = scaled(test.probabilities, temperature)
    point = None
    if data.negative is not None:
        chosen_on = validation.labels, scaled(validation.probabilities, temperature)
        point = at_specificity(chosen_on, (test.labels, cooled), data.negative)
    return Calibration(
        temperature=temperature,
        ece_before=reliability(test.labels, test.probabilities).error,
        ece_after=reliability(test.labels, cooled).error,
        specificity=None if point is None else OPERATING_SPECIFICITY,
        threshold=None if point is None else point.threshold,
        test_sensitivity=None if point is None else point.sensitivity,
        test_specificity=None if point is None else point.specificity,
        distance=distance if distance is None or np.isfinite(distance) else None,
        n_validation=len(validation.labels),
    )


def look_of(data: DataSet, positions: Positions) -> TrainingImages:
    """Return what images look like: whether they are grey, how large they were, which files they came from."""
    some = data.pixels[sample(data, positions, MOST_TRAINING)]
    sides = None
    if data.native_sizes is not None:
        native = data.native_sizes[positions]
        sides = int(native.min()), int(native.max())
    suffixes = sorted({suffix_of(name) for name in data.image_ids[positions].tolist()} - {""})
    return TrainingImages(grey=float(are_grey(some).mean()), sides=sides, suffixes=tuple(suffixes))


def are_grey(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return which images have three equal channels: (N, S, S, 3) to bool of shape (N,)."""
    return np.asarray((pixels == pixels[..., :1]).all(axis=(1, 2, 3)))


def _scores(predictions: Predictions, data: DataFacts) -> dict[str, float]:
    test = predictions.part("test")
    scores = score(test.labels, test.probabilities, data.class_names, data.negative_class)
    values = {"macro_f1": scores.macro_f1, "accuracy": scores.accuracy, "auroc": scores.auroc}
    values |= {f"recall_{each.name}": each.recall for each in scores.classes}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def kept_models(out: Path) -> list[Path]:
    """Return the folders of the models in a results folder, sorted."""
    home = out / FOLDER
    if not home.is_dir():
        return []
    return sorted(path for path in home.iterdir() if not path.name.startswith(".") and not path.is_symlink()
                  and (path / "model.json").is_file())  # fmt: skip


def remove_model(folder: Path) -> None:
    """Remove a kept model: it is renamed first, so that no half of one is ever found."""
    gone = folder.with_name(f".old-{folder.name}-{uuid4().hex[:8]}")
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
