"""A kept model, made fit to be given away: without anything that tells which images it was trained on."""

import shutil
from pathlib import Path

from benchmark.atomic_files import write_atomically
from benchmark.models.card import card
from benchmark.models.description import CARD, EXPORTS, Model
from benchmark.models.feature_distance import FILE as FEATURES
from benchmark.publishing.pseudonyms import without_paths


def anonymous_model(model: Model) -> Model:
    """Return a description that names no image and no folder; ``predict`` can't tell images unlike the training's."""
    weights = model.weights.model_copy(
        update={name: without_paths(getattr(model.weights, name)) for name in ("policy", "requested", "loaded")}
    )
    origin = Path(model.backbone.origin).name
    return model.model_copy(
        update={
            "files": {name: digest for name, digest in model.files.items() if name != FEATURES},
            "calibration": model.calibration.model_copy(update={"distance": None}),
            "proof_images": (),
            "weights": weights,
            "backbone": model.backbone.model_copy(update={"origin": origin}),
            "audit": tuple(map(without_paths, model.audit)),
        }
    )


def copy_model(kept: Path, folder: Path) -> Model:
    """Copy a kept model into a folder that is made, its files verified.

    Raises:
        UserError: it is damaged.
    """
    model = Model.read(kept)
    model.check_files(kept)
    published = anonymous_model(model)
    folder.mkdir(parents=True)
    for name in published.files:
        shutil.copyfile(kept / name, folder / name)
    for export in published.exports:
        source, target = kept / EXPORTS / export.file, folder / EXPORTS / export.file
        target.parent.mkdir(exist_ok=True)
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, target)
        elif source.is_file() and not source.is_symlink():
            shutil.copyfile(source, target)
    published.write(folder)
    write_atomically(folder / CARD, card(published))
    return published
