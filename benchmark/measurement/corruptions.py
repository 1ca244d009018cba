"""What a trained network makes of spoilt test images (:mod:`benchmark.draws.corruptions`), for every framework alike.

The pixels are made once for a data set at a size and kept on the disk, beside the outputs of frozen stages and within
the same budget; where they can't be kept, a thread makes them while the network reads those before. The pictures of
all corruptions are one sequence of whole batches, so that nothing is compiled or traced for them.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from benchmark.data.dataset import DataSet, Split
from benchmark.data.preparation.pixels import write_rgb
from benchmark.data.preparation.threads import usable_cpus
from benchmark.draws.corruptions import CORRUPTIONS, SEVERITIES, VERSION, Pixels, corrupt, shown_cells
from benchmark.draws.randomness import image_numbers
from benchmark.engines.base import Engine, Handle
from benchmark.evaluation.temperature import softmax
from benchmark.hashing import hash_bytes, hash_json
from benchmark.recipe import Flips
from benchmark.records.corrupted import Corrupted, CorruptionFacts
from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.training.feature_store import Entry, FeatureStore, NoRoom
from benchmark.training.prefetch import Feed
from benchmark.training.views import AXES, averaged, mirrored

Report = Callable[[Mapping[str, Any]], None]
Numbers = npt.NDArray[np.int64]

_BLOCK = 64  # pictures that a thread makes at a time
_CHECKED = 8  # kept pictures that are made again before they are relied on
_THREE_CHANNELS = 2**31  # bytes: where all pictures of a data set take no more, grey ones have three channels too


@dataclass(frozen=True)
class _Pictures:
    """Spoilt pictures of a data set. Each has a number: that of its cell in the table times N, plus its image's.

    Args:
        data: N images.
        one_channel: whether one channel of three is kept, as all images that are shown are grey.
        resize: how they came to their size.
    """

    data: DataSet
    one_channel: bool
    resize: str

    def made(self, numbers: Numbers) -> Pixels:
        """Return pictures as they are kept: uint8, shape (B, S, S), or (B, S, S, 3) of colours."""
        side = self.data.size
        made = np.empty((len(numbers), side, side) + (() if self.one_channel else (3,)), dtype=np.uint8)
        cells, positions = np.divmod(numbers, len(self.data))
        for cell in np.unique(cells):
            mine = np.flatnonzero(cells == cell)
            kind, level = divmod(int(cell), SEVERITIES)
            images = np.ascontiguousarray(self.data.pixels[positions[mine]])
            of_images = image_numbers(self.data.image_ids[positions[mine]])
            spoilt = corrupt(images, of_images, list(CORRUPTIONS)[kind], level + 1)
            made[mine] = spoilt[..., 0] if self.one_channel else spoilt
        return made

    def shown(self, kept: Pixels) -> Pixels:
        """Return pictures as a network reads them: uint8, shape (B, S, S, 3)."""
        if not self.one_channel:
            return np.ascontiguousarray(kept)
        shown = np.empty((*kept.shape, 3), dtype=np.uint8)
        write_rgb(shown, kept)
        return shown


class _Source:
    """A sequence of pictures, read from kept rows or else made: what a feed takes batches of.

    The further views by which the recipe tests an image follow behind all: view v of picture p at ``v * count + p``.
    """

    def __init__(self, pictures: _Pictures, numbers: Numbers, rows: Pixels | None, flips: Flips) -> None:
        self._pictures, self._numbers, self._rows, self._flips = pictures, numbers, rows, flips
        self._held: tuple[Numbers, list[Pixels]] | None = None  # all views of those that were read last

    @property
    def kept(self) -> bool:
        """Whether pictures are read from kept rows."""
        return self._rows is not None

    def __len__(self) -> int:
        return len(self._numbers) * len(AXES[self._flips])

    def __getitem__(self, places: Numbers) -> Pixels:
        view, of = int(places[0]) // len(self._numbers), places % len(self._numbers)
        if self._held is None or not np.array_equal(self._held[0], of):
            numbers = self._numbers[of]
            pixels = self._pictures.shown(self._pictures.made(numbers) if self._rows is None else self._rows[numbers])
            self._held = of, [pixels, *mirrored(pixels, self._flips)]
        return self._held[1][view]


def predict_corrupted(
    engine: Engine,
    data: DataSet,
    split: Split,
    names: Sequence[str],
    *,
    resize: str,
    flips: Flips = "none",
    batch_size: int,
    store: FeatureStore | None,
    report: Report,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[CorruptionFacts, Corrupted]:
    """Return what a trained network decides of spoilt test images.

    Args:
        engine: with the trained network, which is not changed.
        data, split: the images.
        names: of the corruptions.
        resize: how the images came to their size, as the recipe has it.
        flips: by which views the recipe tests an image; their probabilities are averaged, as those of clean ones are.
        batch_size: images in a batch.
        store: where pictures are kept; ``None`` keeps none.
        report: gets progress.
        should_stop: asked between batches.

    Raises:
        RunFailure: ``interrupted`` where asked to stop, and what the engine raises.
    """
    report({"event": "phase", "phase": "spoilt images"})
    test = np.sort(split.test)
    cells = shown_cells(image_numbers(data.image_ids[test]), len(names)).reshape(-1, len(test))
    table = np.array([list(CORRUPTIONS).index(name) * SEVERITIES + s for name in names for s in range(SEVERITIES)])
    cell, place = np.nonzero(cells)
    numbers = table[cell] * len(data) + test[place]
    grey = _grey(data, test)
    # repeating a channel would take a fiftieth of the time in which two threads compute a small network
    large = len(CORRUPTIONS) * SEVERITIES * len(data) * 3 * data.size**2 > _THREE_CHANNELS
    pictures = _Pictures(data, grey and large, resize)
    firsts = numbers[np.unique(cell, return_index=True)[1]]  # the first picture of each cell stands for its pixels
    with contextlib.ExitStack() as stack:
        begun = time.perf_counter()
        rows, reason = _kept(pictures, np.sort(numbers), store, report, should_stop, stack)
        made_s = time.perf_counter() - begun
        source = _Source(pictures, numbers, rows, flips)
        views = len(AXES[flips])
        decisions, read_s = _decisions(engine, source, len(numbers), views, batch_size, report, should_stop)
    table_of = np.full(cells.shape, -1, dtype=np.int16)
    table_of[cell, place] = decisions
    facts = CorruptionFacts(
        names=tuple(names),
        pictures=len(numbers),
        made_s=round(made_s, 3),
        read_s=round(read_s, 3),
        images_per_s=len(numbers) / read_s,
        # the same however they are kept
        pixels_hash=hash_bytes(_Pictures(data, grey, resize).made(firsts).tobytes()),
        not_kept=reason,
    )
    shape = (len(names), SEVERITIES, len(test))
    return facts, Corrupted(data.image_ids[test], np.array(names), table_of.reshape(shape))


def _grey(data: DataSet, positions: Numbers) -> bool:
    """Return whether the three channels of all these images are alike."""
    for start in range(0, len(positions), _BLOCK):
        images = data.pixels[positions[start : start + _BLOCK]]
        if not (images[..., :1] == images[..., 1:]).all():
            return False
    return True


def _decisions(
    engine: Engine,
    source: _Source,
    count: int,
    views: int,
    batch_size: int,
    report: Report,
    should_stop: Callable[[], bool],
) -> tuple[Numbers, float]:
    """Return the class that a network decides for each picture, int64 of shape (count,), and the seconds it took.

    Every batch is whole: the last is filled up with its last picture again. The views of a batch follow each other.
    """
    places = np.minimum(np.arange(-(-count // batch_size) * batch_size), count - 1).reshape(-1, batch_size)
    batches = [batch + view * count for batch in places for view in range(views)]
    outputs: list[npt.NDArray[np.float32]] = []
    decided: list[Numbers] = []
    before: Handle | None = None

    def take(handle: Handle) -> None:
        outputs.extend(engine.fetch([handle]))
        if len(outputs) == views:
            scores = outputs[0] if views == 1 else averaged([softmax(logits) for logits in outputs])
            decided.append(scores.argmax(axis=1))
            outputs.clear()

    begun = reported = time.perf_counter()
    for number, images in enumerate(_uploaded(engine, source, batches)):
        if should_stop():
            raise _stopped()
        logits = engine.forward_images(images)
        if before is not None:  # the device computes one batch while the host waits for the one before
            take(before)
        before = logits
        if time.perf_counter() - reported > 1:
            reported = time.perf_counter()
            report({"event": "phase", "phase": f"spoilt images, batch {number + 1} of {len(batches)}"})
    take(before)
    return np.concatenate(decided)[:count], time.perf_counter() - begun


def _uploaded(engine: Engine, source: _Source, batches: Sequence[Numbers]) -> Iterator[Handle]:
    """Yield a handle for each batch of pictures.

    Pictures that are made, and all on a GPU, are made ready by a thread while the network reads those before. Kept
    ones are read in a moment; on a processor the network's threads would wait longer for another beside them.
    """
    if source.kept and engine.device.kind == "cpu":
        return (engine.upload(source[batch]) for batch in batches)
    return Feed(engine, source, None).batches(batches)


def _kept(
    pictures: _Pictures,
    numbers: Numbers,
    store: FeatureStore | None,
    report: Report,
    should_stop: Callable[[], bool],
    stack: contextlib.ExitStack,
) -> tuple[Pixels | None, str]:
    """Return all kept rows, those of ``numbers`` complete; or ``None`` and why none are kept."""
    if store is None:
        return None, "the cache is off"
    data = pictures.data
    shape = (data.size, data.size) + (() if pictures.one_channel else (3,))
    count = len(CORRUPTIONS) * SEVERITIES * len(data)
    try:
        while True:
            entry = store.open(_key(pictures), count=count, shape=shape, dtype="uint8")
            stack.callback(entry.close)
            with entry.filling(should_stop) as mine:
                if not mine:
                    raise _stopped()
                missing = entry.missing(numbers)
                if not _agree(pictures, entry, np.setdiff1d(numbers, missing)):
                    entry.discard()
                    report({"event": "note", "note": "Kept spoilt images were wrong; they are made again."})
                    continue
                if len(missing):
                    entry.make_room(len(missing))
                    entry.write(_made(pictures, missing, report, should_stop))
            return np.asarray(entry.rows()), ""
    except (NoRoom, OSError) as error:
        return None, str(error) if isinstance(error, NoRoom) else f"files can't be used ({error.strerror or error})"


def _agree(pictures: _Pictures, entry: Entry, kept: Numbers) -> bool:
    """Return whether a few kept pictures are what they would be if they were made again."""
    some = kept[np.unique(np.linspace(0, len(kept) - 1, min(_CHECKED, len(kept))).astype(np.int64))]
    return not len(some) or bool((entry.rows()[some] == pictures.made(some)).all())


def _made(
    pictures: _Pictures, numbers: Numbers, report: Report, should_stop: Callable[[], bool]
) -> Iterator[tuple[Numbers, Pixels]]:
    """Yield pictures in blocks, made by all processors."""
    blocks = [numbers[start : start + _BLOCK] for start in range(0, len(numbers), _BLOCK)]
    ahead = 2 * usable_cpus()
    coming: deque[Future[Pixels]] = deque()
    with ThreadPoolExecutor(usable_cpus(), thread_name_prefix="spoil") as pool:
        for number in range(len(blocks) + ahead):
            if number < len(blocks):
                coming.append(pool.submit(pictures.made, blocks[number]))
            if number >= ahead and coming:
                if should_stop():
                    raise _stopped()
                done = number - ahead
                report({"event": "phase", "phase": f"spoiling images, {done * _BLOCK} of {len(numbers)}"})
                yield blocks[done], coming.popleft().result()


def _key(pictures: _Pictures) -> dict[str, Any]:
    """Return everything that could change the pictures."""
    data = pictures.data
    return {
        "what": "corrupted",
        "version": VERSION,
        "strengths": {name: list(each.strengths) for name, each in CORRUPTIONS.items()},
        "libraries": {"numpy": np.__version__, "scipy": scipy.__version__},
        "data": data.fingerprint,
        "images": hash_json(data.image_ids.tolist()),
        "size": data.size,
        "resize": pictures.resize,
    }


def _stopped() -> RunFailure:
    return RunFailure(Outcome.INTERRUPTED, "Stopped while spoilt images were read.")
