"""Whether a record and its arrays can be what a run left: checked whole when read, before anything uses them."""

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmark.draws.corruptions import CORRUPTIONS, SEVERITIES
from benchmark.records.corrupted import Corrupted
from benchmark.records.record import Cams, DataFacts, Predictions, Record

MAX_CLASSES = 1000
MAX_CELLS = 2**23  # images times classes times classes: what the bootstrap holds of a run, 64 MiB
MAX_MASK_PIXELS = 2**28  # of all images with maps together: what they hold when they are unpacked, 256 MiB
_MAX_NAME, _MAX_TEXT = 1000, 2**16  # characters
_MAX_NUMBER = 2**53  # the largest whole number that every table keeps exactly
_MAX_VALUES, _MAX_DEPTH = 200_000, 32
_LARGEST_SIZE = 65_536  # pixels of an image's side
_LARGEST_MAP, _LARGEST_MASK = 1024, 4096  # pixels of a side
_SURROGATE = re.compile("[\ud800-\udfff]")
_HASH = re.compile(r"[0-9a-f]{1,64}")


def problem_with_record(record: Record) -> str | None:
    """Return in one clause what is wrong with a record, or ``None``.

    Of a sound record all numbers are finite (but for losses in the history), whole numbers are below 2^53, all text
    is Unicode and not longer than 65,536 characters, names not longer than 1000, hashes are hashes, classes differ,
    folds and counts are possible, and speeds are above zero.
    """
    for number, (place, value) in enumerate(_values(record.model_dump())):
        if number == _MAX_VALUES:
            return "it has too many values"
        wrong = _wrong_value(place, value)
        if wrong:
            return f"{'.'.join(place)[:100]} {wrong}"
    backbone, data = record.backbone, record.data
    if not all((backbone.name, backbone.framework, backbone.library, data.name, data.split, record.recipe_name)):
        return "a name of its backbone, recipe, data or split is empty"
    return _problem_with_identity(record) or _problem_with_data(record.data) or _problem_with_measures(record)


def _values(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every number and text of nested values with its place; the names in a dictionary are text too."""
    if len(place) > _MAX_DEPTH:
        yield place[:3], _TOO_DEEP
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield (*place, "name"), name
            yield from _values(inner, (*place, str(name)))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _values(inner, (*place, str(number)))
    else:
        yield place, value


_TOO_DEEP = object()


def _wrong_value(place: tuple[str, ...], value: Any) -> str:
    """Return what is wrong with a value as the end of a sentence, empty where nothing is."""
    if value is _TOO_DEEP:
        return "is nested too deeply"
    if isinstance(value, float) and not math.isfinite(value):
        # a loss of a run that diverged is its own, and shown as a gap
        return "" if place[0] == "history" and place[-1] in _MAY_BE_NAN else f"is {value}, not a finite number"
    if isinstance(value, int | float) and abs(value) > _MAX_NUMBER:
        return "is too large a number"
    if isinstance(value, str):
        if len(value) > _MAX_TEXT or (_is_name(place) and len(value) > _MAX_NAME):
            return f"has {len(value)} characters, too many"
        if _SURROGATE.search(value):
            return "is not Unicode"
    return ""


_MAY_BE_NAN = ("train_loss", "val_loss", "val_macro_f1")


def _is_name(place: tuple[str, ...]) -> bool:
    """Return whether a text names something, rather than telling something."""
    return place[0] in ("backbone", "data", "weights", "network", "recipe_name", "device") or place[-1] == "name"


def _problem_with_identity(record: Record) -> str | None:
    """Return what is wrong with what a record's key hashes, which is data of any kind to the record itself."""
    identity = record.identity
    recipe = identity.get("recipe") or {}
    size = recipe.get("size") if isinstance(recipe, dict) else ""
    if not isinstance(recipe, dict) or not (size is None or (type(size) is int and 0 <= size <= _LARGEST_SIZE)):
        return "identity.recipe is not a recipe"
    for name in ("precision", "backbone_source", "images_hash"):
        if not isinstance(identity.get(name, ""), str):
            return f"identity.{name} is not text"
    facts = {"seed": record.seed, "data_fingerprint": record.data.fingerprint, "split_hash": record.data.split_hash}
    for name, value in facts.items():
        if identity.get(name, value) != value:
            return f"identity.{name} is not what the record says elsewhere"
    return None


def _problem_with_data(data: DataFacts) -> str | None:
    for name in ("fingerprint", "split_hash", "scheme"):
        value = getattr(data, name)
        if not _HASH.fullmatch(value) and not (name == "scheme" and value == ""):
            return f"data.{name} is not a hash"
    names = data.class_names
    if not 2 <= len(names) <= MAX_CLASSES or len(set(names)) < len(names) or not all(name.strip() for name in names):
        return f"data.class_names are not 2 to {MAX_CLASSES} different names"
    if data.negative_class is not None and data.negative_class not in names:
        return "data.negative_class is none of its classes"
    if min(data.n_train, data.n_validation, data.n_test, data.removed or 0) < 0 or (data.limit or 1) < 1:
        return "data has a number of images below zero"
    if (data.fold is None) != (data.folds is None) or not 1 <= (data.fold or 1) <= (data.folds or 1) <= 1000:
        return f"data.fold is {data.fold} of {data.folds}"
    return None


def _problem_with_measures(record: Record) -> str | None:
    for name, value in record.throughput:
        above_zero = name.endswith(("_images_per_s", "_ms"))  # speeds and latencies; the others may be zero
        if value is not None and (value < 0 or (value == 0 and above_zero)):
            return f"throughput.{name} is {value}"
    network = record.network
    if network is not None and min(network.parameters, network.trainable_parameters, network.gmacs) < 0:
        return "network has a size below zero"
    if record.seed < 0 or any(epoch.epoch < 0 or epoch.seconds < 0 for epoch in record.history):
        return "a seed, an epoch or its seconds are below zero"
    if record.cam is not None and min(record.cam.images, record.cam.scored) < 0:
        return "cam has a number of images below zero"
    return None


def problem_with(predictions: Predictions, num_classes: int) -> str | None:
    """Return in one clause what is wrong with predictions, or ``None``.

    Sound predictions have arrays of one length, labels within the classes, the two known parts, and
    probabilities of shape (M, num_classes) that are finite, not negative and sum to 1 within 0.001.
    """
    probabilities, count = predictions.probabilities, len(predictions.labels)
    if probabilities.shape != (count, num_classes):
        return f"probabilities have shape {probabilities.shape}, not {(count, num_classes)}"
    if any(getattr(predictions, name).shape != (count,) for name in ("image_ids", "parts", "groups", "labels")):
        return "its arrays differ in length"
    if count * num_classes**2 > MAX_CELLS:
        return f"its {count} images with {num_classes} classes are too many"
    if count and (predictions.labels.min() < 0 or predictions.labels.max() >= num_classes):
        return f"labels are not within the {num_classes} classes"
    if not set(np.unique(predictions.parts)) <= {"validation", "test"}:
        return "parts other than 'validation' and 'test'"
    if not np.isfinite(probabilities).all():
        return "probabilities are not finite"
    if count and (probabilities.min() < 0 or np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1).max() > 1e-3):
        return "probabilities are not a distribution"
    return None


