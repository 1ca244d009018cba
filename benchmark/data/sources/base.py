"""A source: where images come from, before they are decoded and cached."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Item:
    """One image of a source, before it is read.

    Args:
        image_id: unique within the source, stable (the path within it, with forward slashes).
        class_name: as the source names it, tidied (``glioma_tumor`` is ``glioma``).
        part: ``train``, ``validation`` or ``test`` where the source has an official split, else ``None``.
        group: the patient, ``None`` where unknown.
        plane: ``axial``, ``coronal`` or ``sagittal``, ``None`` where unknown.
        scanner: manufacturer and field strength, ``None`` where unknown.
        thickness: of the slice, in mm, ``None`` where unknown.
        source: the hospital or collection that the image comes from, ``None`` where unknown.
        fold: the official fold, from 1, ``None`` where there is none.
    """

    image_id: str
    class_name: str
    part: str | None = None
    group: str | None = None
    plane: str | None = None
    scanner: str | None = None
    thickness: float | None = None
    source: str | None = None
    fold: int | None = None


@dataclass(frozen=True)
class Loaded:
    """One image as the source has it.

    Args:
        pixels: uint8, shape (H, W) or (H, W, 3) RGB, native size.
        bytes_hash: SHA-256 of the stored bytes, ``None`` where the image is made and not read.
        mask: uint8, shape (H, W), non-zero inside the lesion, ``None`` where unknown.
    """

    pixels: npt.NDArray[np.uint8]
    bytes_hash: bytes | None = None
    mask: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class SourceFacts:
    """What is known of a set of images as a whole.

    Args:
        name: short, for folders and tables.
        class_names: at least two; labels are indices into them.
        negative_class: the class without a tumour, ``None`` where there is none.
        lettered_patients: whether one person is known to stand under several ids that differ by a letter at the end.
        random_parts: whether the parts are somebody's random split of single images, which is not taken unless asked
            for.
        synthetic: whether the images are simulated.
        licence: under which the images are given, empty where unknown.
        citation: what to cite, empty where unknown.
        notes: what a user must know of it (the release that was recognised, rules applied).
    """

    name: str
    class_names: tuple[str, ...]
    negative_class: str | None = None
    lettered_patients: bool = False
    random_parts: bool = False
    synthetic: bool = False
    licence: str = ""
    citation: str = ""
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """What every kind of data becomes before decoding.

    Listing a source is cheap; only :meth:`load` decodes. ``load`` is called from several threads at once.
    """

    @property
    def items(self) -> Sequence[Item]:
        """The images, in the order of the data set."""

    @property
    def facts(self) -> SourceFacts:
        """What is known of them as a whole."""

    def signature(self) -> str:
        """Return a hash that changes when the content may have changed; cheap (names, sizes, times)."""

    def load(self, index: int) -> Loaded:
        """Read and decode ``items[index]``; raises ``UserError`` naming the file where it can't be."""
