"""The data set: what every source becomes, and what every later step reads."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int64]

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class DataSet:
    """Images of one size, decoded and memory-mapped, with all that is known of them.

    ``N`` images of side ``S``; a *position* is an index from 0 to N - 1.

    Args:
        name: short, for folders and tables.
        pixels: uint8, shape (N, S, S, 3), RGB; a read-only memory map.
        labels: int64, shape (N,), indices into ``class_names``.
        image_ids: str, shape (N,), unique, stable across sizes (the path within the source).
        class_names: at least two.
        fingerprint: SHA-256 over image ids, decoded source pixels and labels; the size does not enter.
        parts: str, shape (N,), ``train``, ``test`` or, where the source has official validation images,
            ``validation``; ``None`` where it has no official split.
        groups: str, shape (N,), the patient of each image; ``None`` where unknown.
        identical: int64, shape (N,), equal for byte- or pixel-identical images.
        masks: bool or uint8, shape (N, S, S), non-zero inside the lesion; ``None`` where unknown.
        lettered_patients: whether the source is known to give one person several ids that differ by a letter at the
            end (``MR040240`` and ``MR040240B``).
        random_parts: whether the parts are somebody's random split of single images, not taken unless asked for.
        grouping: how ``groups`` was made of patient ids that differ by a letter at the end, a sentence without a full
            stop; empty where there are none.
        negative_class: the class without a tumour, ``None`` where there is none.
        synthetic: whether the images are simulated; every output says so.
        planes: str, shape (N,), ``axial``, ``coronal`` or ``sagittal``, empty where unknown; ``None`` where all are.
        folds: int64, shape (N,), the source's official folds, from 1; ``None`` where there are none.
        scanners: str, shape (N,), manufacturer and field strength, empty where unknown; ``None`` where all are.
        thicknesses: float64, shape (N,), of the slices, in mm, ``nan`` where unknown; ``None`` where all are.
        sources: str, shape (N,), the hospital or collection of each image, empty where unknown; ``None`` where all
            are.
        native_sizes: int64, shape (N, 2), height and width before resizing, in pixels.
        hashes: uint8, shape (N, 2, 32), SHA-256 of each image's stored bytes (zeros where it is made and not
            read) and of its native pixels.
        thumbnails: uint8, shape (N, 32, 32), the native image in grey, squashed; the same whatever the size.
        notes: what a user must know of the data: the release that was recognised, rules applied.
        skipped: one sentence for each image that was left out because it can't be read.
        folder: where the prepared images are; :func:`~benchmark.data.preparation.prepare.load_prepared` opens
            them from there.
    """

    name: str
    pixels: Pixels
    labels: Labels
    image_ids: npt.NDArray[np.str_]
    class_names: tuple[str, ...]
    fingerprint: str
    identical: Labels
    parts: npt.NDArray[np.str_] | None = None
    groups: npt.NDArray[np.str_] | None = None
    masks: npt.NDArray[np.uint8] | None = None
    planes: npt.NDArray[np.str_] | None = None
    scanners: npt.NDArray[np.str_] | None = None
    thicknesses: npt.NDArray[np.float64] | None = None
    sources: npt.NDArray[np.str_] | None = None
    folds: Labels | None = None
    native_sizes: Labels | None = None
    hashes: npt.NDArray[np.uint8] | None = None
    thumbnails: npt.NDArray[np.uint8] | None = None
    negative_class: str | None = None
    lettered_patients: bool = False
    grouping: str = ""
    random_parts: bool = False
    synthetic: bool = False
    licence: str = ""
    citation: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    folder: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        n = len(self.labels)
        if self.pixels.shape[0] != n or self.pixels.ndim != 4 or self.pixels.dtype != np.uint8:
            raise ValueError(f"pixels must be uint8 of shape ({n}, S, S, 3), not {self.pixels.shape}")
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray) and len(value) != n:
                raise ValueError(f"{name} has {len(value)} entries for {n} images")
        if self.negative_class is not None and self.negative_class not in self.class_names:
            raise ValueError(f"negative class {self.negative_class!r} is not among {self.class_names}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Side of the square images, in pixels."""
        return int(self.pixels.shape[1])


@dataclass(frozen=True)
class Split:
    """Which images train, which choose, which judge.

    Args:
        name: ``official``, ``holdout``, ``fold-1-of-5``, ``slice-fold-1-of-5``, ``holdout-deduplicated`` ...
        train, validation, test: positions, int64, ascending, disjoint, none empty.
        hash: SHA-256 over the image ids of the three parts.
        limited_to: the number that ``--limit`` left, ``None`` without.
        leaks: one sentence for each way in which test images are not independent of training images.
        notes: what else a user must know of it, one sentence each: folds that were cut anew, names that look alike.
        removed: how many training images were left out because they also stand in test; ``None`` where that was
            not asked for.
        unscored: classes without test images; averages over classes leave them out.
        kind: ``official``, ``holdout``, ``folds``, ``official-folds``, ``regroup`` (an official split cut anew),
            ``slice`` (folds that part patients) or ``external`` (all images of another set are tested).
        fold, folds: which one this is, from 1, and of how many; ``None`` where there are no folds.
        scheme: SHA-256 of the whole cross-validation, equal for all its folds; empty where there are no folds.
    """

    name: str
    train: Positions
    validation: Positions
    test: Positions
    hash: str
    limited_to: int | None = None
    leaks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    removed: int | None = None
    unscored: tuple[str, ...] = ()
    kind: str = "holdout"
    fold: int | None = None
    folds: int | None = None
    scheme: str = ""

    def part_of_each(self, count: int) -> npt.NDArray[np.str_]:
        """Return the part that each of ``count`` images is in, empty where it is in none: shape (N,)."""
        part = np.full(count, "", dtype="U10")
        for name in PARTS:
            part[getattr(self, name)] = name
        return part
