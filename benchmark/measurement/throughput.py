"""Throughput and latency, honestly: after warm-up, in windows that end when the device has finished.

The median over windows is reported with its interquartile range. Three speeds are told apart: the forward pass
alone, on normalised input that is already on the device (``infer``); all the way from uint8 pixels on the host to
probabilities on the host (``pipeline``); and one image at a time (``latency``).
"""

import time
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from benchmark.data.dataset import DataSet, Positions
from benchmark.engines.base import Engine
from benchmark.evaluation.temperature import softmax
from benchmark.recipe import Flips
from benchmark.records.record import Throughput
from benchmark.training.epoch import Report
from benchmark.training.threads import Watch
from benchmark.training.views import AXES, averaged, mirrored

_WINDOW_SECONDS = 0.2
_FEWEST, _MOST = 3, 15  # windows
_STEADY = 0.03  # interquartile range over median at which more windows would say nothing new
_BUDGET_SECONDS = 2.0
_LATENCY_CALLS = 100
_LATENCY_SECONDS = 2.5


def _images_per_s(call: Callable[[], object], images: int, finish: Callable[[], None]) -> tuple[float, float]:
    """Return median and interquartile range over windows of images per second.

    Three windows are measured, each of at least one call, and further ones for as long as they differ: until their
    interquartile range is 3 % of the median, fifteen have been measured, or two seconds are over. ``finish`` waits
    for the device.
    """
    for _ in range(2):  # the first call may compile, the second settles caches and clocks
        call()
        finish()
    speeds: list[float] = []
    begun = time.perf_counter()
    while len(speeds) < _FEWEST or (
        len(speeds) < _MOST and time.perf_counter() - begun < _BUDGET_SECONDS and not _are_steady(speeds)
    ):
        calls, start = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - start < _WINDOW_SECONDS:
            call()
            calls += 1
            if calls % 16 == 0:
                finish()  # keep the host from running far ahead of the device
        finish()
        speeds.append(calls * images / (time.perf_counter() - start))
    low, middle, high = np.percentile(speeds, [25, 50, 75])
    return float(middle), float(high - low)


def _are_steady(speeds: Sequence[float]) -> bool:
    low, middle, high = np.percentile(speeds, [25, 50, 75])
    return bool(high - low <= _STEADY * middle)


def _latencies_ms(call: Callable[[], object]) -> list[float]:
    """Return milliseconds of each of 100 calls, or of those that fit into two and a half seconds."""
    for _ in range(3):
        call()
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < _LATENCY_CALLS and (not taken or time.perf_counter() - begun < _LATENCY_SECONDS):
        start = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - start))
    return taken


def expected_seconds(batch: float, alone: float) -> float:
    """Return about how long :func:`measure` takes, from the seconds of a batch and of one image alone."""
    window = max(_WINDOW_SECONDS, batch)
    return 2 * (2 * batch + (_FEWEST + 1) * window) + min(_LATENCY_CALLS * alone, _LATENCY_SECONDS)


class Speeds:
    """The speeds that one process has measured: networks that differ in nothing but weights have them in common."""

    def __init__(self) -> None:
        self._measured: dict[Hashable, tuple[str, Throughput]] = {}

    def of(self, network: Hashable, run: str, take: Callable[[], Throughput]) -> tuple[Throughput, str]:
        """Return a network's speeds, and the run of this process in which they were measured.

        Args:
            network: all that decides how fast it is.
            run: which asks.
            take: measures them, where no run before has.
        """
        if network not in self._measured:
            self._measured[network] = run, take()
        measured_in, speeds = self._measured[network]
        return speeds, measured_in


def measure(
    engine: Engine, data: DataSet, positions: Positions, batch_size: int, flips: Flips = "none", *, report: Report
) -> Throughput:
    """Measure a trained network's speed.

    Args:
        engine: built and trained; its weights are not changed.
        data: gives the pixels.
        positions: images to use; the first ``batch_size`` of them, repeated where there are fewer.
        batch_size: the recipe's.
        flips: the views by which each image is predicted; a speed counts images, however many views each has.
        report: gets one ``phase`` event.

    Returns:
        All but the training speed; ``latency_p95_ms`` is ``None`` where fewer than 100 calls fitted.
    """
    report({"event": "phase", "phase": "measuring"})
    watch = Watch()
    pixels = np.ascontiguousarray(data.pixels[np.resize(positions, batch_size)])
    inputs = engine.normalize(engine.upload(pixels))
    views = len(AXES[flips])

    def forward() -> None:
        for _ in range(views):
            engine.forward(inputs)

    def pipeline(batch: np.ndarray = pixels) -> None:
        averaged([
            softmax(engine.fetch([engine.forward_images(engine.upload(view))])[0])
            for view in (batch, *mirrored(batch, flips))
        ])  # fmt: skip

    infer = _images_per_s(forward, batch_size, engine.synchronize)

    whole = _images_per_s(pipeline, batch_size, engine.synchronize)
    one = pixels[:1]
    latencies = _latencies_ms(lambda: pipeline(one))
    return Throughput(
        infer_images_per_s=infer[0],
        infer_images_per_s_iqr=infer[1],
        pipeline_images_per_s=whole[0],
        pipeline_images_per_s_iqr=whole[1],
        latency_p50_ms=float(np.percentile(latencies, 50)),
        latency_p95_ms=float(np.percentile(latencies, 95)) if len(latencies) >= _LATENCY_CALLS else None,
        latency_calls=len(latencies),
        batch_size=batch_size,
        cores_taken_by_others=round(watch.cores_taken_by_others(), 2),
        peak_memory_mb=engine.peak_memory_bytes() / 2**20,
    )
