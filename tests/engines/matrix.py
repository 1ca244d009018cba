"""Every shipped recipe and suite entry on every kind of network: two steps each, which go well or are refused."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from backbones import Backbone
from benchmark.data.dataset import DataSet, Split
from benchmark.engines import BuildSpec, create
from benchmark.recipe import Recipe, load_recipe, shipped_names
from benchmark.recipe.suite import load_suite, suite_names
from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.training.train import train

KINDS = ("with BatchNorm", "without BatchNorm", "frozen BatchNorm", "all of it frozen")
SIZE, CLASSES = 16, ("glioma", "meningioma", "notumor", "pituitary")
# Two epochs of one step, whatever the recipe says: what does not change how a step is computed. Learning rates are
# small, so that no step of a network that has seen nothing diverges.
SHORT: dict[str, Any] = {
    "size": SIZE, "batch_size": 8, "epochs": 2, "tuning.learning_rates": (), "optimizer.learning_rate": 1e-3,
    "execution.compile": "off", "execution.precision": "float32", "early_stopping.patience": None,
}  # fmt: skip


def recipes() -> dict[str, Recipe]:
    """Return the recipes, made short, by the first name of each: those that then are the same are one."""
    distinct: dict[str, tuple[str, Recipe]] = {}
    for name, recipe in _recipes():
        short = recipe.with_values({**SHORT, "families": {}})
        distinct.setdefault(json.dumps(short.model_dump(mode="json"), sort_keys=True), (name, short))
    return dict(distinct.values())


def _recipes() -> Iterator[tuple[str, Recipe]]:
    shipped = [(name, load_recipe(name)) for name in shipped_names()]
    for suite in map(load_suite, suite_names()):
        for entry in suite.entries:
            for base in entry.recipes or suite.recipes or ():
                recipe = load_recipe(base).with_values({**suite.changes, **entry.changes})
                shipped.append((f"{suite.name}: {entry.name}, {base}", recipe))
    for name, recipe in shipped:
        for family in ("", *recipe.families):
            yield f"{name} {family}".strip(), recipe.for_family(family)


def torch_network(num_classes: int, dropout: float, kind: str) -> Any:
    """Two convolutions, with or without BatchNorm, and a head."""
    from torch import nn

    def stage(channels: int) -> nn.Module:
        norm = [] if kind == "without BatchNorm" else [nn.BatchNorm2d(8)]
        return nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), *norm, nn.ReLU(), nn.MaxPool2d(2))

    head = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(8 * 16, num_classes))
    network = nn.Sequential(stage(3), stage(8), head)
    return network.requires_grad_(kind != "all of it frozen")


def keras_network(num_classes: int, dropout: float, kind: str) -> Any:
    """The same in Keras."""
    import keras
    from keras import layers

    network = keras.Sequential()
    for _ in range(2):
        network.add(layers.Conv2D(8, 3, padding="same"))
        if kind != "without BatchNorm":
            network.add(layers.BatchNormalization())
        network.add(layers.ReLU())
        network.add(layers.MaxPooling2D())
    network.add(layers.Flatten())
    network.add(layers.Dropout(dropout))
    network.add(layers.Dense(num_classes))
    network.build((None, SIZE, SIZE, 3))
    network.trainable = kind != "all of it frozen"
    return network


def outcome(engine: str, framework: str, kind: str, recipe: Recipe) -> str:
    """Return ``ok``, or the sentence by which a recipe is refused; anything else is raised."""
    build = partial(torch_network if framework == "torch" else keras_network, kind=kind)
    if kind == "frozen BatchNorm":
        recipe = recipe.with_values({"trainable_from": "head"})
    backbone = Backbone("own/small", framework, build)
    made = create(engine, "cpu", tf32=False, deterministic=False)
    try:
        network = made.build(BuildSpec(backbone, recipe, len(CLASSES), SIZE, None, 0))
        done = train(
            made, network, data(), split(), recipe, 0,
            report=lambda event: None, checkpoints=None, should_stop=lambda: False,
        )  # fmt: skip
    except RunFailure as failure:
        if failure.outcome is not Outcome.UNSUPPORTED:
            raise
        return failure.reason
    assert len(done.history) == 2
    return "ok"


def outcomes(engine: str, framework: str) -> dict[str, Counter[str]]:
    """Return how often each outcome came, by the kind of network."""
    found = {kind: Counter[str]() for kind in KINDS}
    for name, recipe in recipes().items():
        for kind in KINDS:
            try:
                found[kind][outcome(engine, framework, kind, recipe)] += 1
            except Exception as error:
                raise AssertionError(f"{name}, {kind}: {type(error).__name__}: {error}") from error
    return found


def data() -> DataSet:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (24, SIZE, SIZE, 3), dtype=np.uint8)
    ids = np.array([f"{number:02d}" for number in range(24)])
    return DataSet("toy", pixels, np.arange(24) % 4, ids, CLASSES, "f" * 64, identical=np.arange(24))


def split() -> Split:
    return Split("holdout", *np.arange(24).reshape(3, 8), hash="0" * 64)
