"""The checks. Each is a function of a subject that raises :class:`Fault` with what was seen and what to do.

One that passes may return what a contributor should know, above all which default was used.

A check is kept only while the tests plant a fault that makes it fail.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.conformance.fixture import Built, Fault, Subject, Weights, differing
from benchmark.engines.base import ExportedGraph, NotKept
from benchmark.engines.cam_stage import NoFeatureMap
from benchmark.export_targets import QUICKEST, TARGETS
from benchmark.models.runtimes import runtime_of


@dataclass(frozen=True)
class Check:
    """A named check: ``title`` is what holds when it passes."""

    name: str
    title: str
    run: Callable[[Subject], str | None]


CHECKS: list[Check] = []
_STEPS = 120  # in which a network must have learnt eight images by heart, at one rate of three


def check(title: str) -> Callable[[Callable[[Subject], str | None]], Callable[[Subject], str | None]]:
    """Add the decorated function to the suite under its name."""

    def add(run: Callable[[Subject], str | None]) -> Callable[[Subject], str | None]:
        CHECKS.append(Check(run.__name__, title, run))
        return run

    return add


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@check("builds for 2 and 4 classes at its declared size, and gives that many logits")
def builds(subject: Subject) -> None:
    size = subject.backbone.input_size
    for classes in (2, 4):
        logits = subject.build(classes=classes, size=size).logits(subject.images(2, size))
        if logits.shape != (2, classes):
            raise Fault(
                f"built for {classes} classes, it gives an output of shape {logits.shape} for 2 images instead of "
                f"(2, {classes}): let the last layer have `num_classes` outputs"
            )


@check("gives logits, not probabilities")
def gives_logits(subject: Subject) -> None:
    # wide inputs, so that an untrained network's logits do not sum to one by accident
    logits = subject.build(classes=4).logits(subject.images())
    looks_like = (logits >= 0).all() and (logits <= 1).all()
    if looks_like and np.allclose(logits.sum(axis=1), 1, atol=1e-3):
        raise Fault(
            "its outputs are probabilities (each row sums to 1): remove the softmax, the loss applies its own"
        )
    if looks_like and np.ptp(logits) > 0:
        raise Fault("its outputs all lie in 0-1: remove the sigmoid, the loss needs logits")


@check("its stages, composed, equal the whole model, in inference and in training mode")
def stages_equal_whole(subject: Subject) -> str:
    network = subject.build().network
    if network.stages_unverified:
        raise Fault(
            f"{network.stages_unverified}; give `stages` in the order of the forward pass, each step once, none "
            "changing its input in place, or leave `stages` out and let them be found"
        )
    whose = "by default found in its graph" if subject.backbone.stages is None else "as it declares"
    return f"{len(network.stages)} stages, {whose}: {_few(list(network.stages[:-1]))}; head {network.stages[-1]}"


@check("what Grad-CAM explains is one of its stages and a feature map")
def can_be_explained(subject: Subject) -> str:
    try:
        stage = subject.build(size=subject.backbone.input_size).engine.cam_stage()
    except NoFeatureMap as error:
        if subject.backbone.cam_stage is None:
            return f"Grad-CAM is left out: {error}"
        raise Fault(f"{error} Let `cam_stage` name a stage with a feature map, or leave it out") from error
    whose = "by default the last feature map" if subject.backbone.cam_stage is None else "as it declares"
    return f"Grad-CAM explains {stage}, {whose}"


@check("the preprocessing it declares is applied once, and is the library's own")
def preprocessing_applied(subject: Subject) -> str | None:
    built = subject.build()
    images = subject.images()
    applied = built.engine.fetch([built.engine.normalize(built.engine.upload(images))])[0]
    if applied.shape[1] == 3:
        applied = applied.transpose(0, 2, 3, 1)
    declared = subject.backbone.preprocessing or built.network.preprocessing
    channels = images[..., ::-1] if declared.channel_order == "bgr" else images
    expected = (channels * declared.scale - np.array(declared.mean)) / np.array(declared.std)
    if not np.allclose(applied, expected, rtol=1e-4, atol=1e-3):
        worst = float(np.abs(applied - expected).max())
        raise Fault(
            f"its input differs from the declared preprocessing by up to {worst:.3g}: declare `preprocessing` with "
            "the scale, mean and std of its input, in RGB order or with channel_order='bgr'"
        )
    own = built.network.library_preprocessing
    if own is not None and own != declared:
        raise Fault(f"it declares {declared}, but its library prepares images with {own}: declare that")
    statistics = built.network.first_layer_input
    if statistics is not None and not (0.02 <= statistics[1] <= 150 and abs(statistics[0]) <= 3 * statistics[1] + 1):
        raise Fault(
            f"its first layer with weights gets values of mean {statistics[0]:.3g} and standard deviation "
            f"{statistics[1]:.3g}: the network normalises by itself what is normalised before it; declare `RAW` or "
            "remove one of the two"
        )
    default = subject.backbone.left_open().get("preprocessing")
    return f"Its input is by default {default}" if default else None


@check("gradients reach exactly what is trainable")
def gradients_reach_all(subject: Subject) -> None:
    built = subject.build()
    before = built.engine.weights()
    built.train(subject.images(), 3, 1e-3)
    moved = set(differing(before, built.engine.weights()))
    still = [name for name in built.network.trainable_names if name not in moved]
    if still:
        raise Fault(
            f"after three steps these trainable weights have not moved: {_few(still)}; use each layer in the forward "
            "pass and register it on the model (no plain Python lists), or don't create it"
        )


@check("overfits one batch, and its loss falls")
def overfits_one_batch(subject: Subject) -> None:
    seen = []
    for rate in (1e-3, 1e-4, 1e-2):
        built = subject.build()
        losses: list[float] = []
        while len(losses) < _STEPS:
            losses += built.train(subject.images(), 20, rate, first=len(losses) + 1)
            if min(losses[-5:]) < 0.2 * losses[0]:
                return
        seen.append(f"{losses[0]:.3g} to {losses[-1]:.3g} at {rate:g}")
    raise Fault(
        f"on one batch the loss did not fall to a fifth in {_STEPS} steps ({'; '.join(seen)}): "
        "look for a softmax or sigmoid before the loss, a cut gradient, or inputs on the wrong scale"
    )


@check("an image's logits do not depend on the rest of the batch")
def batch_independent(subject: Subject) -> None:
    built = subject.build()
    images = subject.images()
    together = built.logits(images)
    alone = np.concatenate([built.logits(image[None]) for image in images])
    worst = float(np.abs(together - alone).max())
    if worst > 1e-3 * max(1.0, float(np.abs(together).max())):
        raise Fault(
            f"in inference mode an image's logits change by up to {worst:.3g} with its batch: something uses the "
            "batch's statistics; make it respect inference mode"
        )


@check("keeps no state between calls")
def stateless(subject: Subject) -> None:
    built = subject.build()
    images = subject.images()
    first = built.logits(images)
    built.logits(images[::-1].copy())
    again = built.logits(images)
    if not np.array_equal(first, again):
        raise Fault(
            f"the same images give other logits (by {float(np.abs(first - again).max()):.3g}) at the second call: "
            "don't keep values between calls of the forward pass"
        )


@check("the same seed gives the same weights and predictions")
def seeded(subject: Subject) -> None:
    def trained() -> tuple[Built, Weights]:
        built = subject.build(seed=7)
        initial = built.engine.weights()
        built.train(subject.images(), 3, 1e-3)
        return built, initial

    (first, start), (second, restart) = trained(), trained()
    drawn = list(differing(start, restart))
    if drawn:
        raise Fault(
            f"built twice with one seed, it starts from other weights ({_few(drawn)}): draw from the framework"
        )
    if not np.array_equal(first.logits(subject.images()), second.logits(subject.images())):
        raise Fault(
            "trained twice with one seed, it predicts differently: draw randomness from the framework's generator "
            "(torch.rand, keras.random with a SeedGenerator), not from numpy or random"
        )


@check("saved and loaded, it predicts the same")
def survives_saving(subject: Subject) -> None:
    images = subject.images()
    trained = subject.build()
    trained.train(images, 3, 1e-3)
    other = subject.build(seed=1)
    other.engine.load_state(trained.engine.state(optimizer=True))
    worst = float(np.abs(trained.logits(images) - other.logits(images)).max())
    if worst > 0:
        raise Fault(
            f"loaded into a new model, its state predicts differently by {worst:.3g}: keep everything that training "
            "changes in parameters or registered buffers"
        )


@check("frozen, nothing but the head changes, BatchNorm's statistics included")
def freezes(subject: Subject) -> None:
    built = subject.build(trainable_from="head")
    before = built.engine.weights()
    built.train(subject.images(), 3, 1e-3)
    moved = set(differing(before, built.engine.weights())) - set(built.network.trainable_names)
    foreign = sorted(name for name in moved if not name.startswith(f"{built.network.stages[-1]}"))
    if foreign:
        raise Fault(
            f"with everything but the head frozen, these still change: {_few(foreign)}; let normalisation layers "
            "respect inference mode and change no statistics by hand"
        )


@check("can be exported, and then gives the same logits")
def can_be_exported(subject: Subject) -> str:
    target = QUICKEST.get(subject.engine)
    if target is None:
        return f"It is not exported: the engine {subject.engine} exports no networks"
    built, images = subject.build(), subject.images()
    inputs = built.engine.normalize(built.engine.upload(images))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / TARGETS[target].file(target, whole=False)
        try:
            built.engine.export(target, path, ExportedGraph(whole=False))
        except NotKept as error:
            return f"It can't be exported: {error}"
        exported = runtime_of(target, path)[0](built.engine.fetch([inputs])[0])
    own = built.logits(images)
    worst = float(np.abs(exported - own).max())
    if worst > 1e-3 * max(1.0, float(np.abs(own).max())):
        raise Fault(
            f"exported to {target}, its logits differ by up to {worst:.3g}: compute the same whether it is traced, "
            "exported or neither, and from tensors alone"
        )
    return f"It can be exported ({target})"


@check("gives its memory back")
def returns_memory(subject: Subject) -> None:
    import gc

    import psutil

    def used() -> int:
        gc.collect()
        return int(psutil.Process().memory_info().rss)

    subject.build().train(subject.images(), 1, 1e-3)
    start = used()
    for _ in range(4):
        subject.build().train(subject.images(), 1, 1e-3)
    weights = sum(array.nbytes for array in subject.build().engine.weights().values())
    grown = used() - start
    if grown > 3 * weights + 64 * 2**20:
        raise Fault(
            f"after building it four times {grown / 2**20:.0f} MiB stay in use: don't keep models in module-level "
            "variables or caches"
        )
