"""Exporting kept models: written in a process of the framework that can, and proven beside the model's own engine."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.atomic_files import flush, put_in_place, tidy_folder, write_atomically
from benchmark.data.preparation.cache import cache_root
from benchmark.data.preparation.prepare import load_prepared
from benchmark.errors import UserError
from benchmark.evaluation.metrics import decide
from benchmark.export_targets import TARGETS, Reader, targets_of
from benchmark.hashing import hash_file
from benchmark.models.ask import in_child
from benchmark.models.card import card
from benchmark.models.description import CARD, EXPORTS, Export, Model, short_hash
from benchmark.models.images import open_images
from benchmark.models.keep import PROOF_IMAGES

TOLERANCE = 1e-3  # of a probability: more, and the file does not compute this network


@dataclass(frozen=True)
class Proof:
    """What was compared.

    Args:
        export: what is kept of it in ``model.json``.
        path: of the file.
    """

    export: Export
    path: Path


def export_model(
    folder: Path, target: str, *, whole: bool, source: str | None = None, plugins: Sequence[Path] = ()
) -> Proof:
    """Write a kept model for another runtime, into its folder ``exports``, and compare.

    Args:
        folder: of the model.
        target: one of :data:`~benchmark.export_targets.TARGETS`.
        whole: whether the file takes uint8 images and gives probabilities.
        source: of the images on which it is compared; by default test images of the model's own data, as far as they
            are prepared on this machine.
        plugins: files that declare backbones.

    Raises:
        UserError: it can't be written, or gives other probabilities: then nothing is kept.
    """
    model = Model.read(folder)
    model.check_files(folder)
    engine = writer_of(model, target)
    pixels = proof_pixels(model, source)
    name = TARGETS[target].file(target, whole=whole)
    home = folder / EXPORTS
    home.mkdir(exist_ok=True)
    tidy_folder(home / name)
    with tempfile.TemporaryDirectory(dir=home, prefix=f".new-{name}-") as temporary:
        images, reference, computed = (Path(temporary) / f"{word}.npz" for word in ("images", "own", "theirs"))
        np.savez(images, pixels=pixels)
        shared = {
            "model": str(folder.resolve()), "device": "cpu", "plugins": [str(plugin) for plugin in plugins],
            "images": str(images), "precision": "float32",
        }  # fmt: skip
        in_child(model, {"do": "reference", **shared, "leave": str(reference)})
        written = Path(temporary) / name
        message = in_child(
            model,
            {
                "do": "export",
                **shared,
                "target": target,
                "whole": whole,
                "path": str(written),
                "leave": str(computed),
            },
            engine=engine,
        )
        own, theirs = (_probabilities(path) for path in (reference, computed))
        difference = float(np.abs(own - theirs).max())
        changed = int((decide(own) != decide(theirs)).sum())
        if not difference <= TOLERANCE:
            raise UserError(
                f"The {target} file of {model.backbone.name} gives other probabilities: by up to {difference:.2g} on "
                f"{len(pixels)} images (at most {TOLERANCE:g} is allowed), {changed} decisions changed; it is not "
                "kept."
            )
        _flush(written)
        put_in_place(written, home / name)
    export = Export(
        file=name, target=target, whole=whole, runtime=str(message["runtime"]), images=len(pixels),
        largest_difference=difference, changed_decisions=changed, sha256=_hash(home / name),
        latency_p50_ms=message["latency_p50_ms"], made_by=message["made_by"],
    )  # fmt: skip
    others = tuple(each for each in model.exports if each.file != name)
    described = model.model_copy(update={"exports": (*others, export)})
    described.write(folder)
    write_atomically(folder / CARD, card(described))
    return Proof(export, home / name)


def writer_of(model: Model, target: str) -> str:
    """Return the engine that writes a model for a target; raises ``UserError`` where none does."""
    reader: Reader = "torch" if model.saved.reader != "keras" else "keras"
    if reader == "keras" and model.backbone.library == "keras_cv":
        reader = "keras-cv"
    engine = TARGETS[target].engines.get(reader)
    if engine is None:
        *others, last = targets_of(reader)
        why = " (its layers bring TensorFlow with them)" if reader == "keras-cv" else ""
        raise UserError(
            f"{model.backbone.name} is a network of {reader}, which has no {target}{why}: give --to "
            f"{', '.join(others)} or {last}."
        )
    return engine


def proof_pixels(model: Model, source: str | None) -> npt.NDArray[np.uint8]:
    """Return 64 images as the network takes them, fewer where there are fewer: uint8 of shape (N, S, S, 3).

    Raises:
        UserError: there are none.
    """
    if source is not None:
        from benchmark.models.prepared import prepared

        size, rule = model.input.size, model.input.resize
        images = open_images(source, model.class_names, unlabelled=True)[:PROOF_IMAGES]
        return np.stack([prepared(image, size, rule) for image in images])
    for facts in sorted(cache_root().glob("data/*/index/facts.json")):
        try:
            if json.loads(facts.read_text(encoding="utf-8"))["facts"]["fingerprint"] != model.data.fingerprint:
                continue
            data = load_prepared(facts.parents[1] / f"{model.input.size}-rgb-{model.input.resize}")
        except (OSError, ValueError, KeyError, UserError):
            continue
        places = {short_hash(name): place for place, name in enumerate(data.image_ids.tolist())}
        positions = [places[name] for name in model.proof_images if name in places]
        if positions:
            return np.asarray(data.pixels[np.sort(positions)])
    raise UserError(
        f"The test images of {model.data.name} are not prepared on this machine: give images to compare on, as "
        "--images SOURCE."
    )


def _probabilities(path: Path) -> npt.NDArray[np.float64]:
    with np.load(path, allow_pickle=False) as left:
        return np.asarray(left["probabilities"], dtype=np.float64)


def _flush(written: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk."""
    for path in (*written.rglob("*"), written):
        flush(path)


def _hash(path: Path) -> str:
    """Return the SHA-256 of a file; of a folder, of its files' names and hashes."""
    if path.is_file():
        return hash_file(path)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    lines = (f"{hash_file(each)}  {each.relative_to(path).as_posix()}\n" for each in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
