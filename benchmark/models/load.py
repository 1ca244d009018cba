"""A kept model, loaded into this process and asked: uint8 images in, logits and features out."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backbones import Backbone
from backbones.registry import load_registry
from benchmark.dependencies import how_to_install
from benchmark.engines import BuildSpec, create, engine_entry
from benchmark.engines.base import Engine, NotKept
from benchmark.engines.cam_stage import NoFeatureMap
from benchmark.errors import UserError
from benchmark.evaluation.cam_metrics import grad_cam, normalized
from benchmark.evaluation.temperature import softmax
from benchmark.models.answers import answers
from benchmark.models.description import Model
from benchmark.models.feature_distance import Features, TrainingFeatures
from benchmark.models.images import AskedImage, Pixels
from benchmark.models.prepared import BATCH, Batches, PreparedByThreads, helpers, prepared
from benchmark.models.seen import Logits, Progress, Seen, SeenParts
from benchmark.recipe import Flips, Head, Recipe
from benchmark.records.outcomes import RunFailure
from benchmark.training.views import logits_of_views

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class LoadedModel:
    """A kept model in this process. Made by :func:`load`.

    Args:
        model: its description.
        engine: with its network.
        training: the features of its training images, ``None`` where they were not kept.
        folder: where it is.
    """

    model: Model
    engine: Engine
    training: TrainingFeatures | None
    folder: Path = field(default=Path(), repr=False)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.model.class_names

    def predict(self, images: Any) -> "pd.DataFrame":
        """Return what the model says of images, a row for each; the columns of ``predictions.csv``.

        Args:
            images: a path as for ``python -m benchmark predict``, or a uint8 array of shape (H, W), (H, W, 3),
                (N, H, W) or (N, H, W, 3), or a sequence of arrays and Pillow images.

        Raises:
            benchmark.errors.UserError: they can't be read, or are none.
        """
        asked = as_asked(images, self.class_names)
        return answers([(self.model, self.ask(asked))], asked).frame()

    def ask(
        self,
        images: Sequence[AskedImage],
        progress: Progress = lambda done, of: None,
        *,
        batches: Batches | None = None,
    ) -> Seen:
        """Return what the network makes of images, which are decoded while it computes.

        Args:
            images: shown in this order.
            progress: gets the number of images that are done, and of all.
            batches: the images made ready, by default by threads.
        """
        with helpers() as pool:
            expected = self.model.input
            batches = batches or PreparedByThreads(images, expected.size, expected.resize, pool)
            seen = SeenParts(len(self.class_names), self.training)
            flips = self.model.recipe.testing.flips
            for batch in batches:
                seen.add(batch.facts, *self._answers(batch.pixels, flips, batches.begin))
                progress(len(seen), len(images))
            return seen.together()

    def _answers(self, pixels: Pixels, flips: Flips, beside: Callable[[], object]) -> tuple[Logits, Features]:
        """Return logits of some images, of the views that ``flips`` names, and features; for ``beside`` see
        :meth:`_forward`.
        """
        if not len(pixels):
            return np.zeros((0, len(self.class_names)), dtype=np.float32), np.zeros((0, 0), dtype=np.float32)
        first, features = self._forward(pixels, beside)
        forward: Callable[[Pixels], Logits] = lambda view: self._forward(view)[0]  # noqa: E731
        return logits_of_views(forward, pixels, first, flips), features

    def explain(
        self, images: Sequence[AskedImage], classes: npt.NDArray[np.int64]
    ) -> tuple[Pixels, npt.NDArray[np.float32], str]:
        """Return prepared images, Grad-CAM maps of given classes, and why there are none where there are none.

        Returns:
            uint8 of shape (N, S, S, 3); float32 of shape (N, h, w), the largest value of each 1, or of shape
            (0, 0, 0); one sentence, or nothing.
        """
        pixels = np.stack([prepared(image, self.model.input.size, self.model.input.resize) for image in images])
        maps = []
        try:
            for start in range(0, len(pixels), BATCH):
                part = slice(start, start + BATCH)
                inputs = self.engine.normalize(self.engine.upload(pixels[part]))
                of_part = self.engine.fetch(self.engine.features_and_gradients(inputs, classes[part]))
                maps.append(normalized(grad_cam(*of_part)))
        except NoFeatureMap as none:
            return pixels, np.zeros((0, 0, 0), dtype=np.float32), str(none)
        return pixels, np.concatenate(maps), ""

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float64]:
        """Return probabilities at the model's temperature for prepared images, of one view each, as a file of the
        network alone gives them: (N, S, S, 3) to (N, C).
        """
        logits = [self._forward(pixels[start : start + BATCH])[0] for start in range(0, len(pixels), BATCH)]
        return softmax(np.concatenate(logits), self.model.calibration.temperature)

    def _forward(self, pixels: Pixels, beside: Callable[[], object] = lambda: None) -> tuple[Logits, Features]:
        """Return what the network makes of prepared images.

        Args:
            pixels: uint8, shape (N, S, S, 3).
            beside: begins what threads do while the network computes. Before that, its many short steps would wait
                for the interpreter again and again.

        Returns:
            Logits, and features of shape (N, K); K is 0 where they can't be had.
        """
        images = self.engine.upload(np.ascontiguousarray(pixels))
        beside()
        if self.training is None:
            [logits] = self.engine.fetch([self.engine.forward_images(images)])
            return logits, np.zeros((len(pixels), 0), dtype=np.float32)
        logits, features = self.engine.fetch(self.engine.forward_with_features(images))
        return logits, features


def as_asked(images: Any, class_names: Sequence[str]) -> list[AskedImage]:
    """Return what a user may give in Python as images; see :meth:`LoadedModel.predict`."""
    from benchmark.models.images import open_images

    if isinstance(images, str | Path):
        return open_images(str(images), class_names)
    if isinstance(images, np.ndarray):
        single = images.ndim == 2 or (images.ndim == 3 and images.shape[-1] == 3)
        images = [images] if single else list(images)
    if not isinstance(images, Iterable):
        raise UserError("Give a path, an array of uint8 pixels, or a list of arrays or pictures.")
    asked = []
    for number, image in enumerate(images):
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3)):
            raise UserError(
                f"Image {number} has shape {pixels.shape} and dtype {pixels.dtype}; give uint8 of shape (H, W) or "
                "(H, W, 3)."
            )
        asked.append(AskedImage(str(number), partial(_same, pixels)))
    if not asked:
        raise UserError("There are no images.")
    return asked


def _same(pixels: Pixels) -> Pixels:
    return pixels


def load(
    path: Path | str,
    *,
    device: str = "cpu",
    plugins: Sequence[Path] = (),
    engine: str | None = None,
    precision: str | None = None,
) -> LoadedModel:
    """Load a kept model into this process, which must not hold another framework.

    Args:
        path: the model's folder, or a results folder with its models.
        device: ``cpu`` or ``cuda``.
        plugins: files that declare backbones, where the model's own is needed and comes from one.
        engine: another engine than that of its run, which must read its files.
        precision: of the arithmetic, by default that of its run.

    Raises:
        UserError: it can't be used; says why.
    """
    folder = find_model(Path(path))
    model = Model.read(folder)
    model.check_files(folder)
    name = engine or model.engine
    entry = engine_entry(name)
    inside = [other for other in entry.excludes if other in sys.modules]
    if inside:
        raise UserError(
            f"This process has imported {inside[0]}, and the model runs on {name}: two frameworks crash in one "
            f"process. Load it in another, or use python -m benchmark predict {folder}."
        )
    for variable, value in entry.environment.items():
        os.environ[variable] = value
    for variable, value in entry.environment_defaults.items():
        os.environ.setdefault(variable, value)
    try:
        built = create(name, device, tf32=model.recipe.execution.tf32, deterministic=False)
        built.build(
            BuildSpec(
                backbone=_backbone(model, folder, tuple(plugins)),
                recipe=_recipe(model, device, precision),
                num_classes=len(model.class_names),
                size=model.input.size,
                weights=None,
                seed=model.seed,
            )
        )
        built.load_network(folder)
    except ImportError as error:
        missing = error.name or name
        raise UserError(f"'{folder}' needs {missing}: {how_to_install([missing])}.") from error
    except (NotKept, RunFailure) as error:
        raise UserError(f"The model in '{folder}' can't be loaded: {str(error).rstrip('.')}.") from error
    distance = model.calibration.distance
    training = None if distance is None else TrainingFeatures.load(folder, distance)
    return LoadedModel(model, built, training, folder)


def find_model(path: Path) -> Path:
    """Return the folder of a model: the one named, or of a results folder the model of the best row.

    Raises:
        UserError: there is none, or several of which none is the best.
    """
    from benchmark.models.keep import kept_models

    if not path.is_dir():
        raise UserError(f"There is no folder '{path}': give a model's folder, or a results folder with models.")
    if (path / "model.json").is_file():
        return path
    folders = kept_models(path)
    if not folders:
        raise UserError(f"'{path}' holds no kept model: train with --keep-models best or all.")
    if len(folders) == 1:
        return folders[0]
    read = []
    for folder in folders:
        with suppress(UserError):  # a damaged one is none to choose from
            read.append((folder, Model.read(folder)))
    if not read:
        Model.read(folders[0])  # which says why
    blocks = {None if model.board is None or model.board.rank is None else model.board.block for _, model in read}
    if len(blocks) > 1 or None in blocks:  # they were not compared with one another
        names = ", ".join(folder.name for folder in folders)
        raise UserError(f"'{path}' holds several models ({names}): name one, such as {folders[0]}.")
    scores = [_score_on_board(model) for _, model in read]
    return read[scores.index(max(scores))][0]


def _score_on_board(model: Model) -> float:
    score = None if model.board is None else model.board.scores.get("macro_f1")
    return -1.0 if score is None else score.value


def _backbone(model: Model, folder: Path, plugins: tuple[Path, ...]) -> Backbone:
    """Return an adapter that builds the model's network, by its library alone where that can."""
    facts, saved = model.backbone, model.saved
    shared: dict[str, Any] = {
        "name": facts.name,
        "library": facts.library,
        "preprocessing": model.input.as_preprocessing,
        "cam_stage": model.cam_stage,
    }
    if saved.reader == "keras":
        return Backbone(framework="keras", build=partial(_keras, folder, facts.library), **shared)
    if saved.reader == "timm":
        return Backbone(framework="torch", build=partial(_timm, dict(saved.arguments)), **shared)
    registry = load_registry(plugins)
    try:
        declared = registry.get(facts.name)
    except KeyError:
        origin = "" if facts.origin == "built-in" else f" It was declared by {facts.origin}: give it by --plugin."
        raise UserError(f"'{folder}' is of the backbone {facts.name}, which is not there.{origin}") from None
    if facts.origin != "built-in" and declared.source_hash != model.backbone_source:
        raise UserError(
            f"The file that declares {facts.name} is another than that of the model in '{folder}': give "
            "that one by --plugin."
        )
    return replace(declared, preprocessing=model.input.as_preprocessing)


def _keras(folder: Path, library: str) -> Any:
    from benchmark.engines.keras.saved import load as load_keras

    return load_keras(folder, library)


def _timm(arguments: dict[str, Any]) -> Any:
    from benchmark.engines.torch.saved import timm_network

    return timm_network(arguments)


def _recipe(model: Model, device: str, precision: str | None) -> Recipe:
    """Return the recipe that builds the network as it was kept, with nothing drawn and nothing to train it."""
    trained = model.recipe
    own_head = model.saved.reader == "keras" or (trained.head.kind != "native" and not model.saved.head)
    precision = precision or str(model.identity.get("precision", "float32"))
    if device == "cpu" and precision == "float16":
        precision = "float32"
    return Recipe(
        size=model.input.size,
        resize=model.input.resize,
        head=Head() if own_head else trained.head,
        batch_norm=trained.batch_norm,
    ).with_values({
        "optimizer.name": "sgd", "optimizer.momentum": 0.0,
        "execution.precision": precision, "execution.compile": "off",
    })  # fmt: skip
