"""Asking kept models from a process that imports no framework: each answers in a child process of its own."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.child_process import end, messages, start
from benchmark.engines import engine_entry
from benchmark.errors import UserError
from benchmark.models.answers import Answers, Unlike, answers
from benchmark.models.description import Model
from benchmark.models.images import AskedImage
from benchmark.models.seen import Progress, Seen


@dataclass(frozen=True)
class Question:
    """What models are asked.

    Args:
        source: of the images; see :func:`benchmark.models.images.open_images`.
        unlabelled: take no classes from it.
        unlike: what is done where an image is unlike the training images.
        explain: how many images are explained by Grad-CAM, by the first model.
        plugins: files that declare backbones.
        devices: the device of each engine, ``cpu`` or ``cuda``.
    """

    source: str
    unlabelled: bool = False
    unlike: Unlike = "abstain"
    explain: int = 0
    plugins: tuple[Path, ...] = ()
    devices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Explained:
    """Images with their heat maps.

    Args:
        numbers: int64, shape (M,), among all images.
        pixels: uint8, shape (M, S, S, 3), as the network takes them.
        maps: float32, shape (M, h, w); shape (0, 0, 0) where there are none.
        classes: int64, shape (M,), which class each map is of: the one that the explained model alone finds the most
            probable, in the order of its classes.
        reason: why there are none.
    """

    numbers: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint8]
    maps: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    reason: str


def ask_models(
    folders: Sequence[Path], question: Question, progress: Progress = lambda done, of: None
) -> tuple[Answers, Explained | None]:
    """Return what kept models say of a source's images together, and the first one's heat maps.

    Args:
        folders: of the models; with several, their probabilities are averaged.
        question: what is asked.
        progress: gets the number of images that are done, and of all.

    Raises:
        UserError: a model or the images can't be used; says why.
    """
    models = [Model.read(folder) for folder in folders]
    members: list[tuple[Model, Seen]] = []
    images: list[AskedImage] = []
    explained = None
    with tempfile.TemporaryDirectory() as temporary:
        for number, (folder, model) in enumerate(zip(folders, models, strict=True)):
            leave = Path(temporary) / f"{number}.npz"
            message = in_child(
                model,
                {
                    "do": "predict",
                    "model": str(folder),
                    "device": question.devices.get(model.engine, "cpu"),
                    "plugins": [str(plugin) for plugin in question.plugins],
                    "source": question.source,
                    "unlabelled": question.unlabelled,
                    "explain": question.explain if number == 0 else 0,
                    "leave": str(leave),
                },
                progress,
            )
            with np.load(leave, allow_pickle=False) as left:
                arrays = {name: left[name] for name in left.files}
            if number == 0:
                images = _images(arrays)
                explained = _explained(arrays, str(message.get("reason", "")))
            members.append((model, Seen.of(arrays)))
    return answers(members, images, question.unlike), explained


def in_child(
    model: Model, asked: dict[str, Any], progress: Progress = lambda done, of: None, *, engine: str | None = None
) -> dict[str, Any]:
    """Do something with a model in a process of its own; return its last message.

    Args:
        model: what runs it decides the process's environment.
        asked: see :mod:`benchmark.models.worker`.
        progress: gets the number of images that are done, and of all.
        engine: another than that of the model's run.

    Raises:
        UserError: it can't be done, or the process ended without a word.
    """
    name = engine or model.engine
    entry = engine_entry(name)
    own = dict(entry.environment)
    if asked["device"] == "cpu":
        own["CUDA_VISIBLE_DEVICES"] = "-1"
    environment = {**entry.environment_defaults, **os.environ, **own}
    with tempfile.TemporaryFile() as errors:
        process = start(
            "benchmark.models.worker", json.dumps({**asked, "engine": name}),
            environment=environment, stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
        last: dict[str, Any] = {}
        try:
            if asked["do"] == "predict":
                from scipy import special  # noqa: F401  # which answers need, while the child imports its framework

            assert process.stdout is not None
            for message in messages(process.stdout):
                if message.get("event") == "progress":
                    progress(int(message["done"]), int(message["of"]))
                else:
                    last = message
            process.wait()
        finally:
            end(process)
        errors.seek(0)
        lines = errors.read().decode("utf-8", errors="replace").strip().splitlines()
    if last.get("event") == "problem":
        raise UserError(str(last["problem"]))
    if last.get("event") != "done":
        raise UserError(
            f"The process that was to use {model.backbone.name} ended without an answer "
            f"({lines[-1][:200] if lines else 'no reason given'})."
        )
    return last


def _images(arrays: Mapping[str, Any]) -> list[AskedImage]:
    """Return the images as their process described them; they are not read here."""
    columns = (arrays[name].tolist() for name in ("image_ids", "classes", "patients"))
    return [
        AskedImage(name, _read_elsewhere, label or None, patient or None)
        for name, label, patient in zip(*columns, strict=True)
    ]


def _read_elsewhere() -> npt.NDArray[np.uint8]:
    raise AssertionError("the images are read in the child process")


def _explained(arrays: Mapping[str, Any], reason: str) -> Explained | None:
    if "explained" not in arrays:
        return None
    return Explained(
        arrays["explained"], arrays["explained_pixels"], arrays["maps"], arrays["explained_classes"], reason
    )