def problem_with_cams(cams: Cams, num_classes: int) -> str | None:
    """Return in one clause what is wrong with Grad-CAM maps, or ``None``.

    Sound maps have arrays of one length, classes within the ``num_classes``, values that are finite and not
    negative, and a mask for each image that is scored.
    """
    count, maps, masks = len(cams.image_ids), cams.maps, cams.masks
    if cams.predicted.shape != (count,) or cams.scored.shape != (count,) or len(maps) != count or len(masks) != count:
        return "the arrays of its cams differ in length"
    if maps.ndim != 3 or masks.ndim != 3 or masks.shape[2] != -(-masks.shape[1] // 8) or masks.dtype != np.uint8:
        return f"its cams have maps of shape {maps.shape} and masks of {masks.shape}"
    if count and (0 in maps.shape or max(maps.shape[1:]) > _LARGEST_MAP or masks.shape[1] > _LARGEST_MASK):
        return f"its cams have maps of shape {maps.shape} and masks of {masks.shape}"
    if masks.shape[1] and count and max(maps.shape[1:]) > masks.shape[1]:
        return f"its cams have maps of shape {maps.shape} and masks of {masks.shape}"
    if count * masks.shape[1] ** 2 > MAX_MASK_PIXELS:
        return f"its {count} masks of {masks.shape[1]} pixels are too many"
    if cams.mean_mask.size and cams.mean_mask.shape != (masks.shape[1],) * 2:
        return f"its cams have a mean mask of shape {cams.mean_mask.shape}"
    if count and (cams.predicted.min() < 0 or cams.predicted.max() >= num_classes):
        return f"classes of its cams are not within the {num_classes}"
    if not np.isfinite(maps).all() or not np.isfinite(cams.mean_mask).all() or (count and maps.min() < 0):
        return "its cams are not finite or negative"
    if cams.mean_mask.size and cams.mean_mask.min() < 0:
        return "its cams are not finite or negative"
    if len(np.unique(cams.image_ids)) < count:
        return "an image stands twice in its cams"
    if cams.scored.any() and not masks[cams.scored].any(axis=(1, 2)).all():
        return "its cams are scored where there is no lesion"
    return None


def problem_with_corrupted(corrupted: Corrupted, num_classes: int) -> str | None:
    """Return in one clause what is wrong with decisions of spoilt images, or ``None``.

    Sound decisions are of corruptions that this version knows, each once, and of images that differ; classes are
    within the ``num_classes``, or -1.
    """
    names, decisions = corrupted.names.tolist(), corrupted.decisions
    if len(set(names)) < len(names) or not set(names) <= set(CORRUPTIONS):
        return "its corruptions are not ones that this version knows"
    if decisions.shape != (len(names), SEVERITIES, len(corrupted.image_ids)):
        return f"its corruptions have decisions of shape {decisions.shape}"
    if decisions.size and (decisions.min() < -1 or decisions.max() >= num_classes):
        return f"decisions of its corruptions are not within the {num_classes} classes"
    if len(np.unique(corrupted.image_ids)) < len(corrupted.image_ids):
        return "an image stands twice in its corruptions"
    return None
