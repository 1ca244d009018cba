"""What keeping the outputs of frozen stages saves, against frameworks' own ways to train with frozen stages.

    python tests/performance/prefix_speed.py torch head
    python tests/performance/prefix_speed.py torch last
    python tests/performance/prefix_speed.py tensorflow head
    python tests/performance/prefix_speed.py tensorflow last

Torch is compared with a plain timm loop that freezes, and runs the frozen part in inference mode without gradients;
TensorFlow with ``keras.fit`` after ``trainable = False``. Both get images that were normalised beforehand, in memory.
Ours is a whole training of E epochs from uint8 images and an empty cache: the pass that fills it, written to the
disk, then epochs with validation, and the predictions of the test images. An epoch of the other side, with its
validation, is timed and multiplied by E; it predicts no test images. All parts take turns in one process, after both
networks were built and warmed up.

Printed are medians over the rounds: how many times faster ours is; for ``last`` (the last stage is trained too) the
share of the bound E T_naive / (T_frozen + E T_rest), each part of which the other side does by itself; how many
forward passes over all images ours takes besides E T_rest; and the speed of the pass that fills the cache as a share
of the forward pass's, which is timed as ``infer_images_per_s`` is: normalised input, on the device.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from turns import CLASSES, random_images, ratio_in_words, take_turns, timed

from backbones.registry import load_registry
from benchmark.data.dataset import DataSet, Split
from benchmark.engines import BuildSpec, create
from benchmark.engines.one_framework import shut_out_other_framework
from benchmark.recipe import load_recipe
from benchmark.training.feature_cache import Caching
from benchmark.training.feature_store import FeatureStore
from benchmark.training.train import Training, train

_BACKBONE = {"torch": "timm/resnet50", "tensorflow": "keras/resnet50"}
_LAST = {"torch": "layer4", "tensorflow": "conv5"}
Work = Callable[[], Any]


class Ours:
    """The harness, its network built; each turn trains from the same weights and an empty cache."""

    def __init__(self, framework: str, what: str, data: DataSet, split: Split, batch: int, epochs: int) -> None:
        changes = {
            "size": data.size, "batch_size": batch, "epochs": epochs, "execution.compile": "off",
            "execution.precision": "float32", "execution.channels_last": "on", "head.kind": "linear",
            "trainable_from": "head" if what == "head" else _LAST[framework],
        }  # fmt: skip
        self._recipe = load_recipe("default").with_values(changes)
        self._data, self._split, self._batch = data, split, batch
        backbone = load_registry().get(_BACKBONE[framework])
        self._engine = create(framework, "cpu", tf32=False, deterministic=False)
        self._network = self._engine.build(BuildSpec(backbone, self._recipe, CLASSES, data.size, None, seed=0))
        self._initial = self._engine.state(optimizer=True)
        batches = np.array_split(data.pixels[split.train], len(split.train) // batch)
        self._inputs = [self._engine.normalize(self._engine.upload(pixels)) for pixels in batches]
        self.trainings: list[Training] = []

    def train(self) -> None:
        self._engine.load_state(self._initial)
        with tempfile.TemporaryDirectory() as folder:
            done = train(
                self._engine, self._network, self._data, self._split, self._recipe, 0,
                report=lambda event: None, checkpoints=None, should_stop=lambda: False,
                caching=Caching(FeatureStore(Path(folder) / "kept", 10**10), {}),  # a folder of its own
            )  # fmt: skip
        assert done.feature_cache["computed"] == len(self._data), done.feature_cache
        self.trainings.append(done)

    def forward(self) -> None:
        for inputs in self._inputs:
            self._engine.forward(inputs)
        self._engine.synchronize()


def timm_loop(what: str, data: DataSet, split: Split, batch: int) -> tuple[Work, Work, Work]:
    """Return an epoch of the plain loop, its frozen part alone, and the rest alone on the outputs of that."""
    import timm
    import torch
    from torch.nn.functional import cross_entropy

    model = timm.create_model("resnet50", num_classes=CLASSES).eval().to(memory_format=torch.channels_last)
    stem = torch.nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool)
    stages = [stem, model.layer1, model.layer2, model.layer3, model.layer4]
    count = 5 if what == "head" else 4
    frozen = torch.nn.Sequential(*stages[:count]).requires_grad_(False)
    rest = torch.nn.Sequential(*stages[count:], model.global_pool, model.fc).train()
    optimizer = torch.optim.AdamW(rest.parameters(), 1e-3)
    pixels = torch.from_numpy(data.pixels).permute(0, 3, 1, 2).float() / 255
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    inputs, others = list(pixels[split.train].split(batch)), pixels[split.validation]
    labels = torch.from_numpy(data.labels[split.train]).split(batch)

    def step(features: Any, wanted: Any) -> None:
        loss = cross_entropy(rest(features), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def validate(features: Any) -> None:
        rest.eval()
        with torch.no_grad():
            rest(features).softmax(1)
        rest.train()

    def frozen_part() -> list[Any]:
        with torch.no_grad():
            return [frozen(x) for x in [*inputs, others]]

    def epoch() -> None:
        for x, wanted in zip(inputs, labels, strict=True):
            with torch.no_grad():
                features = frozen(x)
            step(features, wanted)
        with torch.no_grad():
            features = frozen(others)
        validate(features)

    *kept, kept_others = frozen_part()

    def rest_alone() -> None:
        for features, wanted in zip(kept, labels, strict=True):
            step(features, wanted)
        validate(kept_others)

    return epoch, frozen_part, rest_alone


def keras_fit(what: str, data: DataSet, split: Split, batch: int) -> tuple[Work, Work, Work]:
    """Return an epoch of fit, prediction by the frozen layers alone, and fit of the rest on the outputs of that."""
    import keras

    base = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(data.size, data.size, 3))
    layers = [layer.name for layer in base.layers]
    first = len(layers) if what == "head" else layers.index("conv5_block1_1_conv")
    for layer in base.layers[: first if what == "head" else layers.index("conv4_block6_out") + 1]:
        layer.trainable = False
    border = base.output if what == "head" else base.get_layer("conv4_block6_out").output
    logits = keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(base.output))
    whole, frozen, rest = (
        keras.Model(base.input, logits),
        keras.Model(base.input, border),
        keras.Model(border, logits),
    )
    for model in (whole, rest):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=keras.optimizers.AdamW(1e-3), loss=loss, jit_compile=False)
    frozen.compile(jit_compile=False)
    pixels = (data.pixels / 255).astype(np.float32)
    used = np.concatenate([split.train, split.validation])
    inputs = pixels[used]
    kept = frozen.predict(inputs, batch_size=batch, verbose=0)

    def fit(model: Any, given: Any) -> None:
        """Do an epoch with validation; ``given`` are training images, then those of validation."""
        train, others = given[: len(split.train)], given[len(split.train) :]
        validation = others, data.labels[split.validation]
        model.fit(train, data.labels[split.train], batch_size=batch, validation_data=validation, verbose=0)

    return (
        lambda: fit(whole, inputs),
        lambda: frozen.predict(inputs, batch_size=batch, verbose=0),
        lambda: fit(rest, kept),
    )


def main() -> None:
    """Compare one framework, head-only or from the last stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("framework", choices=list(_BACKBONE))
    parser.add_argument("what", choices=["head", "last"])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=504, help="of training; 8 others come to them")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    shut_out_other_framework(options.framework)
    data, split = random_images(options.images, options.size)
    begun = time.perf_counter()
    ours = Ours(options.framework, options.what, data, split, options.batch, options.epochs)
    start_up = time.perf_counter() - begun
    naive = (timm_loop if options.framework == "torch" else keras_fit)(options.what, data, split, options.batch)
    sides = {"ours": ours.train, "naive": naive[0], "frozen": naive[1], "rest": naive[2], "forward": ours.forward}
    seconds = take_turns({name: timed(work) for name, work in sides.items()}, options.rounds, warm_up=1)
    epochs, mine = options.epochs, seconds["ours"]
    passes = np.array([done.timings.prefix_s for done in ours.trainings[-options.rounds :]])
    print(
        f"{_BACKBONE[options.framework]}, {options.what}, {options.size} px, batch {options.batch}, {options.images} "
        f"images, E = {epochs}; start-up, apart: {start_up:.1f} s"
    )
    for name, taken in seconds.items():
        print(f"  {name}: {np.median(taken):.3f} s")
    print(f"  the pass that fills the cache: {np.median(passes):.3f} s for {len(data)} images")
    print(f"  ours over E epochs of the other: {ratio_in_words(mine, epochs * seconds['naive'])}")
    bound = seconds["frozen"] + epochs * seconds["rest"]
    print(f"  share of the bound: {ratio_in_words(mine, bound)}")
    forward = seconds["forward"] * len(data) / options.images
    print(f"  forward passes, besides the rest: {np.median((mine - epochs * seconds['rest']) / forward):.3f}")
    print(f"  the pass over the forward pass: {ratio_in_words(passes, forward)}")


if __name__ == "__main__":
    main()
