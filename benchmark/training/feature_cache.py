"""Outputs of frozen stages, the features: computed once for each image, kept on disk, and read by every run alike.

While the first stages are frozen and nothing random comes before them, their output for an image never changes. It is
kept for the training, validation and test images alike, and only the rest of the network is trained, validated and
tested on it: the same result, to within rounding, in a fraction of the time.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmark.data.dataset import Positions
from benchmark.engines.base import Handle
from benchmark.engines.freezing import TOLERANCE, FeatureSpec, NotCacheable, agree
from benchmark.hashing import hash_json
from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.training.epoch import Loop
from benchmark.training.feature_store import Entry, FeatureStore, NoRoom, Rows
from benchmark.training.prefetch import Feed, near_equal_batches

# On reuse the features of so many images are computed again, and compared.
_CHECKED = 4
# A GPU may choose its algorithms anew.
_GPU_TOLERANCE = 2e-2
# Conventions of a network that don't touch its forward pass in inference mode.
_NOT_FORWARD = ("optimizer", "batch_norm_momentum", "batch_norm_variance", "layer_regularizers")
# What of the resolved execution may change features.
_FORWARD = ("precision", "tf32", "channels_last", "deterministic")


@dataclass(frozen=True)
class Caching:
    """Where features are kept, and what may change them that the loop can't know.

    Args:
        cache: where.
        origin: JSON-ready: the adapter and its source, versions of libraries.
    """

    cache: FeatureStore
    origin: Mapping[str, Any]


@contextlib.contextmanager
def cached_features(loop: Loop, caching: Caching | None) -> Iterator[Mapping[str, Any]]:
    """Let a loop read kept features where that can be, and compute those that are missing first.

    Args:
        loop: before its first epoch; asked whether to stop while features are computed.
        caching: ``None`` keeps nothing.

    Yields:
        What the record says of it: ``cached``; then the number of ``stages``, ``through`` which, and of how many
        images features were ``computed`` here and ``reused``, or else the ``reason``.

    Raises:
        RunFailure: ``interrupted`` where asked to stop; what was computed is kept.
    """
    with contextlib.ExitStack() as stack:
        try:
            yield _read_features(loop, caching, stack)
        finally:
            loop.read_features(None)


def _read_features(loop: Loop, caching: Caching | None, stack: contextlib.ExitStack) -> dict[str, Any]:
    try:
        spec = _feature_spec(loop, caching)
    except NotCacheable as why:
        return {"cached": False, "reason": str(why)}
    assert caching is not None
    try:
        with loop.clock("features"):
            entry, computed, reused = loop.within_memory(lambda: _completed(loop, spec, caching, stack))
    except (NoRoom, OSError) as error:
        reason = str(error) if isinstance(error, NoRoom) else f"its files can't be used ({error.strerror or error})"
        loop.note(f"The frozen stages are computed again in each epoch: {reason}.")
        return {"cached": False, "reason": reason}
    loop.read_features(entry.rows())
    return {
        "cached": True,
        "stages": len(spec.stages),
        "through": spec.stages[-1],
        "computed": computed,
        "reused": reused,
    }


def _feature_spec(loop: Loop, caching: Caching | None) -> FeatureSpec:
    """Return what can be kept; raises ``NotCacheable`` with the reason where nothing can."""
    if caching is None:
        raise NotCacheable("the cache is off")
    if loop.recipe.augmentation.active:
        raise NotCacheable("the training images are varied in each epoch")
    return loop.engine.feature_spec()


def _completed(
    loop: Loop, spec: FeatureSpec, caching: Caching, stack: contextlib.ExitStack
) -> tuple[Entry, int, int]:
    """Return the features of all images of the split, and of how many they were computed here and found."""
    split = loop.split
    positions = np.concatenate([split.train, split.validation, split.test])
    key = _key(loop, spec, caching.origin)
    while True:
        entry = caching.cache.open(key, count=len(loop.data), shape=spec.shape, dtype=spec.dtype)
        stack.callback(entry.close)
        with entry.filling(loop.should_stop) as mine:
            if not mine:
                raise _stopped()
            missing = entry.missing(positions)
            kept = np.setdiff1d(positions, missing)
            if len(kept) and not _agrees(loop, spec, entry, kept):
                entry.discard()
                loop.note("The kept outputs of the frozen stages were wrong; they are computed again.")
                continue
            if len(missing):
                entry.make_room(len(missing))
                entry.write(_computed(loop, missing))
        return entry, len(missing), len(kept)


def _computed(loop: Loop, positions: Positions) -> Iterator[tuple[Positions, Rows]]:
    """Yield the features of images in batches; the device computes one while the one before is written."""
    engine, batches = loop.engine, near_equal_batches(positions, loop.batch_size)
    before: tuple[Positions, Handle] | None = None
    done = 0
    for batch, images in zip(batches, Feed(engine, loop.data.pixels, None).batches(batches), strict=True):
        if loop.should_stop():
            raise _stopped()
        loop.report({"event": "phase", "phase": f"frozen stages, image {done} of {len(positions)}"})
        handle = engine.compute_features(engine.normalize(images))
        if before is not None:
            yield before[0], engine.fetch([before[1]])[0]
        before = batch, handle
        done += len(batch)
    if before is not None:
        yield before[0], engine.fetch([before[1]])[0]


def _agrees(loop: Loop, spec: FeatureSpec, entry: Entry, kept: Positions) -> bool:
    """Return whether a few kept features, computed again, are what they were; other ones for each seed."""
    chosen = np.random.default_rng(loop.seed).choice(kept, size=min(_CHECKED, len(kept)), replace=False)
    engine = loop.engine
    images = engine.upload(np.ascontiguousarray(loop.data.pixels[chosen]))
    again = _floats(engine.fetch([engine.compute_features(engine.normalize(images))])[0])
    before = _floats(entry.rows()[chosen])
    tolerance = TOLERANCE["bfloat16" if spec.dtype == "int16" else spec.dtype]
    if engine.device.kind != "cpu":
        tolerance = max(tolerance, _GPU_TOLERANCE)
    return agree(before, again, tolerance)


def _floats(rows: Rows) -> Rows:
    """Return features as numbers: ``int16`` holds the upper half of a float32, which is what bfloat16 is."""
    if rows.dtype != np.int16:
        return rows
    bits = np.ascontiguousarray(rows).view(np.uint16).astype(np.uint32) << 16
    return np.asarray(bits.view(np.float32))


def _key(loop: Loop, spec: FeatureSpec, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that could change features.

    The fingerprint of the data does not see the order of the images, which says where the features of each lie: it is
    added.
    """
    data, engine, network = loop.data, loop.engine, loop.network
    return {
        "origin": dict(origin),
        "framework": engine.framework,
        "device": [engine.device.kind, engine.device.name],
        "stages": list(spec.stages),
        "weights": spec.weights_hash,
        "preprocessing": asdict(network.preprocessing),
        "execution": {name: network.execution[name] for name in _FORWARD if name in network.execution},
        "conventions": {name: value for name, value in network.conventions.items() if name not in _NOT_FORWARD},
        "data": data.fingerprint,
        "images": hash_json(data.image_ids.tolist()),
        "size": data.size,
        "resize": loop.recipe.resize,
    }


def _stopped() -> RunFailure:
    return RunFailure(Outcome.INTERRUPTED, "Stopped while the frozen stages were computed.")
